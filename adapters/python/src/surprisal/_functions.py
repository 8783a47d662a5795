"""The losses over numpy arrays."""

from dataclasses import dataclass, field
from typing import Any

from . import _abi, _inputs, _stages
from ._arrays import check_matrix, rows_of
from ._library import checked, main, refuse
from ._numpy import array, matrix, numpy, targets as target_array, vector
from ._report import Report
from ._threads import over_rows

# Per-token outputs, and their element types.
OUTPUTS = {"losses": "float32", "nll": "float32", "log_probs": "float32", "entropy": "float32", "weights": "float32", "argmax": "uint32", "correct": "uint8"}


@dataclass(frozen=True)
class Result:
    """`loss`; `dlogits`, its gradient, or None; `report`; `outputs`, the per-token arrays that were asked for, by name."""

    loss: float
    dlogits: Any
    report: Report
    outputs: dict = field(default_factory=dict)


def forward_backward(logits, targets, objective="sft", *, out=None, outputs=(), ignore_index=_abi.IGNORE_INDEX, threads=None, **options):
    """Loss of `logits` `[..., vocab]` (f32, f16, or bf16 of ml_dtypes), and its gradient with respect to them.

    `targets`: an id for each row, `ignore_index` where it does not count: already shifted. `objective`: its name, as "dft" or "talr-auto". `out`: where
    the gradient goes, of any of the types; `logits` itself for in place. `outputs`: names of `surprisal.OUTPUTS`. `threads`: as many as there are CPUs
    by default; the gradient has the same bits with any.

    Keywords are side inputs (token_weights, ref_log_probs, old_log_probs, advantages, groups, cu_seqlens, pairs, keep, class_weights), options of the
    loss (reduction, reduction_by, label_smoothing, z_loss, logit_scale, softcap, grad_scale, extras_scale), and the objective's own parameters (tau, gamma,
    ...), as surprisal.h names them. What is wrong is raised as `surprisal.Error`, which names the argument and the row.
    """
    return _call(logits, targets, objective, out, True, outputs, ignore_index, threads, options)


def forward(logits, targets, objective="sft", *, outputs=(), ignore_index=_abi.IGNORE_INDEX, threads=None, **options):
    """As `forward_backward`, the loss alone."""
    return _call(logits, targets, objective, None, False, outputs, ignore_index, threads, options)


def _call(logits, targets, objective, out, backward, outputs, ignore_index, threads, options):
    loss, batch, z, _alive = _prepared(logits, targets, objective, ignore_index, options)
    if backward and out is None:
        out = numpy().empty(logits.shape, logits.dtype)
    wanted = {name: numpy().empty(z.shape[0], OUTPUTS.get(name) or refuse("outputs", f"there is no {name!r}")) for name in outputs}
    dlogits = _written(z, out) if backward else None
    report = Report.of(_stages.forward(loss, batch, z, dlogits, {name: array(values) for name, values in wanted.items()}, threads))
    return Result(report.loss, out, report, {name: values.reshape(logits.shape[:-1]) for name, values in wanted.items()})


def _prepared(logits, targets, objective, ignore_index, options):
    """The structs of a call, and what must live as long as they do."""
    given, options = _inputs.split(options)
    inputs = {name: vector(name, value, _inputs.INPUTS[name]) for name, value in given.items()}
    z, ids = _matrix("logits", logits), target_array(targets)
    _inputs.length("targets", ids, z.shape[0], "row")
    loss = _inputs.with_class_weights(_inputs.loss(objective, options), inputs, z.shape[1])
    return loss, _inputs.batch(ids, ignore_index, inputs), z, (ids, inputs)


def _matrix(name, value, writable=False):
    result = matrix(name, value, writable)
    check_matrix(name, result)
    return result


def _written(z, out):
    result = _matrix("out", out, writable=True)
    if result.shape != z.shape:
        refuse("out", f"has {result.shape[0]} rows of {result.shape[1]} in place of {z.shape[0]} of {z.shape[1]}")
    return result


def log_softmax(logits, *, out=None, threads=None):
    """ln p of every class, of `logits` `[..., vocab]`, into `out` (or over `logits` themselves, or into a new array)."""
    z = _matrix("logits", logits)
    out = numpy().empty(logits.shape, logits.dtype) if out is None else out
    to = _written(z, out)
    over_rows(*z.shape, threads, lambda begin, end: checked(
        main.surprisal_log_softmax, rows_of(_abi.Logits, z, begin, end), rows_of(_abi.LogitsMut, to, begin, end)))
    return out


def log_sum_exp(logits, *, threads=None):
    """ln of the sum of exp(z) of each row, in f32."""
    return _per_row(main.surprisal_log_sum_exp, logits, threads)


def entropy(logits, *, threads=None):
    """Entropy of each row in nats, in f32."""
    return _per_row(main.surprisal_entropy, logits, threads)


def token_log_probs(logits, targets, *, ignore_index=_abi.IGNORE_INDEX, threads=None):
    """ln p of each row's target, in f32; 0 on ignored rows."""
    ids = target_array(targets)
    batch = _inputs.batch(ids, ignore_index, {})
    return _per_row(lambda *arguments: main.surprisal_token_log_probs(batch, *arguments), logits, threads)


def _per_row(function, logits, threads):
    z = _matrix("logits", logits)
    out = numpy().empty(logits.shape[:-1], "float32")
    to = array(out)
    over_rows(*z.shape, threads, lambda begin, end: checked(function, rows_of(_abi.Logits, z, begin, end), to.data))
    return out


def objectives():
    """The names of all objectives."""
    return [main.surprisal_enum_name(b"objective", objective.value).decode() for objective in _abi.Objective]
