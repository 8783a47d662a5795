//! The transformation of logits before everything else, z' = scale·z or cap·tanh(scale·z/cap), and what a row's exponentials are taken
//! relative to. The transformation is monotone, so it keeps the maximum's place.

use fearless_simd::{Level, Simd, f32x16, prelude::*};

use super::exp::Exponent;
use super::walk::Block;

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
#[derive(Clone, Copy, Debug)]
pub struct Base {
    pub(super) map: RowMap,
    /// What [`LaneMap::centred`] subtracts, less the maximum.
    pub(crate) origin: f64,
}

/// The kinds of maps, each with loops of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowMap {
    Linear(Linear),
    General(General),
}

impl Base {
    /// Whether a gradient can be made of the exponentials alone.
    pub(crate) fn is_linear(&self) -> bool {
        matches!(self.map, RowMap::Linear(_))
    }

    /// For a row (or several parts of one) whose largest z' is `max`.
    pub(crate) fn of(level: Level, map: &LogitMap, max: f64) -> Self {
        let LogitMap { scale, cap } = *map;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "exact without a soft-cap: the logit that was scaled"
        )]
        let pivot = (if cap.is_none() { max / f64::from(scale) } else { max }) as f32;
        Self::new(level, map, max, pivot.clamp(f32::MIN, f32::MAX))
    }

    /// As [`Base::of`], with the largest logit, or with a soft-cap `max`, as `pivot`.
    pub(crate) fn new(level: Level, map: &LogitMap, max: f64, pivot: f32) -> Self {
        let LogitMap { scale, cap } = *map;
        if let (None, Some(exponent)) = (cap, Exponent::relative(level, scale, max)) {
            let map = RowMap::Linear(Linear { exponent, scale, pivot });
            return Self { map, origin: 0.0 };
        }
        let at = f64::from(pivot) * if cap.is_none() { f64::from(scale) } else { 1.0 };
        let origin = at - max;
        let general = General { scale, cap, pivot, at_max: libm::exp(-origin) };
        Self { map: RowMap::General(general), origin }
    }
}

/// A map as the loops need it.
pub(super) trait LaneMap<S: Simd>: Copy {
    /// Whether −inf is mapped to something finite.
    const PADDING_HAS_MASS: bool;
    /// z' relative to the base's origin.
    fn centred(self, simd: S, z: f32x16<S>) -> f32x16<S>;
    /// The exponential of the row's maximum, by the same arithmetic: what turns the others into exponentials relative to it, with ties exactly 1.
    fn at_max(self, simd: S) -> f64;
    /// ∂z'/∂z relative to the scale.
    fn slope(self, simd: S, z: f32x16<S>) -> f32x16<S>;
    /// Exponentials relative to the base.
    fn exp(self, simd: S, z: Block<S>) -> Block<S>;
}

/// z' = scale·z.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    exponent: Exponent,
    scale: f32,
    pivot: f32,
}

impl<S: Simd> LaneMap<S> for Linear {
    const PADDING_HAS_MASS: bool = false;

    #[inline(always)]
    fn centred(self, _: S, z: f32x16<S>) -> f32x16<S> {
        (z - self.pivot) * self.scale
    }

    #[inline(always)]
    fn at_max(self, simd: S) -> f64 {
        let [e] = self.exponent.exp(simd, [simd.splat_f32x16(self.pivot)]);
        f64::from(e[0])
    }

    #[inline(always)]
    fn slope(self, simd: S, _: f32x16<S>) -> f32x16<S> {
        simd.splat_f32x16(1.0)
    }

    #[inline(always)]
    fn exp(self, simd: S, z: Block<S>) -> Block<S> {
        self.exponent.exp(simd, z)
    }
}

/// z' = cap·tanh(scale·z/cap), or scale·z of logits so large that the maximum is subtracted first.
#[derive(Clone, Copy, Debug)]
pub(super) struct General {
    scale: f32,
    cap: Option<f32>,
    pivot: f32,
    at_max: f64,
}

/// (tanh u − u)/u³ in powers of u², highest first, for |u| < 0.625 (a minimax fit).
const TANH: [f32; 5] =
    [-5.704_749_4e-3, 2.063_888_3e-2, -5.373_965_6e-2, 1.333_144_2e-1, -3.333_328e-1];

impl General {
    /// |u| and e^(−2|u|) for u = scale·z/cap.
    #[inline(always)]
    fn decay<S: Simd>(self, simd: S, z: f32x16<S>, cap: f32) -> (f32x16<S>, f32x16<S>) {
        let u = z * self.scale / cap;
        let [decay] = Exponent::NATURAL.exp(simd, [simd.abs_f32x16(u) * -2.0]);
        (u, decay)
    }

    #[inline(always)]
    fn tanh<S: Simd>(self, simd: S, z: f32x16<S>, cap: f32) -> f32x16<S> {
        let (u, decay) = self.decay(simd, z, cap);
        let large = simd.copysign_f32x16((simd.splat_f32x16(1.0) - decay) / (decay + 1.0), u);
        let square = u * u;
        let mut q = simd.splat_f32x16(TANH[0]);
        for coefficient in &TANH[1..] {
            q = q.mul_add(square, simd.splat_f32x16(*coefficient));
        }
        let small = (q * square).mul_add(u, u);
        let is_small = simd.simd_lt_f32x16(simd.abs_f32x16(u), simd.splat_f32x16(0.625));
        simd.select_f32x16(is_small, small, large)
    }
}

impl<S: Simd> LaneMap<S> for General {
    const PADDING_HAS_MASS: bool = true;

    #[inline(always)]
    fn centred(self, simd: S, z: f32x16<S>) -> f32x16<S> {
        match self.cap {
            Some(cap) => self.tanh(simd, z, cap) * cap - self.pivot,
            None => (z - self.pivot) * self.scale,
        }
    }

    #[inline(always)]
    fn at_max(self, _: S) -> f64 {
        self.at_max
    }

    /// 1 − tanh² = 4e/(1+e)², e = e^(−2|u|), without cancellation where the cap saturates.
    #[inline(always)]
    fn slope(self, simd: S, z: f32x16<S>) -> f32x16<S> {
        let Some(cap) = self.cap else { return simd.splat_f32x16(1.0) };
        let (_, decay) = self.decay(simd, z, cap);
        let sum = decay + 1.0;
        decay * 4.0 / (sum * sum)
    }

    #[inline(always)]
    fn exp(self, simd: S, mut z: Block<S>) -> Block<S> {
        for z in &mut z {
            *z = self.centred(simd, *z);
        }
        Exponent::NATURAL.exp(simd, z)
    }
}
