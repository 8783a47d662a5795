//! What a call returns: a pinned status; inside the crate, a failure that knows more.

use core::ffi::{CStr, c_char};

use surprisal::Error;

/// The number of a `surprisal_status`, or a later version's.
pub type status_value = i32;

/// What a function returns: 0, or what is wrong. The numbers never change. Whenever a function returns an error it has written nothing but
/// the `detail`.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum surprisal_status {
    /// Done.
    SURPRISAL_OK = 0,
    /// An argument is NULL that the call needs, or an input or workspace that the objective or the reduction needs was not given.
    SURPRISAL_ERROR_MISSING = -1,
    /// A pointer is not aligned to its element type.
    SURPRISAL_ERROR_MISALIGNED = -2,
    /// Memory that is written overlaps other memory of the call. (A gradient over its own logits is fine: same address, dtype and stride.)
    SURPRISAL_ERROR_OVERLAP = -3,
    /// A size overflows, or the memory would not fit the address space.
    SURPRISAL_ERROR_EXTENT = -4,
    /// Rows, vocabularies, strides, shards or lengths that do not fit each other.
    SURPRISAL_ERROR_SHAPE = -5,
    /// An option or parameter out of its range, unknown, or one that the objective does not have.
    SURPRISAL_ERROR_OPTION = -6,
    /// `struct_size` is none of this library's versions, or fields are set that this library does not know.
    SURPRISAL_ERROR_STRUCT_SIZE = -7,
    /// A target outside the vocabulary that is not `ignore_index`.
    SURPRISAL_ERROR_TARGET = -8,
    /// An entry that its array does not allow (NaN, negative, out of range).
    SURPRISAL_ERROR_VALUE = -9,
    /// Sequence offsets that do not start at 0, that fall, or that do not end at the number of rows.
    SURPRISAL_ERROR_SEQUENCES = -10,
    /// A pair that does not name two sequences.
    SURPRISAL_ERROR_PAIR = -11,
    /// The call needs whole rows or the whole batch and was given a part: use the stages.
    SURPRISAL_ERROR_NEEDS_WHOLE = -12,
    /// No device of this index or name (surprisal_gpu.h).
    SURPRISAL_ERROR_NO_DEVICE = -13,
    /// The device failed, was lost or is out of memory (surprisal_gpu.h).
    SURPRISAL_ERROR_DEVICE = -14,
    /// A limit of the device is too small for the call (surprisal_gpu.h).
    SURPRISAL_ERROR_DEVICE_LIMIT = -15,
    /// Something that this version of the header has no name for.
    SURPRISAL_ERROR_UNKNOWN = -100,
}
use surprisal_status::*;

/// A sentence that says what a status means, in English. Static; never NULL, whatever the number.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn surprisal_status_string(status: i32) -> *const c_char {
    let text: &CStr = match status {
        0 => c"no error",
        -1 => c"an argument that is needed is missing (NULL)",
        -2 => c"a pointer is not aligned to its element type",
        -3 => c"memory that is written overlaps other memory of the call",
        -4 => c"a size overflows the address space",
        -5 => c"shapes do not fit each other",
        -6 => c"an option is out of range, unknown, or not one of this objective",
        -7 => c"struct_size is unknown to this library, or fields are set that it does not know",
        -8 => c"a target is outside the vocabulary",
        -9 => c"an array has an entry that is not allowed",
        -10 => c"sequence offsets must start at 0, never fall and end at the number of rows",
        -11 => c"a pair does not name two sequences",
        -12 => c"the call needs whole rows and the whole batch: use the stages for parts",
        -13 => c"there is no device of this index or name",
        -14 => c"the device failed, was lost or is out of memory",
        -15 => c"a limit of the device is too small for the call",
        _ => c"unknown status",
    };
    text.as_ptr()
}

/// Why a call is refused, before it takes its C form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) status: surprisal_status,
    pub(crate) argument: &'static str,
    pub(crate) index: i64,
    pub(crate) value: f64,
    /// What is wrong, and what was expected.
    pub(crate) message: [&'static str; 2],
}

impl Failure {
    pub(crate) fn new(
        status: surprisal_status,
        argument: &'static str,
        message: &'static str,
    ) -> Self {
        Self { status, argument, index: -1, value: f64::NAN, message: [message, ""] }
    }

    pub(crate) fn missing(argument: &'static str) -> Self {
        Self::new(SURPRISAL_ERROR_MISSING, argument, "is needed and was not given")
    }

    pub(crate) fn option(argument: &'static str, message: &'static str) -> Self {
        Self::new(SURPRISAL_ERROR_OPTION, argument, message)
    }

    /// A result whose place in the batch or the vocabulary is not that of the logits.
    pub(crate) fn other_place(argument: &'static str, of: &'static str) -> Self {
        let message = if of == "rows" {
            "names other rows of the batch than the logits"
        } else {
            "names another shard of the vocabulary than the logits"
        };
        Self::new(SURPRISAL_ERROR_SHAPE, argument, message)
    }

    pub(crate) fn value(self, value: f64) -> Self {
        Self { value, ..self }
    }

    pub(crate) fn index(self, index: usize) -> Self {
        Self { index: i64::try_from(index).unwrap_or(i64::MAX), ..self }
    }
}

impl AsRef<Self> for Failure {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let new = Self::new;
        match error {
            Error::Missing(argument) => Self::missing(argument.name()),
            Error::Length { argument, actual, .. } => new(
                SURPRISAL_ERROR_SHAPE,
                argument.name(),
                "has another length than the shape asks for",
            )
            .value(actual as f64),
            Error::Shape { argument } => {
                new(SURPRISAL_ERROR_SHAPE, argument.name(), "differs from logits in rows or vocab")
            }
            Error::OtherShard { argument, vocab_start, .. } => {
                Self::other_place(argument.name(), "vocab").value(vocab_start as f64)
            }
            Error::ExtraInputs { name } => Self::option(name, "there is no room for it"),
            Error::Stride { argument, row_stride, .. } => {
                new(SURPRISAL_ERROR_SHAPE, argument.name(), "row_stride is below vocab")
                    .value(row_stride as f64)
            }
            Error::Extent { argument } => {
                new(SURPRISAL_ERROR_EXTENT, argument.name(), "its size overflows")
            }
            Error::EmptyVocab => new(SURPRISAL_ERROR_SHAPE, "vocab", "is 0"),
            Error::Shard { vocab_start, .. } => new(
                SURPRISAL_ERROR_SHAPE,
                "vocab_start",
                "the shard does not lie inside vocab_total",
            )
            .value(vocab_start as f64),
            Error::NeedsWholeRows => new(
                SURPRISAL_ERROR_NEEDS_WHOLE,
                "logits",
                "a vocabulary shard; use surprisal_row_stats, surprisal_token_terms, surprisal_logits_grad",
            ),
            Error::RowRange { start, .. } => {
                new(SURPRISAL_ERROR_SHAPE, "row_start", "the rows do not lie inside the batch")
                    .value(start as f64)
            }
            Error::NeedsWholeBatch => new(
                SURPRISAL_ERROR_NEEDS_WHOLE,
                "row_start",
                "this objective needs the whole batch; use the stages",
            ),
            Error::Target { row, target } => {
                new(SURPRISAL_ERROR_TARGET, "targets", "outside the vocabulary")
                    .index(row)
                    .value(target as f64)
            }
            Error::Value { argument, index, value } => {
                new(SURPRISAL_ERROR_VALUE, argument.name(), "an entry is not allowed")
                    .index(index)
                    .value(value)
            }
            Error::Sequences { index, offset } => new(
                SURPRISAL_ERROR_SEQUENCES,
                "cu_seqlens",
                "must start at 0, never fall and end at rows",
            )
            .index(index)
            .value(offset as f64),
            Error::Pair { index } => {
                new(SURPRISAL_ERROR_PAIR, "pairs", "does not name two sequences").index(index)
            }
            Error::Parameter { name, value, expected } => {
                let failure = Self::option(name, "expected ").value(value);
                Self { message: ["expected ", expected], ..failure }
            }
            Error::UnknownParameter { .. } => Self::option("objective", "has no such parameter"),
            Error::Reduction { expected } => Self::option("reduction", expected),
            _ => new(SURPRISAL_ERROR_UNKNOWN, "", "unknown error"),
        }
    }
}
