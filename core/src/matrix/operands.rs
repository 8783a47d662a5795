//! The matrices of a call: what it reads, and where it writes.

use core::ops::Range;

use super::{Logits, LogitsMut, Shape};
use crate::element::Element;
use crate::kernel::TOGETHER;
use crate::rows::Place;

/// The matrices of a call.
#[derive(Debug)]
pub(crate) enum Matrix<'a, T, G> {
    /// Logits to read.
    Read(Logits<'a, T>),
    /// Logits to read, a result to write.
    Split(Logits<'a, T>, LogitsMut<'a, G>),
    /// Logits to overwrite.
    InPlace(LogitsMut<'a, T>),
}

impl<'a, T: Element, G: Element> Matrix<'a, T, G> {
    pub(crate) fn shape(&self) -> Shape {
        match self {
            Self::Read(logits) | Self::Split(logits, _) => logits.shape,
            Self::InPlace(logits) => logits.shape,
        }
    }

    /// Whether results are 16-bit numbers.
    pub(crate) fn is_16_bit(&self) -> bool {
        match self {
            Self::Read(_) => false,
            Self::Split(..) => size_of::<G>() == 2,
            Self::InPlace(_) => size_of::<T>() == 2,
        }
    }

    /// The logits alone.
    pub(crate) fn logits(&self) -> Logits<'_, T> {
        match self {
            Self::Read(logits) | Self::Split(logits, _) => *logits,
            Self::InPlace(logits) => logits.as_logits(),
        }
    }

    /// Where the logits of a band are and where its results go, with the logits of the band that follows.
    pub(crate) fn band(
        &mut self,
        rows: Range<usize>,
        next: Range<usize>,
    ) -> ([Place<'_, T, G>; TOGETHER], [&[T]; TOGETHER]) {
        let mut places: [Place<'_, T, G>; TOGETHER] = Default::default();
        let mut later = [&[][..]; TOGETHER];
        let slots = later.iter_mut().zip(next.clone());
        match self {
            Self::Read(logits) => {
                for (place, row) in places.iter_mut().zip(rows) {
                    *place = Place::Read(logits.row(row));
                }
                slots.for_each(|(slot, row)| *slot = logits.row(row));
            }
            Self::Split(logits, result) => {
                let (outs, _) = result.band(rows.clone());
                for ((place, row), out) in places.iter_mut().zip(rows).zip(outs) {
                    *place = Place::Split(logits.row(row), out);
                }
                slots.for_each(|(slot, row)| *slot = logits.row(row));
            }
            Self::InPlace(logits) => {
                let (rows, following) = logits.band(rows);
                for (place, row) in places.iter_mut().zip(rows) {
                    *place = Place::Over(row);
                }
                slots.enumerate().for_each(|(index, (slot, _))| *slot = following.row(index));
            }
        }
        (places, later)
    }

    /// Sets the padding of rows where that is to be zero.
    pub(crate) fn clear_padding(&mut self, rows: Range<usize>) {
        match self {
            Self::Read(_) => {}
            Self::Split(_, result) => result.clear_padding(rows),
            Self::InPlace(logits) => logits.clear_padding(rows),
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
