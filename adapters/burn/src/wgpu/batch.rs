//! Batches whose entries are tensors.

use burn::backend::wgpu::CubeTensor;
use burn::tensor::{Bool, DType, DispatchTensor, Int, Tensor};
use burn_cubecl::kernel::into_contiguous;
use surprisal::{Argument, Error as LossError};
use surprisal_gpu::DeviceBatch;

use crate::Error;
use crate::wgpu::placed::{Placed, resolved};

/// Targets and side inputs as tensors of any rank on the logits' device, one entry a row unless said otherwise: as [`surprisal::Batch`], which says what
/// each one means.
///
/// They are read where they lie; a tensor that is not contiguous (the slice of a batch's tokens that are its targets) is copied on the device. Numbers of
/// other types than f32, and integers of other types than 32 bits (64 for targets and sequences), are cast there. What is made on the host is a tensor by
/// `Tensor::from_data`.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use surprisal_burn::wgpu::TensorBatch;
///
/// # fn f(device: &Device) {
/// let targets = Tensor::<1, Int>::from_data([3, -100, 0, 7], device);
/// let weights = Tensor::<1>::from_data([1.0, 1.0, 0.5, 2.0], device);
/// let batch = TensorBatch::new(targets).ignore_index(-100).token_weights(weights);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TensorBatch {
    targets: DispatchTensor,
    ignore_index: Option<i64>,
    inputs: Vec<(Argument, DispatchTensor)>,
}

impl TensorBatch {
    /// A batch with these targets and nothing else. No id is ignored until [`TensorBatch::ignore_index`] names one.
    #[must_use]
    pub fn new<const D: usize>(targets: Tensor<D, Int>) -> Self {
        Self { targets: wide_ids(targets), ignore_index: None, inputs: Vec::new() }
    }

    /// As [`Batch::ignore_index`](surprisal::Batch::ignore_index).
    #[must_use]
    pub fn ignore_index(mut self, id: i64) -> Self {
        self.ignore_index = Some(id);
        self
    }

    /// As [`Batch::token_weights`](surprisal::Batch::token_weights).
    #[must_use]
    pub fn token_weights<const D: usize>(self, weights: Tensor<D>) -> Self {
        self.input(Argument::TokenWeights, numbers(weights))
    }

    /// As [`Batch::ref_log_probs`](surprisal::Batch::ref_log_probs).
    #[must_use]
    pub fn ref_log_probs<const D: usize>(self, log_probs: Tensor<D>) -> Self {
        self.input(Argument::RefLogProbs, numbers(log_probs))
    }

    /// As [`Batch::old_log_probs`](surprisal::Batch::old_log_probs).
    #[must_use]
    pub fn old_log_probs<const D: usize>(self, log_probs: Tensor<D>) -> Self {
        self.input(Argument::OldLogProbs, numbers(log_probs))
    }

    /// As [`Batch::advantages`](surprisal::Batch::advantages).
    #[must_use]
    pub fn advantages<const D: usize>(self, advantages: Tensor<D>) -> Self {
        self.input(Argument::Advantages, numbers(advantages))
    }

    /// As [`Batch::groups`](surprisal::Batch::groups).
    #[must_use]
    pub fn groups<const D: usize>(self, groups: Tensor<D, Int>) -> Self {
        self.input(Argument::Groups, ids(groups))
    }

    /// As [`Batch::sequences`](surprisal::Batch::sequences): one entry more than there are sequences.
    #[must_use]
    pub fn sequences(self, cu_seqlens: Tensor<1, Int>) -> Self {
        self.input(Argument::Sequences, wide_ids(cu_seqlens))
    }

    /// As [`Batch::pairs`](surprisal::Batch::pairs): `[pairs, 2]`, the chosen sequence and the rejected one.
    #[must_use]
    pub fn pairs(self, pairs: Tensor<2, Int>) -> Self {
        self.input(Argument::Pairs, ids(pairs))
    }

    /// As [`Batch::keep`](surprisal::Batch::keep): an entry a sequence.
    #[must_use]
    pub fn keep(self, keep: Tensor<1, Bool>) -> Self {
        self.input(Argument::Keep, ids(keep.int()))
    }

    /// As [`Batch::extra`](surprisal::Batch::extra).
    #[must_use]
    pub fn extra<const D: usize>(self, name: &'static str, values: Tensor<D>) -> Self {
        self.input(Argument::Extra(name), numbers(values))
    }

    fn input(mut self, argument: Argument, tensor: DispatchTensor) -> Self {
        self.inputs.retain(|(known, _)| *known != argument);
        self.inputs.push((argument, tensor));
        self
    }

    /// Where the entries lie, on the device of these logits.
    pub(super) fn place(&self, logits: &CubeTensor) -> Result<PlacedBatch, Error> {
        let place = |argument: Argument, tensor: &DispatchTensor| {
            let tensor = resolved(tensor.clone())?;
            if tensor.device != logits.device {
                let name = argument.name();
                return Err(Error::Device(format!("{name} is not on the logits' device")));
            }
            Placed::new(into_contiguous(tensor))
        };
        let inputs = self.inputs.iter();
        let inputs = inputs.map(|(argument, tensor)| Ok((*argument, place(*argument, tensor)?)));
        Ok(PlacedBatch {
            targets: place(Argument::Targets, &self.targets)?,
            ignore_index: self.ignore_index,
            inputs: inputs.collect::<Result<_, Error>>()?,
        })
    }
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> DispatchTensor {
    tensor.inner().cast(DType::F32).into_dispatch()
}

/// Integers of 32 bits.
fn ids<const D: usize>(tensor: Tensor<D, Int>) -> DispatchTensor {
    let tensor = tensor.inner();
    match tensor.dtype() {
        DType::I32 | DType::U32 => tensor.into_dispatch(),
        _ => tensor.cast(DType::I32).into_dispatch(),
    }
}

/// Integers of 32 or 64 bits.
fn wide_ids<const D: usize>(tensor: Tensor<D, Int>) -> DispatchTensor {
    match tensor.dtype() {
        DType::I64 | DType::U64 => tensor.inner().into_dispatch(),
        _ => ids(tensor),
    }
}

/// A batch in buffers of the device, which stay its own as long as this is kept.
pub(super) struct PlacedBatch {
    targets: Placed,
    ignore_index: Option<i64>,
    inputs: Vec<(Argument, Placed)>,
}

impl PlacedBatch {
    /// The batch, whose inputs have as many entries as they must.
    pub(super) fn batch(&self) -> Result<DeviceBatch<'_>, Error> {
        let rows = self.targets.entries();
        let mut batch = DeviceBatch::new(self.targets.column(), self.rows());
        let offsets = self.inputs.iter().find(|(argument, _)| *argument == Argument::Sequences);
        let sequences = offsets.map(|(_, offsets)| offsets.entries().saturating_sub(1));
        if let Some(id) = self.ignore_index {
            batch = batch.ignore_index(id);
        }
        for (argument, input) in &self.inputs {
            let (argument, actual) = (*argument, input.entries());
            let expected = match argument {
                Argument::Sequences => actual.max(1),
                Argument::Pairs => 2 * input.rows(),
                Argument::Keep => sequences.unwrap_or(actual),
                _ => rows,
            };
            if actual != expected {
                return Err(LossError::Length { argument, expected, actual }.into());
            }
            let column = input.column();
            batch = match argument {
                Argument::TokenWeights => batch.token_weights(column),
                Argument::RefLogProbs => batch.ref_log_probs(column),
                Argument::OldLogProbs => batch.old_log_probs(column),
                Argument::Advantages => batch.advantages(column),
                Argument::Groups => batch.groups(column),
                Argument::Sequences => batch.sequences(column, small(actual - 1)),
                Argument::Pairs => batch.pairs(column, small(actual / 2)),
                Argument::Keep => batch.keep(column),
                Argument::Extra(name) => batch.extra(name, column),
                _ => batch,
            };
        }
        Ok(batch)
    }

    pub(super) fn rows(&self) -> u32 {
        small(self.targets.entries())
    }

    /// Every tensor of it.
    pub(super) fn placed(&self) -> impl Iterator<Item = &Placed> {
        self.inputs.iter().map(|(_, input)| input).chain([&self.targets])
    }
}

/// What does not fit is more than any buffer holds, which the library says.
fn small(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}
