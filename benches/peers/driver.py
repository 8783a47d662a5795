"""Pairs every peer with ours: the same problem, in turns, on the same cores."""

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from subprocess import CalledProcessError

import data
from data import Problem
from table import Line, Progress, Table, say
from workers import KEEP, OURS, Peer, Process, WorkerError, build

Times = dict[str, list[float]]

# Ways that ours does a task in; peers are compared with the last, which leaves the logits as they were, as theirs do.
WAYS = {
    "ce": ("ce/surprisal-in-place", "ce/surprisal-separate"),
    "dft": ("dft/surprisal-in-place", "dft/surprisal-separate"),
    "ce-forward": ("ce-forward/surprisal",),
}
YARDSTICK = {"ce": "copy", "dft": "copy", "ce-forward": "read"}

OUR_TOLERANCE = 1e-6
TOLERANCE = {"f32": 1e-4, "bf16": 2e-2}
WARM_CALLS, WARM_CALLS_KEEP = 2, 8
# Who takes longer is so far behind that fewer rounds tell it as well: (milliseconds of a call, rounds).
SLOW = [(3_000, 1), (1_000, 3)]


class WrongResult(Exception):
    """Ours is wrong, and nothing else matters."""


@dataclass(frozen=True)
class Group:
    """Everything that is measured on one problem with one number of threads."""

    problem: Problem
    threads: int
    rounds: int

    def setup(self, task: str) -> tuple[object, ...]:
        problem = self.problem
        return ("setup", task, problem.dtype, problem.rows, problem.vocab, self.threads, problem.folder)

    def line(
        self, what: str, times: Sequence[float], yardstick: Sequence[float], ours: Sequence[float], memory: float
    ) -> Line:
        problem = self.problem
        ms, unit = median(times), median(yardstick)
        shape = problem.dtype, problem.rows, problem.vocab, self.threads
        return Line(what, *shape, ms, unit, ms / unit, ms / median(ours), memory / problem.bytes)

    def __str__(self) -> str:
        problem = self.problem
        return f"{problem.dtype} {problem.rows}x{problem.vocab} {self.threads} thread{'s' * (self.threads > 1)}"


def check_ours(ours: Process, task: str, group: Group) -> dict[str, float]:
    """Loss and gradient of every way against float64. Returns the memory that they need."""
    problem, memory = group.problem, {}
    for way in WAYS[task]:
        check_our_loss(ours.ask("run", way)[1], way, group)
        if task != "ce-forward":
            ours.ask("save")
            error = problem.gradient_error(task, data.read_gradient(problem))
            if not error <= 1:
                raise WrongResult(f"{way} {group}: the gradient's error is {error:.3g} times what is allowed")
        [memory[way]] = ours.ask("memory", way)
    return memory


def check_our_loss(loss: float, way: str, group: Group) -> None:
    want = group.problem.loss(way.partition("/")[0])
    if not abs(loss - want) <= OUR_TOLERANCE * abs(want):
        raise WrongResult(f"{way} {group}: the loss is {loss!r}, in float64 it is {want!r}")


def take_turns(ours: Process, worker: Process | None, task: str, rounds: int, group: Group) -> Times:
    """One round after the other: the yardstick, ours, the peer. Caches are cold whenever one begins."""
    times: Times = {}
    for _ in range(rounds):
        times.setdefault("yardstick", []).append(ours.ask("run", YARDSTICK[task])[0])
        for way in WAYS[task]:
            ms, loss = ours.ask("run", way)
            check_our_loss(loss, way, group)
            times.setdefault(way, []).append(ms)
        if worker:
            ours.ask("run", "evict")
            times.setdefault("peer", []).append(worker.ask("run", "-")[0])
    return times


def warm_up(worker: Process, peer: Peer) -> tuple[float, float]:
    """Two calls, and some more where an allocator must find its arrangement. Time of the fastest, and the loss."""
    calls = [worker.ask("run", peer.way) for _ in range(WARM_CALLS)]
    while peer.env is KEEP and len(calls) < WARM_CALLS_KEEP and min(calls)[0] < SLOW[0][0]:
        calls.append(worker.ask("run", peer.way))
    ms, loss = min(calls)
    return ms, loss


def affordable(rounds: int, ms: float, what: str, least: int = 1) -> int:
    """As many rounds of calls that take so long."""
    fewer = min(rounds, next((max(few, least) for slow, few in SLOW if ms > slow), rounds))
    if fewer < rounds:
        say(f"{what}: {ms / 1e3:.1f} s a call, {fewer} of {rounds} rounds")
    return fewer


def pair(ours: Process, worker: Process, peer: Peer, task: str, group: Group) -> tuple[Times, Line]:
    """Measures a peer and ours."""
    problem = group.problem
    worker.ask(*group.setup(task))
    ms, loss = warm_up(worker, peer)
    want = problem.loss(task)
    if not abs(loss - want) <= TOLERANCE[problem.dtype] * abs(want):
        say(f"WRONG LOSS: {task}/{peer.name} {group}: {loss:.6g}, in float64 it is {want:.6g}")
    rounds = affordable(group.rounds, ms, f"{task}/{peer.name} {group}")
    times = take_turns(ours, worker, task, rounds, group)
    # Last, for what it gives back to the system would be missing.
    [memory] = worker.ask("memory", "-")
    reference = times[WAYS[task][-1]]
    return times, group.line(f"{task}/{peer.name}", times["peer"], times["yardstick"], reference, memory)


def measure(
    group: Group, plan: list[tuple[Peer, list[str]]], tasks: list[str], table: Table, progress: Progress
) -> None:
    """A line for every peer and task, and then ours from the rounds with all of them."""
    pooled: dict[str, Times] = {task: {} for task in tasks}
    with Process(OURS, group.threads) as ours:
        ours.ask(*group.setup("ce"))
        memory = {way: need for task in tasks for way, need in check_ours(ours, task, group).items()}
        for peer, peer_tasks in plan:
            if not fits(peer, peer.memory * group.problem.bytes, group):
                progress.advance(cost(group.problem.elements) * len(peer_tasks))
                continue
            with Process(peer, group.threads) as worker:
                for task in peer_tasks:
                    progress.at(f"{task}/{peer.name} {group}")
                    try:
                        times, line = pair(ours, worker, peer, task, group)
                    except WorkerError as error:
                        if error.peer is OURS:
                            raise
                        say(f"left out: {task}/{peer.name} {group}: {error}")
                    else:
                        table.add(line)
                        for way, values in times.items():
                            pooled[task].setdefault(way, []).extend(values)
                    progress.advance(cost(group.problem.elements))
        for task, times in pooled.items():
            times = times or take_turns(ours, None, task, group.rounds, group)
            for way in WAYS[task]:
                table.add(group.line(way, times[way], times["yardstick"], times[WAYS[task][-1]], memory[way]))


def fits(peer: Peer, need: float, group: object) -> bool:
    need, available = need + (1 << 30), available_memory()
    if need > available:
        say(f"left out: {peer.name} {group}: may need {need / 1e9:.1f} GB, {available / 1e9:.1f} GB are free")
    return need <= available


def available_memory() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024


def cost(elements: int) -> float:
    """What a pairing costs, roughly: processes to start, and elements to compute."""
    return elements + 3e7


def run(options: argparse.Namespace, peers: list[Peer]) -> int:
    """Measures what the options ask for. Returns the exit status."""
    try:
        build([OURS, *peers])
    except (OSError, CalledProcessError) as error:
        say(f"the workers cannot be built: {error}")
        return 1
    plans: dict[str, list[tuple[Peer, list[str]]]] = {}
    for dtype in options.dtype:
        for peer in peers:
            tasks = [task for task in options.task if task in peer.tasks and dtype in peer.dtypes]
            if dtype not in peer.dtypes:
                say(f"left out: {peer.name} has no {dtype}")
            if tasks:
                plans.setdefault(dtype, []).append((peer, tasks))
    pairings = {dtype: sum(len(tasks) for _, tasks in plan) for dtype, plan in plans.items()}
    total = sum(cost(rows * vocab) * sum(pairings.values()) for rows, vocab in options.shape) * len(options.threads)
    progress = Progress(max(total, 1))
    with open(options.csv, "w") if options.csv else nullcontext() as copy:
        table = Table(Line, copy)
        try:
            for rows, vocab in options.shape:
                for dtype in options.dtype:
                    progress.at(f"makes {dtype} {rows}x{vocab}")
                    with tempfile.TemporaryDirectory(prefix="surprisal-peers-") as folder:
                        problem = data.make(dtype, rows, vocab, Path(folder))
                        for threads in options.threads:
                            group = Group(problem, threads, options.rounds)
                            measure(group, plans.get(dtype, []), options.task, table, progress)
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
