//! Every objective by hand: the loss of one token, and beside it the coefficient −∂loss/∂ln p.
//!
//! Both have explicit limits at ln p = −∞ (p = 0): a weight that vanishes there wins.

use super::number::{at_least, at_most, difference, times};
use super::policy::{clipped_coef, clipped_loss, kl_coef, kl_loss};
use crate::objective::{Builtin, Eaft, Grpo, InfoSft, IwToken};

/// What an objective knows of a token. What it does not use is 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Token {
    /// ln p at which detached weights and the coefficient are evaluated.
    pub(super) at: f64,
    pub(super) ref_log_p: f64,
    pub(super) old_log_p: f64,
    pub(super) advantage: f64,
    /// Entropy and Σp² of the row there.
    pub(super) entropy: f64,
    pub(super) squares: f64,
    /// The detached weight that the token's sequence or batch gives it.
    pub(super) weight: f64,
    /// GSPO: ln s of the token's sequence.
    pub(super) log_ratio: f64,
    /// DPO: the token's share of its pairs' losses.
    pub(super) pair_loss: f64,
    /// DPO: the sum of ±β·σ(−β·D) over its pairs.
    pub(super) pair_coef: f64,
}

/// The token's loss at ln p, with everything detached evaluated at `t.at`.
pub(super) fn loss(objective: &Builtin, t: &Token, log_p: f64) -> f64 {
    let weighted = |weight: f64| times(weight, -log_p);
    let ratio = libm::exp(difference(log_p, t.old_log_p));
    match objective {
        Builtin::Sft(_) | Builtin::Rft(_) | Builtin::Rho1(_) => -log_p,
        Builtin::Dft(_) => weighted(libm::exp(t.at)),
        Builtin::Talr(o) => weighted(talr_weight(talr_log_p(t.at, o.p_min), o.tau, o.floor)),
        Builtin::Focal(o) => weighted(focal_weight(log_p, o.gamma)),
        Builtin::FocalDetached(o) => weighted(focal_weight(t.at, o.gamma)),
        Builtin::Power(o) => -libm::expm1(o.alpha * log_p) / o.alpha,
        Builtin::InfoSft(o) => weighted(infosft_weight(t.at, o)),
        Builtin::Eaft(o) => weighted(libm::pow(eaft_share(t.entropy, o), o.power)),
        Builtin::Deft(_) => -libm::expm1(times(t.squares, log_p)) / (t.squares + 1e-6),
        Builtin::IwToken(o) => weighted(iw_weight(t, o)),
        Builtin::Psft(o) => -at_most(1.0 + o.clip_high, ratio),
        Builtin::Ppo(o) => clipped_loss(ratio, t.advantage, o.clip_low, o.clip_high, o.dual_clip),
        Builtin::Grpo(o) => {
            let policy = clipped_loss(ratio, t.advantage, o.clip_low, o.clip_high, None);
            policy + times(o.beta, kl_loss(o.kl, difference(t.ref_log_p, log_p), ratio))
        }
        Builtin::Dapo(o) => clipped_loss(ratio, t.advantage, o.clip_low, o.clip_high, None),
        Builtin::Cispo(o) => {
            let ratio = libm::exp(difference(t.at, t.old_log_p));
            weighted(times(t.advantage, at_most(1.0 + o.clip_high, ratio)))
        }
        Builtin::Gspo(o) => {
            // s·p/stop(p).
            let ratio = libm::exp(t.log_ratio + difference(log_p, t.at));
            clipped_loss(ratio, t.advantage, o.clip_low, o.clip_high, None)
        }
        Builtin::TalrAuto(_)
        | Builtin::IwSequence(_)
        | Builtin::Flow(_)
        | Builtin::DftSequence(_)
        | Builtin::SftGo(_) => weighted(t.weight),
        Builtin::Dpo(_) => t.pair_loss - times(t.pair_coef, difference(log_p, t.at)),
    }
}

/// −∂loss/∂ln p at ln p = `t.at`.
pub(super) fn coef(objective: &Builtin, t: &Token) -> f64 {
    let ratio = libm::exp(difference(t.at, t.old_log_p));
    match objective {
        Builtin::Sft(_) | Builtin::Rft(_) | Builtin::Rho1(_) => 1.0,
        Builtin::Dft(_) => libm::exp(t.at),
        Builtin::Talr(o) => talr_weight(talr_log_p(t.at, o.p_min), o.tau, o.floor),
        Builtin::Focal(o) => focal_coef(t.at, o.gamma),
        Builtin::FocalDetached(o) => focal_weight(t.at, o.gamma),
        Builtin::Power(o) => libm::exp(o.alpha * t.at),
        Builtin::InfoSft(o) => infosft_weight(t.at, o),
        Builtin::Eaft(o) => libm::pow(eaft_share(t.entropy, o), o.power),
        Builtin::Deft(_) => t.squares / (t.squares + 1e-6) * libm::exp(times(t.squares, t.at)),
        Builtin::IwToken(o) => iw_weight(t, o),
        Builtin::Psft(o) => {
            if ratio > 1.0 + o.clip_high {
                0.0
            } else {
                ratio
            }
        }
        Builtin::Ppo(o) => clipped_coef(ratio, t.advantage, o.clip_low, o.clip_high, o.dual_clip),
        Builtin::Grpo(o) => grpo_coef(t, ratio, o),
        Builtin::Dapo(o) => clipped_coef(ratio, t.advantage, o.clip_low, o.clip_high, None),
        Builtin::Cispo(o) => times(t.advantage, at_most(1.0 + o.clip_high, ratio)),
        Builtin::Gspo(o) => {
            let ratio = libm::exp(t.log_ratio);
            clipped_coef(ratio, t.advantage, o.clip_low, o.clip_high, None)
        }
        Builtin::TalrAuto(_)
        | Builtin::IwSequence(_)
        | Builtin::Flow(_)
        | Builtin::DftSequence(_)
        | Builtin::SftGo(_) => t.weight,
        Builtin::Dpo(_) => t.pair_coef,
    }
}

/// ln max(p, p_min).
pub(super) fn talr_log_p(log_p: f64, p_min: f64) -> f64 {
    at_least(libm::log(p_min), log_p)
}

/// max(p^(1/τ), floor).
pub(super) fn talr_weight(log_p: f64, tau: f64, floor: f64) -> f64 {
    let raw = if tau == f64::INFINITY { 1.0 } else { libm::exp(log_p / tau) };
    at_least(floor, raw)
}

/// (1−p)^γ.
fn focal_weight(log_p: f64, gamma: f64) -> f64 {
    libm::pow(-libm::expm1(log_p), gamma)
}

/// (1−p)^γ − γ p (1−p)^(γ−1) ln p. At p = 1 both terms vanish unless γ = 0.
fn focal_coef(log_p: f64, gamma: f64) -> f64 {
    if gamma == 0.0 {
        return 1.0;
    }
    let (p, rest) = (libm::exp(log_p), -libm::expm1(log_p));
    if rest == 0.0 {
        return 0.0;
    }
    libm::pow(rest, gamma) - times(gamma * p * libm::pow(rest, gamma - 1.0), log_p)
}

/// p · relu(1 − logit(p)/logit(P)); 0 at p = 0 and at p = 1.
fn infosft_weight(log_p: f64, o: &InfoSft) -> f64 {
    let (p, rest) = (libm::exp(log_p), -libm::expm1(log_p));
    if p == 0.0 || rest == 0.0 {
        return 0.0;
    }
    let logit = log_p - libm::log(rest);
    let learned = libm::log(o.p_max / (1.0 - o.p_max));
    p * at_least(0.0, 1.0 - logit / learned)
}

/// min(H / ln K, 1).
fn eaft_share(entropy: f64, o: &Eaft) -> f64 {
    at_most(1.0, entropy / libm::log(o.classes))
}

/// clamp((p/p_ref)^temperature, low, high).
fn iw_weight(t: &Token, o: &IwToken) -> f64 {
    let ratio = libm::exp(times(o.temperature, difference(t.at, t.ref_log_p)));
    at_most(o.high, at_least(o.low, ratio))
}

/// A·r where unclipped, plus β times the estimator's coefficient.
fn grpo_coef(t: &Token, ratio: f64, o: &Grpo) -> f64 {
    let policy = clipped_coef(ratio, t.advantage, o.clip_low, o.clip_high, None);
    policy + times(o.beta, kl_coef(o.kl, difference(t.ref_log_p, t.at), ratio))
}
