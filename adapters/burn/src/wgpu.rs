//! Losses of tensors on burn's wgpu devices, in the buffers where they lie: feature `wgpu`.
//!
//! burn and the loss share a device and its queue: make the device as below, and give both the same setup. Shaders are compiled once, in
//! [`DeviceLoss::new`].
//!
//! ```no_run
//! use burn::tensor::{DType, Device, DeviceKind, Distribution, Tensor};
//! use surprisal::{Batch, Loss, objective::Dft};
//! use surprisal_burn::wgpu::{AutoGraphicsApi, DeviceLoss, WgpuDevice, init_setup};
//!
//! # fn main() -> Result<(), surprisal_burn::Error> {
//! let setup = init_setup::<AutoGraphicsApi>(&WgpuDevice::default(), Default::default());
//! let dft = DeviceLoss::new(&setup, Loss::new(Dft), DType::F32)?;
//!
//! let device = Device::wgpu(DeviceKind::DefaultDevice).autodiff();
//! let logits = Tensor::<2>::random([4, 10], Distribution::Default, &device).require_grad();
//! let (loss, report) = dft.loss(logits.clone(), &Batch::new(&[3, 1, 0, 7]))?;
//! let gradient = logits.grad(&loss.backward()).unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! Logits are read and gradients written in CubeCL's buffers, without a copy: in place where nobody else holds the logits, else to a tensor of the same
//! pool. Targets come from the host. [`DeviceLoss::loss`] waits for the device once, for the report (twice where the objective looks at a
//! sequence or at the batch), and `backward()` for one number, the factor from upstream. What burn does next is queued after the loss.
//!
//! With this feature burn fuses operations, as it does by default. Logits are computed before the loss; it is no part of a fused kernel.

use burn::backend::fusion::custom::StreamId;
use burn::backend::fusion::{Client, NoOp};
use burn::backend::ir::{BackendIr, InitOperationIr, OperationIr};
use burn::backend::ops::FloatTensorOps;
use burn::backend::wgpu::{CubeBackend, CubeTensor};
pub use burn::backend::wgpu::{WgpuDevice, WgpuSetup, graphics::AutoGraphicsApi, init_setup};
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{DType, Tensor, TensorData, read_sync};
use burn_cubecl::cubecl::server::Handle;
use burn_cubecl::cubecl::wgpu::{AutoCompiler, WgpuResource, WgpuServer};
use burn_cubecl::fusion::FusionCubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use surprisal::objective::{Objective, TokenTerm};
use surprisal::{Batch, Loss, LossReport, OwnedWorkspace, RowStats};
use surprisal_gpu::{Dtype, Gradient, Matrix, Pipelines, wgpu};
use surprisal_rows::Rows;

use crate::Error;
use crate::attach::{Computed, Computes, Primitive, attach};

/// A loss on a device, with its shaders.
#[derive(Debug)]
pub struct DeviceLoss<'l, O> {
    pipelines: Pipelines<'l, O>,
    device: wgpu::Device,
    queue: wgpu::Queue,
    dtype: DType,
}

impl<'l, O: Objective> DeviceLoss<'l, O> {
    /// Compiles the shaders for logits of a type: f32, bf16 or f16, as far as burn has it on the device.
    ///
    /// # Errors
    /// [`Error::Dtype`], [`Error::Gpu`].
    pub fn new(setup: &WgpuSetup, loss: Loss<'l, O>, dtype: DType) -> Result<Self, Error> {
        let pipelines = Pipelines::new(&setup.device, loss, on_device(dtype)?)?;
        Ok(Self { pipelines, device: setup.device.clone(), queue: setup.queue.clone(), dtype })
    }

    /// The loss of logits `[…, vocab]`, to be differentiated, and what was counted: as [`crate::loss`].
    ///
    /// # Errors
    /// [`Error::Gpu`] for what the loss or the device refuses, [`Error::Dtype`] for logits of another type than the shaders', [`Error::Device`].
    pub fn loss<const D: usize>(
        &self,
        logits: Tensor<D>,
        batch: &Batch<'_>,
    ) -> Result<(Tensor<1>, LossReport), Error> {
        attach::<Cube, _, 1>([logits.into_dispatch()], |[logits], [wanted]| {
            let client = logits.client.clone();
            let logits = client.resolve_tensor_float::<CubeBackend>(logits);
            let device = logits.device();
            let (report, gradient) = self.compute(logits, batch, wanted)?;
            Ok(Computed {
                loss: Cube::float_from_data(scalar(&report), &device),
                gradients: [gradient.map(|gradient| registered(&client, gradient))],
                report,
            })
        })
    }

    fn compute(
        &self,
        logits: CubeTensor,
        batch: &Batch<'_>,
        wanted: bool,
    ) -> Result<(LossReport, Option<CubeTensor>), Error> {
        if logits.dtype != self.dtype {
            return Err(Error::Dtype(logits.dtype));
        }
        let dtype = on_device(logits.dtype)?;
        let (logits, rows) = readable(logits);
        // Before it is cloned.
        let is_ours = logits.can_mut();
        let from = resource(&logits)?;
        let place = from.offset;
        let z = Matrix::strided(&from.buffer, dtype, place, rows.len(), rows.vocab, rows.stride)?;
        if !wanted {
            return Ok((self.forward(z, batch, &logits)?, None));
        }
        if is_ours {
            let report = self.forward_backward(z, batch, Gradient::InPlace, &logits)?;
            return Ok((report, Some(logits)));
        }
        // Of the pool that the logits are of: maybe another place in their buffer.
        let gradient = empty_like(&logits);
        let to = resource(&gradient)?;
        let dz = Matrix::strided(&to.buffer, dtype, to.offset, rows.len(), rows.vocab, rows.vocab)?;
        Ok((self.forward_backward(z, batch, Gradient::To(dz), &logits)?, Some(gradient)))
    }
}

impl<O: Objective> DeviceLoss<'_, O> {
    fn forward(
        &self,
        z: Matrix<'_>,
        batch: &Batch<'_>,
        logits: &CubeTensor,
    ) -> Result<LossReport, Error> {
        if self.pipelines.loss().objective().group_plan().is_some() {
            return Ok(self.terms(z, batch, logits)?.0);
        }
        let call = self.submit(logits, |encoder| self.pipelines.forward(encoder, z, batch))?;
        let results = call.read(&self.device, &self.queue)?;
        Ok(results.report(&self.pipelines, batch, vocab(logits))?)
    }

    fn forward_backward(
        &self,
        z: Matrix<'_>,
        batch: &Batch<'_>,
        gradient: Gradient<'_>,
        logits: &CubeTensor,
    ) -> Result<LossReport, Error> {
        let pipelines = &self.pipelines;
        if pipelines.loss().objective().group_plan().is_some() {
            let (report, stats, terms) = self.terms(z, batch, logits)?;
            self.submit(logits, |encoder| {
                pipelines.logits_grad(encoder, z, batch, &stats, &terms, gradient)
            })?;
            return Ok(report);
        }
        let call =
            self.submit(logits, |encoder| pipelines.forward_backward(encoder, z, batch, gradient))?;
        let results = call.read(&self.device, &self.queue)?;
        Ok(results.report(pipelines, batch, vocab(logits))?)
    }

    /// What an objective that looks at a sequence or at the batch computes on the host, between the device's two passes.
    fn terms(
        &self,
        z: Matrix<'_>,
        batch: &Batch<'_>,
        logits: &CubeTensor,
    ) -> Result<(LossReport, Vec<RowStats>, Vec<TokenTerm>), Error> {
        let call = self.submit(logits, |encoder| self.pipelines.row_stats(encoder, z, batch))?;
        let stats = call.read(&self.device, &self.queue)?.row_stats();
        let mut terms = vec![TokenTerm::default(); stats.len()];
        let mut workspace = OwnedWorkspace::new();
        let workspace = workspace.lend(stats.len(), vocab(logits));
        let loss = self.pipelines.loss();
        let report = loss.token_terms(&stats, batch, vocab(logits), &mut terms, workspace)?;
        Ok((report, stats, terms))
    }

    /// Queues what is recorded behind what burn has recorded of the logits.
    fn submit<R>(
        &self,
        logits: &CubeTensor,
        record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<R, surprisal_gpu::Error>,
    ) -> Result<R, Error> {
        let mut encoder =
            self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let recorded = record(&mut encoder)?;
        let flushed = logits.handle.stream.executes(|| logits.client.flush());
        flushed.map_err(|error| Error::Device(format!("{error:?}")))?;
        self.queue.submit([encoder.finish()]);
        Ok(recorded)
    }
}

impl Computes for Cube {
    fn scaled(gradient: Primitive<Self>, upstream: &Primitive<Self>) -> Primitive<Self> {
        let factor = read_sync(Self::float_into_data(upstream.clone())).ok();
        match factor.and_then(|factor| factor.iter::<f32>().next()) {
            None | Some(1.0) => gradient,
            Some(factor) => Self::float_mul_scalar(gradient, factor.into()),
        }
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

/// The tensor, copied where its rows are not equally far apart, and where they lie.
fn readable(tensor: CubeTensor) -> (CubeTensor, Rows) {
    let rows = Rows::of(tensor.meta.shape(), tensor.meta.strides(), 0);
    if let Some(rows) = rows.filter(|rows| rows.starts.len() == 1) {
        return (tensor, rows);
    }
    let (vocab, all) = (vocab(&tensor), tensor.meta.num_elements());
    (into_contiguous(tensor), Rows::contiguous(all.checked_div(vocab).unwrap_or(0), vocab))
}

fn vocab(tensor: &CubeTensor) -> usize {
    tensor.meta.shape().last().copied().unwrap_or(0)
}

/// A tensor like another, its rows one after the other.
fn empty_like(of: &CubeTensor) -> CubeTensor {
    let bytes = of.meta.num_elements() * of.dtype.size();
    let (client, handle) = (of.client.clone(), of.client.empty(bytes));
    CubeTensor::new_contiguous(client, of.device.clone(), of.shape(), handle, of.dtype)
}

/// Where a tensor lies.
fn resource(tensor: &CubeTensor) -> Result<WgpuResource, Error> {
    let handle: Handle = tensor.handle.clone();
    match tensor.client.get_resource::<WgpuServer<AutoCompiler>>(handle) {
        Ok(managed) => Ok(managed.resource().clone()),
        Err(error) => Err(Error::Device(format!("{error:?}"))),
    }
}

/// A tensor that burn's fused operations take.
fn registered(client: &Client<FusionCubeRuntime>, tensor: CubeTensor) -> Primitive<Cube> {
    let (shape, dtype) = (tensor.shape(), tensor.dtype);
    let handle = CubeBackend::float_tensor_handle(tensor);
    let made = InitOperationIr::create(shape, dtype, || client.register_tensor_handle(handle));
    let operation = NoOp::<CubeBackend>::new();
    client.register(StreamId::current(), OperationIr::Init(made), operation).remove(0)
}

#[expect(clippy::cast_possible_truncation, reason = "losses are tensors of f32")]
fn scalar(report: &LossReport) -> TensorData {
    TensorData::from([report.loss as f32])
}
