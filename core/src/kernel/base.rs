//! The transformation of logits before everything else, z' = scale·z or cap·tanh(scale·z/cap), and what a row's exponentials are taken
//! relative to. The transformation is monotone, so it keeps the maximum's place.

use fearless_simd::{Level, Simd, f32x16, prelude::*};

use super::exp::{Exponent, has_unit, natural};
use super::lanes::LANES;
use super::walk::{BLOCK, Block, vectors};

/// Logit scale (inverse temperature) and soft-cap.
#[derive(Clone, Copy, Debug)]
pub struct LogitMap {
    pub(crate) scale: f32,
    pub(crate) cap: Option<f32>,
}

impl LogitMap {
    pub(crate) const IDENTITY: Self = Self { scale: 1.0, cap: None };

    /// z' of one logit, to the last bits of f64: the row's maximum and its target take this way.
    #[inline]
    pub(crate) fn apply(&self, z: f32) -> f64 {
        let scaled = f64::from(self.scale) * f64::from(z);
        self.cap.map_or(scaled, |cap| f64::from(cap) * libm::tanh(scaled / f64::from(cap)))
    }

    /// ∂z'/∂z at one logit, relative to the scale.
    #[inline]
    pub(crate) fn slope(&self, z: f32) -> f64 {
        self.cap.map_or(1.0, |cap| {
            let cosh = libm::cosh(f64::from(self.scale) * f64::from(z) / f64::from(cap));
            1.0 / (cosh * cosh)
        })
    }
}

/// What the exponentials of a row are relative to, a number near e^max, and how they are formed.
///
/// Flat, so that it is written field by field: a value of [`RowMap`] would be copied from memory that has not yet been written.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    kind: Kind,
    /// Without a soft-cap: of a logit, or of one less the maximum.
    exponent: Exponent,
    map: LogitMap,
    /// The largest logit, with a soft-cap the largest z'.
    pivot: f32,
    /// The exponential of the maximum, where the map is not linear.
    at_max: f64,
    /// The row's largest z'.
    pub(crate) max: f64,
    /// What [`LaneMap::centred`] subtracts, less the maximum.
    pub(crate) origin: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unit,
    Linear,
    General,
}

/// The kinds of maps, each with loops of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowMap {
    /// Without a logit scale, as nearly always.
    Unit(Linear<true>),
    Linear(Linear<false>),
    General(General),
}

impl Base {
    /// Of no row.
    pub(crate) const NONE: Self = Self {
        kind: Kind::Linear,
        exponent: Exponent::NATURAL,
        map: LogitMap::IDENTITY,
        pivot: 0.0,
        at_max: 1.0,
        max: 0.0,
        origin: 0.0,
    };

    pub(super) fn is_capped(&self) -> bool {
        self.map.cap.is_some()
    }

    /// The logit scale.
    pub(super) fn scale(&self) -> f64 {
        f64::from(self.map.scale)
    }

    /// The map, of a kind that the level has: of others there are no loops.
    #[inline(always)]
    pub(super) fn row_map(&self, level: Level) -> RowMap {
        let &Self { exponent, map: LogitMap { scale, cap }, pivot, .. } = self;
        match self.kind {
            Kind::Unit if has_unit(level, 1.0) => RowMap::Unit(Linear { exponent, scale, pivot }),
            Kind::Unit | Kind::Linear => RowMap::Linear(Linear { exponent, scale, pivot }),
            Kind::General => RowMap::General(General { exponent, scale, cap, pivot }),
        }
    }

    /// For a row whose largest logit is `raw_max`.
    #[inline(always)]
    pub(crate) fn new(level: Level, map: &LogitMap, raw_max: f32) -> Self {
        let max = map.apply(raw_max);
        match map.cap {
            None => Self::relative(level, map, max, raw_max),
            Some(_) => Self::of(level, map, max),
        }
    }

    /// For a row (or several parts of one) whose largest z' is `max`.
    pub(crate) fn of(level: Level, map: &LogitMap, max: f64) -> Self {
        let LogitMap { scale, cap } = *map;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "exact without a soft-cap: the logit that was scaled"
        )]
        let pivot = (if cap.is_none() { max / f64::from(scale) } else { max }) as f32;
        Self::relative(level, map, max, pivot.clamp(f32::MIN, f32::MAX))
    }

    /// With the largest logit, or with a soft-cap `max`, as `pivot`.
    #[inline(always)]
    fn relative(level: Level, map: &LogitMap, max: f64, pivot: f32) -> Self {
        let LogitMap { scale, cap } = *map;
        if let (None, Some(exponent)) = (cap, Exponent::relative(level, scale, max)) {
            let kind = if has_unit(level, scale) { Kind::Unit } else { Kind::Linear };
            return Self { kind, exponent, map: *map, pivot, max, ..Self::NONE };
        }
        let at = f64::from(pivot) * if cap.is_none() { f64::from(scale) } else { 1.0 };
        let (origin, at_max) = (at - max, libm::exp(max - at));
        let exponent =
            if Exponent::takes(scale) { Exponent::scaled(scale) } else { Exponent::NATURAL };
        Self { kind: Kind::General, exponent, map: *map, pivot, at_max, max, origin }
    }
}

/// The exponentials of the maxima of up to 16 rows of one map, by the same arithmetic as the loops': what turns the others into exponentials
/// relative to them, with ties exactly 1.
#[inline(always)]
pub(super) fn at_maxima<S: Simd>(simd: S, bases: &[Option<Base>; LANES]) -> [f64; LANES] {
    let (mut exponents, mut pivots) = ([None; LANES], [0.0; LANES]);
    let (mut at_max, mut unit) = ([1.0; LANES], false);
    for (lane, base) in bases.iter().enumerate() {
        if let Some(base) = base {
            at_max[lane] = base.at_max;
            let is_linear = base.kind != Kind::General;
            (exponents[lane], pivots[lane]) = (is_linear.then_some(base.exponent), base.pivot);
            unit |= base.kind == Kind::Unit;
        }
    }
    let (of_rows, pivots) =
        (Exponent::lanes(simd, &exponents), [f32x16::from_slice(simd, &pivots)]);
    let [e] = if unit {
        of_rows.exp::<true, 1>(simd, pivots)
    } else {
        of_rows.exp::<false, 1>(simd, pivots)
    };
    for (lane, e) in <[f32; LANES]>::from(e).into_iter().enumerate() {
        if exponents[lane].is_some() {
            at_max[lane] = f64::from(e);
        }
    }
    at_max
}

/// A map as the loops need it.
pub(super) trait LaneMap<S: Simd>: Copy {
    /// Whether −inf is mapped to something finite.
    const PADDING_HAS_MASS: bool;
    /// z' relative to the base's origin.
    fn centred(self, simd: S, z: Block<S>) -> Block<S>;
    /// Exponentials relative to the base.
    fn exp(self, simd: S, z: Block<S>) -> Block<S>;
    /// As [`LaneMap::exp`], and ∂z'/∂z relative to the scale.
    fn exp_and_slope(self, simd: S, z: Block<S>) -> (Block<S>, Block<S>);
}

/// z' = scale·z.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear<const UNIT: bool> {
    exponent: Exponent,
    scale: f32,
    pivot: f32,
}

impl<S: Simd, const UNIT: bool> LaneMap<S> for Linear<UNIT> {
    const PADDING_HAS_MASS: bool = false;

    #[inline(always)]
    fn centred(self, _: S, z: Block<S>) -> Block<S> {
        vectors(
            z,
            #[inline(always)]
            |z| (z - self.pivot) * self.scale,
        )
    }

    #[inline(always)]
    fn exp(self, simd: S, z: Block<S>) -> Block<S> {
        self.exponent.splat(simd).exp::<UNIT, { BLOCK / LANES }>(simd, z)
    }

    #[inline(always)]
    fn exp_and_slope(self, simd: S, z: Block<S>) -> (Block<S>, Block<S>) {
        (self.exp(simd, z), [simd.splat_f32x16(1.0); BLOCK / LANES])
    }
}

/// z' = cap·tanh(scale·z/cap), or scale·z of logits so large that the maximum is subtracted first.
#[derive(Clone, Copy, Debug)]
pub(super) struct General {
    exponent: Exponent,
    scale: f32,
    cap: Option<f32>,
    pivot: f32,
}

/// (tanh u − u)/u³ in powers of u², highest first, for |u| < 0.625 (a minimax fit).
const TANH: [f32; 5] =
    [-5.704_749_4e-3, 2.063_888_3e-2, -5.373_965_6e-2, 1.333_144_2e-1, -3.333_328e-1];

impl General {
    /// The same where there is no soft-cap, known when the loop is compiled.
    #[inline(always)]
    pub(super) fn uncapped(self) -> Self {
        Self { cap: None, ..self }
    }

    /// tanh u and 1 − tanh² u for u = scale·z/cap, the second without cancellation where the cap saturates: 4e/(1+e)², e = e^(−2|u|).
    #[inline(always)]
    fn tanh_and_slope<S: Simd>(self, simd: S, z: Block<S>, cap: f32) -> (Block<S>, Block<S>) {
        let (one, factor) = (simd.splat_f32x16(1.0), self.scale / cap);
        let (mut tanh, mut slope) = (z, z);
        for i in 0..z.len() {
            tanh[i] = simd.abs_f32x16(z[i] * factor) * -2.0;
        }
        let decay = natural(simd, tanh);
        for i in 0..z.len() {
            let (u, inverse) = (z[i] * factor, one / (decay[i] + 1.0));
            slope[i] = decay[i] * 4.0 * (inverse * inverse);
            let large = simd.copysign_f32x16((one - decay[i]) * inverse, u);
            let square = u * u;
            let mut q = simd.splat_f32x16(TANH[0]);
            for coefficient in &TANH[1..] {
                q = q.mul_add(square, simd.splat_f32x16(*coefficient));
            }
            let small = (q * square).mul_add(u, u);
            let is_small = simd.simd_lt_f32x16(simd.abs_f32x16(u), simd.splat_f32x16(0.625));
            tanh[i] = simd.select_f32x16(is_small, small, large);
        }
        (tanh, slope)
    }

    /// What [`LaneMap::centred`] gives, and the slope.
    #[inline(always)]
    fn centred_and_slope<S: Simd>(self, simd: S, z: Block<S>) -> (Block<S>, Block<S>) {
        let one = simd.splat_f32x16(1.0);
        let (mut x, mut slope) = (z, [one; BLOCK / LANES]);
        match self.cap {
            Some(cap) => {
                (x, slope) = self.tanh_and_slope(simd, z, cap);
                for x in &mut x {
                    *x = *x * cap - self.pivot;
                }
            }
            None => {
                for x in &mut x {
                    *x = (*x - self.pivot) * self.scale;
                }
            }
        }
        (x, slope)
    }
}

impl<S: Simd> LaneMap<S> for General {
    const PADDING_HAS_MASS: bool = true;

    #[inline(always)]
    fn centred(self, simd: S, z: Block<S>) -> Block<S> {
        self.centred_and_slope(simd, z).0
    }

    #[inline(always)]
    fn exp(self, simd: S, z: Block<S>) -> Block<S> {
        if self.cap.is_some() {
            return natural(simd, self.centred(simd, z));
        }
        // The scale as a part of the exponent loses no digits; one beyond its range is multiplied by before.
        let before = if Exponent::takes(self.scale) { 1.0 } else { self.scale };
        let mut x = z;
        for x in &mut x {
            *x = (*x - self.pivot) * before;
        }
        self.exponent.splat(simd).exp::<false, { BLOCK / LANES }>(simd, x)
    }

    #[inline(always)]
    fn exp_and_slope(self, simd: S, z: Block<S>) -> (Block<S>, Block<S>) {
        if self.cap.is_none() {
            return (self.exp(simd, z), [simd.splat_f32x16(1.0); BLOCK / LANES]);
        }
        let (x, slope) = self.centred_and_slope(simd, z);
        (natural(simd, x), slope)
    }
}
