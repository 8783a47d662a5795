//! **surprisal-linear**: the output layer of a language model and its loss in one, on the CPU. The logits are never whole.
//!
//! For a vocabulary of 152 000 the logits of 8192 tokens take 5 GB in f32 and their gradient as much again, and both exist only to be reduced. Here
//! chunks of rows go through one scratch matrix of the caller's budget:
//!
//! ```text
//! H [rows × d] ─► rows that count ─► z = H·Wᵀ + bias ─► loss ─► dz, in place ─► dW += dzᵀ·H, dH = dz·W
//!                                    └───────────── one chunk at a time ────────────┘
//! ```
//!
//! [`LinearLoss`] takes any [`Loss`](surprisal::Loss), also with an objective of your own, and gives the same report, per-token outputs and gradients as
//! the composed path. Ignored rows are left out before the first product. Objectives that must know the sequence or the batch first see the
//! statistics of all chunks, and every chunk a second time: exact, at the price of a product.
//!
//! ```
//! use surprisal::{Batch, Loss, Outputs, objective::Dft};
//! use surprisal_linear::{Error, Gradients, LinearLoss, Matrix, MatrixMut, OwnedWorkspace};
//!
//! fn main() -> Result<(), Error> {
//!     let (rows, d, vocab) = (4, 2, 3);
//!     let h = [1.0_f32, 0.0, 0.0, 1.0, 0.5, 0.5, -1.0, 2.0]; // [rows × d]
//!     let w = [0.3_f32, -0.1, 0.2, 0.4, -0.5, 0.6];          // [vocab × d]
//!     let (mut dh, mut dw) = ([0.0_f32; 8], [0.0_f32; 6]);
//!
//!     let layer = LinearLoss::new(Loss::new(Dft), Matrix::new(&w, vocab, d)?);
//!     let memory = layer.memory(rows);
//!     let mut workspace = OwnedWorkspace::new(memory.len(memory.recommended_rows())); // once
//!
//!     let batch = Batch::new(&[2, -100, 0, 1]).ignore_index(-100);
//!     let gradients = Gradients::new()
//!         .hidden(MatrixMut::new(&mut dh, rows, d)?)
//!         .weight(MatrixMut::new(&mut dw, vocab, d)?);
//!     let mut entropy = [0.0; 4];
//!     let report = layer.forward_backward(
//!         Matrix::new(&h, rows, d)?, &batch, gradients,
//!         Outputs::new().entropy(&mut entropy), workspace.lend())?;
//!     assert_eq!((report.tokens, &dh[2..4]), (3, &[0.0; 2][..]));
//!     Ok(())
//! }
//! ```
//!
//! # Notation
//! R rows, V vocab, d width of the hidden states H, W weights, z logits, dz their gradient; the rest is that of [`surprisal`].
//!
//! # Matrix products
//! are made by the `gemm` crate ([`DefaultGemm`]), or by whatever implements [`Gemm`]: f32 in and out. 16-bit weights are converted a panel at a time,
//! so any BLAS will do. A `Gemm` may also lend its threads to what lies between the products.
//!
//! # Memory
//! A call allocates nothing; it works in the [`Workspace`] that it is lent, whose size [`Memory`] tells. The library of the products may allocate:
//! [`DefaultGemm`] says how much.
//!
//! # Features
//! * `gemm` (by default): [`DefaultGemm`] multiplies. Without it the caller brings the products ([`LinearLoss::with_gemm`]), and the crate is
//!   `no_std`.
//! * `std`: the loss finds the SIMD level of the machine, and conversions theirs; `alloc`: [`OwnedWorkspace`].
//! * `rayon`: products of [`DefaultGemm`], loss and conversions run on the current rayon pool.
//! * `avx512` (by default): AVX-512 kernels in the `gemm` crate, twice as fast as those of AVX2 where the machine has it; they take half a minute of CPU
//!   to compile. The loss finds its level by itself.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

mod any;
mod chunks;
mod error;
mod gemm;
mod gradients;
mod layer;
mod matrix;
#[cfg(feature = "alloc")]
mod owned;
mod parallel;
mod pass;
mod products;
mod scalar;
mod slices;
mod slot;
mod workspace;

pub use any::{AnyMatrix, AnyMatrixMut};
pub use error::Error;
pub use gemm::{DefaultGemm, Gemm};
pub use gradients::Gradients;
pub use layer::LinearLoss;
pub use matrix::{Matrix, MatrixMut, extent};
#[cfg(feature = "alloc")]
pub use owned::OwnedWorkspace;
pub use scalar::Scalar;
pub use workspace::{Memory, Workspace, WorkspaceLen};
