//! Tensors, and where they lie on the device.

use burn::backend::fusion::custom::StreamId;
use burn::backend::fusion::{Client, NoOp};
use burn::backend::ir::{BackendIr, InitOperationIr, OperationIr};
use burn::backend::wgpu::{CubeBackend, CubeTensor};
use burn::backend::{BackendTensor, Cube, DispatchKindConversion, TensorMetadata};
use burn::tensor::{DType, DispatchTensor, Shape};
use burn_cubecl::cubecl::server::Handle;
use burn_cubecl::cubecl::wgpu::{AutoCompiler, WgpuResource, WgpuServer};
use burn_cubecl::fusion::FusionCubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use surprisal_gpu::{Column, Dtype, Matrix, wgpu};
use surprisal_rows::Rows;

use crate::Error;
use crate::attach::Primitive;

/// A tensor and its part of a buffer, which nobody else is given as long as this is kept.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) tensor: CubeTensor,
    place: WgpuResource,
}

impl Placed {
    pub(super) fn new(tensor: CubeTensor) -> Result<Self, Error> {
        let handle: Handle = tensor.handle.clone();
        match tensor.client.get_resource::<WgpuServer<AutoCompiler>>(handle) {
            Ok(managed) => Ok(Self { place: managed.resource().clone(), tensor }),
            Err(error) => Err(Error::Device(format!("{error:?}"))),
        }
    }

    /// A tensor of the pool that another is of, its rows one after the other.
    pub(super) fn empty(of: &CubeTensor, shape: Shape, dtype: DType) -> Result<Self, Error> {
        let (client, device) = (of.client.clone(), of.device.clone());
        let handle = client.empty(shape.num_elements() * dtype.size());
        Self::new(CubeTensor::new_contiguous(client, device, shape, handle, dtype))
    }

    pub(super) fn entries(&self) -> usize {
        self.tensor.meta.num_elements()
    }

    /// Entries of its first dimension.
    pub(super) fn rows(&self) -> usize {
        self.tensor.meta.shape().first().copied().unwrap_or(0)
    }

    pub(super) fn buffer(&self) -> (&wgpu::Buffer, u64) {
        (&self.place.buffer, self.place.offset)
    }

    pub(super) fn column(&self) -> Column<'_> {
        let (buffer, offset) = self.buffer();
        match self.tensor.dtype.size() {
            8 => Column::of_i64(buffer, offset),
            _ => Column::new(buffer, offset),
        }
    }

    pub(super) fn matrix(&self, dtype: Dtype, rows: &Rows) -> Result<Matrix<'_>, Error> {
        let (buffer, offset) = self.buffer();
        Ok(Matrix::strided(buffer, dtype, offset, rows.len(), rows.vocab, rows.stride)?)
    }
}

/// Submits what burn has recorded of these tensors.
pub(super) fn flush<'p>(tensors: impl Iterator<Item = &'p Placed>) -> Result<(), Error> {
    let mut streams: Vec<_> = tensors.map(|Placed { tensor, .. }| tensor).collect();
    streams.dedup_by_key(|tensor| tensor.handle.stream);
    for tensor in streams {
        let flushed = tensor.handle.stream.executes(|| tensor.client.flush());
        flushed.map_err(|error| Error::Device(format!("{error:?}")))?;
    }
    Ok(())
}

/// The tensor, copied where its rows are not equally far apart, and where in it they lie.
pub(super) fn readable(tensor: CubeTensor) -> (CubeTensor, Rows) {
    let rows = Rows::of(tensor.meta.shape(), tensor.meta.strides(), 0);
    if let Some(rows) = rows.filter(|rows| rows.starts.len() == 1) {
        return (tensor, rows);
    }
    let vocab = tensor.meta.shape().last().copied().unwrap_or(0);
    let rows = tensor.meta.num_elements().checked_div(vocab).unwrap_or(0);
    (into_contiguous(tensor), Rows::contiguous(rows, vocab))
}

/// A tensor without autodiff, computed, or about to be.
pub(super) fn resolved(tensor: DispatchTensor) -> Result<CubeTensor, Error> {
    let tensor = <DispatchTensor as DispatchKindConversion<Cube>>::try_into_backend(tensor);
    match tensor.map_err(Error::Device)? {
        BackendTensor::Float(tensor) => {
            Ok(tensor.client.clone().resolve_tensor_float::<CubeBackend>(tensor))
        }
        BackendTensor::Int(tensor) => {
            Ok(tensor.client.clone().resolve_tensor_int::<CubeBackend>(tensor))
        }
        other => Err(Error::Device(format!("a tensor of kind {}", other.name()))),
    }
}

/// A tensor that burn's fused operations take.
pub(super) fn registered(
    client: &Client<FusionCubeRuntime>,
    tensor: CubeTensor,
) -> Primitive<Cube> {
    let (shape, dtype) = (tensor.shape(), tensor.dtype);
    let handle = CubeBackend::float_tensor_handle(tensor);
    let made = InitOperationIr::create(shape, dtype, || client.register_tensor_handle(handle));
    let operation = NoOp::<CubeBackend>::new();
    client.register(StreamId::current(), OperationIr::Init(made), operation).remove(0)
}
