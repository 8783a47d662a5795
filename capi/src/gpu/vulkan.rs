//! Memory that Vulkan shares by file descriptor. wgpu has no name for it: the buffer and its memory are made by Vulkan's own functions, then wgpu's,
//! which destroys them.

use std::ffi::CStr;

use ::surprisal_gpu::Gpu;
use ::surprisal_gpu::wgpu::hal::{api, vulkan};
use ::surprisal_gpu::wgpu::{self, BufferDescriptor, BufferUsages, CommandEncoderDescriptor};
use ash::khr::external_memory_fd;
use ash::vk;

use super::failure::DeviceFailure;
use super::shared::surprisal_gpu_memory;
use crate::status::Failure;
use crate::status::surprisal_status::{SURPRISAL_ERROR_DEVICE, SURPRISAL_ERROR_SHAPE};

const HANDLE: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD;

/// What can be exported of a buffer, as long as the buffer lives.
#[derive(Debug)]
pub(super) struct Exported {
    memory: vk::DeviceMemory,
    bytes: u64,
    memory_type: u32,
}

fn failed(what: &str) -> impl Fn(vk::Result) -> DeviceFailure {
    move |why| DeviceFailure::new(SURPRISAL_ERROR_DEVICE, &format!("{what}: {why}"))
}

/// Runs a function on the Vulkan device, if it is one that shares memory in this way.
fn with_device<R>(
    gpu: &Gpu,
    run: impl FnOnce(&vulkan::Device) -> Result<R, DeviceFailure>,
) -> Result<R, DeviceFailure> {
    let impossible = |why: &str| DeviceFailure::new(SURPRISAL_ERROR_DEVICE, why);
    // SAFETY: the device's handle is not destroyed.
    let device = unsafe { gpu.device().as_hal::<api::Vulkan>() };
    let device = device.ok_or_else(|| impossible("memory is shared by Vulkan alone"))?;
    let has = |name: &CStr| device.enabled_device_extensions().contains(&name);
    if !has(external_memory_fd::NAME) {
        return Err(impossible("the driver has no VK_KHR_external_memory_fd"));
    }
    run(&device)
}

/// UUIDs of device and driver.
pub(super) fn device_of(gpu: &Gpu) -> Result<([u8; 16], [u8; 16]), DeviceFailure> {
    with_device(gpu, |device| {
        let mut ids = vk::PhysicalDeviceIDProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut ids);
        let instance = device.shared_instance().raw_instance();
        let physical = device.raw_physical_device();
        // SAFETY: handles that live, and a chain of Vulkan's structs.
        unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
        Ok((ids.device_uuid, ids.driver_uuid))
    })
}

fn usage() -> vk::BufferUsageFlags {
    vk::BufferUsageFlags::STORAGE_BUFFER
        | vk::BufferUsageFlags::TRANSFER_SRC
        | vk::BufferUsageFlags::TRANSFER_DST
}

/// Refuses a device that cannot share a plain buffer.
fn check_features(
    device: &vulkan::Device,
    wanted: vk::ExternalMemoryFeatureFlags,
) -> Result<(), DeviceFailure> {
    let info = vk::PhysicalDeviceExternalBufferInfo::default().usage(usage()).handle_type(HANDLE);
    let mut found = vk::ExternalBufferProperties::default();
    let instance = device.shared_instance().raw_instance();
    let physical = device.raw_physical_device();
    // SAFETY: handles that live, and Vulkan's structs.
    unsafe { instance.get_physical_device_external_buffer_properties(physical, &info, &mut found) };
    let features = found.external_memory_properties.external_memory_features;
    if features.contains(wanted)
        && !features.contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY)
    {
        return Ok(());
    }
    Err(DeviceFailure::new(
        SURPRISAL_ERROR_DEVICE,
        "the driver does not share buffers by descriptor",
    ))
}

/// A buffer without memory, which `bound` gives it, and what it needs.
fn unbound(
    device: &ash::Device,
    size: u64,
) -> Result<(vk::Buffer, vk::MemoryRequirements), DeviceFailure> {
    let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(HANDLE);
    let info = vk::BufferCreateInfo::default().size(size).usage(usage()).push_next(&mut external);
    // SAFETY: a device that lives, a size above 0.
    unsafe {
        let buffer = device.create_buffer(&info, None).map_err(failed("vkCreateBuffer"))?;
        Ok((buffer, device.get_buffer_memory_requirements(buffer)))
    }
}

/// Allocates memory for a buffer, which is destroyed where that fails.
///
/// # Safety
/// The buffer is the device's, has no memory, and fits into the allocation, whose type it allows. What the allocation imports is what it says.
unsafe fn bound(
    device: &ash::Device,
    buffer: vk::Buffer,
    allocation: &vk::MemoryAllocateInfo<'_>,
) -> Result<vk::DeviceMemory, DeviceFailure> {
    // SAFETY: passed on; what is destroyed is used by nobody.
    unsafe {
        let memory = device.allocate_memory(allocation, None).map_err(|why| {
            device.destroy_buffer(buffer, None);
            failed("vkAllocateMemory")(why)
        })?;
        device.bind_buffer_memory(buffer, memory, 0).map_err(|why| {
            device.destroy_buffer(buffer, None);
            device.free_memory(memory, None);
            failed("vkBindBufferMemory")(why)
        })?;
        Ok(memory)
    }
}

/// Hands a buffer and its memory over to wgpu.
///
/// # Safety
/// They are of the device, bound to each other, of this size, and used and destroyed by nobody else.
unsafe fn adopt(
    gpu: &Gpu,
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    size: u64,
) -> wgpu::Buffer {
    let descriptor = BufferDescriptor {
        label: Some("surprisal shared"),
        size,
        usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    };
    // SAFETY: passed on; the usages are those of `usage`.
    unsafe {
        let buffer = vulkan::Buffer::from_raw_managed(buffer, memory, 0, size);
        gpu.device().create_buffer_from_hal::<api::Vulkan>(buffer, &descriptor)
    }
}

/// A buffer of zeros that can be exported.
pub(super) fn create(gpu: &Gpu, size: u64) -> Result<(wgpu::Buffer, Exported), DeviceFailure> {
    let (buffer, exported) = with_device(gpu, |device| {
        check_features(device, vk::ExternalMemoryFeatureFlags::EXPORTABLE)?;
        let (buffer, needs) = unbound(device.raw_device(), size)?;
        let memory_type = memory_type(device, needs.memory_type_bits);
        let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(HANDLE);
        let allocation = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(memory_type)
            .push_next(&mut export);
        // SAFETY: as large as the buffer needs, and of a type that it allows.
        let memory = unsafe { bound(device.raw_device(), buffer, &allocation) }?;
        Ok((buffer, Exported { memory, bytes: needs.size, memory_type }))
    })?;
    // SAFETY: just made, and kept by nobody but for its export.
    let buffer = unsafe { adopt(gpu, buffer, exported.memory, size) };
    gpu.checked(|| {
        let descriptor = CommandEncoderDescriptor::default();
        let mut encoder = gpu.device().create_command_encoder(&descriptor);
        encoder.clear_buffer(&buffer, 0, None);
        gpu.queue().submit([encoder.finish()]);
        Ok(())
    })?;
    Ok((buffer, exported))
}

/// Which of some types of memory to take: the device's own, if there is one.
fn memory_type(device: &vulkan::Device, allowed: u32) -> u32 {
    let instance = device.shared_instance().raw_instance();
    // SAFETY: handles that live.
    let known =
        unsafe { instance.get_physical_device_memory_properties(device.raw_physical_device()) };
    let types = known.memory_types_as_slice().iter().zip(0..);
    let local = types.filter(|&(kind, index)| {
        allowed >> index & 1 == 1
            && kind.property_flags.contains(vk::MemoryPropertyFlags::DEVICE_LOCAL)
    });
    // A buffer may be in memory of one type at least.
    local.map(|(_, index)| index).next().unwrap_or(allowed.trailing_zeros())
}

/// A new descriptor of a buffer's memory.
pub(super) fn export(
    gpu: &Gpu,
    exported: &Exported,
) -> Result<surprisal_gpu_memory, DeviceFailure> {
    let (device_uuid, driver_uuid) = device_of(gpu)?;
    with_device(gpu, |device| {
        let instance = device.shared_instance().raw_instance();
        let functions = external_memory_fd::Device::new(instance, device.raw_device());
        let info = vk::MemoryGetFdInfoKHR::default().memory(exported.memory).handle_type(HANDLE);
        // SAFETY: the extension is enabled, and the memory, that of a buffer that lives, was allocated for this.
        let fd = unsafe { functions.get_memory_fd(&info) }.map_err(failed("vkGetMemoryFdKHR"))?;
        let Exported { bytes, memory_type, .. } = *exported;
        Ok(surprisal_gpu_memory {
            bytes,
            memory_type,
            fd,
            device_uuid,
            driver_uuid,
            reserved: [0; 4],
        })
    })
}

/// A buffer of so many bytes of memory that was exported.
///
/// # Safety
/// The descriptor is that of an allocation on this device with these properties, of at least `size` bytes.
pub(super) unsafe fn import(
    gpu: &Gpu,
    from: &surprisal_gpu_memory,
    size: u64,
) -> Result<wgpu::Buffer, DeviceFailure> {
    let (buffer, memory) = with_device(gpu, |device| {
        check_features(device, vk::ExternalMemoryFeatureFlags::IMPORTABLE)?;
        let raw = device.raw_device();
        let (buffer, needs) = unbound(raw, size)?;
        let allows = from.memory_type < 32 && needs.memory_type_bits >> from.memory_type & 1 == 1;
        if !allows || needs.size > from.bytes {
            // SAFETY: just made.
            unsafe { raw.destroy_buffer(buffer, None) };
            let (argument, message) = if allows {
                ("bytes", "are fewer than a buffer of this size needs")
            } else {
                ("memory_type", "is not one for buffers")
            };
            return Err(Failure::new(SURPRISAL_ERROR_SHAPE, argument, message).into());
        }
        let mut import = vk::ImportMemoryFdInfoKHR::default().handle_type(HANDLE).fd(from.fd);
        let allocation = vk::MemoryAllocateInfo::default()
            .allocation_size(from.bytes)
            .memory_type_index(from.memory_type)
            .push_next(&mut import);
        // SAFETY: the buffer fits; what is imported, the caller promises.
        Ok((buffer, unsafe { bound(raw, buffer, &allocation) }?))
    })?;
    // SAFETY: just made, and kept by nobody.
    Ok(unsafe { adopt(gpu, buffer, memory, size) })
}
