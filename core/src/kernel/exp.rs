//! e^x for x ≤ 0, in vectors of 16 lanes: the one transcendental function of the hot path.
//!
//! n = round(x·log2 e), r = x − n·ln 2 in two steps, a polynomial for e^r, and n added to its exponent. Within 1 ULP of the true value
//! on [−87.336, 0] (1.25 ULP on SIMD levels without FMA); below, where e^x is not a normal f32, exactly 0. NaN stays NaN.

use fearless_simd::{Simd, f32x16, prelude::*, u32x16};

/// ln of the smallest normal f32, rounded up: from here on e^x is normal.
const LN_MIN: f32 = -87.336_54;
/// 1.5·2^23: adding it rounds to the nearest integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has so few bits that n·LN2_HI is exact, with and without FMA.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;
/// (e^r − 1 − r)/r² on [−ln 2/2, ln 2/2], highest power first: a minimax fit of e^r, 0.03 ULP off before rounding.
const POLYNOMIAL: [f32; 5] =
    [1.381_454e-3, 8.368_745e-3, 4.166_839e-2, 1.666_652_1e-1, 0.499_999_94];

/// Of several vectors at once, a step for all before the next step: each of the steps has to wait for the one before.
#[inline(always)]
pub(super) fn exp<S: Simd, const N: usize>(simd: S, x: [f32x16<S>; N]) -> [f32x16<S>; N] {
    let splat = |value| simd.splat_f32x16(value);
    let (log2_e, round) = (splat(core::f32::consts::LOG2_E), splat(ROUND));
    let (ln2_hi, ln2_lo, one) = (splat(-LN2_HI), splat(-LN2_LO), splat(1.0));
    let (mut shifted, mut r, mut y) = (x, x, [splat(POLYNOMIAL[0]); N]);
    for i in 0..N {
        shifted[i] = x[i].mul_add(log2_e, round);
    }
    for i in 0..N {
        r[i] = (shifted[i] - round).mul_add(ln2_hi, x[i]);
    }
    for i in 0..N {
        r[i] = (shifted[i] - round).mul_add(ln2_lo, r[i]);
    }
    for coefficient in &POLYNOMIAL[1..] {
        let coefficient = splat(*coefficient);
        for i in 0..N {
            y[i] = y[i].mul_add(r[i], coefficient);
        }
    }
    for _ in 0..2 {
        for i in 0..N {
            y[i] = y[i].mul_add(r[i], one);
        }
    }
    for i in 0..N {
        // 2^n from the low bits of `shifted`: no conversion to integer, which would have to saturate.
        let bits: u32x16<S> = shifted[i].bitcast();
        let power: f32x16<S> = ((bits << 23) + 0x3f80_0000).bitcast();
        let vanishes = simd.simd_lt_f32x16(x[i], splat(LN_MIN));
        y[i] = simd.select_f32x16(vanishes, splat(0.0), y[i] * power);
    }
    y
}

#[cfg(test)]
mod tests {
    extern crate std;

    use fearless_simd::{Level, dispatch};

    use super::*;

    /// Largest error in ULP of the true value over every `step`-th f32 in [−88, 0], and the argument where it stands.
    fn worst(level: Level, step: usize) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in (0x8000_0000_u32..=(-88.0_f32).to_bits()).step_by(16 * step) {
            let mut x = [0.0_f32; 16];
            for (lane, bits) in (bits..).take(16).enumerate() {
                x[lane] = f32::from_bits(bits);
            }
            let mut y = [0.0_f32; 16];
            dispatch!(level, simd => exp(simd, [f32x16::from_slice(simd, &x)])[0].store_slice(&mut y));
            for (x, y) in x.into_iter().zip(y) {
                let error = ulp_error(x, y);
                if error.is_nan() || error > worst.0 {
                    worst = (error, x);
                }
            }
        }
        worst
    }

    fn ulp_error(x: f32, y: f32) -> f64 {
        let exact = f64::from(x).exp();
        if x < LN_MIN {
            return if y == 0.0 { 0.0 } else { f64::INFINITY };
        }
        // ULP of the binade of the exact value.
        let ulp = (exact.log2().floor() - 23.0).exp2();
        (f64::from(y) - exact).abs() / ulp
    }

    #[test]
    fn ulp_error_can_fail() {
        assert!(ulp_error(-1.0, 0.367_879_6) > 1.0);
        assert!(ulp_error(-88.0, 1e-38).is_infinite());
    }

    /// The levels of this machine, each with the bound that holds there.
    fn levels() -> std::vec::Vec<(Level, f64)> {
        let best = crate::default_level();
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let fused = |level: Level| level.as_avx2().is_some();
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
        let fused = |level: Level| !level.is_fallback();
        let bound = |level| (level, if fused(level) { 1.0 } else { 1.25 });
        let mut levels = std::vec![bound(best), bound(Level::baseline())];
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        levels.extend(best.as_avx2().map(|avx2| bound(Level::Avx2(avx2))));
        levels
    }

    fn assert_within(step: usize) {
        for (level, bound) in levels() {
            let (error, x) = worst(level, step);
            std::println!("{level:?}: {error:.4} ulp at {x}");
            assert!(error <= bound, "{level:?}: {error} ulp at {x}");
        }
    }

    #[test]
    fn within_one_ulp_by_stride() {
        assert_within(997);
    }

    #[test]
    #[ignore = "every f32 in [-88, 0], minutes: cargo test -p surprisal --release -- --ignored"]
    fn within_one_ulp_exhaustively() {
        assert_within(1);
    }

    #[test]
    fn special_values() {
        let x = [0.0, -0.0, f32::NAN, f32::NEG_INFINITY, -1e30, -87.4, -100.0, f32::MIN];
        for (level, _) in levels() {
            let (mut lanes, mut y) = ([0.0; 16], [9.0; 16]);
            lanes[..x.len()].copy_from_slice(&x);
            dispatch!(level, simd => exp(simd, [f32x16::from_slice(simd, &lanes)])[0].store_slice(&mut y));
            assert_eq!(y[..2], [1.0, 1.0]);
            assert!(y[2].is_nan());
            assert_eq!(y[3..8], [0.0; 5]);
        }
    }
}
