"""Times PyTorch eager, torch.compile and Liger's Triton kernel on CUDA, in the columns of the program beside this file, for the same device.

    python3 benches/gpu/peers.py [--shape 4096x32000] [--dtype bf16] [--rounds 21]

Needs torch with CUDA; Liger is left out where it is not installed. Without CUDA it says so, and the exit code is 3.
"""

import argparse
import statistics
import sys
from collections.abc import Callable

SHAPES = ["4096x32000", "4096x151936", "8192x256", "16x151936", "4096x50257"]


def timed(call: Callable[[], object], prepare: Callable[[], object]) -> float:
    """Milliseconds of a call on the device."""
    import torch

    prepare()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def peers(logits, targets) -> dict[str, tuple[Callable[[], object], bool]]:
    """Calls by name, and whether they write a gradient."""
    import torch
    import torch.nn.functional as F

    def forward_backward(loss):
        return lambda: loss(logits, targets).backward()

    compiled = torch.compile(F.cross_entropy, dynamic=False)
    calls = {
        "torch/forward": (lambda: F.cross_entropy(logits.detach(), targets), False),
        "torch-compile/forward": (lambda: compiled(logits.detach(), targets), False),
        "torch/separate": (forward_backward(F.cross_entropy), True),
        "torch-compile/separate": (forward_backward(compiled), True),
    }
    try:
        from liger_kernel.transformers.functional import liger_cross_entropy
    except ImportError:
        print("liger_kernel is not installed", file=sys.stderr)
    else:
        # It writes the gradient over its logits, which are the next call's: its time does not depend on them.
        own = logits.detach().clone().requires_grad_()
        calls["liger/in-place"] = (lambda: liger_cross_entropy(own, targets).backward(), True)
    return calls


def run(shape: str, dtype: str, rounds: int) -> None:
    import torch

    rows, vocab = map(int, shape.split("x"))
    kind = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[dtype]
    logits = (12 * torch.rand(rows, vocab, device="cuda") - 6).to(kind).requires_grad_()
    targets = torch.arange(rows, device="cuda") * 7919 % vocab
    source, target = logits.detach().clone(), torch.empty_like(logits.detach())
    calls = peers(logits, targets)

    def forget() -> None:
        logits.grad = None

    copies: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 3):
        copy = timed(lambda: target.copy_(source), forget)
        found = {name: timed(call, forget) for name, (call, _) in calls.items()}
        # The first turns compile.
        if turn >= 3:
            copies.append(copy)
            for name, time in found.items():
                times[name].append(time)
    copy = statistics.median(copies)
    for name, (_, has_gradient) in calls.items():
        # What is only read takes half of a copy's bytes.
        time, yardstick = statistics.median(times[name]), copy if has_gradient else copy / 2
        print(f"{name},{dtype},{rows},{vocab},{time:.4f},{yardstick:.4f},{yardstick / time:.3f},")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", action="append")
    parser.add_argument("--dtype", action="append", choices=["f32", "bf16", "f16"])
    parser.add_argument("--rounds", type=int, default=21)
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("no PyTorch: nothing is measured", file=sys.stderr)
        return 3
    if not torch.cuda.is_available():
        print(f"PyTorch {torch.__version__} has no CUDA device: nothing is measured", file=sys.stderr)
        return 3
    print(f"PyTorch {torch.__version__}, {torch.cuda.get_device_name()}", file=sys.stderr)
    print("what,dtype,rows,vocab,median_ms,yardstick_ms,fraction,host_us")
    for shape in arguments.shape or SHAPES:
        for dtype in arguments.dtype or ["f32", "bf16"]:
            run(shape, dtype, arguments.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
