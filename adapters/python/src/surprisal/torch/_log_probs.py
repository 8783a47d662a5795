"""ln p of targets, for losses that are written in torch."""

from typing import List, Tuple

import torch
from torch import Tensor

from .. import _abi
from ._loss import keep, terms, write
from ._tensors import rows_of, settled, targets_of


def log_probs(logits, targets, *, ignore_index=_abi.IGNORE_INDEX, threads=None, logit_scale=None, softcap=None):
    """ln p of each row's target, in float32, of the shape of `targets`; 0 with gradient 0 on ignored rows. Torch differentiates it."""
    rows = rows_of("logits", logits)
    ids = targets_of(targets, rows.shape[0])
    _, settings = settled("sft", ignore_index, threads, {"reduction": "sum", "logit_scale": logit_scale, "softcap": softcap})
    return token_log_probs(rows, ids, [], settings)[0].reshape(targets.shape)


@torch.library.custom_op("surprisal::log_probs", mutates_args=())
def token_log_probs(logits: Tensor, targets: Tensor, inputs: List[Tensor], settings: str) -> Tuple[Tensor, Tensor, Tensor]:
    """The sum of sft has -ln p as each row's term."""
    _, stats, parts = terms(logits, targets, inputs, settings)
    return (0.0 - parts[:, 0]).to(torch.float32), stats, parts


@token_log_probs.register_fake
def _(logits, targets, inputs, settings):
    rows = logits.shape[0]
    return logits.new_empty(rows, dtype=torch.float32), *(logits.new_empty(rows, width, dtype=torch.float64) for width in (6, 3))


def _backward(ctx, upstream, _stats, _parts):
    return write(ctx, lambda parts: parts * -upstream.to(torch.float64).unsqueeze(1))


token_log_probs.register_autograd(_backward, setup_context=keep)
