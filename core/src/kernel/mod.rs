//! The hot loops, one row (or a tile of one) at a time, generic over SIMD level and element type. No objectives, no shapes, no errors.
//!
//! Every path computes the same exponentials, so in place and separate, fused and staged agree in their bits.

mod any;
mod base;
pub(crate) mod convert;
mod exp;
mod finish;
mod first;
mod lanes;
pub(crate) mod level;
mod max;
mod native;
mod prefetch;
mod sums;
mod walk;

pub(crate) use any::typed;
pub use any::{Any, Row, RowMut};
pub use base::{Base, LogitMap};
pub use finish::Affine;
pub(crate) use first::{Ahead, Half, TOGETHER, at_max, parked, parked_in_place, sums};
pub use lanes::Lanes;
pub use sums::Moments;
pub use walk::{InPlace, Out, Read, Split};

/// Entries of a row that are worked on at a time where there is no room for a whole one: 4 KiB of f32.
pub(crate) const TILE: usize = 1024;
