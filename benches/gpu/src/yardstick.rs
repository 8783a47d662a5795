//! The limits: bytes moved without arithmetic, on the same device in the same run.

use surprisal_gpu::wgpu;

use crate::device::Device;

/// Workgroups of a yardstick: more than any device has room for at once.
const GROUPS: u32 = 8192;
const GROUP_BYTES: u64 = 4 * 256 * 16;

/// What moves bytes.
pub(crate) struct Yardsticks {
    read: wgpu::ComputePipeline,
    copy: wgpu::ComputePipeline,
}

impl Yardsticks {
    pub(crate) fn new(device: &wgpu::Device) -> Self {
        let module = device.create_shader_module(wgpu::include_wgsl!("yardstick.wgsl"));
        let pipeline = |entry_point| {
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: None,
                module: &module,
                entry_point: Some(entry_point),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            })
        };
        Self { read: pipeline("read_all"), copy: pipeline("copy_all") }
    }

    /// Records the reading of a buffer or, if there is one to write, its copy, in parts that can be bound.
    pub(crate) fn record(
        &self,
        device: &Device,
        encoder: &mut wgpu::CommandEncoder,
        source: &wgpu::Buffer,
        target: &wgpu::Buffer,
        is_copy: bool,
    ) {
        let pipeline = if is_copy { &self.copy } else { &self.read };
        let limit = device.device.limits().max_storage_buffer_binding_size / 256 * 256;
        let bytes = source.size().min(target.size());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(pipeline);
        let mut offset = 0;
        while offset < bytes {
            let size = (bytes - offset).min(limit);
            let entry = |binding, buffer| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset,
                    size: std::num::NonZeroU64::new(size),
                }),
            };
            let group = device.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.get_bind_group_layout(0),
                entries: &[entry(0, source), entry(1, target)],
            });
            pass.set_bind_group(0, &group, &[]);
            let groups = size.div_ceil(GROUP_BYTES).min(GROUPS.into());
            pass.dispatch_workgroups(u32::try_from(groups).unwrap_or(GROUPS), 1, 1);
            offset += size;
        }
    }
}
