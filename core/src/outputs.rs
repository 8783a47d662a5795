//! What a call writes per token when asked, and the workspace of group-coupled objectives: the caller's slices, by name.

use crate::entry;
use crate::error::{Argument, Error, check_len};
use crate::objective::TokenTerm;
use crate::stats::{RowStats, Softmax};

/// Per-token outputs of the same pass; each slice has one entry a row.
///
/// Ignored rows get [`RowStats::EMPTY`], a zero term, 0 and, for the argmax, `u32::MAX`. Objectives whose [`Scope`](crate::objective::Scope) is a
/// sequence or the batch need `stats` and `terms` as workspace.
///
/// ```
/// use surprisal::{Batch, Logits, Loss, Outputs, objective::Sft};
///
/// let (z, mut nll) = ([0.0_f32; 8], [0.0; 2]);
/// let outputs = Outputs::new().nll(&mut nll);
/// Loss::new(Sft).forward_with(Logits::new(&z, 2, 4)?, &Batch::new(&[3, 1]), outputs)?;
/// assert_eq!(nll, [4.0_f32.ln(); 2]);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Outputs<'a> {
    pub(crate) stats: Option<&'a mut [RowStats]>,
    pub(crate) terms: Option<&'a mut [TokenTerm]>,
    pub(crate) nll: Option<&'a mut [f32]>,
    pub(crate) log_probs: Option<&'a mut [f32]>,
    pub(crate) entropy: Option<&'a mut [f32]>,
    pub(crate) weights: Option<&'a mut [f32]>,
    pub(crate) argmax: Option<&'a mut [u32]>,
    pub(crate) correct: Option<&'a mut [u8]>,
    pub(crate) scratch: Option<&'a mut [f32]>,
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

            /// f32 workspace, so that no exponential is computed twice: a row (`vocab` entries) for each thread that works on the call.
            ///
            /// It speeds up 16-bit gradients (f32 ones need none) and changes no bit of a result. Threads for which there is no row do
            /// without, and so do all beyond 64. What it holds afterwards means nothing.
            ///
            /// ```
            /// use surprisal::{Batch, Logits, LogitsMut, Loss, Outputs, bf16, objective::Sft};
            ///
            /// let (z, mut dz) = ([bf16::ONE; 8], [bf16::ZERO; 8]);
            /// let mut scratch = [0.0; 4];
            /// let (logits, dlogits) = (Logits::new(&z, 2, 4)?, LogitsMut::new(&mut dz, 2, 4)?);
            /// let outputs = Outputs::new().scratch(&mut scratch);
            /// Loss::new(Sft).forward_backward_with(logits, &Batch::new(&[3, 1]), dlogits, outputs)?;
            /// assert_eq!(dz[0].to_f32(), 0.125);
            /// # Ok::<(), surprisal::Error>(())
            /// ```
            #[must_use]
            pub fn scratch(mut self, rows: &'a mut [f32]) -> Self {
                self.scratch = Some(rows);
                self
            }

            pub(crate) fn check(&self, rows: usize, vocab: usize) -> Result<(), Error> {
                $(if let Some(slice) = &self.$name {
                    check_len(Argument::$argument, slice.len(), rows)?;
                })*
                match self.scratch.as_ref().map(|scratch| scratch.len()) {
                    Some(len) if len < vocab => check_len(Argument::Scratch, len, vocab),
                    _ => Ok(()),
                }
            }

            /// The outputs of the rows before `row`, and of the others.
            #[cfg(feature = "rayon")]
            pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
                $(let $name = self.$name.map(|slice| slice.split_at_mut(row.min(slice.len()))).unzip();)*
                (Self { $($name: $name.0,)* scratch: None }, Self { $($name: $name.1,)* scratch: None })
            }

            /// The same outputs, borrowed.
            pub(crate) fn reborrow(&mut self) -> Outputs<'_> {
                Outputs { $($name: self.$name.as_deref_mut(),)* scratch: None }
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
    /// Entropy of the row, in nats. Costs a second pass over the row while it is in cache.
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
    /// Writes what stage 1 knows of a row.
    #[inline]
    pub(crate) fn put_stats(&mut self, row: usize, softmax: &Softmax) {
        put(&mut self.stats, row, || softmax.stats);
        put(&mut self.nll, row, || softmax.nll() as f32);
        put(&mut self.log_probs, row, || softmax.log_prob() as f32);
        put(&mut self.entropy, row, || softmax.entropy() as f32);
        put(&mut self.correct, row, || u8::from(softmax.stats.is_correct()));
    }

    /// Writes what stage 2 knows of a row.
    #[inline]
    pub(crate) fn put_term(&mut self, row: usize, term: &TokenTerm, weight: f64) {
        put(&mut self.terms, row, || *term);
        put(&mut self.weights, row, || weight as f32);
    }

    #[inline]
    pub(crate) fn put_argmax(&mut self, row: usize, argmax: impl FnOnce() -> usize) {
        put(&mut self.argmax, row, || argmax() as u32);
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
