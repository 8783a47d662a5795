"""What a call computes besides gradients."""

from dataclasses import dataclass

from . import _abi
from ._library import checked, main


@dataclass(frozen=True)
class Report:
    """Sums over the tokens that count. `loss` is the reduced loss; `nll_sum` the sum of -ln p, which compares across objectives; `invalid_row` the
    first row without a softmax, or None; `tau` the temperature that talr-auto or flow found, else 0."""

    tokens: int
    correct: int
    loss: float
    loss_sum: float
    nll_sum: float
    weight_sum: float
    invalid_row: int | None
    tau: float
    mean_nll: float
    perplexity: float
    bits_per_token: float
    accuracy: float

    @classmethod
    def of(cls, report):
        figures = {name: getattr(main, f"surprisal_report_{name}")(report) for name in ("mean_nll", "perplexity", "bits_per_token", "accuracy")}
        invalid = None if report.invalid_row < 0 else report.invalid_row
        sums = {name: getattr(report, name) for name in ("tokens", "correct", "loss", "loss_sum", "nll_sum", "weight_sum", "tau")}
        return cls(**sums, invalid_row=invalid, **figures)


def merged(reports):
    """The report of a batch from those of ranges of its rows."""
    total = _abi.Report()
    checked(main.surprisal_report_init, total)
    for report in reports:
        checked(main.surprisal_report_merge, total, report)
    return total
