"""The oracle: every objective in double precision, by plain loops and formulas that were derived by hand. For tests of kernels of one's own; slow."""

from . import _abi, _inputs
from ._functions import Result
from ._library import checked, tools
from ._numpy import array, numpy, targets as target_array, vector
from ._report import Report


def _prepared(logits, targets, objective, ignore_index, options):
    np = numpy()
    z = np.ascontiguousarray(logits, dtype="float64")
    given, options = _inputs.split(options)
    inputs = {name: vector(name, value, _inputs.INPUTS[name]) for name, value in given.items()}
    ids = target_array(targets)
    _inputs.length("targets", ids, z.size // max(1, z.shape[-1]), "row")
    loss = _inputs.with_class_weights(_inputs.loss(objective, options), inputs, z.shape[-1])
    return loss, _inputs.batch(ids, ignore_index, inputs), z, (ids, inputs)


def forward_backward(logits, targets, objective="sft", *, ignore_index=_abi.IGNORE_INDEX, **options):
    """As `surprisal.forward_backward`, for logits of any type, which are widened to f64; the gradient is f64."""
    loss, batch, z, _alive = _prepared(logits, targets, objective, ignore_index, options)
    dlogits, report = numpy().empty(z.shape), _abi.Report()
    checked(tools().surprisal_reference_forward_backward, loss, batch, array(z).data, z.shape[-1], array(dlogits).data, report)
    figures = Report.of(report)
    return Result(figures.loss, dlogits, figures)


def surrogate(logits, at, targets, objective="sft", *, ignore_index=_abi.IGNORE_INDEX, **options):
    """The loss at `logits` with all that is detached held at its value at `at`: what finite differences of a stop-gradient objective are taken of."""
    loss, batch, z, _alive = _prepared(logits, targets, objective, ignore_index, options)
    at, out = numpy().ascontiguousarray(at, dtype="float64"), numpy().empty(1)
    if at.shape != z.shape:
        _inputs.refuse("at", f"has shape {at.shape} in place of {z.shape}")
    checked(tools().surprisal_reference_surrogate, loss, batch, array(z).data, array(at).data, z.shape[-1], array(out).data)
    return float(out[0])


def check_gradient(function, x, gradient, step=1e-3):
    """The largest difference of `gradient` from central differences of `function` at `x`, over the gradient's largest entry. Both are f64 arrays."""
    np = numpy()
    point, slope = np.array(x, dtype="float64"), np.ascontiguousarray(gradient, dtype="float64")
    if point.shape != slope.shape:
        _inputs.refuse("gradient", f"has shape {slope.shape} in place of {point.shape}")
    raised = []

    def call(_x, _user):
        try:
            return float(function(point))
        except BaseException as error:  # cannot pass through C
            raised.append(error)
            return float("nan")

    worst = _abi.GradientCheck()
    checked(tools().surprisal_check_gradient, _abi.Function(call), None, array(point).data, array(slope).data, point.size, step, worst)
    if raised:
        raise raised[0]
    return worst.error
