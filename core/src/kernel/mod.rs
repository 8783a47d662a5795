//! The hot loops, one row at a time, generic over SIMD level and element type. No objectives, no shapes, no errors.
//!
//! Every path computes the same `exp(z' − pivot)` per element, so in place and separate, fused and staged agree in their bits.

mod exp;
mod lanes;
mod logits_grad;
mod map;
mod prefetch;
mod row;
mod row_max;
mod row_mut;
mod row_stats;
mod table;

use fearless_simd::Level;

pub use lanes::Lanes;
pub use logits_grad::RowGrad;
pub use map::LogitMap;
pub use row::{ReadRow, WriteRow};
pub(crate) use row_max::argmax;
pub(crate) use row_mut::{Parked, Place, RowMut};
pub use row_stats::{Moments, RowSums, Want};
pub use table::{LogitKernels, ResultKernels};

/// The sums that few calls want, of a row whose logits are still there.
pub(crate) fn moments<T: LogitKernels>(
    level: Level,
    row: ReadRow<'_, T>,
    map: &LogitMap,
    want: Want<'_>,
) -> Moments {
    if want.nothing() { Moments::NONE } else { T::moments(level, row, map, want) }
}
