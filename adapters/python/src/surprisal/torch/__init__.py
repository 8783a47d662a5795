"""Losses over torch tensors on the CPU, without a copy, which torch differentiates. CUDA tensors stay with torch's own kernels, and are refused."""

from ._linear import linear_loss
from ._log_probs import log_probs
from ._loss import forward, loss
from ._trainer import compute_loss_func

__all__ = ["compute_loss_func", "forward", "linear_loss", "log_probs", "loss"]
