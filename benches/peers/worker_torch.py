"""PyTorch as a worker: `worker_torch.py eager|compile|upcast|trl`."""

import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from protocol import Setup, read_setup, serve


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets)


def dft(logits: Tensor, targets: Tensor) -> Tensor:
    """TRL's loss, with ln p in the way that takes torch least time; `dft_trl` has it in TRL's."""
    nll = F.cross_entropy(logits, targets, reduction="none")
    return ((-nll).exp().detach() * nll).mean()


def dft_trl(logits: Tensor, targets: Tensor) -> Tensor:
    """TRL takes ln p as logit − logsumexp in f32, and from a log-softmax in 16 bits."""
    index = targets.unsqueeze(-1)
    if logits.dtype == torch.float32:
        log_p = logits.gather(-1, index).squeeze(-1) - logits.logsumexp(-1)
    else:
        log_p = F.log_softmax(logits, -1).gather(-1, index).squeeze(-1)
    return -(log_p.exp().detach() * log_p).mean()


def upcast(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """What most trainers do with 16-bit logits."""
    return lambda logits, targets: loss(logits.float(), targets)


class Torch:
    def __init__(self, setup: Setup, way: str) -> None:
        torch.set_num_threads(setup.threads)
        self.backward = setup.task != "ce-forward"
        loss: Callable[[Tensor, Tensor], Tensor] = dft if setup.task == "dft" else cross_entropy
        match way:
            case "compile":
                loss = torch.compile(loss, dynamic=False)
            case "upcast":
                loss = upcast(loss)
            case "trl":
                loss = dft_trl
        self.loss = loss
        logits = torch.from_numpy(setup.logits)
        if setup.dtype == "bf16":
            logits = logits.view(torch.bfloat16)
        # A copy in torch's own memory, as a model would have left them.
        self.logits = logits.clone().requires_grad_(self.backward)
        self.targets = torch.from_numpy(setup.targets.astype("int64"))

    def prepare(self) -> None:
        self.logits.grad = None

    def call(self) -> float:
        loss = self.loss(self.logits, self.targets)
        if self.backward:
            loss.backward()
        return loss.item()

    def release(self) -> None:
        pass


if __name__ == "__main__":
    serve(lambda *arguments: Torch(read_setup(*arguments), sys.argv[1]))
