//! **surprisal-burn**: the losses of [`surprisal`] over burn's tensors.
//!
//! A function takes the logits (or hidden states and output weights), any [`Loss`](surprisal::Loss) and a [`Batch`](surprisal::Batch), and returns a loss
//! `[1]` that burn can differentiate, with the report of what was counted. Loss and gradient are computed in one pass when it is called; `backward()`
//! hands the gradient on.
//!
//! ```
//! use burn::tensor::{Device, Distribution, Int, Tensor};
//! use surprisal::{Batch, Loss, objective::Dft};
//!
//! # fn main() -> Result<(), surprisal_burn::Error> {
//! let device = Device::flex().autodiff();
//! let logits = Tensor::<2>::random([4, 10], Distribution::Default, &device).require_grad();
//! let targets = Tensor::<1, Int>::from_data([3, 1, 0, 7], &device);
//! let ids = surprisal_burn::ids(targets)?; // or ids of your own, -100 where a row does not count
//! let batch = Batch::new(&ids).ignore_index(-100);
//! let (loss, report) = surprisal_burn::loss(&Loss::new(Dft), logits.clone(), &batch)?;
//! let gradient = logits.grad(&loss.backward()).unwrap();
//! assert_eq!((gradient.dims(), report.tokens), ([4, 10], 4));
//! # Ok(())
//! # }
//! ```
//!
//! # Tensors
//! On the CPU (burn's Flex), with autodiff or without, in f32, bf16 or f16; of any rank, the vocabulary last: `[B, T, V]` has `B·T` rows. Padded rows, and
//! sliced ones (the usual shift of `[B, T, V]` by one), are read where they lie; what is transposed, flipped or expanded is copied first. Losses are of
//! f32, gradients of the logits' type.
//!
//! # Memory
//! The gradient takes the logits' memory where nobody else holds it. A tensor that is cloned, or that an operation has kept for its own gradient, is left
//! as it is, and the gradient takes another matrix.
//!
//! # The upstream gradient
//! Of `loss.backward()` is 1, and costs nothing. Any other factor (a loss that is scaled or added up with weights) is another pass over the gradient:
//! [`Loss::grad_scale`](surprisal::Loss::grad_scale) and [`Reduction::By`](surprisal::Reduction::By) put it where it is free.
//!
//! # Threads
//! Those of the current rayon pool.
//!
//! # Features
//! - `wgpu`: tensors on burn's wgpu devices, in their own buffers.

mod attach;
mod error;
mod flex;
mod ids;
mod linear;
mod loss;
#[cfg(feature = "wgpu")]
pub mod wgpu;

pub use error::Error;
pub use ids::{cross_entropy, ids};
pub use linear::{linear_loss, linear_loss_with};
pub use loss::{loss, loss_with};

/// The page's program.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding/burn.md")]
struct Page;

#[cfg(all(doctest, feature = "wgpu"))]
#[doc = include_str!("../../../docs/embedding/burn-wgpu.md")]
struct WgpuPage;
