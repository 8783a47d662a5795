//! Losses of tensors on the CPU.

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::ops::FloatTensorOps;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::TensorData;
use surprisal::LossReport;
use surprisal::objective::Objective;
use surprisal_rows::{Call, Rows};

use crate::Error;
use crate::attach::{Computed, Computes};

/// Evaluates an expression in which `$T` is the type of a tensor's elements.
macro_rules! with_type {
    ($dtype:expr, $T:ident => $value:expr) => {
        match $dtype {
            burn::tensor::DType::F32 => {
                type $T = f32;
                $value
            }
            burn::tensor::DType::BF16 => {
                type $T = surprisal::bf16;
                $value
            }
            burn::tensor::DType::F16 => {
                type $T = surprisal::f16;
                $value
            }
            other => return Err($crate::Error::Dtype(other)),
        }
    };
}
pub(crate) use with_type;

impl Computes for Flex {
    type Kept = FlexTensor;

    fn scaled(gradient: FlexTensor, upstream: &FlexTensor) -> FlexTensor {
        let factor = upstream.as_slice::<f32>().map_or(1.0, |upstream| upstream[0]);
        if factor == 1.0 { gradient } else { Flex::float_mul_scalar(gradient, factor.into()) }
    }
}

/// The loss of logits, and the gradient where it is wanted: in their memory, if nobody else holds it.
pub(crate) fn loss<O: Objective>(
    call: Call<'_, '_, O>,
    logits: FlexTensor,
    wanted: bool,
) -> Result<Computed<Flex, LossReport, 1>, Error> {
    let (mut logits, rows) = readable(logits, |rows| call.takes(rows));
    let (report, gradient) = with_type!(logits.dtype(), T => {
        if !wanted {
            (call.forward(logits.storage::<T>(), &rows)?, None)
        } else if let Some(z) = logits.try_storage_mut::<T>() {
            (call.in_place(z, &rows)?, Some(logits))
        } else {
            let mut gradient = FlexTensor::empty(logits.shape(), logits.dtype());
            let z = logits.storage::<T>();
            let report = call.forward_backward(z, &rows, gradient.storage_mut::<T>())?;
            (report, Some(gradient))
        }
    });
    Ok(Computed { loss: scalar(&report), gradients: [gradient], report })
}

/// The tensor, copied where its rows cannot be taken as they lie, and where they lie.
pub(crate) fn readable(tensor: FlexTensor, takes: impl Fn(&Rows) -> bool) -> (FlexTensor, Rows) {
    if let Some(rows) = rows_of(tensor.layout()).filter(takes) {
        return (tensor, rows);
    }
    let shape = tensor.shape();
    let vocab = shape.last().copied().unwrap_or(0);
    let rows = shape.num_elements().checked_div(vocab).unwrap_or(0);
    (tensor.to_contiguous(), Rows::contiguous(rows, vocab))
}

/// `None` where the rows cannot be read as they lie.
fn rows_of(layout: &Layout) -> Option<Rows> {
    let strides = layout.strides().iter().map(|&stride| usize::try_from(stride).ok());
    Rows::of(layout.shape(), &strides.collect::<Option<Vec<_>>>()?, layout.start_offset())
}

/// The loss as a tensor.
#[expect(clippy::cast_possible_truncation, reason = "losses are tensors of f32")]
pub(crate) fn scalar(report: &LossReport) -> FlexTensor {
    FlexTensor::from_data(TensorData::from([report.loss as f32]))
}
