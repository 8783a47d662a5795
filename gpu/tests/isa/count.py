"""Counts the instructions of the loops over a row, for an element, in what Mesa's RADV prints of compute pipelines.

    count.py FILE...

A file is the standard error of compile.c for one pipeline, with RADV_DEBUG=shaders,shaderstats; its name is ENTRY-LOGITS-RESULT, the types of the
elements, and what is asked for. Counted are the loops that read packets of 16 bytes and take exponentials; where every lane holds its blocks of a row
(`held BLOCKS by LANES`), the whole pipeline, with what it does once a row. `all` is every instruction between the first and the last of the loop,
whether it runs or not. `least` is the way through the loop with the fewest vector instructions that still reads, takes exponentials and writes:
packets in the middle of a row; conditions are not looked at, so it may be too few. Elements are those of the packets that this way reads or writes,
whichever are fewer.
"""

import re
import sys
from pathlib import Path

PACKET = {"f32": 4, "bf16": 8, "f16": 8}
# Elements of a block.
BLOCK = 16
# No work of the scalar unit: waits and hints.
HINTS = {"s_waitcnt", "s_waitcnt_depctr", "s_nop", "s_clause", "s_inst_prefetch", "s_endpgm", "s_code_end"}


def kind(instruction):
    name = instruction.split()[0]
    if name.startswith("v_"):
        return "vector"
    if name.startswith(("buffer_", "global_", "flat_", "scratch_", "ds_")):
        return "memory"
    return None if name in HINTS or name.startswith("s_waitcnt") else "scalar"


def tally(instructions):
    counts = {"vector": 0, "memory": 0, "scalar": 0, "exp": 0, "load": 0, "store": 0}
    for instruction in instructions:
        name = instruction.split()[0]
        if kind(instruction):
            # RDNA3 issues two at once, with this between them.
            counts[kind(instruction)] += 1 + instruction.count("::")
        counts["exp"] += name.startswith("v_exp")
        counts["load"] += name in ("buffer_load_dwordx4", "buffer_load_b128")
        counts["store"] += name in ("buffer_store_dwordx4", "buffer_store_b128")
    return counts


def blocks_of(text):
    """Straight pieces of the program in order: (instructions, pieces that may follow). None follows the end."""
    lines = [line.split(";")[0].strip() for line in text.splitlines()]
    labels, pieces = {}, [[]]
    for line in lines:
        if match := re.fullmatch(r"(BB\d+):", line):
            if pieces[-1]:
                pieces.append([])
            labels[match[1]] = len(pieces) - 1
        elif line:
            pieces[-1].append(line)
            if line.startswith(("s_cbranch", "s_branch", "s_endpgm")):
                pieces.append([])
    following = []
    for index, piece in enumerate(pieces):
        last = piece[-1].split() if piece else [""]
        next_ones = set() if last[0] in ("s_branch", "s_endpgm") else {index + 1}
        if last[0].startswith(("s_cbranch", "s_branch")):
            next_ones.add(labels[last[1]])
        following.append({piece for piece in next_ones if piece < len(pieces)})
    return pieces, following


def least(pieces, following, first, last, wanted):
    """The way from one piece to another with the fewest vector instructions among those that read and write so many packets and take so many
    exponentials."""
    counts = [tally(piece) for piece in pieces]
    goal = tuple(wanted.values())
    # By the next piece and what has been done so far: the vector instructions, and the way. Forward only, so in order.
    best = {(first, tuple(0 for _ in goal)): (0, [])}
    for at in range(first, last + 1):
        for done, (cost, way) in [(done, known) for (piece, done), known in best.items() if piece == at]:
            done = tuple(min(so_far + counts[at][what], wanted[what]) for so_far, what in zip(done, wanted))
            for piece in {last + 1} if at == last else {piece for piece in following[at] if at < piece <= last}:
                key, known = (piece, done), (cost + counts[at]["vector"], way + [at])
                if key not in best or best[key][0] > known[0]:
                    best[key] = known
    return [line for piece in best[last + 1, goal][1] for line in pieces[piece]]


def report(path):
    entry, logits, result, *options = path.name.split("-")
    text = path.read_text()
    # The last shader: a driver may compile some of its own first.
    body = text[text.rindex("disasm:") :]
    statistics = dict(re.findall(r"^([A-Za-z ]+): (\d+)$", body, re.M))
    pieces, following = blocks_of(body.split("\n\n")[0].removeprefix("disasm:"))
    end = next(at for at, piece in enumerate(pieces) if piece and piece[-1].startswith("s_endpgm"))
    held = next((int(option.split()[1]) for option in options if option.startswith("held")), 0)
    regions = [(f"loop {i}", *loop) for i, loop in enumerate(loops_of(following)) if is_over_row(entry, pieces, *loop)]
    for what, first, last in [("whole", 0, end)] if held else regions:
        every = tally(line for piece in pieces[first : last + 1] for line in piece)
        wanted = {what: min(every[what], 1) for what in ("load", "exp", "store")}
        if held:
            packets = held * BLOCK // PACKET[logits]
            wanted = {"load": packets, "exp": 2 * held * BLOCK, "store": packets}
        few = tally(least(pieces, following, first, last, wanted))
        ends = (few["load"] * PACKET[logits], few["store"] * PACKET[result])
        elements = held * BLOCK or min(end for end in ends if end > 0)
        counts = [tally[kind] / elements for tally in (few, every) for kind in ("vector", "memory", "scalar")]
        yield " ".join([entry, logits, "→", result, *options]), what, elements, counts, statistics


def loops_of(following):
    """First and last piece of every loop that is in no other."""
    loops = [(min(back), at) for at in range(len(following)) if (back := [piece for piece in following[at] if piece <= at])]
    return [(a, b) for a, b in loops if not any(c <= a and b <= d for c, d in loops if (c, d) != (a, b))]


def is_over_row(entry, pieces, first, last):
    """Whether a loop is over the packets of a row: it reads them, and writes them where the kernel has no other loop for that."""
    counts = tally(line for piece in pieces[first : last + 1] for line in piece)
    return counts["load"] > 0 and counts["exp"] > 0 and (counts["store"] > 0 or entry != "logits_grad")


def main():
    print("| kernel | | elements | least: vector | memory | scalar | all: vector | memory | scalar | VGPRs | spilled | scratch | LDS | waves |")
    print("|" + "---|" * 14)
    for path in map(Path, sys.argv[1:]):
        for name, what, elements, counts, statistics in report(path):
            numbers = " | ".join(f"{count:.1f}" for count in counts)
            spilled = int(statistics["Spilled SGPRs"]) + int(statistics["Spilled VGPRs"])
            rest = f"{statistics['VGPRs']} | {spilled} | {statistics['Scratch size']} | {statistics['LDS size']} | {statistics['Subgroups per SIMD']}"
            print(f"| {name} | {what} | {elements} | {numbers} | {rest} |")


if __name__ == "__main__":
    main()
