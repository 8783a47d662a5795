//! Targets from tensors, and the drop-in that takes them so.

use burn::tensor::{Int, Tensor};
use surprisal::{Batch, Loss, objective::Sft};

use crate::Error;

/// The numbers of a tensor of integers, whatever its rank, type and device: targets, offsets of sequences.
///
/// # Errors
/// [`Error::Read`].
pub fn ids<const D: usize>(tensor: Tensor<D, Int>) -> Result<Vec<i64>, Error> {
    let read = |error: String| Error::Read(error);
    let data = tensor.try_into_data().map_err(|error| read(format!("{error:?}")))?;
    data.convert::<i64>().try_into_vec().map_err(|error| read(format!("{error:?}")))
}

/// Mean cross-entropy of logits `[batch, classes]` and targets `[batch]`: the signature of burn's `CrossEntropyLoss::forward`, in one pass, accurate in
/// bf16 and f16 too.
///
/// # Panics
/// Where [`loss`](crate::loss) returns an error: as burn's does, a function without a `Result` can do no other.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let compute = || {
        let ids = ids(targets)?;
        crate::loss(&Loss::new(Sft), logits, &Batch::new(&ids)).map(|(loss, _)| loss)
    };
    compute().unwrap_or_else(|error: Error| panic!("{error}"))
}
