//! Second half of a row: its gradient, or log-probabilities.
//!
//! In between the exponentials wait where there is room for all of them: in an f32 result, in the caller's scratch, or for short rows on the
//! stack. Elsewhere they are computed again, a tile at a time, with the same bits.

use fearless_simd::Level;

use crate::grad::RowGrad;
use crate::kernel::{Any, Out, Row, RowMut, TILE};

/// Where a row's logits are, and where its result goes.
#[derive(Debug, Default)]
pub(crate) struct Place<'a> {
    /// Nothing where the result overwrites them.
    pub(crate) logits: Option<Row<'a>>,
    pub(crate) result: Option<RowMut<'a>>,
}

impl Place<'_> {
    #[inline]
    pub(super) fn logits(&self) -> Row<'_> {
        self.logits.or_else(|| self.result.as_ref().map(RowMut::as_row)).unwrap_or_default()
    }

    /// Whether the result lies elsewhere than the logits, where nobody has looked yet.
    #[inline]
    fn is_cold(&self) -> bool {
        self.logits.is_some()
    }

    /// The logits, and the result where that is f32 elsewhere.
    #[inline]
    pub(super) fn parts(&mut self) -> (Row<'_>, Option<Out<'_, f32>>) {
        match self {
            Self { logits: Some(logits), result: Some(Any::F32(out)) } => {
                (*logits, Some(Out::cold(out)))
            }
            _ => (self.logits(), None),
        }
    }

    /// Writes zeros without reading.
    pub(super) fn clear(self) {
        if let Some(out) = self.result {
            out.clear();
        }
    }
}

/// A row whose logits need not be read any more, or not for the first time.
#[derive(Debug)]
pub(crate) struct Second<'a> {
    pub(super) place: Place<'a>,
    pub(super) level: Level,
    /// As in the first half, with what waits there.
    pub(super) room: &'a mut [f32],
    /// Whether the exponentials wait, in an f32 result or in the row's room.
    pub(super) parked: bool,
    /// The exponential of the maximum, relative to the base.
    pub(super) at_max: f64,
}

impl Second<'_> {
    /// Whether there is a result to write.
    #[inline]
    pub(crate) fn has_result(&self) -> bool {
        self.place.result.is_some()
    }

    /// Writes the gradient.
    // Inlined with all that it asks of `grad`, which was written just before: read from memory, its numbers would be waited for.
    #[inline]
    pub(crate) fn gradient(mut self, grad: &RowGrad<'_>) {
        if grad.coefs.is_zero() {
            return self.place.clear();
        }
        if grad.coefs.prob().is_nan() || grad.inverse.is_nan() {
            return self.invalidate();
        }
        let (level, at_max, cold) = (self.level, self.at_max, self.place.is_cold());
        if !self.parked {
            self.each_part(|start, z, out| grad.again(level, at_max, start, z, out));
        }
        if let Some(out) = &mut self.place.result {
            if self.parked {
                grad.finish(level, at_max, self.room, out, cold);
            }
            grad.set_target(out);
        }
    }

    /// Writes (z − pivot) − shift: log-probabilities, if shift is ln Σ exp(z − pivot).
    pub(crate) fn log_probs(mut self, pivot: f32, shift: f32) {
        if shift.is_nan() {
            return self.invalidate();
        }
        let level = self.level;
        self.each_part(|_, z, out| z.shift(level, out, pivot, shift));
    }

    /// Writes NaN without reading.
    fn invalidate(self) {
        if let Some(out) = self.place.result {
            out.invalidate();
        }
    }

    /// Writes a row whose logits `work` turns into f32 results: at once where the result is f32 elsewhere, else a tile at a time.
    fn each_part(&mut self, work: impl Fn(usize, Row<'_>, Out<'_, f32>)) {
        let cold = self.place.is_cold();
        if let (logits, Some(out)) = self.place.parts() {
            return work(0, logits, out);
        }
        let (level, size) = (self.level, self.room.len().clamp(1, TILE));
        let len = self.place.logits().len();
        for start in (0..len).step_by(size) {
            let columns = start..len.min(start + size);
            let tile = self.room.get_mut(..columns.len()).unwrap_or_default();
            work(start, self.place.logits().part(columns.clone()), Out::warm(tile));
            if let Some(out) = &mut self.place.result {
                out.part(columns).copy(level, tile, cold);
            }
        }
    }
}
