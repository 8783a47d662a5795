//! What can be wrong with a call, besides what the loss refuses.

use core::fmt;

/// Why a call was refused. Nothing has been written when a call returns an error.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The loss refuses its batch, its options, or an output.
    Loss(surprisal::Error),
    /// A matrix's slice is shorter than its shape and strides need; without strides, of another length.
    Length {
        /// Elements that it must have.
        expected: usize,
        /// Elements that it has.
        actual: usize,
    },
    /// Strides with which two entries of a matrix would lie in one place.
    Strides {
        /// Elements from a row to the next.
        row_stride: usize,
        /// Elements from a column to the next.
        col_stride: usize,
    },
    /// Rows times stride does not fit the address space.
    Extent,
    /// The hidden states have no columns.
    EmptyHidden,
    /// An argument of another shape than the call's.
    Shape {
        /// Its name.
        argument: &'static str,
        /// Rows and columns that it must have.
        expected: (usize, usize),
        /// Rows and columns that it has.
        actual: (usize, usize),
    },
    /// A gradient of the weights in 16 bits, while the weights are of f32.
    NarrowWeightGradient,
    /// The workspace holds less than a chunk of one row, or less than a group objective needs: [`Memory::least`](crate::Memory::least).
    Workspace {
        /// The part of it.
        part: &'static str,
        /// Entries that it must have at least.
        least: usize,
        /// Entries that it has.
        actual: usize,
    },
}

impl From<surprisal::Error> for Error {
    fn from(error: surprisal::Error) -> Self {
        Self::Loss(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Loss(error) => error.fmt(f),
            Self::Length { expected, actual } => {
                write!(f, "a matrix has {actual} elements, expected {expected}")
            }
            Self::Strides { row_stride, col_stride } => {
                write!(f, "strides {row_stride} and {col_stride}: entries of a matrix overlap")
            }
            Self::Extent => f.write_str("rows times stride of a matrix overflow"),
            Self::EmptyHidden => f.write_str("the hidden states have no columns"),
            Self::NarrowWeightGradient => {
                f.write_str("dweight is of 16 bits, while the weights are of f32")
            }
            Self::Shape { argument, expected: (rows, cols), actual: (r, c) } => {
                write!(f, "{argument} is {r} x {c}, expected {rows} x {cols}")
            }
            Self::Workspace { part, least, actual } => {
                write!(f, "workspace: {part} has {actual} entries, expected at least {least}")
            }
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        if let Self::Loss(error) = self { Some(error) } else { None }
    }
}

/// Checks the shape of an argument.
pub(crate) fn check_shape(
    argument: &'static str,
    actual: (usize, usize),
    expected: (usize, usize),
) -> Result<(), Error> {
    if actual == expected { Ok(()) } else { Err(Error::Shape { argument, expected, actual }) }
}

/// Checks that a part of the workspace has enough entries.
pub(crate) fn check_room(part: &'static str, actual: usize, least: usize) -> Result<(), Error> {
    if actual >= least { Ok(()) } else { Err(Error::Workspace { part, least, actual }) }
}
