//! Instructions that the SIMD abstraction lacks, where a level has them: a lookup in a table of eight, and half precision. Elsewhere the same
//! results by portable means.

use fearless_simd::{Simd, f32x16, prelude::*, u32x8, u32x16};
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
use fearless_simd::{f32x8, u16x8, u16x16};

use super::lanes::LANES;

#[cfg(target_arch = "x86")]
use core::arch::x86 as arch;
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64 as arch;

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
mod x86 {
    use super::arch::*;

    fearless_simd::kernel!(
        #[inline(always)]
        pub(super) fn lookup_512(_token: Avx512, table: __m512i, index: __m512i) -> __m512i {
            _mm512_permutexvar_epi32(index, table)
        }
    );
    fearless_simd::kernel!(
        #[inline(always)]
        pub(super) fn lookup_256(_token: Avx2, table: __m256i, index: __m256i) -> __m256i {
            _mm256_permutevar8x32_epi32(table, index)
        }
    );
    fearless_simd::kernel!(
        #[inline(always)]
        pub(super) fn widen_512(_token: Avx512, half: __m256i) -> __m512 {
            _mm512_cvtph_ps(half)
        }
    );
    fearless_simd::kernel!(
        #[inline(always)]
        pub(super) fn widen_256(_token: Avx2, half: __m128i) -> __m256 {
            _mm256_cvtph_ps(half)
        }
    );
    fearless_simd::kernel!(
        #[inline(always)]
        pub(super) fn narrow_512(_token: Avx512, value: __m512) -> __m256i {
            _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value)
        }
    );
    fearless_simd::kernel!(
        #[inline(always)]
        pub(super) fn narrow_256(_token: Avx2, value: __m256) -> __m128i {
            _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value)
        }
    );
}

/// Entry `index mod 8` of a table for every lane.
#[inline(always)]
pub(super) fn lookup<S: Simd>(simd: S, table: &[u32; 8], index: u32x16<S>) -> u32x16<S> {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        if let Some(avx512) = simd.level().as_avx512() {
            let mut twice = [0; LANES];
            for (lane, entry) in twice.iter_mut().enumerate() {
                *entry = table[lane % 8];
            }
            let index: [u32; LANES] = index.into();
            let (table, index) =
                (u32x16::from_slice(avx512, &twice), u32x16::from_slice(avx512, &index));
            let found: u32x16<_> =
                x86::lookup_512(avx512, table.into(), index.into()).simd_into(avx512);
            let found: [u32; LANES] = found.into();
            return u32x16::from_slice(simd, &found);
        }
        if let Some(avx2) = simd.level().as_avx2() {
            let index: [u32; LANES] = index.into();
            let table = u32x8::from_slice(avx2, table);
            let mut lanes = [0; LANES];
            for (index, lanes) in index.as_chunks::<8>().0.iter().zip(lanes.as_chunks_mut::<8>().0)
            {
                let index = u32x8::from_slice(avx2, index);
                let found: u32x8<_> =
                    x86::lookup_256(avx2, table.into(), index.into()).simd_into(avx2);
                *lanes = found.into();
            }
            return u32x16::from_slice(simd, &lanes);
        }
    }
    if HAS_SWIZZLE {
        return lookup_bytes(simd, table, index);
    }
    let mut lanes: [u32; LANES] = index.into();
    for lane in &mut lanes {
        *lane = table[(*lane & 7) as usize];
    }
    u32x16::from_slice(simd, &lanes)
}

/// Whether bytes are looked up by an instruction, also where there is none for lanes: NEON, WebAssembly.
const HAS_SWIZZLE: bool = cfg!(any(target_arch = "aarch64", target_arch = "wasm32"));

/// As [`lookup`], by the places of bytes.
#[inline(always)]
fn lookup_bytes<S: Simd>(simd: S, table: &[u32; 8], index: u32x16<S>) -> u32x16<S> {
    let places = (index & 7) * 0x0404_0404 + 0x0302_0100;
    let (low, high) = simd.split_u32x16(places);
    let table = u32x8::from_slice(simd, table);
    simd.combine_u32x8(
        simd.swizzle_dyn_u32x8(table, low.bitcast()),
        simd.swizzle_dyn_u32x8(table, high.bitcast()),
    )
}

/// Half precision as f32, where there is an instruction for it.
#[inline(always)]
pub(super) fn widen<S: Simd>(simd: S, half: &[u16; LANES]) -> Option<f32x16<S>> {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        if let Some(avx512) = simd.level().as_avx512() {
            let half = u16x16::from_slice(avx512, half);
            let wide: f32x16<_> = x86::widen_512(avx512, half.into()).simd_into(avx512);
            let wide: [f32; LANES] = wide.into();
            return Some(f32x16::from_slice(simd, &wide));
        }
        if let Some(avx2) = simd.level().as_avx2() {
            let mut wide = [0.0; LANES];
            for (half, wide) in half.as_chunks::<8>().0.iter().zip(wide.as_chunks_mut::<8>().0) {
                let half = u16x8::from_slice(avx2, half);
                let lanes: f32x8<_> = x86::widen_256(avx2, half.into()).simd_into(avx2);
                *wide = lanes.into();
            }
            return Some(f32x16::from_slice(simd, &wide));
        }
    }
    None
}

/// f32 as half precision, rounded to nearest even, where there is an instruction for it.
#[inline(always)]
pub(super) fn narrow<S: Simd>(simd: S, value: f32x16<S>) -> Option<[u16; LANES]> {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        let value: [f32; LANES] = value.into();
        if let Some(avx512) = simd.level().as_avx512() {
            let value = f32x16::from_slice(avx512, &value);
            let half: u16x16<_> = x86::narrow_512(avx512, value.into()).simd_into(avx512);
            return Some(half.into());
        }
        if let Some(avx2) = simd.level().as_avx2() {
            let mut half = [0; LANES];
            for (value, half) in value.as_chunks::<8>().0.iter().zip(half.as_chunks_mut::<8>().0) {
                let value = f32x8::from_slice(avx2, value);
                let lanes: u16x8<_> = x86::narrow_256(avx2, value.into()).simd_into(avx2);
                *half = lanes.into();
            }
            return Some(half);
        }
    }
    None
}

/// The larger of `x` and a number; NaN where `x` is NaN, which the abstraction's maximum leaves open.
#[inline(always)]
pub(super) fn at_least<S: Simd>(simd: S, x: f32x16<S>, least: f32x16<S>) -> f32x16<S> {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    if simd.level().as_sse2().is_some() {
        // MAXPS: the second operand where one is NaN.
        return simd.max_f32x16(least, x);
    }
    simd.select_f32x16(simd.simd_lt_f32x16(x, least), least, x)
}

#[cfg(test)]
mod tests {
    use fearless_simd::Level;

    use super::super::level::dispatch;
    use super::*;

    /// On the levels of this machine, whatever its own way is.
    #[test]
    fn lanes_are_looked_up_by_their_bytes_too() {
        let table = [3, 1 << 31, 0x0102_0304, 7, 0, u32::MAX, 0xfe00_00ff, 42];
        let mut index = [0x1357_9bdf_u32; LANES];
        for lane in 1..LANES {
            index[lane] = index[lane - 1].wrapping_mul(0x0101_4a3b);
        }
        for level in [crate::default_level(), Level::baseline()] {
            let (mut by_lane, mut by_byte) = ([0; LANES], [0; LANES]);
            dispatch!(level, simd => {
                let index = u32x16::from_slice(simd, &index);
                lookup(simd, &table, index).store_slice(&mut by_lane);
                lookup_bytes(simd, &table, index).store_slice(&mut by_byte);
            });
            let expected = index.map(|index| table[(index % 8) as usize]);
            assert_eq!((by_lane, by_byte), (expected, expected), "{level:?}");
        }
    }
}
