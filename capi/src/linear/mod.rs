//! The output layer and the loss in one, over matrix products of the caller's.

// The order of the header.
mod gemm;

mod matrix;

mod layer;

mod workspace;

mod calls;

pub use calls::*;
pub use gemm::*;
pub use layer::*;
pub use matrix::*;
pub use workspace::*;
