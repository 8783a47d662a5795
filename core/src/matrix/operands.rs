//! The matrices of a call: what it reads, and where it writes.

use core::ops::Range;

use half::{bf16, f16};

use super::{Logits, LogitsMut, Shape};
use crate::element::Element;
use crate::kernel::{Any, Lanes, Row, typed};
use crate::rows::Place;

/// Logits to read, of any type.
pub(crate) type AnyLogits<'a> = Any<Logits<'a, f32>, Logits<'a, bf16>, Logits<'a, f16>>;
/// A matrix to write, of any type.
pub(super) type AnyLogitsMut<'a> = Any<LogitsMut<'a, f32>, LogitsMut<'a, bf16>, LogitsMut<'a, f16>>;

/// Matrices of a type as those of any type.
pub trait Typed: Lanes {
    fn logits(logits: Logits<'_, Self>) -> AnyLogits<'_>;
    fn logits_mut(logits: LogitsMut<'_, Self>) -> AnyLogitsMut<'_>;
}

macro_rules! matrices {
    ($($t:ty: $variant:ident),*) => {$(
        impl Typed for $t {
            fn logits(logits: Logits<'_, Self>) -> AnyLogits<'_> {
                Any::$variant(logits)
            }

            fn logits_mut(logits: LogitsMut<'_, Self>) -> AnyLogitsMut<'_> {
                Any::$variant(logits)
            }
        }
    )*};
}
matrices!(f32: F32, bf16: Bf16, f16: F16);

/// The matrices of a call.
#[derive(Debug)]
pub(crate) enum Matrix<'a> {
    /// Logits to read.
    Read(AnyLogits<'a>),
    /// Logits to read, a result to write.
    Split(AnyLogits<'a>, AnyLogitsMut<'a>),
    /// Logits to overwrite.
    InPlace(AnyLogitsMut<'a>),
}

impl<'a> Matrix<'a> {
    pub(crate) fn read<T: Element>(logits: Logits<'a, T>) -> Self {
        Self::Read(T::logits(logits))
    }

    pub(crate) fn split<T: Element, G: Element>(
        logits: Logits<'a, T>,
        result: LogitsMut<'a, G>,
    ) -> Self {
        Self::Split(T::logits(logits), G::logits_mut(result))
    }

    pub(crate) fn in_place<T: Element>(logits: LogitsMut<'a, T>) -> Self {
        Self::InPlace(T::logits_mut(logits))
    }

    #[inline]
    pub(crate) fn shape(&self) -> Shape {
        match self {
            Self::Read(logits) | Self::Split(logits, _) => typed!(logits, z => z.shape),
            Self::InPlace(logits) => typed!(logits, z => z.shape),
        }
    }

    /// Whether results are 16-bit numbers.
    #[inline]
    pub(crate) fn is_16_bit(&self) -> bool {
        match self {
            Self::Read(_) => false,
            Self::Split(_, result) | Self::InPlace(result) => !matches!(result, Any::F32(_)),
        }
    }

    /// The logits alone.
    pub(crate) fn logits(&self) -> Matrix<'_> {
        match self {
            Self::Read(logits) | Self::Split(logits, _) => Matrix::Read(*logits),
            Self::InPlace(logits) => typed!(logits, z => Matrix::read(z.as_logits())),
        }
    }

    /// Where the rows of a band are; and the logits of those that follow.
    #[inline]
    pub(crate) fn band<'m>(
        &'m mut self,
        rows: Range<usize>,
        places: &mut [Place<'m>],
    ) -> AnyLogits<'m> {
        match self {
            Self::Read(logits) => typed!(*logits, z => z.band(rows, places)),
            Self::Split(logits, result) => {
                typed!(result, out => out.band(rows.clone(), places));
                typed!(*logits, z => z.band(rows, places))
            }
            Self::InPlace(logits) => typed!(logits, z => z.band(rows, places)),
        }
    }

    /// Sets the padding of rows where that is to be zero.
    #[inline]
    pub(crate) fn clear_padding(&mut self, rows: Range<usize>) {
        match self {
            Self::Read(_) => {}
            Self::Split(_, result) | Self::InPlace(result) => {
                typed!(result, result => result.clear_padding(rows));
            }
        }
    }

    #[cfg(feature = "rayon")]
    pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
        match self {
            Self::Read(logits) => {
                let (a, b) = logits.split_at(row);
                (Self::Read(a), Self::Read(b))
            }
            Self::Split(logits, result) => {
                let ((a, b), (c, d)) = (logits.split_at(row), result.split_at(row));
                (Self::Split(a, c), Self::Split(b, d))
            }
            Self::InPlace(logits) => {
                let (a, b) = logits.split_at(row);
                (Self::InPlace(a), Self::InPlace(b))
            }
        }
    }
}

impl<'a> AnyLogits<'a> {
    #[inline]
    pub(crate) fn row(&self, row: usize) -> Row<'a> {
        typed!(self, z => Lanes::row(z.row(row)))
    }

    #[cfg(feature = "rayon")]
    fn split_at(self, row: usize) -> (Self, Self) {
        typed!(self, z => {
            let (low, high) = z.split_at(row);
            (Typed::logits(low), Typed::logits(high))
        })
    }
}

#[cfg(feature = "rayon")]
impl AnyLogitsMut<'_> {
    fn split_at(self, row: usize) -> (Self, Self) {
        typed!(self, z => {
            let (low, high) = z.split_at(row);
            (Typed::logits_mut(low), Typed::logits_mut(high))
        })
    }
}
