"""The objectives and their composition, in PyTorch float64.

Each objective is the loss of every token as a function of its log-probability; a weight through which no gradient
flows is `.detach()`ed, and autograd does the rest. `evaluate` composes a whole case: logit transform, objective,
dense extras, reduction, and the gradient with respect to the raw logits.

Near p = 1 little of the other classes' mass is left in the logarithm of 1 + their sum, so `log_softmax` and `logsumexp`
are accurate to 1e-16 absolute there, and not relative to -ln p. The functions under "a row" leave the largest class out
of the sum and use log1p: what they return and its gradient are accurate to about 1e-15 relative.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

torch.set_default_dtype(torch.float64)


@dataclass
class Tokens:
    """The counted rows of a batch: neither ignored nor dropped by the objective."""

    logp: Tensor  # log-probability of the target
    seq: Tensor  # index of the row's sequence
    sequences: int
    ref: Tensor | None = None
    old: Tensor | None = None
    adv: Tensor | None = None
    group: Tensor | None = None
    entropy: Tensor | None = None  # of the row, in nats, without gradient
    collision: Tensor | None = None  # the sum of the row's squared probabilities, without gradient

    @property
    def nll(self):
        return -self.logp

    @property
    def ratio(self):
        return torch.exp(self.logp - self.old)

    def sequence_sums(self, x):
        return torch.zeros(self.sequences).index_add(0, self.seq, x)

    def sequence_means(self, x):
        """One mean a sequence; NaN for a sequence without a counted row."""
        return self.sequence_sums(x) / torch.bincount(self.seq, minlength=self.sequences)


def lower_median(x):
    return x[~x.isnan()].median()  # torch.median is the lower one of an even count


# ---- a row -----------------------------------------------------------------------------------------------------------


def target_log_prob(x, target):
    """ln p of each row's target: -log1p(sum over the other classes of exp(x_j - x_t)) where it attains the maximum.

    Elsewhere -ln p is at least ln 2, and log_softmax is accurate.
    """
    log_p = torch.log_softmax(x, -1).gather(1, target[:, None])[:, 0]
    at = x.gather(1, target[:, None])
    sure = at[:, 0] == x.max(-1).values
    others = torch.exp(x[sure] - at[sure]).scatter(1, target[sure, None], 0.0).sum(-1)
    return log_p.index_put((sure,), -torch.log1p(others))


def split_at_maximum(x):
    """The largest logit of each row, and the sum of exp(x_j - largest) over the other classes."""
    largest, where = x.max(-1, keepdim=True)
    return largest[:, 0], torch.exp(x - largest).scatter(1, where, 0.0).sum(-1)


def log_sum_exp(x):
    largest, others = split_at_maximum(x)
    return largest + torch.log1p(others)


def entropy(x):
    """-sum p ln p = log1p(others) + sum p (largest - x), a sum of positive terms; a class without mass has no part."""
    largest, others = split_at_maximum(x)
    gap = largest[:, None] - x
    p = torch.exp(-gap) / (1 + others)[:, None]
    return torch.log1p(others) + torch.where(p > 0, p * gap, 0.0).sum(-1)


def collision(x):
    """The probability that two draws from the row agree: the sum of p squared."""
    return torch.softmax(x, -1).square().sum(-1)


def one_minus_exp(x):
    """1 - exp(x) for x <= 0. The derivative that torch gives expm1, its value + 1, keeps no digit of a small exp(x)."""
    return torch.where(x > -0.5, -torch.expm1(x), 1 - torch.exp(x))


# ---- per-token objectives --------------------------------------------------------------------------------------------


def sft(t):
    return t.nll


def dft(t):
    return t.logp.exp().detach() * t.nll


def talr(t, tau, floor, p_min=0.0):
    return talr_weight(t.logp, tau, floor, p_min).detach() * t.nll


def talr_weight(logp, tau, floor, p_min):
    return torch.exp(torch.maximum(logp, torch.tensor(p_min).log()) / tau).clamp(min=floor)


def focal(t, gamma):
    return one_minus_exp(t.logp) ** gamma * t.nll


def focal_detached(t, gamma):
    return (one_minus_exp(t.logp) ** gamma).detach() * t.nll


def power(t, alpha):
    return one_minus_exp(alpha * t.logp) / alpha


def iw_token(t, temperature, low, high):
    return torch.exp(temperature * (t.logp - t.ref)).clamp(low, high).detach() * t.nll


def psft(t, clip_high):
    return -t.ratio.clamp(max=1 + clip_high)


def infosft(t, p_max):
    logit = t.logp - torch.log(one_minus_exp(t.logp))
    weight = t.logp.exp() * torch.relu(1 - logit / math.log(p_max / (1 - p_max)))
    return weight.detach() * t.nll


def eaft(t, power=1.0, classes=20):
    """The entropy is that of the whole row; a weight of 0 wins over an impossible target's infinite nll."""
    weight = (t.entropy / math.log(classes)).clamp(max=1) ** power
    return torch.where(weight > 0, weight * t.nll, 0.0)


def deft(t):
    return one_minus_exp(t.collision * t.logp) / (t.collision + 1e-6)


def clipped_surrogate(ratio, adv, clip_low, clip_high):
    return -torch.minimum(ratio * adv, ratio.clamp(1 - clip_low, 1 + clip_high) * adv)


def ppo(t, clip_low, clip_high, dual_clip=None):
    loss = clipped_surrogate(t.ratio, t.adv, clip_low, clip_high)
    if dual_clip is None:
        return loss
    return torch.where(t.adv < 0, torch.minimum(loss, -dual_clip * t.adv), loss)


def grpo(t, clip_low, clip_high, beta, kl):
    difference = t.logp - t.ref
    penalty = {
        "k1": difference,
        "k2": 0.5 * difference**2,
        "k3": torch.exp(-difference) + difference - 1,
    }[kl]
    return ppo(t, clip_low, clip_high) + beta * penalty


def dapo(t, clip_low, clip_high):
    return ppo(t, clip_low, clip_high)


def cispo(t, clip_high):
    return t.ratio.clamp(max=1 + clip_high).detach() * t.adv * t.nll


# ---- per-sequence and per-batch objectives ---------------------------------------------------------------------------


def talr_auto(t, floor, tau_from="sequence-median", normalize="none", p_min=0.0):
    nll = t.nll.detach()
    values = {
        "token-median": lambda: nll,
        "sequence-median": lambda: t.sequence_means(nll),
        "sequence-median-with-empty": lambda: t.sequence_means(nll).nan_to_num(),
    }[tau_from]()
    tau = lower_median(values).clamp(min=1e-6)
    weight = talr_weight(-nll, tau, floor, p_min)
    weight = (
        weight
        / {
            "none": lambda: 1.0,
            "sum1-sequence": lambda: t.sequence_sums(weight)[t.seq],
            "sum1-batch": lambda: weight.sum(),
            "mean1-batch": lambda: weight.mean(),
        }[normalize]()
    )
    return weight * t.nll


def iw_sequence(t, temperature, max):
    weight = torch.exp(temperature * t.sequence_means(t.logp - t.ref)).clamp(0, max)
    return weight[t.seq].detach() * t.nll


def flow(t, tau=None):
    reference_nll = t.sequence_means(-t.ref)
    tau = lower_median(reference_nll) if tau is None else tau
    return torch.exp(-reference_nll / tau)[t.seq] * t.nll


def dft_sequence(t, probability="geometric-mean"):
    logp = {"geometric-mean": t.sequence_means, "product": t.sequence_sums}[probability](t.logp)
    return torch.exp(logp)[t.seq].detach() * t.nll


def gspo(t, clip_low, clip_high):
    ratio = torch.exp(t.sequence_means(t.logp - t.old))[t.seq].detach()
    ratio = ratio * torch.exp(t.logp - t.logp.detach())  # value of the sequence, gradient of the token
    return clipped_surrogate(ratio, t.adv, clip_low, clip_high)


def sft_go(t, worst_weight):
    groups = t.group.unique()
    worst = max(groups, key=lambda g: t.nll[t.group == g].mean().item())
    in_worst = (t.group == worst).double()
    return (1 - worst_weight + worst_weight * len(t.logp) / in_worst.sum() * in_worst) * t.nll


def dpo_pairs(t, pairs, beta):
    """One loss a pair, not a token."""
    margin = t.sequence_sums(t.logp - t.ref)
    chosen, rejected = torch.tensor(pairs).T
    return -torch.nn.functional.logsigmoid(beta * (margin[chosen] - margin[rejected]))


TOKEN_LOSS = {
    "sft": sft, "dft": dft, "talr": talr, "focal": focal, "focal-detached": focal_detached, "power": power,
    "iw-token": iw_token, "psft": psft, "infosft": infosft, "eaft": eaft, "deft": deft,
    "ppo": ppo, "grpo": grpo, "dapo": dapo, "cispo": cispo,
    "talr-auto": talr_auto, "iw-sequence": iw_sequence, "flow": flow, "dft-sequence": dft_sequence, "gspo": gspo,
    "sft-go": sft_go,
    "rft": lambda t: sft(t), "rho1": lambda t, keep: sft(t),  # these two only choose rows, in `counted_rows`
}  # fmt: skip


# ---- composition -----------------------------------------------------------------------------------------------------


def optional(case, field):
    return torch.tensor(case[field]) if field in case else None


def live_rows(case):
    """Indices of the rows that are not ignored."""
    targets = torch.tensor(case["targets"])
    return (targets != case["ignore_index"]).nonzero()[:, 0] if "ignore_index" in case else torch.arange(len(targets))


def sequence_of_rows(case):
    bounds = case.get("cu_seqlens", [0, case["rows"]])
    lengths = [end - start for start, end in zip(bounds, bounds[1:])]
    return torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)), len(lengths)


def transform(z, case):
    z = z * case.get("logit_scale", 1.0)
    return case["softcap"] * torch.tanh(z / case["softcap"]) if "softcap" in case else z


def counted_rows(case, live, logp):
    """The live rows less those that the objective drops."""
    if case["objective"] == "rft":
        keep = torch.tensor(case["keep"], dtype=torch.bool)
        return live[keep[sequence_of_rows(case)[0][live]]]
    if case["objective"] == "rho1":
        excess = optional(case, "ref_log_probs")[live] - logp
        order = sorted(range(len(live)), key=lambda i: (-excess[i].item(), i))
        return live[sorted(order[: math.ceil(case["parameters"]["keep"] * len(live))])]
    return live


def evaluate(case, target_log_prob=target_log_prob):
    """The `expected` object of a case."""
    rows, vocab, objective = case["rows"], case["vocab"], case["objective"]
    parameters, reduction = case["parameters"], case["reduction"]
    z = torch.tensor([float(x) for x in case["logits"]]).reshape(rows, vocab).requires_grad_()
    targets = torch.tensor(case["targets"])

    live = live_rows(case)
    nll = torch.zeros(rows)
    with torch.no_grad():
        live_logp = target_log_prob(transform(z[live], case), targets[live])
        nll[live] = -live_logp
    counted = counted_rows(case, live, live_logp)
    target = targets[counted]

    x = transform(z[counted], case)
    seq, sequences = sequence_of_rows(case)
    side = {
        name: values[counted]
        for name, values in (
            ("ref", optional(case, "ref_log_probs")), ("old", optional(case, "old_log_probs")),
            ("adv", optional(case, "advantages")), ("group", optional(case, "groups")),
        ) if values is not None
    }  # fmt: skip
    side |= {"entropy": entropy(x.detach()), "collision": collision(x.detach())}
    tokens = Tokens(target_log_prob(x, target), seq[counted], sequences, **side)

    class_weights = optional(case, "class_weights")
    class_weights = torch.ones(vocab) if class_weights is None else class_weights
    token_weights = optional(case, "token_weights")
    token_weights = torch.ones(len(counted)) if token_weights is None else token_weights[counted]
    weight_sum = (token_weights * class_weights[target]).sum()

    if len(counted) == 0:
        losses, denominator = torch.zeros(0), 1.0
    elif objective == "dpo":
        losses = dpo_pairs(tokens, case["pairs"], **parameters)
        denominator = (
            {"sum": 1.0, "mean-pairs": len(losses)}[reduction] if isinstance(reduction, str) else reduction["by"]
        )
    else:
        losses = token_weights * row_losses(case, tokens, x, class_weights, target)
        denominator = denominators(reduction, tokens, weight_sum)

    loss = (losses / denominator).sum()
    if len(counted):
        loss.backward()
    dlogits = torch.zeros_like(z) if z.grad is None else z.grad * case.get("grad_scale", 1.0)
    return {
        "loss": loss.item(),
        "loss_sum": losses.sum().item(),
        "nll": nll.tolist(),
        "nll_sum": nll[counted].sum().item(),
        "weight_sum": weight_sum.item(),
        "tokens": len(counted),
        "correct": int((x.gather(1, target[:, None])[:, 0] >= x.max(-1).values).sum()) if len(counted) else 0,
        "counted": [int(row in counted.tolist()) for row in range(rows)],
        "dlogits": dlogits.flatten().tolist(),
    }


def row_losses(case, tokens, x, class_weights, target):
    """cw[t] (1-eps) obj + scale (eps/V sum_j cw_j (-log p_j) + z_loss lse^2), before the token weight."""

    def token_loss(t):
        return TOKEN_LOSS[case["objective"]](t, **case["parameters"])

    eps, z_loss = case.get("label_smoothing", 0.0), case.get("z_loss", 0.0)
    losses = class_weights[target] * (1 - eps) * token_loss(tokens)
    scale = 1.0
    if case.get("extras_scale") == "objective":  # the weight that the objective gives the token: -d loss / d logp
        logp = tokens.logp.detach().requires_grad_()
        scale = -torch.autograd.grad(token_loss(dataclasses.replace(tokens, logp=logp)).sum(), logp)[0]
    if eps:
        losses = losses + scale * eps / case["vocab"] * -(class_weights * torch.log_softmax(x, -1)).sum(-1)
    if z_loss:
        losses = losses + scale * z_loss * log_sum_exp(x) ** 2
    return losses


def denominators(reduction, tokens, weight_sum):
    if isinstance(reduction, dict):
        return reduction["by"]
    if reduction == "mean-sequences":
        counts = torch.bincount(tokens.seq, minlength=tokens.sequences)
        return counts[tokens.seq] * (counts > 0).sum()
    return {"sum": 1.0, "mean-tokens": len(tokens.logp), "mean-weights": weight_sum}[reduction]
