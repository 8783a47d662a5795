//! What a caller lends to a call: room between the stages for group objectives, and rows of f32 that make 16-bit gradients faster.

use crate::error::{Argument, Error, check_len};
use crate::objective::{Scalars, TokenTerm};
use crate::stats::RowStats;

/// Memory that a call may use; what it holds afterwards means nothing.
///
/// Group objectives need [`Workspace::stats`], [`Workspace::terms`] and [`Workspace::scalars`], an entry a row each; per-token ones
/// leave them alone. Any call may be lent [`Workspace::scratch`]. `OwnedWorkspace` (feature `alloc`) allocates it all.
///
/// ```
/// use surprisal::objective::{DftSequence, Scalars, TokenTerm};
/// use surprisal::{Batch, Logits, Loss, Outputs, RowStats, Workspace};
///
/// let (z, batch) = ([0.5_f32; 8], Batch::new(&[3, 1]).sequences(&[0, 2]));
/// let (mut stats, mut terms) = ([RowStats::EMPTY; 2], [TokenTerm::default(); 2]);
/// let mut scalars = [Scalars::DROPPED; 2];
/// let workspace = Workspace::none().stats(&mut stats).terms(&mut terms).scalars(&mut scalars);
/// let logits = Logits::new(&z, 2, 4)?;
/// let report = Loss::new(DftSequence::default()).forward_with(logits, &batch, Outputs::new(), workspace)?;
/// assert!((report.loss - 0.25 * 4.0_f64.ln()).abs() < 1e-7);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Workspace<'a> {
    pub(crate) stats: &'a mut [RowStats],
    pub(crate) terms: &'a mut [TokenTerm],
    pub(crate) scalars: &'a mut [Scalars],
    pub(crate) scratch: &'a mut [f32],
}

/// How much a [`Workspace`] wants, in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkspaceLen {
    /// Of [`Workspace::stats`].
    pub stats: usize,
    /// Of [`Workspace::terms`].
    pub terms: usize,
    /// Of [`Workspace::scalars`].
    pub scalars: usize,
    /// Of [`Workspace::scratch`], for each thread that works on the call.
    pub scratch: usize,
}

impl<'a> Workspace<'a> {
    /// Lends nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// What any objective could want for a call of this shape.
    #[must_use]
    pub const fn len(rows: usize, vocab: usize) -> WorkspaceLen {
        WorkspaceLen { stats: rows, terms: rows, scalars: rows, scratch: vocab }
    }

    /// Statistics, an entry a row.
    #[must_use]
    pub fn stats(mut self, stats: &'a mut [RowStats]) -> Self {
        self.stats = stats;
        self
    }

    /// Terms, an entry a row.
    #[must_use]
    pub fn terms(mut self, terms: &'a mut [TokenTerm]) -> Self {
        self.terms = terms;
        self
    }

    /// Scalars of the plan, an entry a row.
    #[must_use]
    pub fn scalars(mut self, scalars: &'a mut [Scalars]) -> Self {
        self.scalars = scalars;
        self
    }

    /// f32 entries, so that no exponential is computed twice: a row (`vocab` entries) for each thread that works on the call.
    ///
    /// It makes 16-bit gradients faster and changes no bit of a result. f32 gradients need none, nor do 16-bit ones of up to 4096 classes, whose
    /// exponentials wait on the stack (32 KiB). Threads for which there is no row do without, and so do all beyond 64.
    ///
    /// ```
    /// use surprisal::{Batch, Logits, LogitsMut, Loss, Outputs, Workspace, bf16, objective::Sft};
    ///
    /// let (z, mut dz) = ([bf16::ONE; 8], [bf16::ZERO; 8]);
    /// let mut scratch = [0.0; 4];
    /// let (logits, dlogits) = (Logits::new(&z, 2, 4)?, LogitsMut::new(&mut dz, 2, 4)?);
    /// let (batch, workspace) = (Batch::new(&[3, 1]), Workspace::none().scratch(&mut scratch));
    /// Loss::new(Sft).forward_backward_with(logits, &batch, dlogits, Outputs::new(), workspace)?;
    /// assert_eq!(dz[0].to_f32(), 0.125);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    #[must_use]
    pub fn scratch(mut self, scratch: &'a mut [f32]) -> Self {
        self.scratch = scratch;
        self
    }

    /// Checks what a call of a group objective or not needs.
    pub(crate) fn check(&self, rows: usize, vocab: usize, grouped: bool) -> Result<(), Error> {
        match self.scratch.len() {
            len if len > 0 && len < vocab => check_len(Argument::Scratch, len, vocab)?,
            _ => {}
        }
        let lens = [self.stats.len(), self.terms.len(), self.scalars.len()];
        if !grouped || rows == 0 {
            return Ok(());
        }
        if lens == [0; 3] {
            return Err(Error::Missing(Argument::Workspace));
        }
        lens.into_iter().try_for_each(|len| {
            let enough = len >= rows;
            check_len(Argument::Workspace, if enough { rows } else { len }, rows)
        })
    }

    /// As many rows as a call has, of those that were lent.
    pub(crate) fn first(self, rows: usize) -> Self {
        Self {
            stats: self.stats.get_mut(..rows).unwrap_or_default(),
            terms: self.terms.get_mut(..rows).unwrap_or_default(),
            scalars: self.scalars.get_mut(..rows).unwrap_or_default(),
            ..self
        }
    }
}

/// A [`Workspace`] that allocates, and grows with what it is asked for.
///
/// ```
/// use surprisal::{Batch, Logits, Loss, Outputs, OwnedWorkspace, objective::DftSequence};
///
/// let (z, batch) = ([0.5_f32; 8], Batch::new(&[3, 1]).sequences(&[0, 2]));
/// let mut workspace = OwnedWorkspace::new();
/// let logits = Logits::new(&z, 2, 4)?;
/// Loss::new(DftSequence::default()).forward_with(logits, &batch, Outputs::new(), workspace.lend(2, 4))?;
/// # Ok::<(), surprisal::Error>(())
/// ```
#[cfg(feature = "alloc")]
#[derive(Clone, Debug, Default)]
pub struct OwnedWorkspace {
    stats: alloc::vec::Vec<RowStats>,
    terms: alloc::vec::Vec<TokenTerm>,
    scalars: alloc::vec::Vec<Scalars>,
    scratch: alloc::vec::Vec<f32>,
}

#[cfg(feature = "alloc")]
impl OwnedWorkspace {
    /// Without any memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Enough for a call of this shape on one thread; allocates where it has not lent as much before.
    pub fn lend(&mut self, rows: usize, vocab: usize) -> Workspace<'_> {
        self.lend_to(1, rows, vocab)
    }

    /// Enough for a call of this shape on so many threads.
    pub fn lend_to(&mut self, threads: usize, rows: usize, vocab: usize) -> Workspace<'_> {
        fn grown<T: Clone>(entries: &mut alloc::vec::Vec<T>, len: usize, value: T) -> &mut [T] {
            if entries.len() < len {
                entries.resize(len, value);
            }
            entries
        }
        let len = Workspace::len(rows, vocab);
        let scratch = len.scratch.saturating_mul(threads);
        Workspace {
            stats: grown(&mut self.stats, len.stats, RowStats::EMPTY),
            terms: grown(&mut self.terms, len.terms, TokenTerm::default()),
            scalars: grown(&mut self.scalars, len.scalars, Scalars::DROPPED),
            scratch: grown(&mut self.scratch, scratch, 0.0),
        }
    }
}
