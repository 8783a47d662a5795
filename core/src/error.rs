//! What can be wrong with a call: one `Copy` enum that names the argument or the row.

use core::fmt;

/// An argument of a call, by the name that it has in Rust, C and the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Argument {
    /// The logits matrix.
    Logits,
    /// The gradient matrix.
    Dlogits,
    /// The target ids, one a row.
    Targets,
    /// Weight per token.
    TokenWeights,
    /// Weight per class of the vocabulary.
    ClassWeights,
    /// Log-probability of each target under a frozen reference model.
    RefLogProbs,
    /// Log-probability of each target under the policy that sampled it.
    OldLogProbs,
    /// Advantage of each token.
    Advantages,
    /// Cumulative sequence offsets (`cu_seqlens`).
    Sequences,
    /// Pairs of a chosen and a rejected sequence.
    Pairs,
    /// Keep mask, one flag a sequence.
    Keep,
    /// Group id of each token.
    Groups,
    /// Extra inputs of the caller's own, by their name: [`Batch::extra`](crate::Batch::extra).
    Extra(&'static str),
    /// [`Batch::denominator`](crate::Batch::denominator): what a call on a range of rows must know of the whole batch.
    Denominator,
    /// Tokens of each sequence, for [`Loss::denominator`](crate::Loss::denominator).
    SequenceTokens,
    /// Row statistics: per-token output, and an input of later stages.
    Stats,
    /// Token terms: per-token output, and an input of the gradient stage.
    Terms,
    /// Per-token output: negative log-likelihood.
    Nll,
    /// Per-token output or input: log-probability of the target.
    LogProbs,
    /// Per-token output: the weighted loss.
    Losses,
    /// Per-token output: entropy of the row.
    Entropy,
    /// Per-token output or input: the objective's weight of the token.
    Weights,
    /// Per-token output: index of the largest logit.
    Argmax,
    /// Per-token output: whether the target has the largest logit.
    Correct,
    /// [`Workspace`](crate::Workspace): what group objectives need.
    Workspace,
    /// [`Workspace::scratch`](crate::Workspace::scratch).
    Scratch,
    /// A caller's output vector or matrix.
    Output,
    /// Initial ("theta zero") parameters.
    Initial,
    /// Parameters of the fine-tuned model.
    Parameters,
    /// Low-rank factor A.
    LoraA,
    /// Low-rank factor B.
    LoraB,
}

impl Argument {
    /// The argument's name as it is written in code.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::Dlogits => "dlogits",
            Self::Targets => "targets",
            Self::TokenWeights => "token_weights",
            Self::ClassWeights => "class_weights",
            Self::RefLogProbs => "ref_log_probs",
            Self::OldLogProbs => "old_log_probs",
            Self::Advantages => "advantages",
            Self::Sequences => "cu_seqlens",
            Self::Pairs => "pairs",
            Self::Keep => "keep",
            Self::Groups => "groups",
            Self::Extra(name) => name,
            Self::Denominator => "denominator",
            Self::SequenceTokens => "sequence_tokens",
            Self::Stats => "stats",
            Self::Terms => "terms",
            Self::Nll => "nll",
            Self::LogProbs => "log_probs",
            Self::Losses => "losses",
            Self::Entropy => "entropy",
            Self::Weights => "weights",
            Self::Argmax => "argmax",
            Self::Correct => "correct",
            Self::Workspace => "workspace",
            Self::Scratch => "scratch",
            Self::Output => "output",
            Self::Initial => "initial",
            Self::Parameters => "parameters",
            Self::LoraA => "lora_a",
            Self::LoraB => "lora_b",
        }
    }
}

/// Why a call was refused. Nothing has been written when a call returns an error.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The objective or the reduction needs this input or workspace.
    Missing(Argument),
    /// A slice has another length than the call's shape asks for.
    Length {
        /// The slice.
        argument: Argument,
        /// Elements that it must have.
        expected: usize,
        /// Elements that it has.
        actual: usize,
    },
    /// Two matrices of one call differ in rows or vocabulary.
    Shape {
        /// The matrix that differs from the logits.
        argument: Argument,
    },
    /// A result that says it is another shard of the vocabulary than the logits.
    OtherShard {
        /// The matrix that differs from the logits.
        argument: Argument,
        /// Its first class.
        vocab_start: usize,
        /// Classes of its whole vocabulary.
        vocab_total: usize,
    },
    /// More extra inputs than a token has room for, of the batch or of the objective.
    ExtraInputs {
        /// The first that has no room.
        name: &'static str,
    },
    /// `row_stride < vocab`: rows would overlap.
    Stride {
        /// The matrix.
        argument: Argument,
        /// Its row stride in elements.
        row_stride: usize,
        /// Its vocabulary.
        vocab: usize,
    },
    /// `rows * row_stride` does not fit the address space.
    Extent {
        /// The matrix.
        argument: Argument,
    },
    /// The vocabulary is empty.
    EmptyVocab,
    /// A vocabulary shard that does not lie inside `0..vocab_total`.
    Shard {
        /// First class of the shard.
        vocab_start: usize,
        /// Classes in the shard.
        vocab: usize,
        /// Classes of the whole vocabulary.
        vocab_total: usize,
    },
    /// The call composes all stages and needs whole rows, but was given a vocabulary shard.
    NeedsWholeRows,
    /// A range of rows that does not lie inside the batch.
    RowRange {
        /// Its first row.
        start: usize,
        /// Its end.
        end: usize,
        /// Rows of the batch.
        rows: usize,
    },
    /// The objective looks at every row of the batch, but the call was given a range of them.
    NeedsWholeBatch,
    /// A target outside `0..vocab` that is not `ignore_index`.
    Target {
        /// The row.
        row: usize,
        /// The id found there.
        target: i64,
    },
    /// An entry that its argument does not allow (NaN, negative, out of range).
    Value {
        /// The slice.
        argument: Argument,
        /// Index of the entry.
        index: usize,
        /// The entry.
        value: f64,
    },
    /// Sequence offsets must start at 0, never fall, and end at the number of rows.
    Sequences {
        /// Index of the offset that breaks the rule.
        index: usize,
        /// The offset.
        offset: i64,
    },
    /// A pair that names a sequence which does not exist, or the same sequence twice.
    Pair {
        /// Index of the pair.
        index: usize,
    },
    /// An option or a parameter of an objective outside its range.
    Parameter {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// The objective has no parameter of this name.
    UnknownParameter {
        /// The objective's name.
        objective: &'static str,
    },
    /// The objective has no meaning under this reduction.
    Reduction {
        /// The reductions that it allows.
        expected: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Missing(argument) => write!(f, "{} is needed and was not given", argument.name()),
            Self::Length { argument, expected, actual } => {
                write!(f, "{} has {actual} elements, expected {expected}", argument.name())
            }
            Self::Shape { argument } => {
                write!(f, "{} differs from logits in rows or vocab", argument.name())
            }
            Self::OtherShard { argument, vocab_start, vocab_total } => write!(
                f,
                "{} says it is the shard at {vocab_start} of {vocab_total} classes, the logits are another",
                argument.name()
            ),
            Self::ExtraInputs { name } => write!(f, "there is no room for the extra input {name}"),
            Self::Stride { argument, row_stride, vocab } => {
                write!(f, "{}: row_stride {row_stride} is below vocab {vocab}", argument.name())
            }
            Self::Extent { argument } => {
                write!(f, "{}: rows * row_stride overflows", argument.name())
            }
            Self::EmptyVocab => f.write_str("vocab is 0"),
            Self::Shard { vocab_start, vocab, vocab_total } => write!(
                f,
                "shard of {vocab} classes at {vocab_start} is not inside a vocabulary of {vocab_total}"
            ),
            Self::NeedsWholeRows => f.write_str(
                "this call needs whole rows; for shards use row_stats, token_terms, logits_grad",
            ),
            Self::RowRange { start, end, rows } => {
                write!(f, "rows {start}..{end} are not inside a batch of {rows}")
            }
            Self::NeedsWholeBatch => f.write_str(
                "the objective needs the whole batch; for ranges of rows use row_stats, token_terms, logits_grad",
            ),
            Self::Target { row, target } => {
                write!(f, "target {target} of row {row} is outside the vocabulary")
            }
            Self::Value { argument, index, value } => {
                write!(f, "{}[{index}] = {value} is not allowed", argument.name())
            }
            Self::Sequences { index, offset } => write!(
                f,
                "cu_seqlens[{index}] = {offset}: offsets start at 0, never fall and end at rows"
            ),
            Self::Pair { index } => write!(f, "pairs[{index}] does not name two sequences"),
            Self::Parameter { name, value, expected } => {
                write!(f, "{name} = {value}, expected {expected}")
            }
            Self::UnknownParameter { objective } => {
                write!(f, "{objective} has no such parameter")
            }
            Self::Reduction { expected } => {
                write!(f, "the objective needs another reduction: {expected}")
            }
        }
    }
}

impl core::error::Error for Error {}

/// Checks a slice's length.
pub(crate) fn check_len(argument: Argument, actual: usize, expected: usize) -> Result<(), Error> {
    if actual == expected { Ok(()) } else { Err(Error::Length { argument, expected, actual }) }
}

/// Checks every entry of a slice.
pub(crate) fn check_values(
    argument: Argument,
    values: &[f32],
    allowed: impl Fn(f32) -> bool,
) -> Result<(), Error> {
    match values.iter().enumerate().find(|&(_, &value)| !allowed(value)) {
        None => Ok(()),
        Some((index, &value)) => Err(Error::Value { argument, index, value: f64::from(value) }),
    }
}

/// Checks an option or a parameter; write `allowed` so that NaN fails it.
pub(crate) fn check_parameter(
    name: &'static str,
    value: f64,
    allowed: bool,
    expected: &'static str,
) -> Result<(), Error> {
    if allowed { Ok(()) } else { Err(Error::Parameter { name, value, expected }) }
}
