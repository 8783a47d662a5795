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
//!         -((t.log_p * R::lit(self.power)).exp().stop() * t.log_p)
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
mod group;
mod importance;
mod order;
mod policy;
mod preference;
mod real;
mod selection;
mod talr;
mod weighted;

pub use builtin::{Builtin, Value};
pub use group::Group;
pub(crate) use group::{floor_log_p, side_log_p};
pub use importance::{DftSequence, Flow, IwSequence, IwToken};
pub use policy::{Cispo, Dapo, Grpo, Gspo, Kl, Ppo, Psft};
pub use preference::Dpo;
pub use real::{Dual, Real};
pub use selection::{Rft, Rho1, SftGo};
pub use talr::{Normalize, Talr, TalrAuto, TauFrom};
pub use weighted::{Dft, Focal, FocalDetached, InfoSft, Power, Sft};

use crate::error::{Argument, Error};

/// What an objective sees of one token. Inputs that the caller did not give are 0; an objective names those it needs.
#[derive(Clone, Copy, Debug)]
pub struct Token<R> {
    /// ln p of the target: the variable. At least −1e300, so that an impossible target takes its limit instead of 0·∞.
    pub log_p: R,
    /// ln p under the reference model.
    pub ref_log_p: R,
    /// ln p under the policy that sampled the token.
    pub old_log_p: R,
    /// Advantage.
    pub advantage: R,
    /// The two scalars that [`Objective::group_pass`] left for the token.
    pub group: [R; 2],
}

/// How much of the batch an objective must know before it can weigh a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The token alone: statistics, loss and gradient in one pass over the logits.
    Token,
    /// All tokens of its sequence (or pair of sequences): two passes, with a workspace.
    Sequence,
    /// All tokens of the batch: two passes, with a workspace.
    Batch,
}

/// What a token contributes: the output of stage 2 and the input of stage 3.
///
/// Also the workspace of the group pass, which leaves its two scalars in `loss` and `coef` until the term is formed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct TokenTerm {
    /// The token's weighted loss before the reduction divides it.
    pub loss: f64,
    /// −∂(reduced loss)/∂ln p, all weights and the reduction included.
    pub coef: f64,
    /// What multiplies the dense extras (label smoothing, z-loss) of the row: token weight and reduction.
    pub dense: f64,
}

impl TokenTerm {
    /// A term that holds the two scalars of a group pass.
    #[must_use]
    pub const fn scalars(first: f64, second: f64) -> Self {
        Self { loss: first, coef: second, dense: 0.0 }
    }
}

/// An objective: what a token's surprisal costs.
pub trait Objective: Sync {
    /// Loss of one token, before token weights, dense extras and reduction.
    fn loss<R: Real>(&self, token: &Token<R>) -> R;

    /// What must be known before a token can be weighed.
    fn scope(&self) -> Scope {
        Scope::Token
    }

    /// The side inputs that the batch must have.
    fn inputs(&self) -> &'static [Argument] {
        &[]
    }

    /// Checks the objective's own parameters.
    ///
    /// # Errors
    /// [`Error::Parameter`] that names the first one out of range.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Between statistics and terms, for scopes beyond the token: leaves two scalars per active row in `terms`
    /// ([`TokenTerm::scalars`]), which come back as [`Token::group`]. `terms` has one entry a row and may serve as scratch before.
    fn group_pass(&self, group: &Group<'_>, terms: &mut [TokenTerm]) {
        let _ = (group, terms);
    }

    /// Whether a token with these scalars takes part at all. One that does not is treated like an ignored row.
    fn counts(&self, scalars: &TokenTerm) -> bool {
        let _ = scalars;
        true
    }
}
