//! Between storage types and f32: what `Element` converts one by one, by vectors.

use fearless_simd::{Level, prelude::*};

use super::lanes::{LANES, Lanes};
use super::level::dispatch;

/// Widens as many entries as both have.
pub(crate) fn widen<T: Lanes>(level: Level, from: &[T], to: &mut [f32]) {
    let len = from.len().min(to.len());
    let ((from, from_rest), (to, to_rest)) =
        (from.split_at(len).0.as_chunks(), to.split_at_mut(len).0.as_chunks_mut::<LANES>());
    dispatch!(level, simd => {
        for (from, to) in from.iter().zip(to) {
            T::load(simd, from).store_slice(to);
        }
    });
    for (from, to) in from_rest.iter().zip(to_rest) {
        *to = from.lane_f32();
    }
}

/// Rounds as many entries as both have.
pub(crate) fn narrow<T: Lanes>(level: Level, from: &[f32], to: &mut [T]) {
    let len = from.len().min(to.len());
    let ((from, from_rest), (to, to_rest)) =
        (from.split_at(len).0.as_chunks::<LANES>(), to.split_at_mut(len).0.as_chunks_mut());
    dispatch!(level, simd => {
        for (from, to) in from.iter().zip(to) {
            let value = f32::load(simd, from);
            // Any NaN becomes that of arithmetic, as `lanes` wants it.
            let is_number = simd.simd_eq_f32x16(value, value);
            *to = T::lanes(simd, simd.select_f32x16(is_number, value, simd.splat_f32x16(f32::NAN)));
        }
    });
    for (from, to) in from_rest.iter().zip(to_rest) {
        *to = T::lane_of(*from);
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "counts to 65535")]
mod tests {
    use half::{bf16, f16};

    use super::*;

    /// At every level, every length: the bits of one entry at a time, but for those of NaN.
    fn agrees<T: Lanes + PartialEq>(levels: &[Level], all: &[T]) {
        let mut wide = [0.0; 100];
        let mut back = [T::ZERO; 100];
        for &level in levels {
            for (chunk, from) in all.chunks(99).enumerate() {
                let from = &from[..from.len().min(1 + chunk % 99)];
                widen(level, from, &mut wide);
                for (&from, wide) in from.iter().zip(wide) {
                    assert!(from.lane_f32().to_bits() == wide.to_bits() || wide.is_nan());
                }
                // Between the values, and beyond them.
                for wide in &mut wide {
                    *wide = f32::from_bits(wide.to_bits() ^ 0x0000_1801);
                }
                narrow(level, &wide[..from.len()], &mut back);
                for (&wide, &back) in wide.iter().zip(&back[..from.len()]) {
                    assert!(T::lane_of(wide) == back || wide.is_nan(), "{wide}: {back:?}");
                    assert_eq!(wide.is_nan(), back.lane_f32().is_nan(), "{wide}");
                }
            }
        }
    }

    #[test]
    fn slices_are_converted_as_single_entries_are() {
        let levels = [Level::baseline(), crate::default_level()];
        let bits: [u16; 1 << 16] = core::array::from_fn(|bits| bits as u16);
        agrees::<bf16>(&levels, &bits.map(bf16::from_bits));
        agrees::<f16>(&levels, &bits.map(f16::from_bits));
    }
}
