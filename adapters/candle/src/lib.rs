//! **surprisal-candle**: the losses of [`surprisal`] over candle's tensors.
//!
//! A function takes the logits (or hidden states and output weights), any [`Loss`](surprisal::Loss) and a [`Batch`](surprisal::Batch), and returns a scalar
//! tensor that candle can differentiate, with the report of what was counted. Loss and gradient are computed in one pass when it is called; `backward()`
//! hands the gradient on.
//!
//! ```
//! use candle_core::{DType, Device, Tensor, Var};
//! use surprisal::{Batch, Loss, objective::Dft};
//!
//! # fn main() -> candle_core::Result<()> {
//! let logits = Var::from_tensor(&Tensor::randn(0.0_f32, 1.0, (4, 10), &Device::Cpu)?)?;
//! let targets = Tensor::new(&[3_u32, 1, 0, 7], &Device::Cpu)?;
//! let ids = surprisal_candle::ids(&targets)?; // or ids of your own, -100 where a row does not count
//! let batch = Batch::new(&ids).ignore_index(-100);
//! let (loss, report) = surprisal_candle::loss(&Loss::new(Dft), &logits, &batch)?;
//! let gradient = loss.backward()?.get(&logits).unwrap().clone();
//! assert_eq!((gradient.dims(), report.tokens), (&[4, 10][..], 4));
//! # Ok(())
//! # }
//! ```
//!
//! # Tensors
//! On the CPU, in f32, bf16 or f16; of any rank, the vocabulary last: `[B, T, V]` has `B·T` rows. Padded rows, and `narrow`ed ones (the usual shift of
//! `[B, T, V]` by one), are read where they lie; what is transposed or broadcast is copied first. Losses are of f32, gradients of the logits' type.
//!
//! # The upstream gradient
//! Of `loss.backward()` is 1, and costs nothing. Any other factor (a loss that is scaled or added up with weights) is another pass over the gradient:
//! [`Loss::grad_scale`](surprisal::Loss::grad_scale) and [`Reduction::By`](surprisal::Reduction::By) put it where it is free.
//!
//! # Threads
//! Those of the current rayon pool, as candle's own operations.

mod attach;
mod ids;
mod linear;
mod logits;
mod loss;

pub use ids::{cross_entropy, ids};
pub use linear::{linear_loss, linear_loss_with};
pub use loss::{loss, loss_in_place, loss_with};

/// The page's program.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding/candle.md")]
struct Page;
