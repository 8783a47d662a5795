"""Lines for machines on stdout, a table and the progress for people on stderr."""

import sys
import time
from dataclasses import astuple, dataclass, fields
from typing import TextIO


@dataclass(frozen=True)
class Line:
    what: str
    dtype: str
    rows: int
    vocab: int
    threads: int
    median_ms: float
    yardstick_ms: float
    ratio: float
    times_ours: float
    extra_memory: float

    COLUMNS = f"{'ms':>11}{'yardsticks':>12}{'times ours':>12}{'memory':>9}"

    def cells(self) -> list[str]:
        return [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in astuple(self)]

    def title(self) -> str:
        """Of the block that it stands in."""
        task = self.what.partition("/")[0]
        return f"{task} {self.dtype} {self.rows}x{self.vocab} {self.threads} thread{'s' * (self.threads > 1)}"

    def place(self) -> tuple:
        """In its block: ours first, then the fastest."""
        return "surprisal" not in self.what, self.median_ms

    def shown(self) -> str:
        """Under `COLUMNS`."""
        return f"{self.median_ms:>11.2f}{self.ratio:>12.2f}{self.times_ours:>12.2f}{self.extra_memory:>9.2f}"


class Table:
    """Writes every line as soon as it is known."""

    def __init__(self, kind: type, copy: TextIO | None) -> None:
        self.kind, self.lines = kind, []
        self.files = [sys.stdout, *([copy] if copy else [])]
        self._write([field.name for field in fields(kind)])

    def add(self, line: Line) -> None:
        self.lines.append(line)
        self._write(line.cells())

    def _write(self, cells: list[str]) -> None:
        for file in self.files:
            print(",".join(cells), file=file, flush=True)

    def show(self) -> None:
        """All lines, aligned, one block for each thing that was measured."""
        blocks: dict[str, list] = {}
        for line in self.lines:
            blocks.setdefault(line.title(), []).append(line)
        for title, lines in blocks.items():
            say(f"\n{title:<40}{self.kind.COLUMNS}")
            for line in sorted(lines, key=self.kind.place):
                say(f"  {line.what.partition('/')[2]:<38}{line.shown()}")


class Progress:
    """A bar on a terminal; elsewhere a line now and then."""

    EVERY_S = 60

    def __init__(self, total: float) -> None:
        self.total, self.done = total, 0.0
        self.start = self.said = time.monotonic()

    def at(self, what: str) -> None:
        """What is being measured."""
        now = time.monotonic()
        share = self.done / self.total
        left = f"{(now - self.start) * (1 / share - 1) / 60:.0f} min left" if share > 0.01 else ""
        if sys.stderr.isatty():
            bar = "#" * round(20 * share)
            print(f"\r\x1b[K[{bar:.<20}] {share:4.0%} {what} {left}", end="", file=sys.stderr, flush=True)
        elif now - self.said > self.EVERY_S:
            self.said = now
            print(f"{share:4.0%} {what} {left}", file=sys.stderr, flush=True)

    def advance(self, cost: float) -> None:
        self.done += cost

    def close(self) -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def say(message: str) -> None:
    """A line of its own, whatever stands in the terminal's last one."""
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(clear + message, file=sys.stderr, flush=True)
