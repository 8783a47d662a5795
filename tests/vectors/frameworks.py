"""The same losses as the frameworks and papers write them, each with its own denominator.

`make_vectors.py` asserts that `objectives.evaluate` gives their value and their gradient. Every function takes the raw
logits and the case and returns a scalar; nothing here is shared with `objectives.py`.
"""

import torch
import torch.nn.functional as F


def column(case, field):
    return torch.tensor(case[field])


def token_losses(z, case):
    """Plain -log p of every row, 0 where ignored, and the mask of the others."""
    targets = torch.tensor(case["targets"])
    ignore_index = case.get("ignore_index", -100)
    return F.cross_entropy(z, targets, ignore_index=ignore_index, reduction="none"), targets != ignore_index


def sequence_slices(case):
    return [slice(a, b) for a, b in zip(case["cu_seqlens"], case["cu_seqlens"][1:])]


def cross_entropy(z, case):
    """torch.nn.functional.cross_entropy; its 'mean' is mean-weights, which without class weights is mean-tokens."""
    targets = torch.tensor(case["targets"])
    options = dict(
        weight=column(case, "class_weights") if "class_weights" in case else None,
        ignore_index=case.get("ignore_index", -100),
        label_smoothing=case.get("label_smoothing", 0.0),
    )
    reduction, plain = case["reduction"], "token_weights" not in case
    if plain and reduction == "sum":
        return F.cross_entropy(z, targets, reduction="sum", **options)
    if plain and (reduction == "mean-weights" or (reduction == "mean-tokens" and options["weight"] is None)):
        return F.cross_entropy(z, targets, reduction="mean", **options)
    # What torch has no reduction for starts at its unreduced losses.
    losses, live = F.cross_entropy(z, targets, reduction="none", **options), targets != options["ignore_index"]
    weights = torch.ones_like(losses) if plain else column(case, "token_weights")
    losses = losses * weights
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean-tokens":
        return losses.sum() / live.sum()
    if reduction == "mean-weights":
        if options["weight"] is not None:
            weights = weights * options["weight"][targets.clamp(min=0)]
        return losses.sum() / weights[live].sum()
    if reduction == "mean-sequences":
        return torch.stack([losses[s].sum() / live[s].sum() for s in sequence_slices(case) if live[s].any()]).mean()
    return losses.sum() / reduction["by"]


# ---- DFT -------------------------------------------------------------------------------------------------------------


def trl_dft(z, case):
    """TRL `dft_loss`: p and log p gathered from one log_softmax; num_items_in_batch, or the valid count without it."""
    _, live = token_losses(z, case)
    logp = F.log_softmax(z[live], -1).gather(1, torch.tensor(case["targets"])[live, None])[:, 0]
    num_items = case["reduction"]["by"] if isinstance(case["reduction"], dict) else live.sum()
    return -(logp.exp().detach() * logp).sum() / num_items


def swift_dft(z, case):
    """ms-swift: loss *= exp(-loss) without gradient, then times loss_scale, then / num_items."""
    losses, live = token_losses(z, case)
    with torch.no_grad():
        p = torch.exp(-losses)
    losses = losses * p
    if "token_weights" in case:
        losses = losses * column(case, "token_weights")
    return losses.sum() / (case["reduction"]["by"] if isinstance(case["reduction"], dict) else live.sum())


def llama_factory_dft(z, case):
    """LLaMA-Factory: valid rows only; sum / num_items, or their mean."""
    losses, live = token_losses(z, case)
    losses = losses[live] * torch.exp(-losses[live].detach())
    return losses.sum() / case["reduction"]["by"] if isinstance(case["reduction"], dict) else losses.mean()


def liger_dft(z, case):
    """Liger `use_token_scaling`: the whole row (smoothing and z-loss too) times the detached p, / n_non_ignore or 1."""
    live = token_losses(z, case)[1]
    z, target = z[live], torch.tensor(case["targets"])[live]
    if "softcap" in case:
        z = case["softcap"] * torch.tanh(z / case["softcap"])
    eps, lse_square_scale = case.get("label_smoothing", 0.0), case.get("z_loss", 0.0)
    lse = torch.logsumexp(z, -1)
    target_logit = z.gather(1, target[:, None])[:, 0]
    losses = (1 - eps) * (lse - target_logit) + eps * lse - eps / z.shape[1] * z.sum(-1) + lse_square_scale * lse**2
    losses = losses * torch.exp(target_logit - lse).detach()
    return losses.sum() / (live.sum() if case["reduction"] == "mean-tokens" else 1)


def author_dft(z, case):
    """The paper's repository: sum / (valid + 1e-8) in one of two micro-batches, and the mean of the two."""
    losses, live = token_losses(z, case)
    return (losses * torch.exp(-losses).detach()).sum() / (live.sum() + 1e-8) / 2


# ---- other objectives ------------------------------------------------------------------------------------------------


def eaft_top_classes(z, case):
    """EAFT (arXiv 2601.02151) with ln 20 in place of its 3.0; its top 20 are all classes of a row as short as these."""
    losses, live = token_losses(z, case)
    top = z[live].detach().topk(min(20, z.shape[1]), -1).values
    entropy = torch.distributions.Categorical(logits=top).entropy()
    weights = (entropy / torch.tensor(20.0).log()) ** case["parameters"]["power"]
    return (weights * losses[live]).mean()


def deft(z, case):
    """DEFT (arXiv 2602.11424): the power loss with a detached exponent, the sum of the row's squared probabilities."""
    live = token_losses(z, case)[1]
    p = F.softmax(z[live], -1)
    alpha = (p * p).sum(-1).detach()
    target_p = p.gather(1, torch.tensor(case["targets"])[live, None])[:, 0]
    return ((1 - target_p**alpha) / (alpha + 1e-6)).mean()


def verl_ppo(z, case):
    """verl's dual-clip policy loss, token-mean: maxima and minima of negated products."""
    losses, live = token_losses(z, case)
    logp, old, adv = -losses[live], column(case, "old_log_probs")[live], column(case, "advantages")[live]
    p = case["parameters"]
    ratio = torch.exp(torch.clamp(logp - old, -20, 20))
    clip1 = torch.maximum(-adv * ratio, -adv * torch.clamp(ratio, 1 - p["clip_low"], 1 + p["clip_high"]))
    clip2 = torch.minimum(-adv * p.get("dual_clip", 1e30), clip1)
    return torch.where(adv < 0, clip2, clip1).mean()


def gspo_sequences(z, case):
    """The GSPO paper's sequence objective with its true gradient: mean over sequences of -min(s A, clip(s) A)."""
    losses, live = token_losses(z, case)
    difference, adv = -losses - column(case, "old_log_probs"), column(case, "advantages")
    p, values = case["parameters"], []
    for s in sequence_slices(case):
        if live[s].any():
            ratio, a = torch.exp(difference[s][live[s]].mean()), adv[s][live[s]][0]
            values.append(-torch.minimum(ratio * a, torch.clamp(ratio, 1 - p["clip_low"], 1 + p["clip_high"]) * a))
    return torch.stack(values).mean()


def trl_dpo(z, case):
    """TRL's sigmoid loss over summed log-ratios, mean over pairs."""
    losses, live = token_losses(z, case)
    log_ratio = torch.where(live, -losses - column(case, "ref_log_probs"), 0.0)
    sums = [log_ratio[s].sum() for s in sequence_slices(case)]
    beta = case["parameters"]["beta"]
    return torch.stack([F.softplus(-beta * (sums[c] - sums[r])) for c, r in case["pairs"]]).mean()


def iw_sft(z, case):
    """iw-SFT: clamped exponential of the mean log-ratio of a sequence, / num_items."""
    losses, live = token_losses(z, case)
    ref, p, total = column(case, "ref_log_probs"), case["parameters"], 0.0
    for s in sequence_slices(case):
        if live[s].any():
            log_ratio = (-losses[s] - ref[s])[live[s]].mean().detach()
            total = total + torch.clamp(torch.exp(p["temperature"] * log_ratio), 0.0, p["max"]) * losses[s].sum()
    return total / case["reduction"]["by"]


def flow(z, case):
    """FLOW: exp(-f_i / tau), tau the median of the reference losses f_i, / num_tokens."""
    losses, live = token_losses(z, case)
    slices = [s for s in sequence_slices(case) if live[s].any()]
    f = torch.stack([-column(case, "ref_log_probs")[s][live[s]].mean() for s in slices])
    tau = case["parameters"].get("tau", f.median())
    return sum(torch.exp(-f_i / tau) * losses[s].sum() for f_i, s in zip(f, slices)) / live.sum()


def talr_disc(z, case):
    """TALR as in the DiSC baseline: tau is the median over sequences of the mean loss, max(p^(1/tau), w_min) / n."""
    losses, live = token_losses(z, case)
    means = torch.stack([losses[s].sum() / live[s].sum() for s in sequence_slices(case) if live[s].any()])
    tau = max(means.median().item(), 1e-6)
    weights = torch.clamp(torch.exp(-losses) ** (1 / tau), min=case["parameters"]["floor"]).detach()
    return (weights * losses).sum() / live.sum()


def talr_disc_whole(z, case):
    """TALR as in the DiSC baseline, its clamp of p and its masked sequences of loss 0 included."""
    losses, live = token_losses(z, case)
    means = torch.stack([losses[s].sum() / live[s].sum().clamp(min=1) for s in sequence_slices(case)])
    tau = torch.clamp(torch.median(means.detach()), min=1e-6)
    p = torch.exp(-losses).clamp(min=case["parameters"]["p_min"])
    weights = torch.clamp(torch.pow(p, 1 / tau), min=case["parameters"]["floor"]).detach()
    return (weights * losses).sum() / live.sum()


def talr_soft_minimum(z, case):
    """Simplex TALR without floor has the gradient of -tau log sum_i p_i^(1/tau) (not its value)."""
    losses, live = token_losses(z, case)
    tau = losses[live].detach().median()
    return -tau * torch.logsumexp(-losses[live] / tau, 0)


def sft_go(z, case):
    """SFT-GO: (1-lambda) mean CE + lambda max over groups of the group's mean CE."""
    losses, live = token_losses(z, case)
    groups, mixing = torch.tensor(case["groups"]), case["parameters"]["worst_weight"]
    means = [losses[live & (groups == g)].mean() for g in groups[live].unique()]
    return (1 - mixing) * losses[live].mean() + mixing * torch.stack(means).max()


def rho1(z, case):
    """Rho-1: mean over the top share of tokens by excess loss."""
    losses, live = token_losses(z, case)
    excess = (losses.detach() + column(case, "ref_log_probs"))[live]
    keep = -int(-case["parameters"]["keep"] * len(excess) // 1)
    return losses[live][excess.topk(keep).indices].mean()


def dft_gradient(z, case):
    """-p with its true gradient is DFT's gradient (not its value)."""
    losses, live = token_losses(z, case)
    return -torch.exp(-losses[live]).mean()
