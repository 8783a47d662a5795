//! The C ABI of `surprisal`: plain functions over the caller's memory. `include/surprisal.h` is generated from this crate and documents it.
//!
//! A call goes one way: the options are copied (`versioned`), every pointer is declared and checked as an address (`memory`), only then
//! references are made, and the core checks the values and computes. Until then nothing is written, and nothing panics.
//!
//! The C library is built without the standard library (`--no-default-features --profile capi`): no allocation, no unwinding. Its SIMD level comes
//! from `probe`. What is built has the functions of two headers, from which `cut.sh` makes two libraries; `tools` is in `surprisal_tools.h`.
//!
//! With the feature `gpu` it is another library, which needs the standard library and unwinds: `include/surprisal_gpu.h`.
#![cfg_attr(not(feature = "std"), no_std)]
#![allow(non_camel_case_types, reason = "types have the names that they have in C")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the documentation is that of the C header, which states the contract of all functions at its top"
)]

// The order of the header.
mod version;

mod status;

mod detail;

mod objective;

mod choices;

mod names;

mod simple;

mod parameter;

mod loss;

mod loss_set;

mod batch;

mod denominator;

mod logits;

mod outputs;

mod workspace;

mod report;

mod forward;

mod stats;

mod stages;

mod softmax;

mod linear;

mod diagnose;

mod probe;

/// cbindgen:ignore
// It has a header of its own.
mod tools;

/// cbindgen:ignore
// It has a header of its own.
#[cfg(feature = "gpu")]
mod gpu;

mod batch_input;
mod matrix;
mod memory;
mod place;
mod versioned;

pub use batch::*;
pub use choices::*;
pub use denominator::*;
pub use detail::*;
pub use diagnose::*;
pub use forward::*;
#[cfg(feature = "gpu")]
pub use gpu::*;
pub use linear::*;
pub use logits::*;
pub use loss::*;
pub use loss_set::*;
pub use names::{surprisal_enum_name, surprisal_enum_value};
pub use objective::*;
pub use outputs::*;
pub use parameter::{SURPRISAL_MOST_PARAMETERS, surprisal_parameter};
pub use probe::surprisal_simd_level;
pub use report::*;
pub use simple::*;
pub use softmax::*;
pub use stages::*;
pub use stats::*;
pub use status::*;
pub use tools::*;
pub use version::*;
pub use workspace::*;

/// A `no_std` library must have one. Nothing calls it: the tests look for panics in the linked library.
#[cfg(not(feature = "std"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
