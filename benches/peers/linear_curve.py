"""What a smaller workspace costs: chunks of all sizes over the bare products, in turns in one process, as lines and as a figure."""

import argparse
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from math import log2
from pathlib import Path
from statistics import median
from subprocess import CalledProcessError
from xml.sax.saxutils import escape

from driver import WrongResult, affordable
from linear_driver import Group, check_ours, groups, over, take_turns
from linear_peers import OURS
from table import Table, say
from workers import Peer, Process, WorkerError, build

SMALLEST = 8
MIB = 1 << 20


@dataclass(frozen=True)
class Line:
    what: str
    dtype: str
    masked: int
    chunk_rows: int
    workspace_mib: float
    workspace_logits: float
    peak_mib: float
    median_ms: float
    over_products: float

    COLUMNS = f"{'MiB':>10}{'logits':>10}{'peak MiB':>10}{'ms':>10}{'products':>10}"

    def cells(self) -> list[str]:
        return [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in astuple(self)]

    def title(self) -> str:
        return f"{self.what.partition('/')[0]} {self.dtype}, {self.masked} % masked"

    def place(self) -> int:
        return self.chunk_rows

    def shown(self) -> str:
        memory = f"{self.workspace_mib:>10.1f}{self.workspace_logits:>10.2f}{self.peak_mib:>10.1f}"
        return f"{memory}{self.median_ms:>10.1f}{self.over_products:>10.3f}"


def chunks(group: Group) -> list[int]:
    rows = group.problem.shape.rows
    return [*(size for size in (SMALLEST << i for i in range(12)) if size < rows), rows]


def measure(group: Group) -> Iterator[Line]:
    problem = group.problem
    with Process(OURS, group.threads) as ours:
        ours.ask(*group.setup())
        check_ours(ours, group)
        ways = [str(rows) for rows in chunks(group)]
        memory = {way: ours.ask("memory", way) for way in ways}
        rounds = affordable(group.rounds, ours.ask("run", "products")[0], str(group), least=3)
        times = take_turns(ours, {way: (ours, way) for way in ways}, rounds)
        for way in ways:
            peak, stated = memory[way]
            space = (stated / MIB, stated / problem.logits_bytes, peak / MIB)
            speed = (median(times[way]), over(times, way, "products"))
            yield Line(f"{problem.shape}/{way}", problem.dtype, problem.masked, int(way), *space, *speed)


def run(options: argparse.Namespace, _: list[Peer]) -> int:
    """Lines and the figure. Returns the exit status."""
    try:
        build([OURS])
        with open(options.csv or "/dev/null", "w") as copy:
            table = Table(Line, copy)
            for group in groups(options):
                for line in measure(group):
                    table.add(line)
    except (OSError, CalledProcessError, WrongResult, WorkerError) as error:
        say(f"no curve: {error}")
        return 1
    table.show()
    Path(options.curve).write_text(draw(table.lines))
    return 0


# Colours that stay apart on white, also for most colour-blind readers.
PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"]
INK = "#4b5563"
WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 40, 96, 56
TICKS = [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5, 7, 10, 20]


def draw(lines: list[Line]) -> str:
    """Time over products against workspace, both logarithmic; a curve for each shape and type, a mark for each size of chunks."""
    curves: dict[str, list[Line]] = {}
    for line in lines:
        name = f"{line.what.partition('/')[0]} {line.dtype}" + (f", {line.masked} % masked" if line.masked else "")
        curves.setdefault(name, []).append(line)
    least, most = (pick(line.workspace_mib for line in lines) for pick in (min, max))
    first, last = log2(least) - 0.3, log2(most) + 0.3
    ratios = [line.over_products for line in lines]
    low, high = min(1, *ratios) / 1.04, max(1.2, *ratios) * 1.1

    def x(mib: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (log2(mib) - first) / (last - first)

    def y(ratio: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * log2(ratio / low) / log2(high / low)

    parts = [
        text(LEFT, 26, "Time of a call over its bare matrix products", size=17),
        text(LEFT, 48, "by size of the workspace; beside the marks, rows of a chunk. Lower is better. Logarithmic."),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, "workspace, MiB", anchor="middle"),
    ]
    for tick in (tick for tick in TICKS if low < tick < high):
        width = 2 if tick == 1 else 0.5
        parts.append(f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-width="{width}"/>')
        parts.append(text(LEFT - 8, y(tick) + 4, f"{tick:g}", anchor="end"))
    for tick in (2.0**power for power in range(-10, 20, 2) if first <= power <= last):
        parts.append(text(x(tick), HEIGHT - BOTTOM + 20, f"{tick:g}", anchor="middle"))
    for index, (name, points) in enumerate(curves.items()):
        colour = PALETTE[index % len(PALETTE)]
        places = [(x(point.workspace_mib), y(point.over_products)) for point in points]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for point, (px, py) in zip(points, places, strict=True):
            parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{colour}"/>')
            parts.append(text(px + 6, py - 7, str(point.chunk_rows), size=10, colour=colour))
        column = LEFT + index * (WIDTH - LEFT - RIGHT) / max(3, len(curves))
        parts.append(f'<circle cx="{column + 5:.1f}" cy="72" r="4" fill="{colour}"/>')
        parts.append(text(column + 16, 76, name))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *parts, "</svg>\n"])


def text(x: float, y: float, words: str, *, size: int = 12, anchor: str = "start", colour: str = INK) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{escape(words)}</text>"
