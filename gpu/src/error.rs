//! What can go wrong with a device, besides what can be wrong with a call.

use core::fmt;

use crate::matrix::Matrix;

/// Why a call was refused, or a device failed. Nothing has been recorded when recording returns an error.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The loss, the batch or a shape: as on the CPU.
    Loss(surprisal::Error),
    /// No adapter of the wanted kind.
    NoAdapter(String),
    /// The adapter gives no device, or the device has no such shader: what it says.
    Device(String),
    /// The device's limit is too small for this call.
    Limit {
        /// The limit.
        name: &'static str,
        /// What it must be.
        needed: u64,
        /// What the device has.
        limit: u64,
    },
    /// A matrix does not lie in its buffer.
    Buffer {
        /// Which matrix.
        name: &'static str,
        /// What is wrong.
        message: &'static str,
    },
    /// A matrix of an output layer has another shape than the call's.
    Shape {
        /// Its name.
        argument: &'static str,
        /// Rows and columns that it must have.
        expected: (u32, u32),
        /// Rows and columns that it has.
        actual: (u32, u32),
    },
    /// The objective needs the sequence or the batch, and the logits of an output layer are never whole: use the stages, with the terms from the
    /// host.
    NeedsTerms,
    /// The element types are not those of the pipelines.
    Types,
    /// The objective is not the one that the pipelines were compiled for.
    Objective,
    /// An entry of a batch in buffers of the device is out of its range: the first such, a row, an offset or a pair. The gradient was not written.
    Refused {
        /// What holds the entry.
        argument: surprisal::Argument,
        /// Its index.
        index: usize,
    },
    /// The results cannot be read back: what the device says.
    Readback(String),
}

impl From<surprisal::Error> for Error {
    fn from(error: surprisal::Error) -> Self {
        Self::Loss(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss(error) => error.fmt(f),
            Self::NoAdapter(why) => write!(f, "no adapter: {why}"),
            Self::Device(why) => write!(f, "no device: {why}"),
            Self::Limit { name, needed, limit } => {
                write!(f, "the device's {name} is {limit}, needed is {needed}")
            }
            Self::Buffer { name, message } => write!(f, "{name}: {message}"),
            Self::Shape { argument, expected: (rows, cols), actual: (r, c) } => {
                write!(f, "{argument} is {r} x {c}, expected {rows} x {cols}")
            }
            Self::NeedsTerms => f.write_str(
                "the objective needs the sequence or the batch: row_stats, then token_terms on the host, then logits_grad",
            ),
            Self::Types => f.write_str("the matrices have other element types than the pipelines"),
            Self::Objective => f.write_str("the pipelines were compiled for another objective"),
            Self::Refused { argument, index } => {
                write!(f, "{}[{index}] is out of range; nothing was written", argument.name())
            }
            Self::Readback(why) => write!(f, "the results cannot be read back: {why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Loss(error) = self { Some(error) } else { None }
    }
}

/// Checks the shape of a matrix.
pub(crate) fn check_shape(
    argument: &'static str,
    matrix: Matrix<'_>,
    expected: (u32, u32),
) -> Result<(), Error> {
    let actual = (matrix.rows, matrix.vocab);
    if actual == expected { Ok(()) } else { Err(Error::Shape { argument, expected, actual }) }
}
