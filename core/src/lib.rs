//! **surprisal**: the loss layer of language-model fine-tuning.
//!
//! What a trainer needs between the logits and the backward pass: stable log-softmax, a weight per token, the weighted negative
//! log-likelihood, and its gradient with respect to the logits. *Surprisal* is the information-theory word for −ln p; the library is about what
//! weight a token's surprisal gets.
//!
//! ```text
//! logits [rows × vocab] ──► stats ──► objective ──► grad ──► dlogits [rows × vocab]
//! targets [rows] ─────────►  │            │
//!                         RowStats    TokenTerm {loss, coef}
//!                         a monoid    a function of ln p
//! ```
//!
//! 1. **stats**: one pass over a row gives [`RowStats`], which merge: blocks, vocabulary shards and devices may cut rows as they like.
//! 2. **objective**: ln p of the target and the caller's side inputs give [`TokenTerm`](objective::TokenTerm), with
//!    `coef = −∂loss/∂ln p`. An [`Objective`](objective::Objective) is one function; its derivative is the library's business.
//! 3. **grad**: `dlogits[j] = coef · (p[j] − [j = target])`.
//!
//! [`Loss`] composes them over a [`Batch`], in one pass unless the objective is a group objective.
//!
//! # Notation
//! R rows (token positions, B·T flattened), V vocab, z logits, t target, p = softmax(z), m = max z, lse = ln Σ exp(z), nll = −ln p_t, w token weight, coef = −∂loss/∂ln p_t including weight and reduction.
//!
//! # Features
//! * `std` (default): finds the SIMD level of the machine at run time. Without it the crate is `no_std` without `alloc` and uses the level of the
//!   compile target, or the one that the caller gives ([`Loss::level`]).
//! * `alloc`: `OwnedWorkspace`, a workspace that allocates itself.
//! * `rayon`: calls over many elements run on the current rayon pool. Results have the same bits for any number of threads.
//! * `reference`: module `reference`, the f64 oracle and the gradient checker.
//!
//! # Memory
//! The caller owns every buffer; nothing is allocated, and no state is kept. In-place calls need no memory, separate ones the output.
#![no_std]
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod backend;
mod batch;
pub mod diagnose;
mod element;
mod entry;
mod error;
mod grad;
mod ids;
#[allow(unreachable_pub, reason = "kernel types stand in the signatures of sealed traits")]
mod kernel;
mod loss;
mod math;
mod matrix;
pub mod objective;
pub mod params;
mod reduction;
#[cfg(feature = "reference")]
pub mod reference;
mod report;
mod rows;
mod softmax;
mod stats;
mod target;

pub use batch::{Batch, Pair};
pub use element::Element;
pub use error::{Argument, Error};
pub use fearless_simd::Level;
pub use half::{bf16, f16};
pub use ids::Ids;
#[cfg(feature = "alloc")]
pub use loss::OwnedWorkspace;
pub use loss::{ExtrasScale, Loss, Outputs, Workspace, WorkspaceLen};
pub use matrix::{Logits, LogitsMut, default_level};
pub use reduction::{Denominator, Reduction};
pub use report::LossReport;
pub use softmax::{
    Softmax, entropy, log_softmax, log_softmax_in_place, log_sum_exp, token_log_probs,
};
pub use stats::RowStats;
