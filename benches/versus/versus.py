#!/usr/bin/env python3
"""An old and a new commit, timed in turns in one program over the same buffers: the ratio new/old of each path. See README.md."""

import argparse
import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "versus"
SIDE = "benches/versus/side.rs"

MAIN_PATHS = ["forward", "in-place", "separate", "group/forward", "group/in-place", "group/separate"]
OTHER_PATHS = ["row-stats", "logits-grad", "log-softmax", "smoothing", "softcap"]
DTYPES = ["f32", "bf16", "f16"]
SHAPES = ["512x32000", "128x151936", "4096x1000", "65536x256", "65536x64"]
# Where f16, which differs from bf16 in its conversions alone, and the other paths are measured as well.
F16_SHAPES = ["512x32000", "65536x256"]
OTHER_SHAPES = ["4096x1000", "65536x256"]
# Odd lengths; more elements than one thread is given; long rows, shorter than a vector, and some of which 5 or 3 are taken together.
QUICK_SHAPES = ["37x1001", "301x5003", "2x70001", "513x7", "130x1500", "130x2500"]


@dataclass(frozen=True)
class Step:
    """What one line measures."""

    shape: str
    dtype: str
    threads: int
    level: str
    path: str

    def __str__(self) -> str:
        return f"{self.path} {self.dtype} {self.shape} {self.threads} {self.level}"


def plan(options: argparse.Namespace) -> list[Step]:
    """Everything, or of what was not chosen the part that tells most."""
    cores = len(os.sched_getaffinity(0))
    shapes = options.shape or (QUICK_SHAPES if options.quick else SHAPES)
    dtypes, paths = options.dtype or DTYPES, options.path or MAIN_PATHS + OTHER_PATHS
    threads, levels = options.threads or sorted({1, cores}), options.level or ["best"]
    steps = [Step(*step) for step in product(shapes, dtypes, threads, levels, paths)]
    if not options.quick and not options.dtype:
        steps = [step for step in steps if step.dtype != "f16" or step.shape in F16_SHAPES]
    if not options.quick and not options.path:
        few = {Step(shape, "f32", 1, level, path) for shape, level, path in product(OTHER_SHAPES, levels, OTHER_PATHS)}
        steps = [step for step in steps if step.path in MAIN_PATHS or step in few]
    return steps


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, stdout=subprocess.PIPE).stdout


def files(commit: str | None) -> dict[str, bytes]:
    """What a side is built from, of a commit or of the working tree."""
    ours = re.compile(rf"Cargo\.toml|Cargo\.lock|core/.*|{re.escape(SIDE)}")
    if commit is None:
        names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").decode().split("\0")
        found = {name: ROOT / name for name in names if ours.fullmatch(name)}
        return {name: path.read_bytes() for name, path in found.items() if path.is_file()}
    with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", commit))) as archive:
        members = [member for member in archive if member.isfile() and ours.fullmatch(member.name)]
        return {member.name: archive.extractfile(member).read() for member in members}


def first_side() -> bytes:
    """The oldest side.rs: of all of them nearest to the commits before it."""
    added = git("log", "--diff-filter=A", "--format=%H", "--", SIDE).decode().split()
    return git("show", f"{added[-1]}:{SIDE}") if added else (ROOT / SIDE).read_bytes()


def put(folder: Path, contents: dict[str, bytes]) -> None:
    """Makes the folder hold these files and no others. Those that are the same are left alone: cargo goes by their time."""
    for path in folder.rglob("*"):
        if path.is_file() and str(path.relative_to(folder)) not in contents:
            path.unlink()
    for name, content in contents.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def export(side: str, contents: dict[str, bytes]) -> None:
    """A workspace of two crates, the library and what calls it, under names that the other side does not have."""
    root = re.sub(r"(?ms)^(default-)?(members|exclude) = \[.*?\]\n", "", contents["Cargo.toml"].decode())
    root = root.replace("[workspace]\n", '[workspace]\nmembers = ["core", "benches/versus"]\n', 1)
    core = contents["core/Cargo.toml"].decode().replace('name = "surprisal"\n', f'name = "surprisal-{side}"\n', 1)
    manifest = f"""\
[package]
name = "{side}"
version = "0.0.0"
edition = "2024"

[lib]
path = "side.rs"

[dependencies]
surprisal = {{ package = "surprisal-{side}", path = "../../core", features = ["rayon"] }}

[lints]
workspace = true
"""
    texts = {"Cargo.toml": root, "core/Cargo.toml": core, "benches/versus/Cargo.toml": manifest}
    put(BUILD / side, {SIDE: first_side()} | contents | {name: text.encode() for name, text in texts.items()})


def build(old: str, new: str | None) -> Path:
    """The program that holds both."""
    sides = {"old": files(old), "new": files(new)}
    for side, contents in sides.items():
        export(side, contents)
    manifest = f"""\
[package]
name = "versus"
version = "0.0.0"
edition = "2024"

[[bin]]
name = "versus"
path = "{HERE / "main.rs"}"

[dependencies]
old = {{ path = "../old/benches/versus" }}
new = {{ path = "../new/benches/versus" }}
half = {{ version = "2", default-features = false }}
rayon = "1"

[workspace]
"""
    # Dependencies of both are those of the new side, so that nothing but the library differs.
    put(BUILD / "program", {"Cargo.toml": manifest.encode(), "Cargo.lock": sides["new"]["Cargo.lock"]})
    target = BUILD / "target"
    command = ["cargo", "build", "--release", "--manifest-path", str(BUILD / "program/Cargo.toml")]
    subprocess.run([*command, "--target-dir", str(target)], check=True, stdout=sys.stderr)
    return target / "release" / "versus"


def measure(program: Path, steps: list[Step], options: argparse.Namespace) -> Iterator[str]:
    """The program's lines as they come, the header first. Fails where the sides' results differ."""
    rounds, seconds = (1, 0) if options.quick else (options.rounds, 0.5)
    command = [str(program), str(rounds), str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdin.write("".join(f"{step}\n" for step in steps))
        process.stdin.close()
        matrix = None
        for index, line in enumerate(process.stdout):
            yield line
            if index < len(steps) and matrix != (matrix := (steps[index].shape, steps[index].dtype)):
                print(f"{index}/{len(steps)} {' '.join(matrix)}", file=sys.stderr)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def table(lines: list[str]) -> str:
    """Ratios in Markdown: a line for each path, a column for each shape."""
    shapes: dict[str, None] = {}
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for line in lines:
        path, dtype, height, width, threads, level, _, _, ratio, _ = line.strip().split(",")
        shapes[f"{height}x{width}"] = None
        rows.setdefault((path, dtype, threads, level), {})[f"{height}x{width}"] = ratio
    head = ["path", "dtype", "threads", "level", *shapes]
    body = [[*key, *(ratios.get(shape, "") for shape in shapes)] for key, ratios in rows.items()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *body])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", metavar="OLD", help="a commit")
    parser.add_argument("new", metavar="NEW", nargs="?", help="another one; the working tree without")
    parser.add_argument("--shape", action="append", metavar="ROWSxVOCAB")
    parser.add_argument("--dtype", action="append", choices=DTYPES)
    parser.add_argument("--threads", action="append", type=int, metavar="N")
    parser.add_argument("--level", action="append", metavar="LEVEL", help="avx512, avx2, sse2; the best one without")
    parser.add_argument("--path", action="append", choices=MAIN_PATHS + OTHER_PATHS, metavar="PATH")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="at least so many, and half a second")
    parser.add_argument("--csv", metavar="FILE", help="where to write the lines besides stdout")
    parser.add_argument("--quick", action="store_true", help="a check of results: small shapes, one round")
    options = parser.parse_args()
    if any(not re.fullmatch(r"[1-9]\d*x[1-9]\d*", shape) for shape in options.shape or []):
        parser.error("a shape is written like 512x32000")
    lines = []
    try:
        program = build(options.old, options.new)
        with open(options.csv, "w") if options.csv else nullcontext() as copy:
            for line in measure(program, plan(options), options):
                lines.append(line)
                for file in [sys.stdout, copy] if copy else [sys.stdout]:
                    print(line, end="", file=file, flush=True)
    except subprocess.CalledProcessError as error:
        # What failed has said why.
        return error.returncode
    print(f"\nnew/old\n\n{table(lines[1:])}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
