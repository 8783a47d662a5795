//! e^x and ln x in f64, of several rows at once: a few times a row, where libm's take as long as the exponentials of a hundred classes.
//!
//! Arrays of N, a step for all before the next step: the compiler makes vectors of them. Products and sums are rounded one by one (no FMA),
//! so one row alone and eight at any SIMD level have the same bits.

use core::f64::consts::LOG2_E;

/// ln 2 in two parts, the first with so few bits that n·LN2_HIGH is exact.
const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// 1.5·2^52: adding it rounds to the nearest integer, which then stands in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// 2^52, whose mantissa is the integer added to it.
const INTEGER: f64 = 4_503_599_627_370_496.0;
const MANTISSA: u64 = (1 << 52) - 1;
const ONE: u64 = 1.0_f64.to_bits();
/// The upper half of √½: mantissas are those of numbers between √½ and √2.
const SQRT_HALF: u64 = 0x3fe6_a09e_0000_0000;
/// Below e^LEAST there are no normal numbers, beyond e^MOST none at all.
const LEAST: f64 = -708.0;
const MOST: f64 = 709.0;

/// e^x within 1e-15 of itself; 0 below the normal numbers, infinite from e^709 on, NaN stays.
#[inline(always)]
pub(crate) fn exp<const N: usize>(x: [f64; N]) -> [f64; N] {
    let mut y = x;
    for y in &mut y {
        let x = *y;
        let bounded = if x < LEAST { LEAST } else { x };
        let bounded = if bounded > MOST { MOST } else { bounded };
        let shifted = bounded * LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = (bounded - n * LN2_HIGH) - n * LN2_LOW;
        // 1/k!: the Taylor series, in pairs that do not wait for each other.
        let (r2, r4) = (r * r, r * r * (r * r));
        let low = (1.0 + r) + r2 * (1.0 / 2.0 + r * (1.0 / 6.0));
        let middle = (1.0 / 24.0 + r * (1.0 / 120.0)) + r2 * (1.0 / 720.0 + r * (1.0 / 5040.0));
        let high = (1.0 / 40_320.0 + r * (1.0 / 362_880.0))
            + r2 * (1.0 / 3_628_800.0 + r * (1.0 / 39_916_800.0) + r2 * (1.0 / 479_001_600.0));
        let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(ONE));
        let e = (low + r4 * (middle + r4 * high)) * power;
        let e = if x < LEAST { 0.0 } else { e };
        *y = if x > MOST { f64::INFINITY } else { e };
    }
    y
}

/// ln(a + b) and 1/(a + b) for a, b ≥ 0 with a positive normal sum: the logarithm within 5e-16 of itself, however near to 1 the sum is. NaN
/// where the sum is NaN, infinite or 0.
#[inline(always)]
pub(crate) fn ln_and_inverse<const N: usize>(a: [f64; N], b: [f64; N]) -> ([f64; N], [f64; N]) {
    let (mut ln, mut inverse) = (a, b);
    for (ln, inverse) in ln.iter_mut().zip(&mut inverse) {
        let (a, b) = (*ln, *inverse);
        // The sum and what its rounding left out.
        let s = a + b;
        let of_b = s - a;
        let lost = (a - (s - of_b)) + (b - of_b);
        // s = 2^k·(1 + f).
        let bits = s.to_bits().wrapping_add(ONE - SQRT_HALF);
        let k = f64::from_bits((bits >> 52) | INTEGER.to_bits()) - (INTEGER + 1023.0);
        let f = f64::from_bits((bits & MANTISSA).wrapping_add(SQRT_HALF)) - 1.0;
        // ln(1 + f) = 2·atanh(t) = f − t·(f − 2·(t²/3 + t⁴/5 + …)).
        let t = f / (2.0 + f);
        let (z, z2) = (t * t, t * t * (t * t));
        let odd = 2.0 / 3.0
            + z2 * (2.0 / 7.0 + z2 * (2.0 / 11.0 + z2 * (2.0 / 15.0 + z2 * (2.0 / 19.0))));
        let even = 2.0 / 5.0 + z2 * (2.0 / 9.0 + z2 * (2.0 / 13.0 + z2 * (2.0 / 17.0)));
        let series = z * (odd + z * even);
        let whole = if s > 0.0 { 1.0 / s } else { f64::NAN };
        let rest = k * LN2_LOW + lost * whole;
        // 0, or NaN for all that is no number.
        let nothing = whole * 0.0 + s * 0.0;
        *ln = k * LN2_HIGH + (f - (t * (f - series) - rest)) + nothing;
        *inverse = whole;
    }
    (ln, inverse)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests compare with the standard library")]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn exp_is_that_of_libm() {
        for step in 0..2_000_000_u32 {
            let x = 708.0 - f64::from(step) * 7.07e-4;
            let ([actual], exact) = (exp([x]), libm::exp(x));
            assert!((actual - exact).abs() <= 1e-15 * exact, "{x}: {actual:e}, not {exact:e}");
        }
        let infinity = f64::INFINITY;
        assert_eq!(exp([0.0, -0.0, -infinity, -709.0]), [1.0, 1.0, 0.0, 0.0]);
        assert_eq!(exp([infinity, 710.0]), [infinity; 2]);
        assert!(exp([f64::NAN])[0].is_nan());
    }

    #[test]
    fn ln_is_that_of_libm() {
        for step in 0..2_000_000_u32 {
            let a = libm::exp2(f64::from(step) * 1.0e-3 - 1022.0);
            let ([actual], _) = ln_and_inverse([a], [0.0]);
            let exact = libm::log(a);
            assert!(
                (actual - exact).abs() <= 3e-16 * exact.abs(),
                "{a:e}: {actual:e}, not {exact:e}"
            );
            let ([actual], _) = ln_and_inverse([a], [1.0]);
            let exact = libm::log1p(a);
            assert!(
                (actual - exact).abs() <= 5e-16 * exact,
                "1 + {a:e}: {actual:e}, not {exact:e}"
            );
        }
        assert_eq!(ln_and_inverse([0.0, 1.0], [1.0, 0.0]), ([0.0; 2], [1.0; 2]));
        let (ln, inverse) = ln_and_inverse([f64::NAN, f64::INFINITY, 0.0], [0.0; 3]);
        assert!(ln.iter().all(|ln| ln.is_nan()));
        assert!(inverse[0].is_nan() && inverse[2].is_nan());
    }

    #[test]
    fn rows_together_are_rows_alone() {
        let a: [f64; 8] = core::array::from_fn(|i| libm::exp(i as f64 * 3.7 - 20.0));
        let x: [f64; 8] = core::array::from_fn(|i| i as f64 * -9.3);
        let (together, _) = ln_and_inverse(a, [1.0; 8]);
        for i in 0..8 {
            assert_eq!(together[i].to_bits(), ln_and_inverse([a[i]], [1.0]).0[0].to_bits());
            assert_eq!(exp(x)[i].to_bits(), exp([x[i]])[0].to_bits());
        }
    }
}
