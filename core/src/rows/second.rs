//! Second half of a row: its gradient, or log-probabilities.
//!
//! In between the exponentials wait where there is room for all of them: in an f32 result, in the caller's scratch, or for short rows on the
//! stack. Elsewhere they are computed again, a tile at a time, with the same bits.

use fearless_simd::Level;

use crate::grad::RowGrad;
use crate::kernel::{Affine, Kernels, TILE};

/// Where a row's logits are, and where its result goes.
#[derive(Debug, Default)]
pub(crate) enum Place<'a, T, G> {
    #[default]
    Nowhere,
    /// Logits to read, no result.
    Read(&'a [T]),
    /// Logits here, the result there.
    Split(&'a [T], &'a mut [G]),
    /// The result overwrites the logits.
    Over(&'a mut [T]),
}

impl<T: Kernels, G: Kernels> Place<'_, T, G> {
    pub(super) fn logits(&self) -> &[T] {
        match self {
            Self::Nowhere => &[],
            Self::Read(logits) | Self::Split(logits, _) => logits,
            Self::Over(row) => row,
        }
    }

    /// Whether there is a result to write.
    pub(super) fn has_result(&self) -> bool {
        !matches!(self, Self::Nowhere | Self::Read(_))
    }

    /// The logits, and the result where that is f32 elsewhere.
    pub(super) fn parts(&mut self) -> (&[T], Option<&mut [f32]>) {
        match self {
            Self::Nowhere => (&[], None),
            Self::Read(logits) => (logits, None),
            Self::Split(logits, out) => (logits, G::as_f32(out)),
            Self::Over(row) => (row, None),
        }
    }

    /// Writes zeros without reading.
    pub(super) fn clear(self) {
        self.fill(G::ZERO, T::ZERO);
    }

    /// Writes one value, given in both types, without reading.
    fn fill(self, value: G, over: T) {
        match self {
            Self::Nowhere | Self::Read(_) => {}
            Self::Split(_, out) => out.fill(value),
            Self::Over(row) => row.fill(over),
        }
    }
}

/// A row whose logits need not be read any more, or not for the first time.
#[derive(Debug)]
pub(crate) struct Second<'a, T, G> {
    pub(super) place: Place<'a, T, G>,
    pub(super) level: Level,
    /// As in the first half, with what waits there.
    pub(super) room: &'a mut [f32],
    /// Whether the exponentials wait, in an f32 result or in the row's room.
    pub(super) parked: bool,
    /// The exponential of the maximum, relative to the base.
    pub(super) at_max: f64,
}

impl<T: Kernels, G: Kernels> Second<'_, T, G> {
    /// Whether there is a result to write.
    pub(crate) fn has_result(&self) -> bool {
        self.place.has_result()
    }

    /// Writes the gradient.
    pub(crate) fn gradient(mut self, grad: &RowGrad<'_>) {
        if grad.coefs.is_zero() {
            return self.place.clear();
        }
        if grad.coefs.prob().is_nan() || grad.inverse.is_nan() {
            return self.place.fill(G::NAN, T::NAN);
        }
        let (level, at_max) = (self.level, self.at_max);
        match &mut self.place {
            Place::Split(_, out) if self.parked => grad.finish(level, at_max, self.room, out),
            Place::Over(row) if self.parked => grad.finish(level, at_max, self.room, row),
            _ => self.each_part(|start, z, out| grad.again(level, at_max, start, z, out)),
        }
        match self.place {
            Place::Nowhere | Place::Read(_) => {}
            Place::Split(_, out) => grad.set_target(out),
            Place::Over(row) => grad.set_target(row),
        }
    }

    /// Writes (z − pivot) − shift: log-probabilities, if shift is ln Σ exp(z − pivot).
    pub(crate) fn log_probs(mut self, pivot: f32, shift: f32) {
        if shift.is_nan() {
            return self.place.fill(G::NAN, T::NAN);
        }
        let level = self.level;
        self.each_part(|_, z, out| T::shift(level, z, out, pivot, shift));
    }

    /// Writes a row whose logits `work` turns into f32 results: at once where the result is f32 elsewhere, else a tile at a time.
    fn each_part(&mut self, work: impl Fn(usize, &[T], &mut [f32])) {
        let (level, room) = (self.level, &mut *self.room);
        let size = room.len().clamp(1, TILE);
        let starts = (0..).step_by(size);
        match &mut self.place {
            Place::Nowhere | Place::Read(_) => {}
            Place::Split(logits, out) => {
                if let Some(out) = G::as_f32(out) {
                    return work(0, logits, out);
                }
                for ((start, z), out) in starts.zip(logits.chunks(size)).zip(out.chunks_mut(size)) {
                    let tile = room.get_mut(..z.len()).unwrap_or_default();
                    work(start, z, tile);
                    G::finish(level, tile, out, Affine::IDENTITY);
                }
            }
            Place::Over(row) => {
                for (start, z) in starts.zip(row.chunks_mut(size)) {
                    let tile = room.get_mut(..z.len()).unwrap_or_default();
                    work(start, z, tile);
                    T::finish(level, tile, z, Affine::IDENTITY);
                }
            }
        }
    }
}
