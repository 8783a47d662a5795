//! Losses of tensors on burn's wgpu devices, in the buffers where they lie: feature `wgpu`.
//!
//! burn and the loss share a device and its queue: make the device as below, and give both the same setup. Shaders are compiled once a [`DeviceLoss`].
//!
//! ```no_run
//! use burn::tensor::{DType, Device, DeviceKind, Distribution, Int, Tensor};
//! use surprisal::{Loss, objective::Dft};
//! use surprisal_burn::wgpu::{AutoGraphicsApi, DeviceLoss, TensorBatch, WgpuDevice, init_setup};
//!
//! # fn main() -> Result<(), surprisal_burn::Error> {
//! let setup = init_setup::<AutoGraphicsApi>(&WgpuDevice::default(), Default::default());
//! let dft = DeviceLoss::new(&setup, Loss::new(Dft), DType::F32)?;
//!
//! let device = Device::wgpu(DeviceKind::DefaultDevice).autodiff();
//! let logits = Tensor::<2>::random([4, 10], Distribution::Default, &device).require_grad();
//! let targets = Tensor::<1, Int>::from_data([3, 1, 0, 7], &device);
//! let (loss, report) = dft.loss(logits.clone(), &TensorBatch::new(targets))?;
//! let gradient = logits.grad(&loss.backward()).unwrap();
//! println!("{:.4}", report.read()?.loss); // waits for the device, as nothing before it
//! # Ok(())
//! # }
//! ```
//!
//! Logits and the batch are read and gradients written in CubeCL's buffers, without a copy: in place where nobody else holds the logits, else to a tensor
//! of the same pool.
//!
//! # Waiting
//! Nothing waits for the device but [`Report::read`]. [`DeviceLoss::loss`] queues the loss behind what burn has recorded so far, `backward()` what the
//! gradient still needs, and what burn does next is queued after them. The factor from upstream stays on the device: where it is 1, the gradient is left as
//! it is, else it takes a pass.
//!
//! # What only the report tells
//! A batch in which the device finds an entry out of range has a gradient of 0, and its report is the error; its loss says nothing. Losses that are NaN or
//! infinite are left out of the loss tensor, not of the report.
//!
//! # Fusion
//! With this feature burn fuses operations, as it does by default. Logits are computed before the loss; it is no part of a fused kernel.

mod batch;
mod placed;
mod report;
mod scale;

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::backend::wgpu::{CubeBackend, CubeTensor};
pub use burn::backend::wgpu::{WgpuDevice, WgpuSetup, graphics::AutoGraphicsApi, init_setup};
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{DType, Shape, Tensor};
use surprisal::Loss;
use surprisal::objective::Objective;
use surprisal_gpu::{Dtype, Gradient, Matrix, Pipelines, Workspace, wgpu};
use surprisal_rows::Rows;

use crate::Error;
use crate::attach::{Computed, attach};
use batch::PlacedBatch;
pub use batch::TensorBatch;
use placed::{Placed, flush, readable, registered};
pub use report::Report;
use scale::Kept;

/// A loss on a device, with its shaders and its memory there. Threads may share it: their calls run one after the other. The buffers of its latest call
/// stay allocated as long as it does.
#[derive(Debug)]
pub struct DeviceLoss<'l, O> {
    pipelines: Pipelines<'l, O>,
    device: wgpu::Device,
    queue: wgpu::Queue,
    dtype: DType,
    workspace: Mutex<Workspace>,
}

/// Rows that there is memory for from the start: a megabyte.
const ROWS: u32 = 4096;

/// What a call leaves in tensors, beside the gradient.
struct Left {
    loss: Placed,
    refused: Placed,
    report: Report,
}

impl<'l, O: Objective> DeviceLoss<'l, O> {
    /// Compiles shaders for logits of a type: f32, bf16 or f16, as far as burn has it on the device. The first loss compiles what else it needs.
    ///
    /// # Errors
    /// [`Error::Dtype`], [`Error::Gpu`].
    pub fn new(setup: &WgpuSetup, loss: Loss<'l, O>, dtype: DType) -> Result<Self, Error> {
        let (device, queue) = (setup.device.clone(), setup.queue.clone());
        let pipelines = Pipelines::new(&device, loss, on_device(dtype)?)?;
        let workspace = Mutex::new(Workspace::new(&device, ROWS)?);
        Ok(Self { pipelines, device, queue, dtype, workspace })
    }

    /// The loss of logits `[…, vocab]`, to be differentiated, and what was counted: as [`crate::loss`], without a wait.
    ///
    /// A batch of more rows than any before takes more memory, some 200 bytes a row.
    ///
    /// # Errors
    /// [`Error::Loss`] for what can be refused without the entries of the batch, [`Error::Gpu`] for what the device refuses, [`Error::Dtype`] for logits of
    /// another type than the shaders', [`Error::Device`]. What is wrong with an entry, [`Report`] tells.
    pub fn loss<const D: usize>(
        &self,
        logits: Tensor<D>,
        batch: &TensorBatch,
    ) -> Result<(Tensor<1>, Report), Error> {
        attach::<Cube, _, 1>([logits.into_dispatch()], |[logits], [wanted]| {
            let client = logits.client.clone();
            let logits = client.resolve_tensor_float::<CubeBackend>(logits);
            let batch = batch.place(&logits)?;
            let (left, gradient) = self.compute(logits, &batch, wanted)?;
            let refused = left.refused.tensor;
            Ok(Computed {
                loss: registered(&client, left.loss.tensor),
                gradients: [gradient.map(|gradient| Kept { gradient, refused })],
                report: left.report,
            })
        })
    }

    fn compute(
        &self,
        logits: CubeTensor,
        batch: &PlacedBatch,
        wanted: bool,
    ) -> Result<(Left, Option<CubeTensor>), Error> {
        if logits.dtype != self.dtype {
            return Err(Error::Dtype(logits.dtype));
        }
        let dtype = on_device(logits.dtype)?;
        let (logits, rows) = readable(logits);
        // Before it is cloned.
        let is_ours = logits.can_mut();
        let logits = Placed::new(logits)?;
        let z = logits.matrix(dtype, &rows)?;
        if !wanted {
            return Ok((self.submit(&logits, z, batch, None)?, None));
        }
        if is_ours {
            let left = self.submit(&logits, z, batch, Some(Gradient::InPlace))?;
            return Ok((left, Some(logits.tensor)));
        }
        // Of the pool that the logits are of: maybe another place in their buffer.
        let gradient = Placed::empty(&logits.tensor, logits.tensor.shape(), logits.tensor.dtype)?;
        let to = gradient.matrix(dtype, &Rows::contiguous(rows.len(), rows.vocab))?;
        let left = self.submit(&logits, z, batch, Some(Gradient::To(to)))?;
        Ok((left, Some(gradient.tensor)))
    }

    /// Queues a call behind what burn has recorded of its tensors.
    fn submit(
        &self,
        logits: &Placed,
        z: Matrix<'_>,
        batch: &PlacedBatch,
        gradient: Option<Gradient<'_>>,
    ) -> Result<Left, Error> {
        let loss = Placed::empty(&logits.tensor, Shape::new([1]), DType::F32)?;
        let refused = Placed::empty(&logits.tensor, Shape::new([1]), DType::U32)?;
        let rows = batch.batch()?;
        let mut encoder =
            self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        // Held until the call is queued: the next one may then write there.
        let workspace = self.workspace(batch.rows())?;
        let call = match gradient {
            None => self.pipelines.forward_with(&mut encoder, z, &rows, &workspace)?,
            Some(gradient) => self.pipelines.forward_backward_with(
                &mut encoder,
                z,
                &rows,
                gradient,
                &workspace,
            )?,
        };
        for ((from, start), to) in [(call.loss(), &loss), (call.refused(), &refused)] {
            let (to, place) = to.buffer();
            encoder.copy_buffer_to_buffer(from, start, to, place, 4);
        }
        let report = Report::new(&self.device, call.report(&self.device, &mut encoder));
        flush(batch.placed().chain([logits, &loss]))?;
        self.queue.submit([encoder.finish()]);
        Ok(Left { loss, refused, report })
    }

    /// The memory of calls, with room for so many rows.
    fn workspace(&self, rows: u32) -> Result<MutexGuard<'_, Workspace>, Error> {
        // A thread that panicked has left what it had.
        let mut workspace = self.workspace.lock().unwrap_or_else(PoisonError::into_inner);
        if workspace.rows() < rows {
            let rows = rows.max(workspace.rows().saturating_mul(2));
            *workspace = Workspace::new(&self.device, rows)?;
        }
        Ok(workspace)
    }
}

/// The library's name of a type.
fn on_device(dtype: DType) -> Result<Dtype, Error> {
    match dtype {
        DType::F32 | DType::Flex32 => Ok(Dtype::F32),
        DType::BF16 => Ok(Dtype::Bf16),
        DType::F16 => Ok(Dtype::F16),
        other => Err(Error::Dtype(other)),
    }
}
