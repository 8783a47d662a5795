"""A loss and a batch from keywords: the fields of the C structs by their names."""

from numbers import Real

from . import _abi
from ._library import checked, main, new, refuse

# Inputs beside the targets, and their element types: those with an entry a row, and the others.
PER_ROW = {"token_weights": "f32", "ref_log_probs": "f32", "old_log_probs": "f32", "advantages": "f32", "groups": "u32"}
INPUTS = PER_ROW | {"cu_seqlens": "i64", "pairs": "u64", "keep": "u8", "class_weights": "f32"}


def split(options):
    """Keywords that are inputs, and those that are options of the loss; None is the default of any.

    A number is an option: `keep` is rft's flags or rho1's share.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return {name: given.pop(name) for name in INPUTS if name in given and not isinstance(given[name], Real)}, given


def loss(objective, options):
    """`surprisal_loss` of an objective's name, with its parameters and the options of any loss: numbers, or names of choices."""
    result = new(_abi.Loss)
    checked(main.surprisal_loss_set_choice, result, b"objective", str(objective).encode())
    for name, value in options.items():
        if isinstance(value, str):
            checked(main.surprisal_loss_set_choice, result, name.encode(), value.encode())
        else:
            try:
                number = float(value)
            except (TypeError, ValueError):
                refuse(name, f"is neither a number nor a name, but a {type(value).__name__}")
            checked(main.surprisal_loss_set, result, name.encode(), number)
    return result


def is_group(of):
    return main.surprisal_objective_scope(of.objective) == _abi.Scope.GROUP


def batch(targets, ignore_index, inputs):
    """`surprisal_batch` of arrays, whose lengths are checked here: the library sees addresses."""
    result = new(_abi.Batch)
    if len(targets.shape) != 1 or targets.dtype not in ("i32", "i64"):
        refuse("targets", f"are not one 32-bit or 64-bit integer a row, but {targets.dtype} of shape {targets.shape}")
    result.rows = rows = targets.shape[0]
    setattr(result, f"targets_{targets.dtype}", targets.data)
    result.ignore_index = ignore_index
    for name in PER_ROW:
        if name in inputs:
            length(name, inputs[name], rows, "row")
            setattr(result, name, inputs[name].data)
    if "cu_seqlens" in inputs:
        offsets = inputs["cu_seqlens"]
        if len(offsets.shape) != 1 or offsets.shape[0] < 1:
            refuse("cu_seqlens", "are not the offsets 0, ..., rows")
        result.sequence_count, result.cu_seqlens_i64 = offsets.shape[0] - 1, offsets.data
    if "pairs" in inputs:
        pairs = inputs["pairs"]
        if len(pairs.shape) != 2 or pairs.shape[1] != 2:
            refuse("pairs", f"are not [chosen, rejected] each, but of shape {pairs.shape}")
        result.pairs, result.pair_count = pairs.data, pairs.shape[0]
    if "keep" in inputs:
        length("keep", inputs["keep"], result.sequence_count, "sequence")
        result.keep = inputs["keep"].data
    return result


def length(name, array, count, of):
    if array.shape != (count,):
        refuse(name, f"has shape {array.shape}, not one entry for each {of}, ({count},)")


def with_class_weights(of, inputs, vocab):
    """The loss itself, or a copy that has the class weights."""
    if "class_weights" not in inputs:
        return of
    length("class_weights", inputs["class_weights"], vocab, "class")
    result = _abi.Loss.from_buffer_copy(of)
    result.class_weights = inputs["class_weights"].data
    return result
