//! What a call writes per token when asked: the caller's slices, by name.

use crate::entry;
use crate::error::{Argument, Error, check_len};
use crate::objective::TokenTerm;
use crate::stats::{RowStats, Softmax};

/// Per-token outputs of the same pass; each slice has one entry a row.
///
/// Ignored rows get [`RowStats::EMPTY`], a zero term, 0 and, for the argmax, `u32::MAX`. Most cost nothing but the write; `entropy` another walk
/// over each row with a second exponential for each class, `argmax` a scalar walk.
///
/// ```
/// use surprisal::{Batch, Logits, Loss, Outputs, Workspace, objective::Sft};
///
/// let (z, mut nll) = ([0.0_f32; 8], [0.0; 2]);
/// let outputs = Outputs::new().nll(&mut nll);
/// let batch = Batch::new(&[3, 1]);
/// Loss::new(Sft).forward_with(Logits::new(&z, 2, 4)?, &batch, outputs, Workspace::none())?;
/// assert_eq!(nll, [4.0_f32.ln(); 2]);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Outputs<'a> {
    pub(crate) stats: Option<&'a mut [RowStats]>,
    pub(crate) terms: Option<&'a mut [TokenTerm]>,
    pub(crate) nll: Option<&'a mut [f32]>,
    pub(crate) log_probs: Option<&'a mut [f32]>,
    pub(crate) losses: Option<&'a mut [f32]>,
    pub(crate) entropy: Option<&'a mut [f32]>,
    pub(crate) weights: Option<&'a mut [f32]>,
    pub(crate) argmax: Option<&'a mut [u32]>,
    pub(crate) correct: Option<&'a mut [u8]>,
}

macro_rules! outputs {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $argument:ident),* $(,)?) => {
        impl<'a> Outputs<'a> {
            /// Asks for nothing.
            #[must_use]
            pub fn new() -> Self {
                Self::default()
            }

            $($(#[$doc])*
            #[must_use]
            pub fn $name(mut self, slice: &'a mut [$type]) -> Self {
                self.$name = Some(slice);
                self
            })*

            /// Checks that every slice has an entry for each of so many rows.
            ///
            /// # Errors
            /// [`Error::Length`].
            pub fn check(&self, rows: usize) -> Result<(), Error> {
                $(if let Some(slice) = &self.$name {
                    check_len(Argument::$argument, slice.len(), rows)?;
                })*
                Ok(())
            }

            /// The outputs of the rows before `row`, and of the others: for calls on ranges of a batch's rows.
            #[must_use]
            pub fn split_at(self, row: usize) -> (Self, Self) {
                $(let $name = self.$name.map(|slice| slice.split_at_mut(row.min(slice.len()))).unzip();)*
                (Self { $($name: $name.0,)* }, Self { $($name: $name.1,)* })
            }

            /// The same outputs, borrowed.
            #[must_use]
            pub fn reborrow(&mut self) -> Outputs<'_> {
                Outputs { $($name: self.$name.as_deref_mut(),)* }
            }

            fn len(&self) -> usize {
                [$(self.$name.as_ref().map_or(0, |slice| slice.len()),)*].into_iter().max().unwrap_or(0)
            }
        }
    };
}

outputs! {
    /// Row statistics.
    stats: RowStats => Stats,
    /// Loss and gradient coefficient.
    terms: TokenTerm => Terms,
    /// −ln p of the target, in nats.
    nll: f32 => Nll,
    /// ln p of the target, in nats.
    log_probs: f32 => LogProbs,
    /// The token's weighted loss before the reduction divides it, as [`TokenTerm::loss`]; also 0 for a token that the objective drops.
    losses: f32 => Losses,
    /// Entropy of the row, in nats.
    entropy: f32 => Entropy,
    /// The objective's weight −∂loss/∂ln p, without token weight and reduction: p for DFT, 1 for SFT.
    weights: f32 => Weights,
    /// Index of the largest logit; the first among equals.
    argmax: u32 => Argmax,
    /// 1 where the target has the largest logit (ties count), else 0.
    correct: u8 => Correct,
}

/// Writes one entry where the slice was asked for; only then is it computed.
fn put<T>(slice: &mut Option<&mut [T]>, row: usize, value: impl FnOnce() -> T) {
    if let Some(slice) = slice {
        entry::write(slice, row, value());
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
impl Outputs<'_> {
    /// Whether somebody asks for what the softmaxes of rows tell.
    pub(crate) fn wants_softmax(&self) -> bool {
        let Self { nll, log_probs, entropy, correct, .. } = self;
        nll.is_some() || log_probs.is_some() || entropy.is_some() || correct.is_some()
    }

    /// Writes what stage 1 knows of a row.
    #[inline]
    pub(crate) fn put_stats(
        &mut self,
        row: usize,
        stats: &RowStats,
        softmax: &Softmax,
        argmax: usize,
    ) {
        put(&mut self.argmax, row, || argmax as u32);
        put(&mut self.stats, row, || *stats);
        put(&mut self.nll, row, || softmax.nll as f32);
        put(&mut self.log_probs, row, || softmax.log_prob() as f32);
        put(&mut self.entropy, row, || softmax.entropy() as f32);
        put(&mut self.correct, row, || u8::from(softmax.is_correct()));
    }

    pub(crate) fn put_nll(&mut self, row: usize, value: f32) {
        put(&mut self.nll, row, || value);
    }

    /// Writes what stage 2 knows of a row.
    #[inline]
    pub(crate) fn put_term(&mut self, row: usize, term: &TokenTerm, weight: f64) {
        put(&mut self.terms, row, || *term);
        put(&mut self.losses, row, || term.loss as f32);
        put(&mut self.weights, row, || weight as f32);
    }

    /// Writes the entries of ignored rows into all of them: for rows that a caller leaves out of its calls.
    pub fn fill_ignored(&mut self) {
        (0..self.len()).for_each(|row| self.put_ignored(row));
    }

    /// Writes the entries of an ignored row.
    pub(crate) fn put_ignored(&mut self, row: usize) {
        put(&mut self.stats, row, || RowStats::EMPTY);
        put(&mut self.nll, row, || 0.0);
        put(&mut self.log_probs, row, || 0.0);
        put(&mut self.entropy, row, || 0.0);
        put(&mut self.correct, row, || 0);
        put(&mut self.argmax, row, || u32::MAX);
        self.put_term(row, &TokenTerm::default(), 0.0);
    }
}
