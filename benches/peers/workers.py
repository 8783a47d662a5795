"""Who is compared, and the processes that they run in."""

import ctypes
import os
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target")).resolve()
TASKS = ("ce", "dft", "ce-forward")
DTYPES = ("f32", "bf16")
PATIENCE_S = 900

# glibc returns large blocks to the system as soon as they are freed, and every call pays for their pages again. A process that keeps them
# is as fast as an allocator can make it.
KEEP = {
    "MALLOC_ARENA_MAX": "1",  # no others: what they keep cannot be taken back, which `memory` must
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 46),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


@dataclass(frozen=True)
class Peer:
    """A library, or a way to use it."""

    name: str
    command: tuple[str, ...]
    memory: float  # in sizes of the logits, what a process may need: rather too much than too little
    tasks: tuple[str, ...] = TASKS
    dtypes: tuple[str, ...] = DTYPES
    env: dict[str, str] = field(default_factory=dict)
    feature: str | None = None  # of the Rust package
    way: str = "-"  # for a worker that has several


def python(script: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(HERE / script), *arguments)


NATIVE = TARGET / "native"


def rust(name: str, target: Path = NATIVE) -> tuple[str, ...]:
    return (str(target / "release" / name),)


OURS = Peer("surprisal", rust("surprisal", TARGET), 2)
PEERS = [
    Peer("torch-eager", python("worker_torch.py", "eager"), 6),
    Peer("torch-eager-keep", python("worker_torch.py", "eager"), 15, env=KEEP),
    Peer("torch-eager-upcast", python("worker_torch.py", "upcast"), 10, dtypes=("bf16",)),
    Peer("torch-eager-upcast-keep", python("worker_torch.py", "upcast"), 20, dtypes=("bf16",), env=KEEP),
    Peer("torch-eager-trl", python("worker_torch.py", "trl"), 8, tasks=("dft",)),
    Peer("torch-eager-trl-keep", python("worker_torch.py", "trl"), 15, tasks=("dft",), env=KEEP),
    Peer("torch-compile", python("worker_torch.py", "compile"), 6),
    Peer("torch-compile-keep", python("worker_torch.py", "compile"), 8, env=KEEP),
    Peer("jax", python("worker_jax.py"), 8),
    Peer("jax-keep", python("worker_jax.py"), 8, env=KEEP),
    Peer("onnxruntime", python("worker_onnxruntime.py"), 6, tasks=("ce-forward",), dtypes=("f32",)),
    Peer("candle", rust("candle"), 12, feature="candle"),
    Peer("candle-keep", rust("candle"), 12, env=KEEP, feature="candle"),
    Peer("burn", rust("burn"), 12, feature="burn"),
    Peer("burn-keep", rust("burn"), 12, env=KEEP, feature="burn"),
]


def build(peers: list[Peer]) -> None:
    """Builds ours as a user would, and the Rust peers for this very machine: we choose our instructions at run time, they do not."""
    programs: dict[Path, list[Peer]] = {}
    for peer in peers:
        program = Path(peer.command[0])
        if program.is_relative_to(TARGET):
            programs.setdefault(program.parents[1], []).append(peer)
    for target, built in programs.items():
        env = {name: value for name, value in os.environ.items() if name != "RUSTFLAGS"}
        if target == NATIVE:
            env["RUSTFLAGS"] = "-C target-cpu=native"
        cargo = ["cargo", "build", "--quiet", "--locked", "--release", "--manifest-path", str(HERE / "Cargo.toml")]
        words = [word for peer in built if peer.feature for word in ("--features", peer.feature)]
        words += [word for peer in built for word in ("--bin", Path(peer.command[0]).name)]
        subprocess.run([*cargo, "--target-dir", str(target), *words], env=env, check=True, stdout=sys.stderr)


class WorkerError(Exception):
    """A worker refused, or is no more."""

    def __init__(self, peer: Peer, message: str) -> None:
        super().__init__(message)
        self.peer = peer


class Process:
    """A worker on the first `threads` cores. It is stopped while it is not asked anything: threads that spin would disturb the others."""

    def __init__(self, peer: Peer, threads: int) -> None:
        cores = set(sorted(os.sched_getaffinity(0))[:threads])
        count = str(threads)
        env = os.environ | {
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "RAYON_NUM_THREADS": count,
            # OpenMP's threads spin where they wait: two of them on one core, as chance will have it, take tens of milliseconds for nothing.
            "OMP_PROC_BIND": "true",
            "CUDA_VISIBLE_DEVICES": "",
            "JAX_PLATFORMS": "cpu",
            # numpy would ask for huge pages, which the others' logits do not have.
            "NUMPY_MADVISE_HUGEPAGE": "0",
            # What has been compiled for one run serves the next; and no processes that compile in the background.
            "TORCHINDUCTOR_CACHE_DIR": str(HERE / ".venv" / "inductor"),
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        }
        libc = ctypes.CDLL(None)

        def enter() -> None:
            os.sched_setaffinity(0, cores)
            libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a stopped worker must not outlive the driver

        self.peer = peer
        self.errors = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(
            peer.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            bufsize=1,
            env=env | peer.env,
            preexec_fn=enter,
        )

    def ask(self, *words: object) -> list[float]:
        """Lets it answer one line."""
        process = self.process
        assert process.stdin and process.stdout
        try:
            process.send_signal(signal.SIGCONT)
            process.stdin.write(" ".join(map(str, words)) + "\n")
            process.stdin.flush()
            if not select.select([process.stdout], [], [], PATIENCE_S)[0]:
                process.kill()
                raise WorkerError(self.peer, f"no answer in {PATIENCE_S} s")
            answer = process.stdout.readline().split()
            process.send_signal(signal.SIGSTOP)
        except BrokenPipeError:
            answer = []
        match answer:
            case ["ok", *values]:
                return [float(value) for value in values]
            case ["error", *message]:
                raise WorkerError(self.peer, " ".join(message))
        self.errors.seek(0)
        last = self.errors.read().strip().splitlines()[-3:]
        raise WorkerError(self.peer, "it died: " + " / ".join(last))

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.errors.close()
