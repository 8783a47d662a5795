//! Policy-gradient objectives: a ratio to the policy that sampled the token, clipped, times an advantage.

use super::{GroupPlan, Input, Objective, Over, Real, Statistic, Token};
use crate::error::{Error, check_parameter};

/// Largest ln r: e^600 is finite in f64, also times any f32, so that a factor of 0 silences any ratio.
pub(super) const LOG_RATIO_MAX: f64 = 600.0;

/// Largest coefficient that an estimator of the KL divergence forms by itself.
const COEF_MAX: f64 = 1e300;

/// r = e^(ln r), which stays finite and keeps its gradient r.
fn exp_limited<R: Real>(log_ratio: R) -> R {
    (log_ratio.stop().min(R::lit(LOG_RATIO_MAX)) + (log_ratio - log_ratio.stop())).exp()
}

/// e^k − k − 1. Where k is small, by its series: a difference would keep few of its digits.
fn k3<R: Real>(k: R) -> R {
    const SMALL: f64 = 1.0 / 16.0;
    /// 1/9!, ..., 1/2!.
    const SERIES: [f64; 8] = [
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
    ];
    let small = k.clamp(-SMALL, SMALL);
    let series = SERIES.into_iter().fold(R::lit(1.0 / 3_628_800.0), |sum, next| sum * small + next);
    (k.max(-k) - SMALL).if_negative(series * small * small, k.exp_m1() - k)
}

/// r = p / p_old.
fn ratio<R: Real>(t: &Token<R>) -> R {
    exp_limited(t.log_p - t.old_log_p)
}

/// −min(r·A, clip(r, 1−low, 1+high)·A).
fn clipped<R: Real>(ratio: R, advantage: R, low: f64, high: f64) -> R {
    -(ratio * advantage).min(ratio.clamp(1.0 - low, 1.0 + high) * advantage)
}

fn check_clip(low: f64, high: f64) -> Result<(), Error> {
    check_parameter("clip_low", low, (0.0..=1.0).contains(&low), "a number in [0, 1]")?;
    check_clip_high(high)
}

fn check_clip_high(high: f64) -> Result<(), Error> {
    check_parameter("clip_high", high, high >= 0.0, "a number >= 0")
}

const OLD: &[Input] = &[Input::OldLogProbs, Input::Advantages];

/// PSFT: −min(r, 1+ε), PPO's clip with advantage 1 on data. coef = r where r ≤ 1+ε, else 0. arXiv 2508.17784.
///
/// `old_log_probs` are a snapshot of the model at the start of each large batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Psft {
    /// Clip ε ≥ 0 above 1 (the lower clip of the paper's script has no effect for advantage 1).
    pub clip_high: f64,
}

impl Default for Psft {
    fn default() -> Self {
        Self { clip_high: 0.28 }
    }
}

impl Objective for Psft {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        -ratio(t).min(R::lit(1.0 + self.clip_high))
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::OldLogProbs]
    }

    fn check(&self) -> Result<(), Error> {
        check_clip_high(self.clip_high)
    }
}

/// PPO-clip: −min(r·A, clip(r, 1−low, 1+high)·A), with an optional dual clip. Schulman et al. 2017, arXiv 1707.06347.
///
/// The dual clip c (verl: 3) bounds the loss of a token with A < 0 by −c·A, from where its gradient is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ppo {
    /// Clip below 1, in [0, 1].
    pub clip_low: f64,
    /// Clip above 1, ≥ 0.
    pub clip_high: f64,
    /// Dual clip c > 1, or none.
    pub dual_clip: Option<f64>,
}

impl Default for Ppo {
    fn default() -> Self {
        Self { clip_low: 0.2, clip_high: 0.2, dual_clip: None }
    }
}

impl Objective for Ppo {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let loss = clipped(ratio(t), t.advantage, self.clip_low, self.clip_high);
        match self.dual_clip {
            None => loss,
            Some(c) => {
                let bound = -(t.advantage * c);
                t.advantage.if_negative(loss.min(bound), loss)
            }
        }
    }

    fn inputs(&self) -> &'static [Input] {
        OLD
    }

    fn check(&self) -> Result<(), Error> {
        check_clip(self.clip_low, self.clip_high)?;
        let c = self.dual_clip.unwrap_or(2.0);
        check_parameter("dual_clip", c, c > 1.0, "a number > 1")
    }
}

/// Estimators of the KL divergence to the reference, per sampled token; k = ln p_ref − ln p. Schulman 2020.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kl {
    /// −k: unbiased, may be negative. coef −β.
    K1,
    /// k²/2: low variance, biased. coef β·k.
    K2,
    /// e^k − k − 1: unbiased and ≥ 0 (GRPO's own). coef β·(e^k − 1).
    #[default]
    K3,
    /// r·K3, K3 corrected for tokens that the old policy sampled (TRL's `use_bias_correction_kl`). coef β·r·k.
    K3Corrected,
    /// K3 with k limited to ±20 and the value to 10 (verl's `low_var_kl`): no gradient beyond k ≈ 2.61.
    K3Clamped,
}

/// GRPO: PPO-clip plus β·KL(reference). Shao et al. 2024, arXiv 2402.03300.
///
/// Advantages are the caller's (per group: (R − mean)/(std + ε)). `Reduction::MeanSequences` is the paper's 1/|o| and TRL's
/// `loss_type="grpo"`; `MeanTokens` is TRL's `bnpo` and verl's `token-mean`; Dr. GRPO is `By(batch · max_length)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grpo {
    /// Clip below 1, in [0, 1].
    pub clip_low: f64,
    /// Clip above 1, ≥ 0.
    pub clip_high: f64,
    /// Weight β ≥ 0 of the KL term (TRL's default is 0, verl's 0.001, the paper's 0.04).
    pub beta: f64,
    /// The KL estimator.
    pub kl: Kl,
}

impl Default for Grpo {
    fn default() -> Self {
        Self { clip_low: 0.2, clip_high: 0.2, beta: 0.04, kl: Kl::default() }
    }
}

impl Grpo {
    fn kl<R: Real>(&self, t: &Token<R>) -> R {
        let k = t.ref_log_p - t.log_p;
        // Coefficients in which terms have cancelled are formed here, not by the rules of derivatives; finite, so that 0 times one is 0.
        let with_coef = |value: R, coef: R| {
            value.stop() + (t.log_p.stop() - t.log_p) * coef.clamp(-COEF_MAX, COEF_MAX).stop()
        };
        match self.kl {
            Kl::K1 => -k,
            Kl::K2 => k * k * 0.5,
            Kl::K3 => with_coef(k3(k), k.exp_m1()),
            Kl::K3Corrected => {
                let r = ratio(t);
                with_coef(r.weigh(k3(k)), r.weigh(k))
            }
            // Beyond the limits of k the value is beyond 10.
            Kl::K3Clamped => {
                let k = k.clamp(-20.0, 20.0);
                with_coef(k3(k), k.exp_m1()).min(R::lit(10.0))
            }
        }
    }
}

impl Objective for Grpo {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let loss = clipped(ratio(t), t.advantage, self.clip_low, self.clip_high);
        if self.beta == 0.0 { loss } else { loss + self.kl(t) * self.beta }
    }

    fn inputs(&self) -> &'static [Input] {
        if self.beta == 0.0 {
            OLD
        } else {
            &[Input::OldLogProbs, Input::Advantages, Input::RefLogProbs]
        }
    }

    fn check(&self) -> Result<(), Error> {
        check_clip(self.clip_low, self.clip_high)?;
        let allowed = self.beta >= 0.0 && self.beta.is_finite();
        check_parameter("beta", self.beta, allowed, "a finite number >= 0")
    }
}

/// DAPO: PPO-clip with a higher upper clip, no KL, averaged over the tokens of the whole batch. Yu et al. 2025, arXiv 2503.14476.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dapo {
    /// Clip below 1, in [0, 1].
    pub clip_low: f64,
    /// Clip above 1, ≥ 0.
    pub clip_high: f64,
}

impl Default for Dapo {
    fn default() -> Self {
        Self { clip_low: 0.2, clip_high: 0.28 }
    }
}

impl Objective for Dapo {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        clipped(ratio(t), t.advantage, self.clip_low, self.clip_high)
    }

    fn inputs(&self) -> &'static [Input] {
        OLD
    }

    fn check(&self) -> Result<(), Error> {
        check_clip(self.clip_low, self.clip_high)
    }
}

/// CISPO: −stop(min(r, 1+high)) · A · ln p: a clipped weight that never silences a token. MiniMax-M1, arXiv 2506.13585.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cispo {
    /// Clip above 1, ≥ 0. TRL's `epsilon_high` for CISPO is the ratio itself: 1 + this.
    pub clip_high: f64,
}

impl Default for Cispo {
    fn default() -> Self {
        Self { clip_high: 4.0 }
    }
}

impl Objective for Cispo {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let weight = ratio(t).min(R::lit(1.0 + self.clip_high)).stop();
        -(t.advantage * weight * t.log_p)
    }

    fn inputs(&self) -> &'static [Input] {
        OLD
    }

    fn check(&self) -> Result<(), Error> {
        check_clip_high(self.clip_high)
    }
}

/// GSPO: PPO-clip with the length-normalised ratio of the sequence, s = exp(mean ln r). Zheng et al. 2025, arXiv 2507.18071.
///
/// Each token carries s with its own gradient (s·p/stop(p), verl's form), so that under `Reduction::MeanSequences` loss and gradient
/// are those of the sequence objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gspo {
    /// Clip below 1, in [0, 1].
    pub clip_low: f64,
    /// Clip above 1, ≥ 0.
    pub clip_high: f64,
}

impl Default for Gspo {
    fn default() -> Self {
        Self { clip_low: 3e-4, clip_high: 4e-4 }
    }
}

impl Objective for Gspo {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let ratio = exp_limited(t.log_p - t.log_p.stop() + t.shared[0]);
        clipped(ratio, t.advantage, self.clip_low, self.clip_high)
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::OldLogProbs, Input::Advantages, Input::Sequences]
    }

    fn check(&self) -> Result<(), Error> {
        check_clip(self.clip_low, self.clip_high)
    }

    fn group_plan(&self) -> Option<GroupPlan> {
        Some(GroupPlan::of([Statistic::Mean.over(Over::Sequence)]))
    }

    fn step<R: Real>(&self, _: usize, t: &Token<R>) -> R {
        t.log_p - t.old_log_p
    }
}
