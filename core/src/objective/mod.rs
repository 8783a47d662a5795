//! Stage 2: an objective turns what is known of a token into its loss, and so into its gradient coefficient.
//!
//! An objective is one function over an abstract number type ([`Real`]). The library evaluates it on [`Dual`] numbers, so
//! the coefficient −∂loss/∂ln p is never written by hand and cannot disagree with the loss.
//!
//! ```
//! use surprisal::objective::{Objective, Real, Token};
//!
//! /// DFT with the weight p^power: one line, and it has a correct gradient.
//! struct Tempered { power: f64 }
//! impl Objective for Tempered {
//!     fn loss<R: Real>(&self, t: &Token<R>) -> R {
//!         -((t.log_p * self.power).exp().stop() * t.log_p)
//!     }
//! }
//! # use surprisal::{Batch, Logits, LogitsMut, Loss};
//! # let (z, mut dz) = ([1.0_f32, 2.0, 3.0], [0.0_f32; 3]);
//! let (z, dz) = (Logits::new(&z, 1, 3)?, LogitsMut::new(&mut dz, 1, 3)?);
//! Loss::new(Tempered { power: 0.5 }).forward_backward(z, &Batch::new(&[2]), dz)?;
//! # Ok::<(), surprisal::Error>(())
//! ```
//!
//! Sign convention of every table here: `coef > 0` raises ln p of the target, and
//! `dlogits[j] = coef · (p[j] − [j = target])`.

mod builtin;
mod confidence;
mod importance;
mod plan;
mod policy;
mod preference;
mod real;
mod selection;
mod talr;
mod weighted;

pub use builtin::{Builtin, Value};
pub use confidence::{Deft, Eaft};
pub use importance::{DftSequence, Flow, IwSequence, IwToken, SequenceProbability};
pub(crate) use plan::NO_ROW;
pub use plan::{GroupPlan, Over, STEPS, Scalars, Selection, Statistic, Step};
pub use policy::{Cispo, Dapo, Grpo, Gspo, Kl, Ppo, Psft};
pub use preference::Dpo;
pub use real::{Dual, Real};
pub use selection::{Rft, Rho1, SftGo};
pub use talr::{Normalize, Talr, TalrAuto, TauFrom};
pub use weighted::{Dft, Focal, FocalDetached, InfoSft, Power, Sft};

use crate::error::Error;
use crate::reduction::Reduction;

/// Extra inputs that a batch can carry by name, and an objective can ask for.
pub const EXTRA_INPUTS: usize = 4;

/// What an objective wants to know of a token besides ln p. All but the last three are the caller's, in [`Batch`](crate::Batch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Input {
    /// ln p of each target under a frozen reference model.
    RefLogProbs,
    /// ln p of each target under the policy that sampled it.
    OldLogProbs,
    /// Advantage of each token.
    Advantages,
    /// Group id of each token.
    Groups,
    /// Cumulative sequence offsets.
    Sequences,
    /// Preference pairs.
    Pairs,
    /// Keep flag of each sequence.
    Keep,
    /// A per-token input of the caller's own, by the name that [`Batch::extra`](crate::Batch::extra) gave it. The objective finds it in
    /// [`Token::extra`], in the order in which it asks; at most [`EXTRA_INPUTS`].
    Extra(&'static str),
    /// Entropy of the row's softmax, which the library computes: another walk over the row while it is in cache.
    Entropy,
    /// Σp² of the row's softmax, which the library computes: as the entropy, at no more cost with it.
    SumSquares,
}

impl Input {
    /// Its name, as that of the argument.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RefLogProbs => "ref_log_probs",
            Self::OldLogProbs => "old_log_probs",
            Self::Advantages => "advantages",
            Self::Groups => "groups",
            Self::Sequences => "cu_seqlens",
            Self::Pairs => "pairs",
            Self::Keep => "keep",
            Self::Extra(name) => name,
            Self::Entropy => "entropy",
            Self::SumSquares => "sum_squares",
        }
    }
}

/// What an objective sees of one token. Inputs that the caller did not give are 0; an objective names those it needs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Token<R> {
    /// ln p of the target: the variable. At least −1e300, so that an impossible target takes its limit instead of 0·∞.
    pub log_p: R,
    /// ln p under the reference model.
    pub ref_log_p: R,
    /// ln p under the policy that sampled the token.
    pub old_log_p: R,
    /// Advantage.
    pub advantage: R,
    /// Entropy of the row in nats, as a constant: no gradient flows through it.
    pub entropy: R,
    /// Σp² of the row, as a constant.
    pub sum_squares: R,
    /// The extra inputs, in the order in which [`Objective::inputs`] asks for them.
    pub extra: [R; EXTRA_INPUTS],
    /// What the steps of the objective's plan left for the token; 0 before that, and without one.
    pub shared: [R; STEPS],
    /// In a step over pairs: what the steps before left for the partner.
    pub partner: [R; STEPS],
    /// In a step over pairs: 1 for the chosen sequence, −1 for the rejected one.
    pub side: R,
}

impl<R: Real> Token<R> {
    /// A token of which nothing is known but ln p of its target.
    pub fn new(log_p: R) -> Self {
        let zero = R::lit(0.0);
        Self {
            log_p,
            ref_log_p: zero,
            old_log_p: zero,
            advantage: zero,
            entropy: zero,
            sum_squares: zero,
            extra: [zero; EXTRA_INPUTS],
            shared: [zero; STEPS],
            partner: [zero; STEPS],
            side: zero,
        }
    }
}

/// What a token contributes: the output of stage 2 and the input of stage 3.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct TokenTerm {
    /// The token's weighted loss before the reduction divides it.
    pub loss: f64,
    /// −∂(reduced loss)/∂ln p, all weights, the reduction and [`Loss::grad_scale`](crate::Loss::grad_scale) included.
    pub coef: f64,
    /// What multiplies the dense extras (label smoothing, z-loss) in the gradient of the row: token weight, reduction, `grad_scale`.
    pub dense: f64,
}

/// An objective: what a token's surprisal costs.
///
/// One function of the token is enough. Objectives that must know the sequence or the batch first declare a [`GroupPlan`], with the value of each of
/// its steps: three functions, and it runs on CPU and GPU.
///
/// ```
/// use surprisal::objective::{GroupPlan, Input, Objective, Over, Real, Statistic, Token};
///
/// /// DFT with one weight per sequence: its mean probability.
/// struct MeanProbability;
/// impl Objective for MeanProbability {
///     fn loss<R: Real>(&self, t: &Token<R>) -> R {
///         -(t.shared[0].stop() * t.log_p)
///     }
///     fn inputs(&self) -> &'static [Input] {
///         &[Input::Sequences]
///     }
///     fn group_plan(&self) -> Option<GroupPlan> {
///         Some(GroupPlan::of([Statistic::Mean.over(Over::Sequence)]))
///     }
///     fn step<R: Real>(&self, _: usize, t: &Token<R>) -> R {
///         t.log_p.exp()
///     }
/// }
/// ```
pub trait Objective: Sync {
    /// Loss of one token, before token weights, dense extras and reduction.
    fn loss<R: Real>(&self, token: &Token<R>) -> R;

    /// What must be known of each token.
    fn inputs(&self) -> &'static [Input] {
        &[]
    }

    /// The reduction of a loss that is told no other.
    fn reduction(&self) -> Reduction {
        Reduction::MeanTokens
    }

    /// Checks the objective's own parameters.
    ///
    /// # Errors
    /// [`Error::Parameter`] that names the first one out of range.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// What has to be found out of a whole sequence or batch before a token can be weighed; nothing for per-token objectives.
    fn group_plan(&self) -> Option<GroupPlan> {
        None
    }

    /// The value of a step of the plan, by its index: what the statistic is taken of.
    fn step<R: Real>(&self, _index: usize, _token: &Token<R>) -> R {
        R::lit(0.0)
    }

    /// The temperature that the plan found, for the report, from any token of the batch.
    fn temperature<R: Real>(&self, _token: &Token<R>) -> Option<R> {
        None
    }
}

/// The least ln p that an objective sees: finite, so that weights which vanish there win over it.
pub(crate) const LOG_P_MIN: f64 = -1e300;

pub(crate) fn floor_log_p(log_p: f64) -> f64 {
    if log_p < LOG_P_MIN { LOG_P_MIN } else { log_p }
}

impl<O: Objective> Objective for &O {
    fn loss<R: Real>(&self, token: &Token<R>) -> R {
        (**self).loss(token)
    }

    fn inputs(&self) -> &'static [Input] {
        (**self).inputs()
    }

    fn reduction(&self) -> Reduction {
        (**self).reduction()
    }

    fn check(&self) -> Result<(), Error> {
        (**self).check()
    }

    fn group_plan(&self) -> Option<GroupPlan> {
        (**self).group_plan()
    }

    fn step<R: Real>(&self, index: usize, token: &Token<R>) -> R {
        (**self).step(index, token)
    }

    fn temperature<R: Real>(&self, token: &Token<R>) -> Option<R> {
        (**self).temperature(token)
    }
}
