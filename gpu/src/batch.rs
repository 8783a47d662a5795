//! `DeviceBatch`: targets and side inputs in buffers of the caller's.

mod calls;
mod plan;
pub(crate) mod prepare;
mod report;
mod upload;
pub(crate) mod workspace;

pub use report::{DeviceCall, PendingReport};
pub use workspace::Workspace;

use surprisal::objective::{EXTRA_INPUTS, Input};
use surprisal::{Argument, Batch, Error as LossError, Pair};

use crate::error::Error;

/// Entries of one kind in a buffer with usage `STORAGE`, one after the other from `offset` bytes on (a multiple of 4).
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    pub(crate) buffer: &'a wgpu::Buffer,
    pub(crate) offset: u64,
    /// Words of an entry.
    pub(crate) words: u32,
}

impl<'a> Column<'a> {
    /// Entries of 32 bits: f32 for weights, log-probabilities, advantages; i32 or u32 for targets, offsets, ids; flags as 0 and 1; a pair takes two.
    #[must_use]
    pub fn new(buffer: &'a wgpu::Buffer, offset: u64) -> Self {
        Self { buffer, offset, words: 1 }
    }

    /// Integers of 64 bits, for targets and the offsets of sequences.
    #[must_use]
    pub fn of_i64(buffer: &'a wgpu::Buffer, offset: u64) -> Self {
        Self { buffer, offset, words: 2 }
    }

    /// Checks that there are so many words.
    fn check(&self, name: Argument, entries: u64) -> Result<(), Error> {
        let name = name.name();
        let wrong = |message| Err(Error::Buffer { name, message });
        if !self.buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return wrong("has no usage STORAGE");
        }
        if !self.offset.is_multiple_of(4) {
            return wrong("does not begin at a word");
        }
        let end = entries
            .checked_mul(4 * u64::from(self.words))
            .and_then(|bytes| bytes.checked_add(self.offset));
        match end {
            Some(end) if end <= self.buffer.size() => Ok(()),
            _ => wrong("has too few entries"),
        }
    }
}

/// Targets and side inputs of a batch in buffers of the device, one entry a row unless said otherwise: as [`Batch`], which says what each one means.
///
/// Nothing of it is known to the host. The device checks every entry that [`Batch`] would have checked; where one is out of range it writes no
/// gradient, and the report is [`Error::Refused`].
///
/// ```no_run
/// # fn f(targets: &surprisal_gpu::wgpu::Buffer, weights: &surprisal_gpu::wgpu::Buffer) {
/// use surprisal_gpu::{Column, DeviceBatch};
///
/// let batch = DeviceBatch::new(Column::new(targets, 0), 4096).ignore_index(-100);
/// let batch = batch.token_weights(Column::new(weights, 0));
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DeviceBatch<'a> {
    pub(crate) rows: u32,
    pub(crate) targets: Column<'a>,
    pub(crate) ignore_index: Option<i64>,
    pub(crate) token_weights: Option<Column<'a>>,
    pub(crate) ref_log_probs: Option<Column<'a>>,
    pub(crate) old_log_probs: Option<Column<'a>>,
    pub(crate) advantages: Option<Column<'a>>,
    pub(crate) groups: Option<Column<'a>>,
    pub(crate) sequences: Option<(Column<'a>, u32)>,
    pub(crate) pairs: Option<(Column<'a>, u32)>,
    pub(crate) keep: Option<Column<'a>>,
    pub(crate) extra: [Option<(&'static str, Column<'a>)>; EXTRA_INPUTS],
    no_room: Option<&'static str>,
}

/// The rule that an entry must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Finite = 0,
    Weight = 1,
    LogProb = 2,
}

impl<'a> DeviceBatch<'a> {
    /// A batch of so many rows with these targets.
    #[must_use]
    pub fn new(targets: Column<'a>, rows: u32) -> Self {
        Self {
            rows,
            targets,
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
        }
    }

    /// As [`Batch::ignore_index`].
    #[must_use]
    pub fn ignore_index(mut self, id: i64) -> Self {
        self.ignore_index = Some(id);
        self
    }

    /// As [`Batch::token_weights`].
    #[must_use]
    pub fn token_weights(mut self, weights: Column<'a>) -> Self {
        self.token_weights = Some(weights);
        self
    }

    /// As [`Batch::ref_log_probs`].
    #[must_use]
    pub fn ref_log_probs(mut self, log_probs: Column<'a>) -> Self {
        self.ref_log_probs = Some(log_probs);
        self
    }

    /// As [`Batch::old_log_probs`].
    #[must_use]
    pub fn old_log_probs(mut self, log_probs: Column<'a>) -> Self {
        self.old_log_probs = Some(log_probs);
        self
    }

    /// As [`Batch::advantages`].
    #[must_use]
    pub fn advantages(mut self, advantages: Column<'a>) -> Self {
        self.advantages = Some(advantages);
        self
    }

    /// As [`Batch::groups`].
    #[must_use]
    pub fn groups(mut self, groups: Column<'a>) -> Self {
        self.groups = Some(groups);
        self
    }

    /// As [`Batch::sequences`]: the offsets of so many sequences, one entry more.
    #[must_use]
    pub fn sequences(mut self, cu_seqlens: Column<'a>, sequences: u32) -> Self {
        self.sequences = Some((cu_seqlens, sequences));
        self
    }

    /// As [`Batch::pairs`]: two entries a pair, the chosen sequence and the rejected one.
    #[must_use]
    pub fn pairs(mut self, pairs: Column<'a>, count: u32) -> Self {
        self.pairs = Some((pairs, count));
        self
    }

    /// As [`Batch::keep`], an entry a sequence.
    #[must_use]
    pub fn keep(mut self, keep: Column<'a>) -> Self {
        self.keep = Some(keep);
        self
    }

    /// As [`Batch::extra`].
    #[must_use]
    pub fn extra(mut self, name: &'static str, values: Column<'a>) -> Self {
        let mut slots = self.extra.iter_mut();
        match slots.find(|slot| slot.is_none_or(|(known, _)| known == name)) {
            Some(slot) => *slot = Some((name, values)),
            None => self.no_room = self.no_room.or(Some(name)),
        }
        self
    }

    /// The columns of a number a row, with what each must be; extra inputs in the order in which an objective asks for them.
    pub(crate) fn values(
        &self,
        inputs: &'static [Input],
    ) -> impl Iterator<Item = (Argument, Column<'a>, Rule, Value)> {
        let known = [
            (Argument::TokenWeights, self.token_weights, Rule::Weight, Value::TokenWeight),
            (Argument::RefLogProbs, self.ref_log_probs, Rule::LogProb, Value::RefLogP),
            (Argument::OldLogProbs, self.old_log_probs, Rule::LogProb, Value::OldLogP),
            (Argument::Advantages, self.advantages, Rule::Finite, Value::Advantage),
        ];
        let given = known
            .into_iter()
            .filter_map(|(argument, column, rule, value)| Some((argument, column?, rule, value)));
        let names = inputs.iter().filter_map(|input| match input {
            Input::Extra(name) => Some(*name),
            _ => None,
        });
        let extra = self.extra;
        let extra = names.take(EXTRA_INPUTS).enumerate().filter_map(move |(place, name)| {
            let column = extra.iter().flatten().find(|(known, _)| *known == name)?.1;
            Some((Argument::Extra(name), column, Rule::Finite, Value::Extra(place)))
        });
        given.chain(extra)
    }

    /// Checks that every column has its entries.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(name) = self.no_room {
            return Err(LossError::ExtraInputs { name }.into());
        }
        let rows = u64::from(self.rows);
        self.targets.check(Argument::Targets, rows)?;
        let extra = self.extra.into_iter().flatten();
        let extra = extra.map(|(name, column)| (Argument::Extra(name), Some(column)));
        let of_rows = [
            (Argument::TokenWeights, self.token_weights),
            (Argument::RefLogProbs, self.ref_log_probs),
            (Argument::OldLogProbs, self.old_log_probs),
            (Argument::Advantages, self.advantages),
            (Argument::Groups, self.groups),
        ];
        for (argument, column) in of_rows.into_iter().chain(extra) {
            column.map_or(Ok(()), |column| column.check(argument, rows))?;
        }
        let sequences = self.sequences.map_or(0, |(_, count)| u64::from(count));
        if let Some((column, _)) = self.sequences {
            column.check(Argument::Sequences, sequences + 1)?;
        }
        if let Some((column, count)) = self.pairs {
            column.check(Argument::Pairs, 2 * u64::from(count))?;
        }
        self.keep.map_or(Ok(()), |column| column.check(Argument::Keep, sequences))
    }

    /// A batch of no rows with the same inputs: for the checks that need no entry.
    pub(crate) fn empty(&self) -> Batch<'static> {
        const NOTHING: &[f32] = &[];
        const NO_PAIRS: &[Pair] = &[];
        let mut batch = Batch::new(&[] as &[i64]);
        if self.ref_log_probs.is_some() {
            batch = batch.ref_log_probs(NOTHING);
        }
        if self.old_log_probs.is_some() {
            batch = batch.old_log_probs(NOTHING);
        }
        if self.advantages.is_some() {
            batch = batch.advantages(NOTHING);
        }
        if self.groups.is_some() {
            batch = batch.groups(&[]);
        }
        if self.sequences.is_some() {
            batch = batch.sequences(&[0_i32] as &[i32]);
        }
        if self.pairs.is_some() {
            batch = batch.pairs(NO_PAIRS);
        }
        if self.keep.is_some() {
            batch = batch.keep(&[]);
        }
        for (name, _) in self.extra.into_iter().flatten() {
            batch = batch.extra(name, NOTHING);
        }
        batch
    }
}

/// Which of a row's inputs a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    TokenWeight,
    RefLogP,
    OldLogP,
    Advantage,
    Extra(usize),
}
