//! Losses of logits.

use burn::backend::Flex;
use burn::tensor::Tensor;
use surprisal::objective::Objective;
use surprisal::{Batch, Loss, LossReport, Outputs};
use surprisal_rows::Call;

use crate::attach::attach;
use crate::{Error, flex};

/// The loss of logits `[…, vocab]`, to be differentiated, and what was counted.
///
/// Where the logits need no gradient (neither they nor what they were made of requires one), none is computed. Where nobody else holds their memory, the
/// gradient takes it: a model's output that is moved here costs no second matrix; a clone that is kept, or an operation that needs its own result for
/// its gradient, does.
///
/// # Errors
/// [`Error::Loss`], [`Error::Dtype`], [`Error::Device`].
pub fn loss<const D: usize, O: Objective>(
    loss: &Loss<'_, O>,
    logits: Tensor<D>,
    batch: &Batch<'_>,
) -> Result<(Tensor<1>, LossReport), Error> {
    loss_with(loss, logits, batch, Outputs::new())
}

/// As [`loss`], with per-token outputs: an entry for each of the rows.
///
/// # Errors
/// As [`loss`].
pub fn loss_with<const D: usize, O: Objective>(
    loss: &Loss<'_, O>,
    logits: Tensor<D>,
    batch: &Batch<'_>,
    outputs: Outputs<'_>,
) -> Result<(Tensor<1>, LossReport), Error> {
    let call = Call { loss, batch, outputs };
    attach::<Flex, _, 1>([logits.into_dispatch()], |[logits], [wanted]| {
        flex::loss(call, logits, wanted)
    })
}
