"""Pairs every peer with ours on the problems of the output layer: in turns, on the same cores."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median
from subprocess import CalledProcessError

import linear_data
from driver import TOLERANCE, Times, WrongResult, affordable, fits, warm_up
from linear_data import GRADIENTS, Problem, Shape
from linear_peers import OURS
from table import Progress, Table, say
from workers import Peer, Process, WorkerError, build

# Of the loss, and of a gradient's root mean square.
OUR_TOLERANCE = {"f32": (1e-6, 1e-5), "bf16": (1e-6, 4e-3)}


@dataclass(frozen=True)
class Line:
    what: str
    dtype: str
    rows: int
    d: int
    vocab: int
    masked: int
    threads: int
    rounds: int
    median_ms: float
    products_ms: float
    over_products: float
    times_ours: float
    extra_mib: float
    extra_logits: float
    stated_mib: float
    loss_error: float
    dhidden_rms: float
    dhidden_max: float
    dweight_rms: float
    dweight_max: float

    COLUMNS = f"{'ms':>10}{'products':>10}{'ours':>8}{'MiB':>9}{'logits':>8}{'loss':>10}{'dH':>10}{'dH max':>10}{'dW':>10}{'dW max':>10}"

    def cells(self) -> list[str]:
        return [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in astuple(self)]

    def title(self) -> str:
        task = self.what.partition("/")[0]
        return f"{task} {self.dtype} {self.rows}x{self.d}x{self.vocab} {self.masked} %"

    def place(self) -> tuple:
        return "surprisal" not in self.what, self.median_ms

    def shown(self) -> str:
        errors = (self.loss_error, self.dhidden_rms, self.dhidden_max, self.dweight_rms, self.dweight_max)
        times = f"{self.median_ms:>10.1f}{self.over_products:>10.3f}{self.times_ours:>8.2f}"
        memory = f"{self.extra_mib:>9.1f}{self.extra_logits:>8.2f}"
        return times + memory + "".join(f"{error:>10.1e}" for error in errors)


@dataclass(frozen=True)
class Group:
    """Everything that is measured on one problem."""

    problem: Problem
    task: str
    threads: int
    rounds: int

    def setup(self) -> tuple[object, ...]:
        problem = self.problem
        return ("setup", self.task, problem.dtype, *astuple(problem.shape), self.threads, problem.folder)

    def line(self, name: str, times: Times, memory: list[float], errors: list[float]) -> Line:
        problem, mib, nothing = self.problem, 1 << 20, float("nan")
        ms, products = median(times[name]), median(times["products"])
        extra, stated = [*memory, nothing][:2]
        shape = (problem.dtype, *astuple(problem.shape), problem.masked, self.threads, len(times[name]))
        speed = (ms, products, over(times, name, "products"), over(times, name, OURS.name))
        space = (extra / mib, extra / problem.logits_bytes, stated / mib)
        return Line(f"{self.task}/{name}", *shape, *speed, *space, *[*errors, *[nothing] * 5][:5])

    def errors(self, worker: Process, loss: float) -> list[float]:
        """Of the loss and of the gradients that the last call has left."""
        worker.ask("save")
        errors = [abs(loss / self.problem.loss - 1)]
        for name in GRADIENTS[self.task]:
            errors += self.problem.error(name)
        return errors

    def __str__(self) -> str:
        problem = self.problem
        return f"{problem.dtype} {problem.shape} {problem.masked} % masked"


def over(times: Times, one: str, other: str) -> float:
    """Median of the ratios within a round: whatever disturbs the machine for longer disturbs both."""
    return median(a / b for a, b in zip(times[one], times[other], strict=True))


def check_ours(ours: Process, group: Group) -> list[float]:
    """Returns its errors."""
    _, loss = ours.ask("run", OURS.way)
    errors = group.errors(ours, loss)
    most, most_gradient = OUR_TOLERANCE[group.problem.dtype]
    if not (errors[0] <= most and all(error <= most_gradient for error in errors[1::2])):
        raise WrongResult(f"{group}: the errors of loss, dH and dW are {errors}")
    return errors


def take_turns(ours: Process, others: dict[str, tuple[Process, str]], rounds: int) -> Times:
    """One round after the other: the bare products, ours, the others."""
    runs = {"products": (ours, "products"), OURS.name: (ours, OURS.way), **others}
    times: Times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (worker, way) in runs.items():
            times[name].append(worker.ask("run", way)[0])
    return times


def pair(ours: Process, peer: Peer, group: Group) -> tuple[Times, Line]:
    problem = group.problem
    with Process(peer, group.threads) as worker:
        worker.ask(*group.setup())
        ms, loss = warm_up(worker, peer)
        errors = group.errors(worker, loss)
        if not errors[0] <= TOLERANCE[problem.dtype]:
            say(f"WRONG LOSS: {peer.name} {group}: {loss:.6g}, in float64 it is {problem.loss:.6g}")
        rounds = affordable(group.rounds, ms, f"{peer.name} {group}", least=3)
        times = take_turns(ours, {peer.name: (worker, peer.way)}, rounds)
        # Last, for what it gives back to the system would be missing. Ours writes gradients into memory that is there.
        memory = worker.ask("memory", peer.way)
        if not peer.name.startswith(OURS.name):
            memory = [memory[0] - problem.gradient_bytes(group.task)]
    return times, group.line(peer.name, times, memory, errors)


def measure(group: Group, peers: list[Peer], table: Table, progress: Progress) -> None:
    """A line for every peer, and then ours from the rounds with all of them."""
    problem, pooled = group.problem, dict[str, list[float]]()
    with Process(OURS, group.threads) as ours:
        ours.ask(*group.setup())
        errors = check_ours(ours, group)
        memory = {way: ours.ask("memory", way) for way in (OURS.way, "products")}
        for way in memory:
            ours.ask("run", way)
        for peer in peers:
            progress.at(f"{peer.name} {group}")
            # Weights as a worker reads them, as a copy, and their gradient twice.
            if fits(peer, peer.memory * problem.logits_bytes + 4 * problem.weight_bytes, group):
                try:
                    times, line = pair(ours, peer, group)
                except WorkerError as error:
                    if error.peer is OURS:
                        raise
                    say(f"left out: {peer.name} {group}: {error}")
                else:
                    table.add(line)
                    for name, values in times.items():
                        pooled.setdefault(name, []).extend(values)
            progress.advance(1)
        times = pooled or take_turns(ours, {}, group.rounds)
        table.add(group.line("products", times, memory["products"], []))
        table.add(group.line(OURS.name, times, memory[OURS.way], errors))


def groups(options: argparse.Namespace) -> Iterator[Group]:
    """Each has a folder of its own, while it is being measured."""
    for shape in options.shape:
        for dtype in options.dtype:
            for masked in options.masked:
                with tempfile.TemporaryDirectory(prefix="surprisal-linear-") as folder:
                    problem = linear_data.make(dtype, Shape.parse(shape), masked, Path(folder))
                    yield Group(problem, options.task, options.threads, options.rounds)


def run(options: argparse.Namespace, peers: list[Peer]) -> int:
    """Measures what the options ask for. Returns the exit status."""
    try:
        build([OURS, *peers])
    except (OSError, CalledProcessError) as error:
        say(f"the workers cannot be built: {error}")
        return 1
    count = len(options.shape) * len(options.dtype) * len(options.masked) * max(1, len(peers))
    progress = Progress(count)
    with open(options.csv, "w") if options.csv else nullcontext() as copy:
        table = Table(Line, copy)
        try:
            for group in groups(options):
                able = [peer for peer in peers if group.problem.dtype in peer.dtypes]
                measure(group, able, table, progress)
        except WrongResult as error:
            say(f"surprisal is wrong: {error}")
            return 1
        except WorkerError as error:
            say(f"{error.peer.name}: {error}")
            return 1
        finally:
            progress.close()
            table.show()
    return 0
