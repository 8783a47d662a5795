"""Who computes the output layer and its loss, and in which ways."""

from workers import KEEP, TARGET, Peer, python, rust

# glibc raises the size from which on a block is given back when it is freed to that of the largest so far; not where it has been told one.
RETURN = {"MALLOC_MMAP_THRESHOLD_": str(1 << 17)}

# The way is the rows of a chunk, 0 for as many as the library recommends.
OURS = Peer("surprisal", rust("linear", TARGET / "avx512"), 1, feature="avx512", way="0")
PEERS = [
    Peer("surprisal-128", OURS.command, 1, feature="avx512", way="128"),
    Peer("surprisal-avx2", rust("linear", TARGET), 1, way="0"),
    Peer("surprisal-return", OURS.command, 1, feature="avx512", env=RETURN, way="0"),
    Peer("torch", python("worker_linear_torch.py", "eager"), 6),
    Peer("torch-keep", python("worker_linear_torch.py", "eager"), 15, env=KEEP),
    Peer("torch-upcast", python("worker_linear_torch.py", "upcast"), 10, dtypes=("bf16",)),
    Peer("torch-fused", python("worker_linear_torch.py", "fused"), 6),
    Peer("torch-fused-512", python("worker_linear_torch.py", "fused", "512"), 6),
    Peer("liger", python("worker_linear_torch.py", "liger"), 6),
    Peer("liger-512", python("worker_linear_torch.py", "liger", "512"), 6),
    Peer("jax", python("worker_linear_jax.py"), 8),
    Peer("candle", rust("linear-candle"), 12, feature="candle"),
]
