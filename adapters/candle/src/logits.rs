//! Storage types, and where the rows of a tensor lie.

use candle_core::{Layout, Result, Tensor, bail};
use surprisal::{Element, bf16, f16};
use surprisal_rows::Rows;

/// A storage type, and candle's name for it.
pub(crate) trait Stored: Element + candle_core::WithDType {}
impl Stored for f32 {}
impl Stored for bf16 {}
impl Stored for f16 {}

/// Evaluates an expression with the elements of a storage, whatever their type.
macro_rules! with_elements {
    ($storage:expr, $enum:ident, $elements:ident => $value:expr) => {
        match $storage {
            candle_core::$enum::F32($elements) => $value,
            candle_core::$enum::BF16($elements) => $value,
            candle_core::$enum::F16($elements) => $value,
            other => candle_core::bail!(
                "surprisal computes in f32, bf16 and f16, not in {:?}",
                candle_core::backend::BackendStorage::dtype(other)
            ),
        }
    };
}
pub(crate) use with_elements;

/// `None` where the rows cannot be read as they lie.
pub(crate) fn rows_of(layout: &Layout) -> Option<Rows> {
    Rows::of(layout.dims(), layout.stride(), layout.start_offset())
}

/// Those of a copy.
pub(crate) fn contiguous(logits: &Tensor) -> Result<Rows> {
    let Some(&vocab) = logits.dims().last() else { bail!("logits need a dimension") };
    Ok(Rows::contiguous(logits.elem_count().checked_div(vocab).unwrap_or(0), vocab))
}
