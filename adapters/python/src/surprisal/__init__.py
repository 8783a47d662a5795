"""The loss layer of language-model fine-tuning: stable log-softmax, a weight per token, the weighted negative log-likelihood and its gradient, in one
pass over the caller's memory. On numpy arrays here, on tensors in `surprisal.torch`; `surprisal.reference` is the oracle in double precision."""

from . import reference
from ._abi import IGNORE_INDEX, Status
from ._functions import OUTPUTS, Result, entropy, forward, forward_backward, log_softmax, log_sum_exp, objectives, token_log_probs
from ._library import Error, main as _main
from ._report import Report

__version__ = _main.surprisal_version_string().decode()
simd_level = _main.surprisal_simd_level().decode()
__all__ = [
    "Error", "IGNORE_INDEX", "OUTPUTS", "Report", "Result", "Status", "entropy", "forward", "forward_backward", "log_softmax", "log_sum_exp",
    "objectives", "reference", "simd_level", "token_log_probs",
]
