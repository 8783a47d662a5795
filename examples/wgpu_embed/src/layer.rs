//! The program's own part on the device: a linear layer and its SGD step. Nothing here knows of the loss.
//!
//! Forward and backward share their bindings: the loss turns the logits into their gradient where they lie.

use surprisal_gpu::wgpu;
use surprisal_gpu::wgpu::util::DeviceExt;

/// Rows of a batch.
pub(crate) const ROWS: usize = 256;
/// Width of the hidden states.
pub(crate) const WIDTH: usize = 32;
/// Classes. Neither a multiple of a vector nor of a workgroup: no shape needs padding.
pub(crate) const VOCAB: usize = 1003;
const LEARNING_RATE: f64 = 6.0;

/// Invocations of a workgroup in layer.wgsl.
const GROUP: usize = 64;

/// A buffer with these values that shaders can read and write and that can be copied.
///
/// surprisal reads packets of 16 bytes, so the buffer of a matrix must go on to the end of its last packet.
pub(crate) fn buffer(device: &wgpu::Device, label: &str, values: &[f32]) -> wgpu::Buffer {
    let mut bytes = bytemuck::cast_slice::<f32, u8>(values).to_vec();
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: Some(label),
        contents: &bytes,
        usage: wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST,
    })
}

/// The weights, the logits, and what computes them.
pub(crate) struct Layer {
    pub(crate) logits: wgpu::Buffer,
    project: wgpu::ComputePipeline,
    descend: wgpu::ComputePipeline,
    batches: Vec<wgpu::BindGroup>,
}

impl Layer {
    /// A layer whose weights are 0, for batches of these hidden states.
    pub(crate) fn new(device: &wgpu::Device, hidden: &[Vec<f32>]) -> Self {
        let entry = |binding, read_only| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("layer"),
            entries: &[entry(0, true), entry(1, false), entry(2, false)],
        });
        let bindings = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("layer"),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let weights = buffer(device, "weights", &vec![0.0; WIDTH * VOCAB]);
        let logits = buffer(device, "logits", &vec![0.0; ROWS * VOCAB]);
        let group = |hidden: &Vec<f32>| {
            let hidden = buffer(device, "hidden", hidden);
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("layer"),
                layout: &layout,
                entries: &[(0, &hidden), (1, &weights), (2, &logits)].map(|(binding, buffer)| {
                    wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() }
                }),
            })
        };
        let batches = hidden.iter().map(group).collect();
        let module = device.create_shader_module(wgpu::include_wgsl!("layer.wgsl"));
        let pipeline = |entry_point| {
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(entry_point),
                layout: Some(&bindings),
                module: &module,
                entry_point: Some(entry_point),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[
                        ("ROWS", ROWS as f64),
                        ("WIDTH", WIDTH as f64),
                        ("VOCAB", VOCAB as f64),
                        ("LEARNING_RATE", LEARNING_RATE),
                    ],
                    zero_initialize_workgroup_memory: false,
                },
                cache: None,
            })
        };
        let (project, descend) = (pipeline("project"), pipeline("descend"));
        Self { logits, project, descend, batches }
    }

    /// Records logits = hidden × weights, for one of the batches.
    pub(crate) fn project(&self, encoder: &mut wgpu::CommandEncoder, batch: usize) {
        self.dispatch(encoder, &self.project, batch, ROWS);
    }

    /// Records weights −= learning rate · hiddenᵀ × dlogits, where the gradient has taken the logits' place.
    pub(crate) fn descend(&self, encoder: &mut wgpu::CommandEncoder, batch: usize) {
        self.dispatch(encoder, &self.descend, batch, WIDTH);
    }

    fn dispatch(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        pipeline: &wgpu::ComputePipeline,
        batch: usize,
        height: usize,
    ) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &self.batches[batch], &[]);
        let groups = |n: usize| u32::try_from(n).expect("a small size");
        pass.dispatch_workgroups(groups(VOCAB.div_ceil(GROUP)), groups(height), 1);
    }
}
