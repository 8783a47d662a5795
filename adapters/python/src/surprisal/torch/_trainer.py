"""The loss of a transformers or TRL trainer."""

import torch

from .. import _abi
from ._loss import loss


def compute_loss_func(objective="dft", *, ignore_index=_abi.IGNORE_INDEX, **options):
    """A `compute_loss_func` for `transformers.Trainer` and its descendants: `Trainer(..., compute_loss_func=compute_loss_func("dft"))`.

    It takes the labels as trainers have them, unshifted, and shifts them; the logits are not copied. Where the trainer counts the tokens of all
    micro-batches, the sum is divided by that number. Keywords are those of `loss`.
    """

    def compute(outputs, labels, num_items_in_batch=None):
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs.logits
        targets = torch.nn.functional.pad(labels[..., 1:], (0, 1), value=ignore_index)
        by = {} if num_items_in_batch is None else {"reduction": "by", "reduction_by": max(1.0, float(num_items_in_batch))}
        return loss(logits, targets, objective, ignore_index=ignore_index, **(by | options))

    return compute
