//! A device that is picked here, and buffers on it.

use bytemuck::Pod;

use crate::call::read_buffer;
use crate::error::Error;

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

/// What is opened first.
fn rank(device: wgpu::DeviceType) -> u8 {
    match device {
        wgpu::DeviceType::DiscreteGpu => 0,
        // A part of a GPU somewhere, which is usually a large one.
        wgpu::DeviceType::VirtualGpu => 1,
        wgpu::DeviceType::IntegratedGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn name_of(info: wgpu::AdapterInfo) -> AdapterName {
    let is_software = info.device_type == wgpu::DeviceType::Cpu;
    AdapterName { name: info.name, backend: info.backend.to_string(), is_software }
}

fn adapters() -> Vec<wgpu::Adapter> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let instance = wgpu::Instance::new(descriptor);
    let mut all = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    // Stable, so that an index means the same from call to call.
    all.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    all
}

/// Bytes that a copy begins and ends at.
const WORD: u64 = wgpu::COPY_BUFFER_ALIGNMENT;

/// Bytes from the word's start.
fn within_word(offset: u64) -> usize {
    (offset % WORD) as usize
}

/// The byte past the end of some of a buffer.
fn end_inside(buffer: &wgpu::Buffer, offset: u64, len: usize) -> Result<u64, Error> {
    let message = "the bytes do not lie inside it";
    let end = offset.checked_add(len as u64).filter(|&end| end <= buffer.size());
    end.ok_or(Error::Buffer { name: "buffer", message })
}

impl Gpu {
    /// Every adapter of this machine: GPUs of their own, then those within a processor, then software.
    #[must_use]
    pub fn list() -> Vec<AdapterName> {
        adapters().iter().map(|adapter| name_of(adapter.get_info())).collect()
    }

    /// The first adapter of [`Gpu::list`].
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
        let fits = |adapter: &wgpu::Adapter| {
            name_of(adapter.get_info()).name.to_lowercase().contains(&wanted)
        };
        let missing = || Error::NoAdapter(format!("none is called {name}"));
        Self::with_adapter(&adapters().into_iter().find(fits).ok_or_else(missing)?)
    }

    /// A device that the caller has opened, with its queue.
    #[must_use]
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        let adapter = name_of(device.adapter_info());
        Self { adapter, device: device.clone(), queue: queue.clone() }
    }

    fn with_adapter(adapter: &wgpu::Adapter) -> Result<Self, Error> {
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("surprisal"),
            required_limits: adapter.limits(),
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|why| Error::Device(why.to_string()))?;
        Ok(Self { adapter: name_of(adapter.get_info()), device, queue })
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
        let size = bytes.checked_next_multiple_of(16).unwrap_or(u64::MAX).max(16);
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
    /// As [`Gpu::read`].
    pub fn download<T: Pod>(&self, buffer: &wgpu::Buffer, elements: &mut [T]) -> Result<(), Error> {
        self.read(buffer, 0, bytemuck::cast_slice_mut(elements))
    }

    /// Copies bytes of a buffer of [`Gpu::buffer`], from any byte on, and waits for them.
    ///
    /// # Errors
    /// [`Error::Buffer`] where they do not lie inside it, [`Error::Readback`], [`Error::Device`].
    pub fn read(&self, buffer: &wgpu::Buffer, offset: u64, to: &mut [u8]) -> Result<(), Error> {
        let end = end_inside(buffer, offset, to.len())?;
        if to.is_empty() {
            return Ok(());
        }
        let start = offset / WORD * WORD;
        let size = end.next_multiple_of(WORD) - start;
        let read = || read_buffer(&self.device, &self.queue, buffer, start, size);
        let bytes = self.checked(read)?;
        let before = within_word(offset);
        to.copy_from_slice(&bytes[before..before + to.len()]);
        Ok(())
    }

    /// Copies bytes into a buffer of [`Gpu::buffer`], from any byte on. A word of 4 bytes that is written in part is read first, which waits for
    /// the device.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub fn write(&self, buffer: &wgpu::Buffer, offset: u64, from: &[u8]) -> Result<(), Error> {
        end_inside(buffer, offset, from.len())?;
        let to_word = within_word(offset.next_multiple_of(WORD).wrapping_sub(offset));
        let (head, rest) = from.split_at(to_word.min(from.len()));
        let (words, tail) = rest.split_at(rest.len() - within_word(rest.len() as u64));
        let start = offset + head.len() as u64;
        self.checked(|| {
            self.write_in_word(buffer, offset, head)?;
            if !words.is_empty() {
                self.queue.write_buffer(buffer, start, words);
            }
            self.write_in_word(buffer, start + words.len() as u64, tail)
        })
    }

    /// Writes a part of one word.
    fn write_in_word(&self, buffer: &wgpu::Buffer, offset: u64, part: &[u8]) -> Result<(), Error> {
        if part.is_empty() {
            return Ok(());
        }
        let (start, before) = (offset / WORD * WORD, within_word(offset));
        let mut word = read_buffer(&self.device, &self.queue, buffer, start, WORD)?;
        word[before..before + part.len()].copy_from_slice(part);
        self.queue.write_buffer(buffer, start, &word);
        Ok(())
    }

    /// Runs calls on the device; what it refuses or cannot do becomes [`Error::Device`] where wgpu would panic.
    ///
    /// # Errors
    /// Those of the calls, and [`Error::Device`].
    pub fn checked<R>(&self, calls: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
        use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
        let scopes = [Validation, OutOfMemory, Internal];
        let scopes = scopes.map(|filter| self.device.push_error_scope(filter));
        let result = calls();
        let mut found = None;
        for scope in scopes.into_iter().rev() {
            found = found.or(pollster::block_on(scope.pop()));
        }
        found.map_or(result, |why| Err(Error::Device(why.to_string())))
    }

    /// An encoder of this device.
    pub(crate) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }
}

#[cfg(test)]
mod tests {
    use wgpu::DeviceType::{Cpu, DiscreteGpu, IntegratedGpu, Other, VirtualGpu};

    #[test]
    fn gpus_of_their_own_come_first_and_software_last() {
        let mut all = [Cpu, Other, IntegratedGpu, DiscreteGpu, VirtualGpu];
        all.sort_by_key(|&device| super::rank(device));
        assert_eq!(all, [DiscreteGpu, VirtualGpu, IntegratedGpu, Other, Cpu]);
    }
}
