//! A row to write: its logits, where the result goes, and where the exponentials wait in between.

use fearless_simd::Level;

use super::map::{Kind, LogitMap};
use super::row::{ReadRow, WriteRow};
use super::row_stats::{self, RowSums};
use super::table::{LogitKernels, ResultKernels};
use super::{RowGrad, logits_grad};
use crate::entry;

/// Logits and their result.
#[derive(Debug)]
pub(crate) enum Place<'a, T, G> {
    /// Logits here, the result elsewhere.
    Split(ReadRow<'a, T>, WriteRow<'a, G>),
    /// The result overwrites the logits.
    InPlace(WriteRow<'a, T>),
}

impl<T: Copy, G> Place<'_, T, G> {
    fn read(&self) -> ReadRow<'_, T> {
        match self {
            Self::Split(source, _) => *source,
            Self::InPlace(row) => row.read(),
        }
    }
}

/// Where the exponentials of a row are between its two halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parked {
    /// Nowhere: they are computed again.
    Nowhere,
    /// In the row that the result goes to, which is f32.
    Result,
    /// In the scratch row.
    Scratch,
}

/// A row to compute a gradient (or log-probabilities) for.
#[derive(Debug)]
pub(crate) struct RowMut<'a, T, G> {
    place: Place<'a, T, G>,
    /// Room for the exponentials of a row, or none.
    scratch: &'a mut [f32],
}

impl<'a, T: LogitKernels, G: LogitKernels + ResultKernels<T>> RowMut<'a, T, G> {
    /// `scratch` is as long as the row, or empty.
    pub(crate) fn new(place: Place<'a, T, G>, scratch: &'a mut [f32]) -> Self {
        Self { place, scratch }
    }

    /// The logits, before anything is written.
    pub(crate) fn read(&self) -> ReadRow<'_, T> {
        self.place.read()
    }

    /// Sums of the row. The exponentials are parked where they can be: the logits may be gone then.
    pub(crate) fn sums(&mut self, level: Level, map: &LogitMap) -> (RowSums, Parked) {
        let Kind::Linear(linear) = map.kind() else {
            // The slope of the soft-cap needs the logits again.
            return (T::sums(level, self.read(), map), Parked::Nowhere);
        };
        let parked = self.parking();
        let sums = match (parked, &mut self.place) {
            (Parked::Nowhere, place) => T::sums(level, place.read(), map),
            (Parked::Scratch, place) => T::sums_parked(level, place.read(), self.scratch, linear),
            (Parked::Result, Place::Split(source, target)) => {
                T::sums_parked(level, *source, G::f32_row(target).row, linear)
            }
            (Parked::Result, Place::InPlace(row)) => {
                row_stats::sums_in_place(level, T::f32_row(row), linear)
            }
        };
        (sums, parked)
    }

    /// Where the exponentials can wait.
    fn parking(&self) -> Parked {
        match &self.place {
            Place::InPlace(..) if T::IS_F32 => Parked::Result,
            Place::Split(..) if G::IS_F32 => Parked::Result,
            _ if self.scratch.is_empty() => Parked::Nowhere,
            _ => Parked::Scratch,
        }
    }

    /// Writes the gradient, from where [`RowMut::sums`] parked the exponentials.
    pub(crate) fn write_grad(
        &mut self,
        level: Level,
        parked: Parked,
        map: &LogitMap,
        grad: &RowGrad,
        class_weights: Option<&[f32]>,
    ) {
        if grad.factor == 0.0 && grad.uniform == 0.0 {
            self.clear();
        } else {
            let scratch = &*self.scratch;
            match (parked, &mut self.place) {
                (Parked::Nowhere, Place::Split(source, target)) => {
                    G::grad_split(level, source.row, target.row, map, grad, class_weights);
                }
                (Parked::Nowhere, Place::InPlace(row)) => {
                    T::grad_in_place(level, row.row, map, grad, class_weights);
                }
                (Parked::Scratch, Place::Split(_, target)) => {
                    G::grad_parked(level, scratch, target.row, grad, class_weights);
                }
                (Parked::Scratch, Place::InPlace(row)) => {
                    T::grad_parked(level, scratch, row.row, grad, class_weights);
                }
                (Parked::Result, Place::Split(_, target)) => {
                    let row = G::f32_row(target).row;
                    logits_grad::grad_parked_in_place(level, row, grad, class_weights);
                }
                (Parked::Result, Place::InPlace(row)) => {
                    let row = T::f32_row(row).row;
                    logits_grad::grad_parked_in_place(level, row, grad, class_weights);
                }
            }
        }
        if let Some((column, value)) = grad.target {
            self.set(column, value);
        }
    }

    /// Writes (z − pivot) − shift: log-probabilities, if shift is ln Σ exp(z − pivot).
    pub(crate) fn write_shifted(&mut self, level: Level, pivot: f32, shift: f32) {
        match &mut self.place {
            Place::Split(source, target) => {
                G::shift_split(level, source.row, target.row, pivot, shift);
            }
            Place::InPlace(row) => T::shift_in_place(level, row.row, pivot, shift),
        }
    }

    /// Writes zeros without reading.
    pub(crate) fn clear(&mut self) {
        match &mut self.place {
            Place::Split(_, target) => target.row.fill(G::ZERO),
            Place::InPlace(row) => row.row.fill(T::ZERO),
        }
    }

    /// Overwrites one entry.
    fn set(&mut self, index: usize, value: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
        let value = value as f32;
        match &mut self.place {
            Place::Split(_, target) => entry::write(target.row, index, G::from_f32(value)),
            Place::InPlace(row) => entry::write(row.row, index, T::from_f32(value)),
        }
    }
}
