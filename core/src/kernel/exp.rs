//! 2^(x·c − K) in vectors of 16 lanes: the one transcendental function of the hot path, with the logit scale folded into c and the row's
//! maximum into the integer K.
//!
//! n = round(8·(x·c − K)), and the rest r, formed without a rounding, so that neither the scale nor an offset of the logits costs a digit; then
//! 2^(n/8) from a table of eight with the rest of n in its exponent, times a polynomial for what r adds. Two ways to r: without a logit scale one
//! fused multiply-add, x − n·(ln 2)/8, whose constant is off by 3e-9; else two, 8·(x·c − K) − n, from a c in two parts.
//! Relative to the row's maximum within 1.2 ULP of the true value (1.5 on levels without FMA), and of the first way 0.024 ULP more for each nat
//! of distance; down to 2^−126, the least normal number. Below 2^−127 exactly 0, and in between something smaller than 2^−126. NaN stays NaN.

use fearless_simd::{Level, Simd, f32x16, prelude::*, u32x16};

use super::lanes::LANES;
use super::level::is_fused;
use super::native::{at_least, lookup};

/// 1.5·2^23: adding it rounds to the nearest integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;
/// Steps of a power of two.
const STEPS: usize = 8;
/// The power that stands as 0 in the bits of a float.
const LEAST: f64 = -127.0;
/// (2^(r/8) − 1)/r on [−1/2, 1/2], highest power first: a minimax fit of 2^(r/8), 0.22 ULP off before rounding.
const POLYNOMIAL: [f32; 3] = [1.083_881_5e-4, 3.754_026_7e-3, 8.664_340_5e-2];
/// (e^r − 1)/r on [−ln 2/16, ln 2/16], alike.
const NATURAL: [f32; 3] = [1.666_683_1e-1, 5.000_645e-1, 1.0];
/// (ln 2)/8.
const STEP: f32 = core::f32::consts::LN_2 / STEPS as f32;
/// Upper 12 bits of a mantissa.
const UPPER: u32 = 0xffff_f000;
/// Bits of 2^(k/8), less k where n ends up.
#[expect(clippy::cast_possible_truncation, reason = "below 8")]
const POWERS: [u32; STEPS] = {
    let mut powers = [
        0x3f80_0000,
        0x3f8b_95c2,
        0x3f98_37f0,
        0x3fa5_fed7,
        0x3fb5_04f3,
        0x3fc5_672a,
        0x3fd7_44fd,
        0x3fea_c0c7,
    ];
    let mut k = 0;
    while k < STEPS {
        powers[k] -= (k as u32) << 20;
        k += 1;
    }
    powers
};

/// The constants of 2^(x·c − K).
#[derive(Clone, Copy, Debug)]
pub(super) struct Exponent {
    /// 8c in two parts.
    high: f32,
    low: f32,
    /// [`ROUND`] − 8K.
    shift: f32,
    /// The x of [`LEAST`].
    least: f32,
}

impl Exponent {
    /// e^x.
    pub(super) const NATURAL: Self = Self::new(core::f64::consts::LOG2_E, 0.0);

    #[expect(
        clippy::cast_possible_truncation,
        reason = "two parts of a number, and a small integer"
    )]
    #[inline(always)]
    const fn new(factor: f64, power: f64) -> Self {
        let steps = STEPS as f64;
        let least = ((power + LEAST) / factor) as f32;
        let (factor, shift) = (factor * steps, ROUND - (power * steps) as f32);
        let high = factor as f32;
        Self { high, low: (factor - high as f64) as f32, shift, least }
    }

    /// e^(scale·x), of logits that are relative to the maximum.
    #[inline(always)]
    pub(super) fn scaled(scale: f32) -> Self {
        Self::new(f64::from(scale) * core::f64::consts::LOG2_E, 0.0)
    }

    /// Whether a logit scale may be a part of the exponent: its own parts are f32.
    #[inline(always)]
    pub(super) fn takes(scale: f32) -> bool {
        1e-30 < scale && scale < 1e30
    }

    /// e^(scale·x) relative to a power of two near e^max, at least an eighth of it; `None` where the exponents are too large to be told
    /// apart: then the maximum must be subtracted first.
    #[inline(always)]
    pub(super) fn relative(level: Level, scale: f32, max: f64) -> Option<Self> {
        // With FMA every integer up to 2^22 is exact beside ROUND. Without, x·c must leave its rounding error below the contract.
        let most = if is_fused(level) { 524_288.0 } else { 4096.0 };
        let (top, factor) =
            (max * core::f64::consts::LOG2_E, f64::from(scale) * core::f64::consts::LOG2_E);
        let fits = libm::fabs(top) < most && Self::takes(scale);
        // Rounded toward 0: a conversion, where a floor would be a call.
        #[expect(clippy::cast_possible_truncation, reason = "below 2^19")]
        fits.then(|| Self::new(factor, f64::from(top as i32 - 2)))
    }

    /// As vectors.
    #[inline(always)]
    pub(super) fn splat<S: Simd>(self, simd: S) -> Exponents<S> {
        let splat = |value| simd.splat_f32x16(value);
        let Self { high, low, shift, least } = self;
        Exponents { high: splat(high), low: splat(low), shift: splat(shift), least: splat(least) }
    }

    /// As vectors, each lane relative to a power of its own: for the rows of one scale that have an exponent.
    #[inline(always)]
    pub(super) fn lanes<S: Simd>(simd: S, rows: &[Option<Self>; LANES]) -> Exponents<S> {
        let (mut shifts, mut least, mut any) = ([ROUND; LANES], [0.0; LANES], Self::NATURAL);
        for ((shift, least), row) in shifts.iter_mut().zip(&mut least).zip(rows) {
            if let Some(row) = row {
                (*shift, *least, any) = (row.shift, row.least, *row);
            }
        }
        let of = |lanes: &[f32; LANES]| f32x16::from_slice(simd, lanes);
        Exponents { shift: of(&shifts), least: of(&least), ..any.splat(simd) }
    }
}

/// [`Exponent`] as the loops need it.
#[derive(Clone, Copy)]
pub(super) struct Exponents<S: Simd> {
    high: f32x16<S>,
    low: f32x16<S>,
    shift: f32x16<S>,
    least: f32x16<S>,
}

impl<S: Simd> Exponents<S> {
    /// 8·x·c − u for an integer u near it: rounded once with FMA, in exact parts without. With `UNIT`, where c is log2 e, x − u·(ln 2)/8.
    #[inline(always)]
    fn remainder<const UNIT: bool>(self, simd: S, x: f32x16<S>, u: f32x16<S>) -> f32x16<S> {
        let Self { high, low, .. } = self;
        if UNIT {
            return u.mul_add(simd.splat_f32x16(-STEP), x);
        }
        if is_fused(simd.level()) {
            return x.mul_add(low, x.mul_add(high, -u));
        }
        // Halves of 12 bits, whose products are exact.
        let upper_of = |x: f32x16<S>| -> f32x16<S> { (x.bitcast::<u32x16<S>>() & UPPER).bitcast() };
        let (c, upper) = (upper_of(high), upper_of(x));
        let (rest, lower) = (high - c, x - upper);
        ((upper * c - u) + (upper * rest + lower * c)) + (lower * rest + x * low)
    }

    /// Of several vectors at once, a step for all before the next step: each of the steps has to wait for the one before. `UNIT` as
    /// [`has_unit`] allows.
    #[inline(always)]
    pub(super) fn exp<const UNIT: bool, const N: usize>(
        self,
        simd: S,
        mut x: [f32x16<S>; N],
    ) -> [f32x16<S>; N] {
        let splat = |value| simd.splat_f32x16(value);
        let [first, ref rest @ ..] = if UNIT { NATURAL } else { POLYNOMIAL };
        for x in &mut x {
            *x = at_least(simd, *x, self.least);
        }
        let (mut n, mut r, mut power, mut y) = (x, x, x, [splat(first); N]);
        for i in 0..N {
            n[i] = x[i].mul_add(self.high, self.shift);
        }
        for i in 0..N {
            r[i] = self.remainder::<UNIT>(simd, x[i], n[i] - self.shift);
        }
        for i in 0..N {
            // From the low bits: no conversion to integer, which would have to saturate.
            let bits: u32x16<S> = n[i].bitcast();
            power[i] = ((bits << 20) + lookup(simd, &POWERS, bits)).bitcast();
        }
        for coefficient in rest {
            for i in 0..N {
                y[i] = y[i].mul_add(r[i], splat(*coefficient));
            }
        }
        for i in 0..N {
            y[i] = y[i].mul_add(power[i] * r[i], power[i]);
        }
        y
    }
}

/// e^x of several vectors, by whichever way a level has.
#[inline(always)]
pub(super) fn natural<S: Simd, const N: usize>(simd: S, x: [f32x16<S>; N]) -> [f32x16<S>; N] {
    let exponents = Exponent::NATURAL.splat(simd);
    if has_unit(simd.level(), 1.0) {
        exponents.exp::<true, N>(simd, x)
    } else {
        exponents.exp::<false, N>(simd, x)
    }
}

/// Whether the shorter way to r serves: its product must not be rounded.
#[inline(always)]
pub(super) fn has_unit(level: Level, scale: f32) -> bool {
    scale == 1.0 && is_fused(level)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests compare with the standard library")]
mod tests {
    extern crate std;

    use fearless_simd::Level;

    use super::super::level::dispatch;
    use super::*;

    fn apply(level: Level, exponent: Exponent, unit: bool, x: &[f32; 16]) -> [f32; 16] {
        let mut y = [9.0; 16];
        dispatch!(level, simd => {
            let (exponents, x) = (exponent.splat(simd), [f32x16::from_slice(simd, x)]);
            let [e] = if unit { exponents.exp::<true, 1>(simd, x) } else { exponents.exp::<false, 1>(simd, x) };
            e.store_slice(&mut y);
        });
        y
    }

    /// Largest error in ULP of the true value over every `step`-th f32 in [−88, 0], less what distance allows, and the argument where it stands.
    fn worst(level: Level, unit: bool, step: usize) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in (0x8000_0000_u32..=(-88.0_f32).to_bits()).step_by(16 * step) {
            let mut x = [0.0_f32; 16];
            for (lane, bits) in (bits..).take(16).enumerate() {
                x[lane] = f32::from_bits(bits);
            }
            for (x, y) in x.into_iter().zip(apply(level, Exponent::NATURAL, unit, &x)) {
                let error = ulp_error(f64::from(x), y) - by_distance(unit, f64::from(x));
                if error.is_nan() || error > worst.0 {
                    worst = (error, x);
                }
            }
        }
        worst
    }

    /// What the shorter way to r may be off at a distance, in ULP: twice that where a mantissa is near 2.
    fn by_distance(unit: bool, x: f64) -> f64 {
        if unit { 0.048 * x.abs() } else { 0.0 }
    }

    /// The error of y as e^x.
    fn ulp_error(x: f64, y: f32) -> f64 {
        let exact = x.exp();
        let power = x * core::f64::consts::LOG2_E;
        if power < -126.0 {
            let most = if power < LEAST { 0.0 } else { f32::MIN_POSITIVE };
            return if (0.0..=most).contains(&y) { 0.0 } else { f64::INFINITY };
        }
        // ULP of the binade of the exact value.
        let ulp = (exact.log2().floor() - 23.0).exp2();
        (f64::from(y) - exact).abs() / ulp
    }

    #[test]
    fn ulp_error_can_fail() {
        assert!(ulp_error(-1.0, 0.367_879_6) > 1.0);
        assert!(ulp_error(-88.0, 2e-38).is_infinite());
        assert!(ulp_error(-88.1, 1e-45).is_infinite());
    }

    /// Largest error in ULP.
    fn bound(level: Level) -> f64 {
        if is_fused(level) { 1.2 } else { 1.5 }
    }

    /// The levels of this machine, and the ways that they have.
    fn ways() -> std::vec::Vec<(Level, bool)> {
        let best = crate::default_level();
        let mut levels = std::vec![best, Level::baseline()];
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        levels.extend(best.as_avx2().map(Level::Avx2));
        let ways = levels.into_iter().flat_map(|level| [(level, false), (level, true)]);
        ways.filter(|&(level, unit)| !unit || has_unit(level, 1.0)).collect()
    }

    fn assert_within(step: usize) {
        for (level, unit) in ways() {
            let (error, x) = worst(level, unit, step);
            std::println!("{level:?} {unit}: {error:.4} ulp at {x}");
            assert!(error <= bound(level), "{level:?} {unit}: {error} ulp at {x}");
        }
    }

    #[test]
    fn within_the_bound_by_stride() {
        assert_within(997);
    }

    #[test]
    #[ignore = "every f32 in [-88, 0], minutes: cargo test -p surprisal --release -- --ignored"]
    fn within_the_bound_exhaustively() {
        assert_within(1);
    }

    /// Neither a scale nor an offset costs digits: the same bound relative to any maximum, which has its own error.
    #[test]
    fn scales_and_offsets_are_exact() {
        for (level, unit) in ways() {
            for scale in [1.0_f32, 0.7, 1.3, 0.013].into_iter().take(if unit { 1 } else { 4 }) {
                for max in [0.0_f32, 3.3, -17.25, 1000.3, -2000.7, 300_000.1] {
                    let scaled = f64::from(scale) * f64::from(max);
                    let Some(exponent) = Exponent::relative(level, scale, scaled) else { continue };
                    let [at_max, ..] = apply(level, exponent, unit, &[max; 16]);
                    for start in (0..6000).step_by(16) {
                        let mut x = [0.0; 16];
                        for (lane, x) in x.iter_mut().enumerate() {
                            *x = max - (start + lane) as f32 * 0.0137 / scale;
                        }
                        for (x, y) in x.into_iter().zip(apply(level, exponent, unit, &x)) {
                            let exact = f64::from(scale) * f64::from(x) - scaled;
                            let error = f64::from(y) / f64::from(at_max) / exact.exp() - 1.0;
                            let error = error.abs() / f64::from(f32::EPSILON);
                            let bound = 2.0 * bound(level) + by_distance(unit, exact);
                            let holds = exact < -84.0 || error <= bound;
                            assert!(holds, "{level:?} {scale} {max} {x}: {error} ulp");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn special_values() {
        let x = [0.0, -0.0, f32::NAN, f32::NEG_INFINITY, -1e30, -88.1, -100.0, f32::MIN];
        for (level, unit) in ways() {
            let mut lanes = [0.0; 16];
            lanes[..x.len()].copy_from_slice(&x);
            let y = apply(level, Exponent::NATURAL, unit, &lanes);
            assert_eq!(y[..2], [1.0, 1.0]);
            assert!(y[2].is_nan());
            assert_eq!(y[3..8], [0.0; 5]);
        }
    }
}
