//! One row of a call in two halves: facts about its logits first, its gradient (or log-probabilities) after.
//!
//! The first half consumes the row and gives the second, so nobody can look at logits that have been overwritten. In between the exponentials
//! wait where there is room for all of them: in an f32 result, in the caller's scratch, or for short rows on the stack. Elsewhere they are
//! computed again, a tile at a time, with the same bits.

use fearless_simd::Level;

use crate::grad::RowGrad;
use crate::kernel::{self, Affine, Base, Kernels, LogitMap, Source, TILE};
use crate::stats::RowStats;

/// Where a row's logits are, and where its result goes.
#[derive(Debug)]
pub(crate) enum Place<'a, T, G> {
    /// Logits to read, no result.
    Read(&'a [T]),
    /// Logits here, the result there.
    Split(&'a [T], &'a mut [G]),
    /// The result overwrites the logits.
    Over(&'a mut [T]),
}

/// What the first half is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) map: LogitMap,
    /// The target's column, where the row has it.
    pub(crate) target: Option<usize>,
    /// Whether the second half will be a gradient, so that the exponentials are worth keeping.
    pub(crate) gradient: bool,
    /// Index of the largest logit. A scalar walk of its own.
    pub(crate) argmax: bool,
    /// The sums for entropy and Σp². Another walk, with a second exponential for each class.
    pub(crate) moments: bool,
    /// Σ w·z' with these weights (1 without). Another walk.
    pub(crate) weighted: Option<Option<&'a [f32]>>,
}

impl Ask<'_> {
    /// The softmax and nothing else.
    pub(crate) const SOFTMAX: Self = Self {
        map: LogitMap::IDENTITY,
        target: None,
        gradient: false,
        argmax: false,
        moments: false,
        weighted: None,
    };
}

/// What the first half gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) stats: RowStats,
    pub(crate) base: Base,
    /// Index of the largest logit; `usize::MAX` where nobody asked.
    pub(crate) argmax: usize,
}

/// A row of a call, before its logits have been looked at.
#[derive(Debug)]
pub(crate) struct Row<'a, T, G> {
    second: Second<'a, T, G>,
    next: &'a [T],
    known: &'a mut Option<f32>,
}

/// A row whose logits need not be read any more, or not for the first time.
#[derive(Debug)]
pub(crate) struct Second<'a, T, G> {
    place: Place<'a, T, G>,
    level: Level,
    /// Room for the exponentials of a row, or of a tile of one.
    scratch: &'a mut [f32],
    /// Whether the exponentials wait, in an f32 result or in the scratch, and the exponential of the maximum.
    parked: bool,
    at_max: f64,
}

impl<'a, T: Kernels, G: Kernels> Row<'a, T, G> {
    /// `known` holds the row's largest logit if it was found on the way, and afterwards that of `next`, which is as long, or empty.
    pub(super) fn new(second: Second<'a, T, G>, next: &'a [T], known: &'a mut Option<f32>) -> Self {
        Self { second, next, known }
    }

    /// The second half alone, for a row whose facts are known.
    pub(crate) fn second(self) -> Second<'a, T, G> {
        *self.known = None;
        self.second
    }

    /// One raw logit; `None` where the row has no such column.
    pub(crate) fn logit(&self, column: usize) -> Option<f32> {
        self.second.logits().get(column).map(|z| z.lane_f32())
    }

    /// The first half.
    pub(crate) fn facts(self, ask: &Ask<'_>) -> (Facts, Second<'a, T, G>) {
        let Self { mut second, next, known } = self;
        let (level, map, logits) = (second.level, &ask.map, second.logits());
        let at_target = ask.target.and_then(|column| logits.get(column)).map(|z| z.lane_f32());
        let argmax = if ask.argmax { kernel::argmax(logits) } else { usize::MAX };
        let raw_max = known.take().unwrap_or_else(|| T::max(level, logits));
        let max = map.apply(raw_max);
        let base = match map.cap {
            None => Base::new(level, map, max, raw_max),
            Some(_) => Base::of(level, map, max),
        };
        let source = Source { row: logits, target: ask.target.unwrap_or(usize::MAX), next };
        let (mut sum_exp_logits, mut sum_exp_squared) = (f64::NAN, f64::NAN);
        let moments = ask.moments.then(|| T::moments(level, source, &base));
        let sum_logits = ask.weighted.map_or(f64::NAN, |weights| {
            let (sum, weight) = T::weighted(level, logits, &base, weights);
            sum + weight * (max + base.origin)
        });
        let sums = second.sums(ask, next, &base);
        *known = (!next.is_empty()).then_some(sums.next_max);

        let others = sums.others / sums.at_max;
        second.at_max = sums.at_max;
        if let Some(moments) = moments {
            sum_exp_logits = moments.exp_logits / sums.at_max + base.origin * others;
            sum_exp_squared = moments.exp_squared / (sums.at_max * sums.at_max);
        }
        let target = at_target.map(|z| map.apply(z));
        let nothing = raw_max == f32::MIN && others == 0.0 && !target.is_some_and(f64::is_finite);
        let infinite = max == f64::INFINITY || target.is_some_and(f64::is_nan);
        let stats = RowStats {
            max: if nothing { RowStats::EMPTY.max } else { max + 0.0 },
            others: if infinite { f64::NAN } else { others },
            // + 0.0 makes a −0 positive: merging compares and adds, where the sign of a zero would depend on the order.
            target_logit: target.map_or(0.0, |z| z + 0.0),
            sum_logits,
            sum_exp_logits,
            sum_exp_squared,
        };
        (Facts { stats, base, argmax }, second)
    }
}

impl<'a, T: Kernels, G: Kernels> Second<'a, T, G> {
    pub(super) fn new(place: Place<'a, T, G>, level: Level, scratch: &'a mut [f32]) -> Self {
        Self { place, level, scratch, parked: false, at_max: 1.0 }
    }

    fn logits(&self) -> &[T] {
        match &self.place {
            Place::Read(logits) | Place::Split(logits, _) => logits,
            Place::Over(row) => row,
        }
    }

    /// The sums of a row, with the exponentials parked where there is room for all of them.
    fn sums(&mut self, ask: &Ask<'_>, next: &[T], base: &Base) -> kernel::Sums {
        let Self { place, level, scratch, parked, .. } = self;
        let target = ask.target.unwrap_or(usize::MAX);
        if ask.gradient && base.is_linear() {
            *parked = true;
            match place {
                Place::Read(_) => {}
                Place::Split(row, out) => {
                    if let Some(park) = G::as_f32(out).or_else(|| room_of(scratch, row.len())) {
                        return T::parked(*level, Source { row, target, next }, base, park);
                    }
                }
                Place::Over(row) => {
                    if let (Some(row), Some(next)) = (T::as_f32(row), T::as_f32_ref(next)) {
                        return kernel::parked_in_place(*level, row, target, next, base);
                    }
                    if let Some(park) = room_of(scratch, row.len()) {
                        return T::parked(*level, Source { row, target, next }, base, park);
                    }
                }
            }
            *parked = false;
        }
        T::sums(self.level, Source { row: self.logits(), target, next }, base)
    }

    /// Whether there is a result to write.
    pub(crate) fn has_result(&self) -> bool {
        !matches!(self.place, Place::Read(_))
    }

    /// Writes zeros without reading.
    pub(crate) fn clear(self) {
        match self.place {
            Place::Read(_) => {}
            Place::Split(_, out) => out.fill(G::ZERO),
            Place::Over(row) => row.fill(T::ZERO),
        }
    }

    /// Writes the gradient.
    pub(crate) fn gradient(mut self, grad: &RowGrad<'_>) {
        if grad.is_zero() {
            return self.clear();
        }
        let (level, at_max) = (self.level, self.at_max);
        match &mut self.place {
            Place::Split(_, out) if self.parked => grad.finish(level, at_max, self.scratch, out),
            Place::Over(row) if self.parked => grad.finish(level, at_max, self.scratch, row),
            _ => {
                let at_max = kernel::at_max(level, &grad.base);
                self.each_part(|start, z, out| grad.again(level, at_max, start, z, out));
            }
        }
        match self.place {
            Place::Read(_) => {}
            Place::Split(_, out) => grad.set_target(out),
            Place::Over(row) => grad.set_target(row),
        }
    }

    /// Writes (z − pivot) − shift: log-probabilities, if shift is ln Σ exp(z − pivot).
    pub(crate) fn log_probs(mut self, pivot: f32, shift: f32) {
        let level = self.level;
        self.each_part(|_, z, out| T::shift(level, z, out, pivot, shift));
    }

    /// Writes a row whose logits `work` turns into f32 results: at once where the result is f32 elsewhere, else a tile at a time.
    fn each_part(&mut self, work: impl Fn(usize, &[T], &mut [f32])) {
        let (level, room) = (self.level, &mut *self.scratch);
        let size = room.len().clamp(1, TILE);
        let starts = (0..).step_by(size);
        match &mut self.place {
            Place::Read(_) => {}
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

/// The scratch, where it has room for a row.
fn room_of(scratch: &mut [f32], len: usize) -> Option<&mut [f32]> {
    scratch.get_mut(..len)
}
