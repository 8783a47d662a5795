"""The calls over whole batches, cut into ranges of rows for threads. All arrays have been checked."""

from ctypes import byref, c_size_t, c_uint32, pointer

from . import _abi
from ._arrays import rows_of, workspace
from ._inputs import is_group
from ._library import checked, main, new
from ._report import merged
from ._threads import over_rows


def lent(loss, rows, vocab):
    size = c_size_t()
    checked(main.surprisal_workspace_size, loss, rows, vocab, byref(size))
    return workspace(size.value)


def with_denominator(loss, batch, vocab):
    """The batch with what its means divide by, for calls on ranges; keeps what that needs alive."""
    counted, sequences = _abi.Denominator(), (c_uint32 * max(1, batch.sequence_count))()
    checked(main.surprisal_loss_denominator, loss, batch, vocab, byref(sequences), counted)
    result = _abi.Batch.from_buffer_copy(batch)
    result.denominator, result.memory = pointer(counted), sequences
    return result


def forward(loss, batch, logits, out, outputs, threads):
    """Loss and, where there is an `out`, its gradient, in one pass; `surprisal_report`. `outputs` maps fields of surprisal_outputs to arrays."""
    fields = new(_abi.Outputs)
    for name, array in outputs.items():
        setattr(fields, name, array.data)
    rows, vocab = logits.shape
    if is_group(loss):
        threads = 1
    else:
        batch = with_denominator(loss, batch, vocab)

    def work(begin, end):
        report, part = _abi.Report(), rows_of(_abi.Logits, logits, begin, end)
        memory = lent(loss, end - begin, vocab)
        if out is None:
            checked(main.surprisal_forward, loss, batch, part, fields, memory, report)
        else:
            checked(main.surprisal_forward_backward, loss, batch, part, rows_of(_abi.LogitsMut, out, begin, end), fields, memory, report)
        return report

    return merged(over_rows(rows, vocab, threads, work))


def terms(loss, batch, logits, stats, terms, threads):
    """Loss alone, leaving what the gradient is made of: `[rows, 6]` and `[rows, 3]` of f64; `surprisal_report`."""
    rows, vocab = logits.shape

    def work(begin, end):
        checked(main.surprisal_row_stats, loss, batch, rows_of(_abi.Logits, logits, begin, end), stats.data)

    over_rows(rows, vocab, threads, work)
    report = _abi.Report()
    checked(main.surprisal_token_terms, loss, batch, vocab, 0, rows, stats.data, terms.data, lent(loss, rows, vocab), report)
    return report


def gradient(loss, batch, logits, stats, terms, out, threads):
    """The gradient from what `terms` left."""
    rows, vocab = logits.shape

    def work(begin, end):
        part, result = rows_of(_abi.Logits, logits, begin, end), rows_of(_abi.LogitsMut, out, begin, end)
        checked(main.surprisal_logits_grad, loss, batch, part, stats.data, terms.data, result)

    over_rows(rows, vocab, threads, work)
