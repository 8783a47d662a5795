//! The calls over a layer: all stages in one, and the first and the last by themselves.

use surprisal::RowStats;
use surprisal::objective::TokenTerm;
use surprisal_linear::Workspace;

use crate::batch::surprisal_batch;
use crate::batch_input::BatchInput;
use crate::detail::{finish, surprisal_error_detail};
use crate::linear::layer::{
    GradientsOutput, LayerInput, surprisal_linear_gradients, surprisal_linear_layer,
};
use crate::linear::matrix::{Operand, OperandInput, surprisal_matrix};
use crate::linear::workspace::least;
use crate::loss::{LossInput, surprisal_loss};
use crate::memory::{Checked, Memory};
use crate::outputs::{OutputsInput, surprisal_outputs};
use crate::place::Place;
use crate::report::surprisal_report;
use crate::stats::{surprisal_stats, surprisal_term};
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_SHAPE};
use crate::workspace::{WorkspaceInput, surprisal_workspace};

/// What every call over a layer is given.
struct Inputs<'call> {
    loss: LossInput<'call>,
    layer: LayerInput<'call>,
    batch: BatchInput<'call>,
    hidden: OperandInput<'call>,
    /// The shape and place of the hidden states.
    rows: Operand,
    place: Place,
    workspace: WorkspaceInput<'call>,
}

impl<'call> Inputs<'call> {
    /// Reads the caller's structs and declares their arrays. `all_stages`: whether the call goes from logits to the loss, so that means look for a denominator and objectives of group scope for their part of the workspace.
    ///
    /// # Safety
    /// As [`Memory::read_struct`] for the structs, as [`Memory::input`] and [`Memory::output`] for every array that they name, and as
    /// [`LayerInput::read`].
    unsafe fn read(
        loss: *const surprisal_loss,
        layer: *const surprisal_linear_layer,
        batch: *const surprisal_batch,
        hidden: *const surprisal_matrix,
        workspace: *const surprisal_workspace,
        all_stages: bool,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        unsafe {
            let layer = LayerInput::read(layer, memory)?;
            let rows = Operand::read(hidden, "hidden", memory)?;
            let weight = &layer.weight;
            let place = Place {
                argument: "hidden",
                rows: rows.shape.0,
                vocab: weight.shape.0,
                row_start: rows.row_start,
                rows_total: rows.rows_total,
                vocab_start: weight.row_start,
                vocab_total: weight.rows_total,
            };
            let loss = LossInput::read(loss, place.vocab_total, memory)?;
            let known = all_stages.then_some(&loss);
            let batch = BatchInput::of_matrix(batch, &place, known, memory)?;
            let layout = || least(&loss, weight, place.rows, all_stages);
            let workspace = WorkspaceInput::declare(workspace, layout, true, memory)?;
            let hidden = rows.input(memory)?;
            Ok(Self { loss, layer, batch, hidden, rows, place, workspace })
        }
    }
}

impl<'call> WorkspaceInput<'call> {
    /// The workspace of a call over a layer.
    fn linear(self, checked: &Checked) -> Workspace<'call> {
        let Some((stats, terms, scalars, scratch)) = self.arrays(checked) else {
            return Workspace::default();
        };
        Workspace::new(scratch).group(stats, terms, scalars)
    }
}

/// Loss of an output layer, with the gradients of hidden states, weights and bias as far as they are wanted: without the logits ever being whole. They
/// are computed a chunk of rows at a time in the workspace, by the layer's product.
///
/// `hidden` is H `[rows x d]`. `gradients` may be NULL: the loss alone takes one product over the rows, each of dH and dW one more; objectives of
/// group scope compute the logits twice if they do not fit into one chunk. Ignored rows are left out before the first product: their hidden states are
/// not read, and their dH is exactly 0. `outputs` may be NULL. W must be whole: with a shard of the vocabulary, use
/// `surprisal_linear_row_stats`, `surprisal_token_terms` and `surprisal_linear_backward`.
///
/// Logits are the product's sums in f32 and never rounded to 16 bits. Where an entry of a product depends on nothing but its row and column, per-row
/// outputs and dH have the same bits for chunks of any size, in any threads, and however rows are cut into calls; dW, dbias and the sums of the report
/// differ by the rounding of their partial sums. A row without a softmax that the objective does not leave out makes its dH, and all of dW and dbias,
/// NaN.
///
/// Calls on ranges of the rows (`surprisal_matrix_rows`, with a `batch.denominator` for means) may run at the same time with a dW and a dbias of their
/// own, to be added up; or let one call have the caller's threads, in `surprisal_gemm`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_linear_forward_backward(
    loss: *const surprisal_loss,
    layer: *const surprisal_linear_layer,
    batch: *const surprisal_batch,
    hidden: *const surprisal_matrix,
    gradients: *const surprisal_linear_gradients,
    outputs: *const surprisal_outputs,
    workspace: *const surprisal_workspace,
    report: *mut surprisal_report,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs, arrays and functions.
        let (inputs, gradients, outputs, report) = unsafe {
            let inputs = Inputs::read(loss, layer, batch, hidden, workspace, true, &mut memory)?;
            let (rows, weight) = (&inputs.rows, &inputs.layer.weight);
            let wanted = if gradients.is_null() {
                None
            } else {
                Some(GradientsOutput::read(gradients, rows, weight, &mut memory)?)
            };
            let outputs = OutputsInput::read(outputs, &inputs.place, &mut memory)?;
            (inputs, wanted, outputs, memory.output("report", report, 1)?)
        };
        let checked = memory.check()?;
        let layer = inputs.layer.get(inputs.loss.get(&checked), &checked)?;
        let (batch, hidden) = (inputs.batch.get(&checked)?, inputs.hidden.view(&checked)?);
        let outputs = outputs.get(&checked);
        let workspace = inputs.workspace.linear(&checked);
        let found = match gradients {
            Some(gradients) => {
                let gradients = gradients.get(&checked)?;
                layer.forward_backward(hidden, &batch, gradients, outputs, workspace)?
            }
            None => layer.forward(hidden, &batch, outputs, workspace)?,
        };
        report.get(&checked).fill(found.into());
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Stage 1 by itself: statistics of rows whose logits are `H W^T + bias`, of whole rows or of a vocabulary shard (W being rows of all weights).
///
/// `stats` has one entry for each row of the whole batch; those of H's rows are written. Merge shards with `surprisal_stats_merge`. Of the workspace the
/// size for an objective of token scope is enough.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_linear_row_stats(
    loss: *const surprisal_loss,
    layer: *const surprisal_linear_layer,
    batch: *const surprisal_batch,
    hidden: *const surprisal_matrix,
    stats: *mut surprisal_stats,
    workspace: *const surprisal_workspace,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs, arrays and functions; the layouts agree (asserted in `stats`).
        let (inputs, stats) = unsafe {
            let inputs = Inputs::read(loss, layer, batch, hidden, workspace, false, &mut memory)?;
            let stats =
                memory.rows_output::<RowStats>("stats", stats.cast(), &inputs.batch.rows)?;
            (inputs, stats)
        };
        let checked = memory.check()?;
        let layer = inputs.layer.get(inputs.loss.get(&checked), &checked)?;
        let (batch, hidden) = (inputs.batch.get(&checked)?, inputs.hidden.view(&checked)?);
        let outputs = surprisal::Outputs::new().stats(stats.get(&checked));
        layer.row_stats(hidden, &batch, outputs, inputs.workspace.linear(&checked))?;
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Stage 3 by itself: the gradients from merged statistics and terms, of whole rows or of a vocabulary shard. Computes the logits once more.
///
/// Of a shard, dW and dbias are those of its classes, and dH is its part: the sum over the shards is the gradient. `stats` and `terms` have one entry for
/// each row of the whole batch; those of H's rows are read.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_linear_backward(
    loss: *const surprisal_loss,
    layer: *const surprisal_linear_layer,
    batch: *const surprisal_batch,
    hidden: *const surprisal_matrix,
    stats: *const surprisal_stats,
    terms: *const surprisal_term,
    gradients: *const surprisal_linear_gradients,
    workspace: *const surprisal_workspace,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs, arrays and functions; the layouts agree (asserted in `stats`).
        let (inputs, stats, terms, gradients) = unsafe {
            let inputs = Inputs::read(loss, layer, batch, hidden, workspace, false, &mut memory)?;
            let range = &inputs.batch.rows;
            let stats = memory.rows_input::<RowStats>("stats", stats.cast(), range)?;
            let terms = memory.rows_input::<TokenTerm>("terms", terms.cast(), range)?;
            let (rows, weight) = (&inputs.rows, &inputs.layer.weight);
            let gradients = GradientsOutput::read(gradients, rows, weight, &mut memory)?;
            (inputs, stats, terms, gradients)
        };
        let checked = memory.check()?;
        let layer = inputs.layer.get(inputs.loss.get(&checked), &checked)?;
        let (batch, hidden) = (inputs.batch.get(&checked)?, inputs.hidden.view(&checked)?);
        let known = (stats.get(&checked), terms.get(&checked));
        let gradients = gradients.get(&checked)?;
        layer.backward(hidden, &batch, known, gradients, inputs.workspace.linear(&checked))?;
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

impl From<surprisal_linear::Error> for Failure {
    fn from(error: surprisal_linear::Error) -> Self {
        use surprisal_linear::Error;
        let shape = |argument, message| Self::new(SURPRISAL_ERROR_SHAPE, argument, message);
        match error {
            Error::Loss(error) => error.into(),
            Error::Extent => {
                let status = surprisal_status::SURPRISAL_ERROR_EXTENT;
                Self::new(status, "matrix", "its size overflows")
            }
            Error::Strides { row_stride, .. } => {
                shape("matrix", "its strides let entries overlap").value(row_stride as f64)
            }
            Error::EmptyHidden => shape("hidden", "has no columns"),
            Error::Shape { argument, actual, .. } => {
                shape(argument, "differs from hidden and weight in its shape")
                    .value(actual.0 as f64)
            }
            Error::NarrowWeightGradient => {
                Self::option("dweight", "is of 16 bits, while weight is of 32")
            }
            Error::Workspace { least, .. } => {
                shape("workspace", "is too small").value(least as f64)
            }
            // The views are made with the lengths that they need; and there are no others today.
            _ => shape("matrix", "has another length than the shape asks for"),
        }
    }
}
