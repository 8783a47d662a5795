//! The transformation of logits before everything else: z' = scale·z, or cap·tanh(scale·z/cap). Monotone, so it keeps the maximum's place.

use fearless_simd::{Simd, f32x16, prelude::*};

use super::exp::exp;
use super::row::Block;

/// Logit scale (inverse temperature) and soft-cap.
#[derive(Clone, Copy, Debug)]
pub struct LogitMap {
    pub(crate) scale: f32,
    pub(crate) cap: Option<f32>,
}

impl LogitMap {
    /// z' of one logit, to the last bits of f64: the row's maximum and its target take this way.
    #[inline]
    pub(crate) fn apply(&self, z: f32) -> f64 {
        let scaled = f64::from(self.scale) * f64::from(z);
        self.cap.map_or(scaled, |cap| f64::from(cap) * libm::tanh(scaled / f64::from(cap)))
    }

    /// ∂z'/∂z at one logit.
    #[inline]
    pub(crate) fn slope(&self, z: f32) -> f64 {
        let scale = f64::from(self.scale);
        self.cap.map_or(scale, |cap| {
            let cosh = libm::cosh(scale * f64::from(z) / f64::from(cap));
            scale / (cosh * cosh)
        })
    }

    #[inline]
    pub(super) fn kind(&self) -> Kind {
        let scale = self.scale;
        self.cap.map_or(Kind::Linear(Linear { scale }), |cap| Kind::Capped(Capped { scale, cap }))
    }

    /// The f32 that exponents are taken relative to, for a row with this largest z'.
    #[inline]
    pub(crate) fn pivot(max: f64) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
        let pivot = max as f32;
        if pivot < f32::MIN { f32::MIN } else { pivot }
    }
}

/// The kinds of maps, each with loops of its own.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Linear(Linear),
    Capped(Capped),
}

/// A map with its kind fixed at compile time, for the loops.
pub(super) trait LaneMap<S: Simd>: Copy + Into<LogitMap> {
    /// Whether −inf is mapped to something finite.
    const PADDING_HAS_MASS: bool;
    /// z' − pivot.
    fn centred(self, simd: S, z: f32x16<S>, pivot: f32) -> f32x16<S>;
    /// exp(z' − pivot).
    #[inline(always)]
    fn exp(self, simd: S, z: Block<S>, pivot: f32) -> Block<S> {
        let mut x = z;
        for x in &mut x {
            *x = self.centred(simd, *x, pivot);
        }
        exp(simd, x)
    }
    /// z'.
    fn apply(self, simd: S, z: f32x16<S>) -> f32x16<S>;
    /// ∂z'/∂z relative to the scale.
    fn slope(self, simd: S, z: f32x16<S>) -> f32x16<S>;
}

/// z' = scale·z.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    pub(super) scale: f32,
}

impl From<Linear> for LogitMap {
    fn from(Linear { scale }: Linear) -> Self {
        Self { scale, cap: None }
    }
}

impl<S: Simd> LaneMap<S> for Linear {
    const PADDING_HAS_MASS: bool = false;

    #[inline(always)]
    fn centred(self, simd: S, z: f32x16<S>, pivot: f32) -> f32x16<S> {
        // One rounding; with scale 1 exactly z − pivot.
        z.mul_add(simd.splat_f32x16(self.scale), simd.splat_f32x16(-pivot))
    }

    #[inline(always)]
    fn apply(self, _: S, z: f32x16<S>) -> f32x16<S> {
        z * self.scale
    }

    #[inline(always)]
    fn slope(self, simd: S, _: f32x16<S>) -> f32x16<S> {
        simd.splat_f32x16(1.0)
    }
}

/// z' = cap·tanh(scale·z/cap).
#[derive(Clone, Copy)]
pub(super) struct Capped {
    pub(super) scale: f32,
    pub(super) cap: f32,
}

/// (tanh u − u)/u³ in powers of u², highest first, for |u| < 0.625 (a minimax fit).
const TANH: [f32; 5] =
    [-5.704_749_4e-3, 2.063_888_3e-2, -5.373_965_6e-2, 1.333_144_2e-1, -3.333_328e-1];

impl Capped {
    /// |u| and e^(−2|u|) for u = scale·z/cap.
    #[inline(always)]
    fn decay<S: Simd>(self, simd: S, z: f32x16<S>) -> (f32x16<S>, f32x16<S>) {
        let u = z * self.scale / self.cap;
        let magnitude = simd.abs_f32x16(u);
        let [decay] = exp(simd, [magnitude * -2.0]);
        (u, decay)
    }
}

impl From<Capped> for LogitMap {
    fn from(Capped { scale, cap }: Capped) -> Self {
        Self { scale, cap: Some(cap) }
    }
}

impl<S: Simd> LaneMap<S> for Capped {
    const PADDING_HAS_MASS: bool = true;

    #[inline(always)]
    fn centred(self, simd: S, z: f32x16<S>, pivot: f32) -> f32x16<S> {
        self.apply(simd, z) - pivot
    }

    #[inline(always)]
    fn apply(self, simd: S, z: f32x16<S>) -> f32x16<S> {
        let (u, decay) = self.decay(simd, z);
        let large = simd.copysign_f32x16((simd.splat_f32x16(1.0) - decay) / (decay + 1.0), u);
        let square = u * u;
        let mut q = simd.splat_f32x16(TANH[0]);
        for coefficient in &TANH[1..] {
            q = q.mul_add(square, simd.splat_f32x16(*coefficient));
        }
        let small = (q * square).mul_add(u, u);
        let is_small = simd.simd_lt_f32x16(simd.abs_f32x16(u), simd.splat_f32x16(0.625));
        simd.select_f32x16(is_small, small, large) * self.cap
    }

    #[inline(always)]
    fn slope(self, simd: S, z: f32x16<S>) -> f32x16<S> {
        // 1 − tanh² = 4e/(1+e)², e = e^(−2|u|): no cancellation where the cap saturates.
        let (_, decay) = self.decay(simd, z);
        let sum = decay + 1.0;
        decay * 4.0 / (sum * sum)
    }
}
