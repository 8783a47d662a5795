//! Targets from tensors, and the drop-in that takes them so.

use candle_core::{DType, Result, Tensor, bail};
use surprisal::{Batch, Loss, objective::Sft};

/// The numbers of a tensor of integers, whatever its rank: targets, offsets of sequences.
///
/// # Errors
/// Where the tensor is of another type than u8, u32 or i64.
pub fn ids(tensor: &Tensor) -> Result<Vec<i64>> {
    match tensor.dtype() {
        DType::U8 | DType::U32 | DType::I64 => {
            tensor.flatten_all()?.to_dtype(DType::I64)?.to_vec1()
        }
        other => bail!("expected a tensor of integers, not of {other:?}"),
    }
}

/// Mean cross-entropy of logits `[N, C]` and targets `[N]`: `candle_nn::loss::cross_entropy`, in one pass, accurate in bf16 and f16 too.
///
/// # Errors
/// As [`loss`](crate::loss); and where the logits are not a matrix.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    logits.dims2()?;
    let ids = ids(targets)?;
    crate::loss(&Loss::new(Sft), logits, &Batch::new(&ids)).map(|(loss, _)| loss)
}
