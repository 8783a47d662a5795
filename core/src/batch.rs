//! What the caller knows of each row: targets and side inputs, by name. Nothing is positional, nothing is copied.

use core::ops::Range;

use crate::entry;
use crate::error::{Argument, Error, check_len};
use crate::ids::{Ids, Sequences};
use crate::objective::{EXTRA_INPUTS, Input, floor_log_p};
use crate::reduction::Denominator;

/// A preference pair: two sequences of the batch, by their index in `cu_seqlens`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Pair {
    /// The preferred sequence.
    pub chosen: usize,
    /// The other one.
    pub rejected: usize,
}

/// Targets and side inputs of a batch, one entry a row unless said otherwise.
///
/// A row is a token position (B·T flattened) and its target the id that the position predicts: already aligned, unlike
/// Hugging Face's unshifted `labels`. A row whose target is `ignore_index` has loss 0 and gradient exactly 0, its logits
/// are not read, and it counts nowhere. Entries of side inputs on ignored rows are not looked at.
///
/// ```
/// # use surprisal::Batch;
/// let batch = Batch::new(&[4, -100, 2]).ignore_index(-100).token_weights(&[1.0, 0.0, 0.5]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub(crate) targets: Ids<'a>,
    pub(crate) ignore_index: Option<i64>,
    pub(crate) token_weights: Option<&'a [f32]>,
    pub(crate) ref_log_probs: Option<&'a [f32]>,
    pub(crate) old_log_probs: Option<&'a [f32]>,
    pub(crate) advantages: Option<&'a [f32]>,
    pub(crate) groups: Option<&'a [u32]>,
    pub(crate) sequences: Option<Sequences<'a>>,
    pub(crate) pairs: Option<&'a [Pair]>,
    pub(crate) keep: Option<&'a [bool]>,
    extra: [Option<(&'static str, &'a [f32])>; EXTRA_INPUTS],
    /// The first extra input that found no room.
    no_room: Option<&'static str>,
    pub(crate) denominator: Option<Denominator<'a>>,
    /// First row and end of the rows that a call works on; all without.
    row_range: Option<(usize, usize)>,
    /// Where the arrays hold the rows of a part alone: its first row and end, and the rows of the whole batch.
    part: Option<(usize, usize, usize)>,
}

impl<'a> Batch<'a> {
    /// A batch with these target ids and nothing else. No id is ignored until [`Batch::ignore_index`] names one.
    #[must_use]
    pub fn new(targets: impl Into<Ids<'a>>) -> Self {
        Self {
            targets: targets.into(),
            ignore_index: None,
            token_weights: None,
            ref_log_probs: None,
            old_log_probs: None,
            advantages: None,
            groups: None,
            sequences: None,
            pairs: None,
            keep: None,
            extra: [None; EXTRA_INPUTS],
            no_room: None,
            denominator: None,
            row_range: None,
            part: None,
        }
    }

    /// The target id that marks a row to skip (−100 by convention).
    #[must_use]
    pub fn ignore_index(mut self, id: i64) -> Self {
        self.ignore_index = Some(id);
        self
    }

    /// Weight of each token, ≥ 0 and finite; multiplies loss and gradient of any objective.
    #[must_use]
    pub fn token_weights(mut self, weights: &'a [f32]) -> Self {
        self.token_weights = Some(weights);
        self
    }

    /// ln p of each target under a frozen reference model; at most 1 (a negative log-likelihood by mistake is refused), −inf is allowed.
    #[must_use]
    pub fn ref_log_probs(mut self, log_probs: &'a [f32]) -> Self {
        self.ref_log_probs = Some(log_probs);
        self
    }

    /// ln p of each target under the policy that sampled it (or a snapshot of the model); as [`Batch::ref_log_probs`].
    #[must_use]
    pub fn old_log_probs(mut self, log_probs: &'a [f32]) -> Self {
        self.old_log_probs = Some(log_probs);
        self
    }

    /// Advantage of each token.
    #[must_use]
    pub fn advantages(mut self, advantages: &'a [f32]) -> Self {
        self.advantages = Some(advantages);
        self
    }

    /// Group id of each token, below the number of rows (SFT-GO).
    #[must_use]
    pub fn groups(mut self, groups: &'a [u32]) -> Self {
        self.groups = Some(groups);
        self
    }

    /// Sequences as cumulative row offsets: `[0, …, rows]`, one more than there are sequences (`cu_seqlens`).
    #[must_use]
    pub fn sequences(mut self, cu_seqlens: impl Into<Ids<'a>>) -> Self {
        self.sequences = Some(Sequences(cu_seqlens.into()));
        self
    }

    /// Preference pairs over the sequences.
    #[must_use]
    pub fn pairs(mut self, pairs: &'a [Pair]) -> Self {
        self.pairs = Some(pairs);
        self
    }

    /// Keep flag of each sequence (rejection sampling).
    #[must_use]
    pub fn keep(mut self, keep: &'a [bool]) -> Self {
        self.keep = Some(keep);
        self
    }

    /// A per-token input of your own, finite, for objectives of your own that ask for it by this name ([`Input::Extra`]); up to
    /// [`EXTRA_INPUTS`].
    #[must_use]
    pub fn extra(mut self, name: &'static str, values: &'a [f32]) -> Self {
        let mut slots = self.extra.iter_mut();
        match slots.find(|slot| slot.is_none_or(|(known, _)| known == name)) {
            Some(slot) => *slot = Some((name, values)),
            None => self.no_room = self.no_room.or(Some(name)),
        }
        self
    }

    /// Works on these rows only. Logits, statistics, terms and outputs then have one row (entry) for each of them, while targets, side inputs
    /// and sequences stay those of the whole batch: so a caller's threads share a batch, and their reports add up
    /// ([`LossReport::merge`](crate::LossReport::merge)).
    ///
    /// A call reads, checks and writes the entries of its own rows and no others, in any array (`cu_seqlens` aside), so its cost is that of its
    /// rows. What a mean must know of the whole batch is counted once and handed in ([`Batch::denominator`]); `Sum`, `By` and `MeanPairs` need
    /// nothing. Group objectives take ranges in stages 1 and 3, and the whole batch in between.
    ///
    /// ```
    /// use surprisal::{Batch, Logits, Loss, objective::Sft};
    ///
    /// let (z, batch, loss) = ([0.0_f32; 12], Batch::new(&[3, 1, 0]), Loss::new(Sft));
    /// let whole = batch.denominator(loss.denominator(&batch, &mut [])?);
    /// let a = loss.forward(Logits::new(&z[..4], 1, 4)?, &whole.row_range(0..1))?;
    /// let b = loss.forward(Logits::new(&z[4..], 2, 4)?, &whole.row_range(1..3))?;
    /// assert_eq!(a.merge(b).loss, loss.forward(Logits::new(&z, 3, 4)?, &batch)?.loss);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    #[must_use]
    pub fn row_range(mut self, rows: Range<usize>) -> Self {
        self.row_range = Some((rows.start, rows.end));
        self
    }

    /// As [`Batch::row_range`] of a batch of `rows_total` rows, for arrays of an entry a row that hold the entries of these rows alone: where other
    /// threads are still writing the others. Sequences, pairs and keep flags stay those of the whole batch. [`Batch::row_range`] narrows it further.
    #[must_use]
    pub fn part_of(mut self, rows: Range<usize>, rows_total: usize) -> Self {
        self.part = Some((rows.start, rows.end, rows_total));
        self.row_range(rows)
    }

    /// The denominators of the whole batch, for calls on ranges of its rows: from [`Loss::denominator`](crate::Loss::denominator) of the same loss.
    #[must_use]
    pub fn denominator(mut self, denominator: Denominator<'a>) -> Self {
        self.denominator = Some(denominator);
        self
    }

    /// Number of rows of the whole batch.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.part.map_or(self.targets.len(), |(_, _, rows)| rows)
    }

    /// The target of a row; `None` where it is ignored, or there is no such row.
    #[must_use]
    #[inline]
    pub fn target(&self, row: usize) -> Option<i64> {
        self.targets.get(self.index(row)).filter(|&target| Some(target) != self.ignore_index)
    }

    /// Indices of the rows that are not ignored.
    pub fn active_rows(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.rows()).filter(|&row| self.target(row).is_some())
    }

    /// The rows that a call works on: those of [`Batch::row_range`], or all.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.row_range.map_or(0..self.rows(), |(start, end)| start..end)
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.range() == (0..self.rows())
    }

    /// Where the arrays have a row's entries; past their end for a row before them.
    #[inline]
    fn index(&self, row: usize) -> usize {
        row.wrapping_sub(self.part.map_or(0, |(start, ..)| start))
    }

    /// Entries that arrays of an entry a row must have.
    fn entries(&self) -> usize {
        self.part.map_or(self.rows(), |(start, end, _)| end.saturating_sub(start))
    }

    /// A row's entry of an array that holds one a row.
    #[inline]
    pub(crate) fn entry(&self, values: &[f32], row: usize) -> f64 {
        entry::read(values, self.index(row))
    }

    /// Group objectives look at every row.
    pub(crate) fn check_whole(&self) -> Result<(), Error> {
        if self.is_whole() { Ok(()) } else { Err(Error::NeedsWholeBatch) }
    }

    /// The same batch, all of it.
    pub(crate) fn whole(mut self) -> Result<Self, Error> {
        if self.part.is_some() {
            self.check_whole()?;
        }
        self.row_range = None;
        Ok(self)
    }

    #[inline]
    pub(crate) fn token_weight(&self, row: usize) -> f64 {
        self.token_weights.map_or(1.0, |weights| self.entry(weights, row))
    }

    /// ln p of a row's target under the reference model, at least −1e300; 0 where none was given.
    #[inline]
    pub(crate) fn ref_log_p(&self, row: usize) -> f64 {
        self.side_log_p(self.ref_log_probs, row)
    }

    /// The same under the sampling policy.
    #[inline]
    pub(crate) fn old_log_p(&self, row: usize) -> f64 {
        self.side_log_p(self.old_log_probs, row)
    }

    #[inline]
    fn side_log_p(&self, values: Option<&[f32]>, row: usize) -> f64 {
        values.map_or(0.0, |values| floor_log_p(self.entry(values, row)))
    }

    /// Group id of a token; 0 where none was given.
    pub(crate) fn group(&self, row: usize) -> usize {
        self.groups
            .map_or(0, |groups| groups.get(self.index(row)).map_or(usize::MAX, |&id| id as usize))
    }

    /// Whether the caller keeps a sequence.
    pub(crate) fn keeps(&self, sequence: usize) -> bool {
        self.keep.is_none_or(|keep| keep.get(sequence) == Some(&true))
    }

    /// The extra input of this name.
    pub(crate) fn extra_of(&self, name: &str) -> Option<&'a [f32]> {
        self.extra.iter().flatten().find(|(known, _)| *known == name).map(|(_, values)| *values)
    }

    /// The argument that an objective needs and the batch lacks.
    pub(crate) fn lacks(&self, input: Input) -> Option<Argument> {
        let (argument, given) = match input {
            Input::RefLogProbs => (Argument::RefLogProbs, self.ref_log_probs.is_some()),
            Input::OldLogProbs => (Argument::OldLogProbs, self.old_log_probs.is_some()),
            Input::Advantages => (Argument::Advantages, self.advantages.is_some()),
            Input::Groups => (Argument::Groups, self.groups.is_some()),
            Input::Sequences => (Argument::Sequences, self.sequences.is_some()),
            Input::Pairs => (Argument::Pairs, self.pairs.is_some()),
            Input::Keep => (Argument::Keep, self.keep.is_some()),
            Input::Extra(name) => (Argument::Extra(name), self.extra_of(name).is_some()),
            Input::Entropy | Input::SumSquares => return None,
        };
        (!given).then_some(argument)
    }

    pub(crate) fn check_range(&self) -> Result<(), Error> {
        let (rows, Range { start, end }) = (self.rows(), self.range());
        let (from, to) = self.part.map_or((0, rows), |(from, to, _)| (from, to.min(rows)));
        let inside = start <= end && from <= start && end <= to;
        if inside { Ok(()) } else { Err(Error::RowRange { start, end, rows }) }
    }

    /// Checks everything that can be checked without logits, of which there are `call_rows`: entries of the call's rows alone.
    pub(crate) fn check(&self, call_rows: usize, vocab_total: usize) -> Result<(), Error> {
        self.check_range()?;
        let (rows, range) = (self.rows(), self.range());
        check_len(Argument::Targets, range.len(), call_rows)?;
        check_len(Argument::Targets, self.targets.len(), self.entries())?;
        for row in range {
            let Some(target) = self.target(row) else { continue };
            if !usize::try_from(target).is_ok_and(|t| t < vocab_total) {
                return Err(Error::Target { row, target });
            }
        }
        let is_weight = |w: f32| w >= 0.0 && w.is_finite();
        self.check_active(Argument::TokenWeights, self.token_weights, is_weight)?;
        self.check_active(Argument::RefLogProbs, self.ref_log_probs, is_log_prob)?;
        self.check_active(Argument::OldLogProbs, self.old_log_probs, is_log_prob)?;
        self.check_active(Argument::Advantages, self.advantages, f32::is_finite)?;
        self.check_active(Argument::Groups, self.groups, |id| (id as usize) < rows)?;
        if let Some(name) = self.no_room {
            return Err(Error::ExtraInputs { name });
        }
        for (name, values) in self.extra.into_iter().flatten() {
            self.check_active(Argument::Extra(name), Some(values), f32::is_finite)?;
        }
        // Of a range, whoever made its denominator has looked at the sequences.
        if self.is_whole() { self.check_sequences(rows) } else { Ok(()) }
    }

    /// Entries of ignored rows may hold anything, and those of other calls' rows may be being written.
    fn check_active<T: Copy + Into<f64>>(
        &self,
        argument: Argument,
        values: Option<&[T]>,
        allowed: impl Fn(T) -> bool,
    ) -> Result<(), Error> {
        let Some(values) = values else { return Ok(()) };
        check_len(argument, values.len(), self.entries())?;
        let range = self.range();
        let values = values.get(self.index(range.start)..).unwrap_or_default();
        let values = range.zip(values);
        let wrong = |row, value| self.target(row).is_some() && !allowed(value);
        match values.into_iter().find(|&(row, &value)| wrong(row, value)) {
            None => Ok(()),
            Some((index, &value)) => Err(Error::Value { argument, index, value: value.into() }),
        }
    }

    fn check_sequences(&self, rows: usize) -> Result<(), Error> {
        let Some(sequences) = self.sequences else {
            let orphans = self.pairs.is_some() || self.keep.is_some();
            return if orphans { Err(Error::Missing(Argument::Sequences)) } else { Ok(()) };
        };
        sequences.check(rows)?;
        if let Some(keep) = self.keep {
            check_len(Argument::Keep, keep.len(), sequences.len())?;
        }
        for (index, pair) in self.pairs.unwrap_or_default().iter().enumerate() {
            let exists = |s: usize| s < sequences.len();
            if !exists(pair.chosen) || !exists(pair.rejected) || pair.chosen == pair.rejected {
                return Err(Error::Pair { index });
            }
        }
        Ok(())
    }
}

/// −inf is allowed (the token was impossible). So is a little above 0, where another library rounded in 16 bits; what stands above 1 is
/// no log-probability but most likely its negative.
fn is_log_prob(p: f32) -> bool {
    p <= 1.0
}
