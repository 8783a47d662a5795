//! The hot loops, one row at a time, generic over SIMD level and element type. No objectives, no shapes, no errors.
//!
//! Every path computes the same `exp(z' − pivot)` per element, so in place and separate, fused and staged agree in their bits.

mod exp;
mod logits_grad;
mod map;
mod prefetch;
mod row;
mod row_stats;

pub(crate) use logits_grad::{RowGrad, log_softmax_row, logits_grad_row};
pub(crate) use map::LogitMap;
pub(crate) use row::{ReadRow, RowMut};
pub(crate) use row_stats::{RowSums, Want, argmax, row_stats, row_stats_parked};
