//! The other way in: host slices in, host slices out, on a device that is picked here. For tests and small tools; a trainer embeds [`Pipelines`].

use bytemuck::Pod;
use surprisal::objective::{Objective, Scope, TokenTerm};
use surprisal::{Batch, Loss, LossReport, RowStats, bf16, f16};

use crate::call::read_buffer;
use crate::error::Error;
use crate::matrix::{Dtype, Matrix};
use crate::pipelines::{Gradient, Pipelines};

/// An element type of host slices.
pub trait HostElement: surprisal::Element + Pod {
    /// Its type on the device.
    const DTYPE: Dtype;
}

impl HostElement for f32 {
    const DTYPE: Dtype = Dtype::F32;
}
impl HostElement for bf16 {
    const DTYPE: Dtype = Dtype::Bf16;
}
impl HostElement for f16 {
    const DTYPE: Dtype = Dtype::F16;
}

/// What an adapter is called, and whether it is a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterName {
    /// Its name, as the driver has it.
    pub name: String,
    /// The interface: `vulkan`, `metal`, `dx12`.
    pub backend: String,
    /// Whether it computes on the CPU.
    pub is_software: bool,
}

/// A device of one's own, with its queue.
#[derive(Debug)]
pub struct Gpu {
    adapter: AdapterName,
    device: wgpu::Device,
    queue: wgpu::Queue,
}

/// What a call on host slices gives.
#[derive(Clone, Debug)]
pub struct HostOutcome {
    /// The report.
    pub report: LossReport,
    /// −ln p of every row's target.
    pub nll: Vec<f32>,
}

fn name_of(adapter: &wgpu::Adapter) -> AdapterName {
    let info = adapter.get_info();
    let is_software = info.device_type == wgpu::DeviceType::Cpu;
    AdapterName { name: info.name, backend: info.backend.to_string(), is_software }
}

fn adapters() -> Vec<wgpu::Adapter> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let instance = wgpu::Instance::new(descriptor);
    let mut all = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    // A GPU before software; stable, so that an index means the same from call to call.
    all.sort_by_key(|adapter| name_of(adapter).is_software);
    all
}

impl Gpu {
    /// Every adapter of this machine, the real ones first.
    #[must_use]
    pub fn list() -> Vec<AdapterName> {
        adapters().iter().map(name_of).collect()
    }

    /// The first adapter.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::Device`].
    pub fn open() -> Result<Self, Error> {
        Self::open_index(0)
    }

    /// The adapter of this index in [`Gpu::list`].
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::Device`].
    pub fn open_index(index: usize) -> Result<Self, Error> {
        let missing = || Error::NoAdapter(format!("there is no adapter {index}"));
        Self::with_adapter(&adapters().into_iter().nth(index).ok_or_else(missing)?)
    }

    /// The first adapter whose name contains a text, whatever its case.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::Device`].
    pub fn open_named(name: &str) -> Result<Self, Error> {
        let wanted = name.to_lowercase();
        let fits = |adapter: &wgpu::Adapter| name_of(adapter).name.to_lowercase().contains(&wanted);
        let missing = || Error::NoAdapter(format!("none is called {name}"));
        Self::with_adapter(&adapters().into_iter().find(fits).ok_or_else(missing)?)
    }

    fn with_adapter(adapter: &wgpu::Adapter) -> Result<Self, Error> {
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("surprisal"),
            required_limits: adapter.limits(),
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|why| Error::Device(why.to_string()))?;
        Ok(Self { adapter: name_of(adapter), device, queue })
    }

    /// The adapter.
    #[must_use]
    pub fn adapter(&self) -> &AdapterName {
        &self.adapter
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// Its queue.
    #[must_use]
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// A buffer with these elements, padded to whole packets, that can be bound, copied from and copied to.
    ///
    /// # Errors
    /// [`Error::Limit`] where the device has no buffers of this size, [`Error::Device`] where it is out of memory.
    pub fn upload<T: Pod>(&self, elements: &[T]) -> Result<wgpu::Buffer, Error> {
        let bytes = bytemuck::cast_slice::<T, u8>(elements);
        let buffer = self.buffer(bytes.len() as u64)?;
        let words = bytes.len() / 4 * 4;
        let (whole, rest) = bytes.split_at(words);
        self.queue.write_buffer(&buffer, 0, whole);
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            self.queue.write_buffer(&buffer, words as u64, &last);
        }
        Ok(buffer)
    }

    /// A buffer of at least so many bytes, in whole packets, with the usages of [`Gpu::upload`].
    ///
    /// # Errors
    /// As [`Gpu::upload`].
    pub fn buffer(&self, bytes: u64) -> Result<wgpu::Buffer, Error> {
        let size = bytes.next_multiple_of(16).max(16);
        let limit = self.device.limits().max_buffer_size;
        if size > limit {
            return Err(Error::Limit { name: "max_buffer_size", needed: size, limit });
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("surprisal"),
            size,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        match pollster::block_on(scope.pop()) {
            None => Ok(buffer),
            Some(why) => Err(Error::Device(why.to_string())),
        }
    }

    /// Reads elements back.
    ///
    /// # Errors
    /// [`Error::Readback`].
    pub fn download<T: Pod>(&self, buffer: &wgpu::Buffer, elements: &mut [T]) -> Result<(), Error> {
        let to = bytemuck::cast_slice_mut::<T, u8>(elements);
        if to.is_empty() {
            return Ok(());
        }
        let size = (to.len() as u64).next_multiple_of(4);
        let bytes = read_buffer(&self.device, &self.queue, buffer, 0, size)?;
        to.copy_from_slice(&bytes[..to.len()]);
        Ok(())
    }

    /// Loss, and its gradient where `dlogits` is given, of contiguous logits `[rows × vocab]`, by any objective.
    ///
    /// # Errors
    /// Those of [`Pipelines`].
    pub fn forward_backward<T: HostElement, G: HostElement, O: Objective + Clone>(
        &self,
        loss: &Loss<'_, O>,
        logits: &[T],
        rows: usize,
        vocab: usize,
        batch: &Batch<'_>,
        dlogits: Option<&mut [G]>,
    ) -> Result<HostOutcome, Error> {
        for len in [Some(logits.len()), dlogits.as_ref().map(|d| d.len())].into_iter().flatten() {
            if Some(len) != rows.checked_mul(vocab) {
                let argument = surprisal::Argument::Logits;
                let expected = rows.saturating_mul(vocab);
                return Err(surprisal::Error::Length { argument, expected, actual: len }.into());
            }
        }
        let pipelines = Pipelines::with_types(&self.device, loss.clone(), T::DTYPE, G::DTYPE)?;
        let z = self.upload(logits)?;
        let dz = self.buffer((rows * vocab) as u64 * G::DTYPE.size())?;
        let logits = Matrix::new(&z, T::DTYPE, rows, vocab)?;
        let gradient = Gradient::To(Matrix::new(&dz, G::DTYPE, rows, vocab)?);
        let outcome = if loss.objective().scope() == Scope::Token {
            let mut encoder = self.encoder();
            let call = pipelines.forward_backward(&mut encoder, logits, batch, gradient)?;
            self.queue.submit([encoder.finish()]);
            let results = call.read(&self.device, &self.queue)?;
            let report = results.report(&pipelines, batch, vocab)?;
            HostOutcome { report, nll: results.nll() }
        } else {
            self.grouped(&pipelines, logits, batch, gradient)?
        };
        if let Some(dlogits) = dlogits {
            self.download(&dz, dlogits)?;
        }
        Ok(outcome)
    }

    /// Stages 1 and 3 on the device, stage 2 with its group pass on the host: some 100 bytes a row cross over.
    fn grouped<O: Objective>(
        &self,
        pipelines: &Pipelines<'_, O>,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
        gradient: Gradient<'_>,
    ) -> Result<HostOutcome, Error> {
        let mut encoder = self.encoder();
        let call = pipelines.row_stats(&mut encoder, logits, batch)?;
        self.queue.submit([encoder.finish()]);
        let results = call.read(&self.device, &self.queue)?;
        let stats: Vec<RowStats> = results.row_stats(batch);
        let mut terms = vec![TokenTerm::default(); stats.len()];
        let vocab = logits.vocab_total as usize;
        let report = pipelines.loss().token_terms(&stats, batch, vocab, &mut terms)?;
        let mut encoder = self.encoder();
        pipelines.logits_grad(&mut encoder, logits, batch, &stats, &terms, gradient)?;
        self.queue.submit([encoder.finish()]);
        Ok(HostOutcome { report, nll: results.nll() })
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }
}
