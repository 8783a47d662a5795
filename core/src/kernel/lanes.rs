//! Storage types as the loops see them: 16 lanes, widened to f32 exactly, rounded once to nearest even by the same integer
//! arithmetic on every SIMD level.

use fearless_simd::{Simd, f32x16, i16x32, prelude::*, u16x16, u32x16};
use half::{bf16, f16};

use super::any::{Any, Row, RowMut};
use super::native;
use super::walk::BLOCK;

/// Lanes of the virtual vector that every SIMD level works with.
pub(crate) const LANES: usize = 16;

/// What the kernels need of a storage type.
pub trait Lanes: Copy + Send + Sync + core::fmt::Debug + 'static {
    const ZERO: Self;
    const NEG_INFINITY: Self;
    const NAN: Self;
    fn lane_f32(self) -> f32;
    fn lane_of(value: f32) -> Self;
    fn load<S: Simd>(simd: S, lanes: &[Self; LANES]) -> f32x16<S>;
    /// Rounds once. No NaN but those of arithmetic: rounding up could carry others into another class.
    fn lanes<S: Simd>(simd: S, value: f32x16<S>) -> [Self; LANES];
    /// The largest values so far, in whatever order they are compared.
    type Max<S: Simd>: Copy;
    fn no_max<S: Simd>(simd: S) -> Self::Max<S>;
    fn max_with<S: Simd>(simd: S, max: Self::Max<S>, block: &[Self; BLOCK]) -> Self::Max<S>;
    fn max_lane<S: Simd>(simd: S, max: Self::Max<S>) -> f32;
    fn row(row: &[Self]) -> Row<'_>;
    fn row_mut(row: &mut [Self]) -> RowMut<'_>;
    /// A row of this type; nothing of another one.
    fn of(row: Row<'_>) -> &[Self];
}

/// Rows of a type.
macro_rules! rows {
    ($variant:ident) => {
        #[inline]
        fn row(row: &[Self]) -> Row<'_> {
            Any::$variant(row)
        }

        #[inline]
        fn row_mut(row: &mut [Self]) -> RowMut<'_> {
            Any::$variant(row)
        }

        #[inline]
        fn of(row: Row<'_>) -> &[Self] {
            if let Any::$variant(row) = row { row } else { &[] }
        }
    };
}

impl Lanes for f32 {
    const ZERO: Self = 0.0;
    const NEG_INFINITY: Self = Self::NEG_INFINITY;
    const NAN: Self = Self::NAN;

    #[inline(always)]
    fn lane_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn lane_of(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, lanes: &[Self; LANES]) -> f32x16<S> {
        f32x16::from_slice(simd, lanes)
    }

    #[inline(always)]
    fn lanes<S: Simd>(_: S, value: f32x16<S>) -> [Self; LANES] {
        value.into()
    }

    type Max<S: Simd> = f32x16<S>;

    #[inline(always)]
    fn no_max<S: Simd>(simd: S) -> f32x16<S> {
        simd.splat_f32x16(Self::MIN)
    }

    #[inline(always)]
    fn max_with<S: Simd>(simd: S, max: f32x16<S>, block: &[Self; BLOCK]) -> f32x16<S> {
        let mut max = max;
        for lanes in block.as_chunks::<LANES>().0 {
            max = simd.max_f32x16(f32x16::from_slice(simd, lanes), max);
        }
        max
    }

    #[inline(always)]
    fn max_lane<S: Simd>(simd: S, max: f32x16<S>) -> f32 {
        simd.reduce_max_f32x16(max)
    }

    rows!(F32);
}

/// The 16-bit patterns of a vector, each in a lane of 32 bits.
#[inline(always)]
fn widen<S: Simd>(simd: S, bits: [u16; LANES]) -> u32x16<S> {
    let (low, high) = simd.widen_u16x16(u16x16::from_slice(simd, &bits));
    simd.combine_u32x8(low, high)
}

/// The lower 16 bits of each lane.
#[inline(always)]
fn narrow<S: Simd>(simd: S, bits: u32x16<S>) -> [u16; LANES] {
    let (low, _) = simd.split_u16x32(simd.narrow_u32x16(bits, bits));
    let mut lanes = [0; LANES];
    low.store_slice(&mut lanes);
    lanes
}

/// Bits of 16-bit floats as integers: the largest, which is that of the positive ones, and the smallest, which where all are negative is the one
/// nearest to 0.
#[derive(Clone, Copy, Debug)]
pub struct Extremes<S: Simd> {
    largest: i16x32<S>,
    smallest: i16x32<S>,
}

impl<S: Simd> Extremes<S> {
    #[inline(always)]
    fn none(simd: S) -> Self {
        Self { largest: simd.splat_i16x32(i16::MIN), smallest: simd.splat_i16x32(i16::MAX) }
    }

    /// 32 at a time, and nothing to widen.
    #[inline(always)]
    fn with<T: Copy>(mut self, simd: S, block: &[T; BLOCK], bits: impl Fn(T) -> u16) -> Self {
        for lanes in block.as_chunks::<{ 2 * LANES }>().0 {
            let mut values = [0; 2 * LANES];
            for (value, &lane) in values.iter_mut().zip(lanes) {
                *value = bits(lane).cast_signed();
            }
            let bits = i16x32::from_slice(simd, &values);
            self.largest = simd.max_i16x32(bits, self.largest);
            self.smallest = simd.min_i16x32(bits, self.smallest);
        }
        self
    }

    /// The bits of the largest float.
    #[inline(always)]
    fn max(self, simd: S) -> u16 {
        let largest = simd.reduce_max_i16x32(self.largest);
        let max = if largest < 0 { simd.reduce_min_i16x32(self.smallest) } else { largest };
        max.cast_unsigned()
    }
}

/// What 16-bit floats share.
macro_rules! sixteen_bits {
    ($variant:ident) => {
        rows!($variant);
        const ZERO: Self = Self::ZERO;
        const NEG_INFINITY: Self = Self::NEG_INFINITY;
        const NAN: Self = Self::NAN;

        #[inline(always)]
        fn lane_f32(self) -> f32 {
            self.to_f32()
        }

        #[inline(always)]
        fn lane_of(value: f32) -> Self {
            Self::from_f32(value)
        }

        type Max<S: Simd> = Extremes<S>;

        #[inline(always)]
        fn no_max<S: Simd>(simd: S) -> Extremes<S> {
            Extremes::none(simd)
        }

        #[inline(always)]
        fn max_with<S: Simd>(simd: S, max: Extremes<S>, block: &[Self; BLOCK]) -> Extremes<S> {
            max.with(simd, block, Self::to_bits)
        }

        #[inline(always)]
        fn max_lane<S: Simd>(simd: S, max: Extremes<S>) -> f32 {
            Self::from_bits(max.max(simd)).to_f32()
        }
    };
}

impl Lanes for bf16 {
    sixteen_bits!(Bf16);

    #[inline(always)]
    fn load<S: Simd>(simd: S, lanes: &[Self; LANES]) -> f32x16<S> {
        let bits = widen(simd, lanes.map(Self::to_bits));
        (bits << 16).bitcast()
    }

    #[inline(always)]
    fn lanes<S: Simd>(simd: S, value: f32x16<S>) -> [Self; LANES] {
        let bits: u32x16<S> = value.bitcast();
        let odd = (bits >> 16) & 1;
        narrow(simd, (bits + odd + 0x7fff) >> 16).map(Self::from_bits)
    }
}

impl Lanes for f16 {
    sixteen_bits!(F16);

    #[inline(always)]
    fn load<S: Simd>(simd: S, lanes: &[Self; LANES]) -> f32x16<S> {
        let bits = lanes.map(Self::to_bits);
        if let Some(wide) = native::widen(simd, &bits) {
            return wide;
        }
        let bits = widen(simd, bits);
        let magnitude = bits & 0x7fff;
        let sign = (bits & 0x8000) << 16;
        // Exponent and mantissa in the places that f32 has for them; the product moves the bias (exact, also for subnormals).
        let shifted: f32x16<S> = (magnitude << 13).bitcast();
        let finite: u32x16<S> = (shifted * f32::from_bits(0x7780_0000)).bitcast();
        let special = (magnitude << 13) | 0x7f80_0000;
        let is_special = simd.simd_ge_u32x16(magnitude, simd.splat_u32x16(0x7c00));
        (simd.select_u32x16(is_special, special, finite) | sign).bitcast()
    }

    #[inline(always)]
    fn lanes<S: Simd>(simd: S, value: f32x16<S>) -> [Self; LANES] {
        if let Some(bits) = native::narrow(simd, value) {
            return bits.map(Self::from_bits);
        }
        let bits: u32x16<S> = value.bitcast();
        let sign = (bits & 0x8000_0000) >> 16;
        let magnitude = bits & 0x7fff_ffff;
        // Normal range: rebias the exponent (127 to 15) and round the 13 bits that go.
        let odd = (magnitude >> 13) & 1;
        let normal = (magnitude + odd + 0xc800_0fff) >> 13;
        // Below 2^-14 the sum with 1/2 leaves the rounded mantissa in the low bits.
        let small: f32x16<S> = magnitude.bitcast();
        let subnormal: u32x16<S> = (small + 0.5).bitcast();
        let subnormal = subnormal - 0x3f00_0000;
        let is_subnormal = simd.simd_lt_u32x16(magnitude, simd.splat_u32x16(0x3880_0000));
        let finite = simd.select_u32x16(is_subnormal, subnormal, normal);
        // 65520 and above round to infinity; NaN is 0x7e00.
        let is_nan = simd.is_nan_f32x16(value);
        let (nan, infinity) = (simd.splat_u32x16(0x7e00), simd.splat_u32x16(0x7c00));
        let special = simd.select_u32x16(is_nan, nan, infinity);
        let fits = simd.simd_lt_u32x16(magnitude, simd.splat_u32x16(0x477f_f000));
        let rounded = simd.select_u32x16(fits, finite, special);
        narrow(simd, rounded | sign).map(Self::from_bits)
    }
}
