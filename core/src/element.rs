//! The storage types of logits and gradients: `f32`, `bf16`, `f16`.

use half::{bf16, f16};

use crate::kernel::{Lanes, LogitKernels, ResultKernels};

/// A storage type of logits or gradients: `f32`, `bf16` or `f16`.
///
/// Arithmetic happens in f32 and f64. Values are widened exactly and rounded once, to nearest, ties to even,
/// whatever the SIMD level. Sealed: the library owns the list.
pub trait Element: LogitKernels + ResultKernels<Self> {}

impl Element for f32 {}
impl Element for bf16 {}
impl Element for f16 {}

/// A type that the gradient of logits of type `T` may have: `T` itself, or `f32`. Sealed.
pub trait GradientOf<T: Lanes>: Element + ResultKernels<T> {}

impl<T: Lanes, G: Element + ResultKernels<T>> GradientOf<T> for G {}
