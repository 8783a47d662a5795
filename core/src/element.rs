//! The storage types of logits and gradients: `f32`, `bf16`, `f16`.

use fearless_simd::Level;
use half::{bf16, f16};

use crate::kernel::{Lanes, convert};
use crate::matrix::Typed;

/// A storage type of logits or gradients: `f32`, `bf16` or `f16`, in any combination.
///
/// Arithmetic happens in f32 and f64. Values are widened exactly and rounded once, to nearest, ties to even,
/// whatever the SIMD level. Sealed: the library owns the list.
///
/// ```
/// use surprisal::{Element, bf16};
///
/// fn widened<T: Element>(values: &[T]) -> f32 {
///     values.iter().map(|&v| v.to_f32()).sum()
/// }
/// assert_eq!(widened(&[bf16::from_f32(1.0), bf16::from_f32(0.5)]), 1.5);
/// ```
pub trait Element: Typed {
    /// The value in f32, exactly.
    #[must_use]
    fn to_f32(self) -> f32 {
        Lanes::lane_f32(self)
    }

    /// The nearest value of this type, ties to even.
    #[must_use]
    fn from_f32(value: f32) -> Self {
        Lanes::lane_of(value)
    }

    /// [`to_f32`](Self::to_f32) of as many entries as both slices have, by the instructions of a SIMD level.
    fn to_f32s(from: &[Self], to: &mut [f32], level: Level) {
        convert::widen(level, from, to);
    }

    /// [`from_f32`](Self::from_f32) of as many entries as both slices have. Any NaN becomes that of arithmetic.
    fn from_f32s(from: &[f32], to: &mut [Self], level: Level) {
        convert::narrow(level, from, to);
    }
}

impl Element for f32 {}
impl Element for bf16 {}
impl Element for f16 {}
