//! First half of a band of rows: few short ones, whose sums are found in one call, or one long one. After it the logits may be gone.

use fearless_simd::Level;
use half::{bf16, f16};

use super::second::{Place, Second};
use crate::kernel::{
    self, Ahead, Any, Base, Half, InPlace, Lanes, LogitMap, Out, Read, Row, Split, TOGETHER,
};
use crate::stats::RowStats;

/// What first halves are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) map: LogitMap,
    /// What the target's logit counts as in rows that do not have it: 0 where another shard has it, −inf where there is none.
    pub(crate) absent: f64,
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
        absent: f64::NEG_INFINITY,
        gradient: false,
        argmax: false,
        moments: false,
        weighted: None,
    };
}

/// What is known of a row between its halves, besides its statistics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) base: &'a Base,
    /// The target's column and raw logit, where the row has it.
    pub(crate) target: Option<(usize, f32)>,
    /// Index of the largest logit; `usize::MAX` where nobody asked.
    pub(crate) argmax: usize,
}

/// Rows of a call that go through their halves together.
pub(super) struct Band<'a> {
    level: Level,
    places: [Place<'a>; TOGETHER],
    len: usize,
    halves: [Half; TOGETHER],
    /// Raw logits of the targets.
    targets: [Option<f32>; TOGETHER],
    argmax: [usize; TOGETHER],
    parked: bool,
}

impl<'a> Band<'a> {
    #[inline]
    pub(super) fn new(level: Level) -> Self {
        Self {
            level,
            places: Default::default(),
            len: 0,
            halves: [Half::NONE; TOGETHER],
            targets: [None; TOGETHER],
            argmax: [usize::MAX; TOGETHER],
            parked: false,
        }
    }

    /// Where rows are put before they are kept or cleared.
    pub(super) fn places(&mut self) -> &mut [Place<'a>; TOGETHER] {
        &mut self.places
    }

    /// Lets the row at a place take part, with its target's column where it has it.
    #[inline]
    pub(super) fn keep(&mut self, slot: usize, target: Option<usize>) {
        let index = self.len;
        if index < slot {
            let place = self.take(slot);
            if let Some(free) = self.places.get_mut(index) {
                *free = place;
            }
        }
        if let (Some(place), Some(half), Some(at_target)) =
            (self.places.get(index), self.halves.get_mut(index), self.targets.get_mut(index))
        {
            half.target = target.unwrap_or(usize::MAX);
            *at_target = place.logits().get(half.target);
            self.len += 1;
        }
    }

    /// Zeros for the row at a place, which is not read.
    pub(super) fn clear(&mut self, slot: usize) {
        self.take(slot).clear();
    }

    #[inline]
    fn take(&mut self, slot: usize) -> Place<'a> {
        self.places.get_mut(slot).map(core::mem::take).unwrap_or_default()
    }

    /// The first halves. `room` is for exponentials, perhaps for those of all rows; of `stats`, sums that nobody asked for are left alone.
    pub(super) fn first(
        &mut self,
        ask: &Ask<'_>,
        room: &mut [f32],
        ahead: &mut Ahead<'_, '_>,
        stats: &mut [RowStats; TOGETHER],
    ) {
        if ask.argmax || ask.moments || ask.weighted.is_some() {
            self.walk_more(ask, &ahead.max, stats);
        }
        self.sum(ask, room, ahead);
        let rows = self.halves.iter().zip(&self.targets).take(self.len);
        for ((half, target), stats) in rows.zip(stats) {
            let &Half { base, raw_max, others, at_max, .. } = half;
            let at_target = target.map(|z| ask.map.apply(z));
            let nothing =
                raw_max == f32::MIN && others == 0.0 && !at_target.is_some_and(f64::is_finite);
            let infinite = base.max == f64::INFINITY || at_target.is_some_and(f64::is_nan);
            // + 0.0 makes a −0 positive: merging compares and adds, where the sign of a zero would depend on the order.
            stats.max = if nothing { RowStats::EMPTY.max } else { base.max + 0.0 };
            stats.others = if infinite { f64::NAN } else { others };
            stats.target_logit = at_target.map_or(ask.absent, |z| z + 0.0);
            if ask.moments {
                stats.sum_exp_logits = stats.sum_exp_logits / at_max + base.origin * others;
                stats.sum_exp_squared /= at_max * at_max;
            }
        }
    }

    /// In place of the first halves, for rows whose statistics are known.
    pub(super) fn known(&mut self, map: &LogitMap, stats: &[RowStats; TOGETHER]) {
        let halves = self.halves.get_mut(..self.len).unwrap_or_default();
        for (half, stats) in halves.iter_mut().zip(stats) {
            half.base = Base::of(self.level, map, stats.max);
        }
        kernel::at_max(self.level, halves);
    }

    /// What few calls want, by walks of their own over logits that are still there. Moments are relative to the base.
    fn walk_more(&mut self, ask: &Ask<'_>, known: &[Option<f32>], stats: &mut [RowStats]) {
        let (level, len) = (self.level, self.len);
        let rows = self.places.iter().zip(&self.halves).zip(&mut self.argmax).take(len);
        for ((((place, half), argmax), known), stats) in rows.zip(known).zip(stats) {
            let logits = place.logits();
            if ask.argmax {
                *argmax = logits.argmax();
            }
            let raw_max = known.unwrap_or_else(|| logits.max(level));
            let base = Base::new(level, &ask.map, raw_max);
            if ask.moments {
                let moments = logits.moments(level, half.target, &base);
                stats.sum_exp_logits = moments.exp_logits;
                stats.sum_exp_squared = moments.exp_squared;
            }
            if let Some(weights) = ask.weighted {
                stats.sum_logits = logits.weighted(level, &base, weights);
            }
        }
    }

    /// The sums of the rows, with the exponentials parked where there is room for all of them.
    fn sum(&mut self, ask: &Ask<'_>, room: &mut [f32], ahead: &mut Ahead<'_, '_>) {
        let places = self.places.get_mut(..self.len).unwrap_or_default();
        let halves = self.halves.get_mut(..self.len).unwrap_or_default();
        let first = places.first();
        // A soft-cap's slope is not in the exponentials.
        let has_result = first.is_some_and(|place| place.result.is_some());
        self.parked = ask.gradient && ask.map.cap.is_none() && has_result;
        if self.parked && matches!(first, Some(Place { logits: None, result: Some(Any::F32(_)) })) {
            let mut rows: [InPlace<'_, f32>; TOGETHER] = Default::default();
            for (slot, place) in rows.iter_mut().zip(places) {
                if let Some(Any::F32(row)) = &mut place.result {
                    *slot = InPlace(row);
                }
            }
            let rows = rows.get_mut(..halves.len()).unwrap_or_default();
            return kernel::parked_in_place(self.level, &ask.map, rows, halves, ahead);
        }
        match places.first().map(Place::logits).unwrap_or_default() {
            Row::F32(_) => self.sum_of::<f32>(&ask.map, room, ahead),
            Row::Bf16(_) => self.sum_of::<bf16>(&ask.map, room, ahead),
            Row::F16(_) => self.sum_of::<f16>(&ask.map, room, ahead),
        }
    }

    /// The same of one element type, elsewhere than in place.
    fn sum_of<T: Lanes>(&mut self, map: &LogitMap, room: &mut [f32], ahead: &mut Ahead<'_, '_>) {
        let Self { level, places, len, halves, parked, .. } = self;
        let (level, places) = (*level, places.get_mut(..*len).unwrap_or_default());
        let halves = halves.get_mut(..*len).unwrap_or_default();
        if *parked {
            let mut rows: [Split<'_, T, f32>; TOGETHER] = Default::default();
            let vocab = places.first().map_or(1, |place| place.logits().len());
            let mut rooms = room.chunks_exact_mut(vocab.max(1));
            for (slot, place) in rows.iter_mut().zip(&mut *places) {
                let (logits, own) = place.parts();
                match own.or_else(|| rooms.next().map(Out::warm)) {
                    Some(own) => *slot = Split(T::of(logits), own),
                    None => *parked = false,
                }
            }
            if *parked {
                let rows = rows.get_mut(..halves.len()).unwrap_or_default();
                return kernel::parked(level, map, rows, halves, ahead);
            }
        }
        let mut rows: [Read<'_, T>; TOGETHER] = Default::default();
        for (slot, place) in rows.iter_mut().zip(&*places) {
            *slot = Read(T::of(place.logits()));
        }
        let rows = rows.get_mut(..halves.len()).unwrap_or_default();
        kernel::sums(level, map, rows, halves, ahead);
    }

    /// A row's facts and its second half, once.
    #[inline]
    pub(super) fn second<'r>(
        &'r mut self,
        index: usize,
        room: &'r mut [f32],
    ) -> Option<(Facts<'r>, Second<'r>)> {
        let half = self.halves.get(index)?;
        let target = self.targets.get(index)?.map(|z| (half.target, z));
        let facts = Facts { base: &half.base, target, argmax: *self.argmax.get(index)? };
        let place = core::mem::take(self.places.get_mut(index)?);
        // Where exponentials wait in the room, each row has its part.
        let start = if self.parked { index * place.logits().len() } else { 0 };
        let room = room.get_mut(start..).unwrap_or_default();
        let (level, parked, at_max) = (self.level, self.parked, half.at_max);
        Some((facts, Second { place, level, room, parked, at_max }))
    }
}
