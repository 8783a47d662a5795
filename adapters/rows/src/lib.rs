//! **surprisal-rows**: the losses of [`surprisal`] over the rows of a tensor `[…, vocab]`, which lie in memory as its strides say.
//!
//! Frameworks narrow, pad and transpose tensors without moving them. [`Rows`] says where the rows of such a view lie, if they can be read there; a [`Call`]
//! computes over them, block by block, as over one matrix.
//!
//! ```
//! use surprisal::{Batch, Loss, Outputs, objective::Sft};
//! use surprisal_rows::{Call, Rows};
//!
//! # fn main() -> Result<(), surprisal::Error> {
//! // [2, 3, 4], of which the last position of each sequence is left out: [2, 2, 4].
//! let z: Vec<f32> = (0..24).map(|i| (i % 5) as f32).collect();
//! let rows = Rows::of(&[2, 2, 4], &[12, 4, 1], 0).unwrap();
//! let (loss, batch) = (Loss::new(Sft), Batch::new(&[3, 0, 1, 2]));
//! let call = Call { loss: &loss, batch: &batch, outputs: Outputs::new() };
//! assert!(call.takes(&rows));
//! let mut dz = [0.0; 16];
//! assert_eq!(call.forward_backward(&z, &rows, &mut dz)?.tokens, 4);
//! # Ok(())
//! # }
//! ```

mod call;
mod rows;

pub use call::Call;
pub use rows::Rows;
