//! What an objective must find out of a sequence, a group of tokens, the pairs or the whole batch before a token can be weighed: declared, so that
//! the CPU and a GPU do the same.

/// Steps of a plan, and entries of [`Token::shared`](super::Token::shared).
pub const STEPS: usize = 4;

/// What a step makes of many values. A NaN among them counts as the largest, or makes the result NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Statistic {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The lower median, as `torch.median`.
    LowerMedian,
    /// The same where sequences without tokens count as 0 ([`Over::Sequences`]).
    LowerMedianWithEmpty,
    /// ln Σ e^x: a normaliser of weights x = ln w that does not underflow where every weight does.
    LogSumExp,
    /// ln of the mean of e^x.
    LogMeanExp,
    /// 1 for the largest ⌈share·n⌉ of n values, at least for one, and 0 for the others; the first among equals.
    Top(f64),
}

/// Which values a step puts together, and which tokens learn the result. Ignored rows are no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Over {
    /// The tokens of each sequence.
    Sequence,
    /// The tokens of each group ([`Batch::groups`](crate::Batch::groups)).
    Group,
    /// All tokens.
    Batch,
    /// All sequences that have tokens, each by the value of its first one.
    Sequences,
    /// All groups that have tokens, each by the value of its first one.
    Groups,
    /// The pairs that a sequence is in, each by a value of the sequence's first token beside its partner's: [`Token::partner`](super::Token::partner)
    /// and [`Token::side`](super::Token::side). Only with [`Statistic::Sum`]; whatever else is said here, it is the sum.
    Pairs,
}

/// A statistic of a value, which [`Objective::step`](super::Objective::step) is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// What is made of the values.
    pub statistic: Statistic,
    /// Which values.
    pub over: Over,
}

impl Statistic {
    /// A step of a plan: this statistic over those values.
    #[must_use]
    pub const fn over(self, over: Over) -> Step {
        Step { statistic: self, over }
    }
}

/// Which tokens take part in the loss. The others are treated like ignored rows: they do not count in any mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Selection {
    /// All.
    #[default]
    All,
    /// Those of the sequences that the caller keeps ([`Batch::keep`](crate::Batch::keep)).
    Kept,
    /// Those of the sequences that are in a pair.
    Paired,
    /// Those to which the step of this index gave more than 0.
    Step(usize),
}

/// The plan of a group objective: up to [`STEPS`] steps, one after the other, and which tokens take part.
///
/// A step's value may use what the steps before it left in [`Token::shared`](super::Token::shared), so that TALR's temperature is
/// `Mean.over(Sequence)`, then `LowerMedian.over(Sequences)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GroupPlan {
    steps: [Option<Step>; STEPS],
    selection: Selection,
}

impl GroupPlan {
    /// These steps; all tokens take part.
    #[must_use]
    pub const fn of<const N: usize>(steps: [Step; N]) -> Self {
        const { assert!(N <= STEPS, "a plan has at most four steps") };
        let mut plan = Self { steps: [None; STEPS], selection: Selection::All };
        let mut index = 0;
        while index < N {
            plan.steps[index] = Some(steps[index]);
            index += 1;
        }
        plan
    }

    /// The same steps; these tokens take part.
    #[must_use]
    pub const fn select(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// The steps with their indices.
    pub fn steps(&self) -> impl Iterator<Item = (usize, Step)> {
        self.steps.into_iter().flatten().enumerate()
    }

    /// Which tokens take part.
    #[must_use]
    pub const fn selection(&self) -> Selection {
        self.selection
    }
}

/// What a plan left for a token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Scalars {
    pub(crate) shared: [f64; STEPS],
    /// At the index of a unit that a step has a value of: that value.
    pub(crate) of_unit: f64,
    /// The row of the next token of its group and, at the index of a group's id, that of its first one; `NO_ROW` for none. Ids are of 32 bits, too.
    pub(crate) next: u32,
    pub(crate) head: u32,
    /// 1 for a token that takes part.
    pub(crate) counts: u32,
    padding: u32,
}

/// In place of a row.
pub(crate) const NO_ROW: u32 = u32::MAX;

impl Scalars {
    /// Nothing yet: a token that does not take part.
    pub const DROPPED: Self = Self {
        shared: [0.0; STEPS],
        of_unit: 0.0,
        next: NO_ROW,
        head: NO_ROW,
        counts: 0,
        padding: 0,
    };

    /// A token that takes part, without a plan.
    pub(crate) const UNPLANNED: Self = Self { counts: 1, ..Self::DROPPED };

    /// What a step left for the token.
    pub(crate) fn left_by(&mut self, step: usize) -> &mut f64 {
        // A plan has no other steps.
        self.shared.get_mut(step).unwrap_or(&mut self.of_unit)
    }

    /// Whether the token takes part.
    pub(crate) fn counts(&self) -> bool {
        self.counts != 0
    }
}
