//! `Binder`: a device as every kernel uses it: compiled, bound in parts, dispatched.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::Pod;
use wgpu::util::DeviceExt;

use crate::error::Error;
use crate::layout::Totals;
use crate::matrix::Matrix;

/// Invocations of a workgroup.
pub(crate) const GROUP: u32 = 256;
/// Bytes that a binding begins at a multiple of: what WebGPU's devices allow, and not less where one would, so that all take the same paths.
pub(crate) const ALIGN: u64 = 256;
/// Most workgroups of a dispatch in one dimension.
pub(crate) const MOST_GROUPS: u32 = 65_535;

/// A device, and how much of a matrix it binds at once.
#[derive(Clone, Debug)]
pub(crate) struct Binder {
    pub(crate) device: wgpu::Device,
    /// Bytes of a binding.
    pub(crate) limit: u64,
    /// Invocations of a workgroup in one dimension, at most.
    pub(crate) invocations: u32,
    /// Where compiled kernels are kept from one run of a program to the next.
    pub(crate) cache: Option<wgpu::PipelineCache>,
    /// Totals of rows whose inputs hold their scale already.
    pub(crate) totals: wgpu::Buffer,
    /// What is bound in place of class weights: a binding must not be empty.
    pub(crate) no_weights: wgpu::Buffer,
    /// Uniforms of late, by their content: a steady step makes none.
    uniforms: Arc<Mutex<Uniforms>>,
}

/// Contents, and the buffer that holds them; the latest last.
type Uniforms = VecDeque<(Vec<u8>, wgpu::Buffer)>;

/// Uniforms that are kept.
const KEPT: usize = 64;

impl Binder {
    pub(crate) fn new(device: &wgpu::Device) -> Self {
        let stored = |contents: &[u8]| filled(device, contents, wgpu::BufferUsages::STORAGE);
        let limits = device.limits();
        let wide = limits.max_compute_workgroup_size_x;
        Self {
            device: device.clone(),
            limit: limits.max_storage_buffer_binding_size,
            invocations: limits.max_compute_invocations_per_workgroup.min(wide),
            cache: None,
            totals: stored(bytemuck::bytes_of(&Totals::of_host())),
            no_weights: stored(bytemuck::bytes_of(&1.0_f32)),
            uniforms: Arc::default(),
        }
    }

    pub(crate) fn module(&self, source: String) -> wgpu::ShaderModule {
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("surprisal"),
            source: wgpu::ShaderSource::Wgsl(Cow::Borrowed(&source)),
        });
        #[cfg(test)]
        crate::trace::module(&module, &source);
        module
    }

    pub(crate) fn pipeline(
        &self,
        module: &wgpu::ShaderModule,
        entry_point: &str,
        constants: &[(&str, f64)],
    ) -> wgpu::ComputePipeline {
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry_point),
            layout: None,
            module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: self.cache.as_ref(),
        });
        #[cfg(test)]
        crate::trace::pipeline(&pipeline, module, entry_point, constants);
        pipeline
    }

    /// Bind group of the shader's numbers, for whatever the pipeline uses.
    pub(crate) fn group(
        &self,
        pipeline: &wgpu::ComputePipeline,
        entries: &[(u32, wgpu::BindingResource<'_>)],
    ) -> wgpu::BindGroup {
        let entries: Vec<_> = entries
            .iter()
            .map(|(binding, resource)| wgpu::BindGroupEntry {
                binding: *binding,
                resource: resource.clone(),
            })
            .collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("surprisal"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        })
    }

    /// A buffer that holds these uniforms, and is never written.
    pub(crate) fn uniform<P: Pod>(&self, params: P) -> wgpu::Buffer {
        let bytes = bytemuck::bytes_of(&params);
        // A thread that panicked leaves what it had.
        let mut kept = self.uniforms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, buffer)) = kept.iter().find(|(known, _)| known == bytes) {
            return buffer.clone();
        }
        if kept.len() == KEPT {
            kept.pop_front();
        }
        let buffer = self.filled(bytes, wgpu::BufferUsages::UNIFORM);
        kept.push_back((bytes.to_vec(), buffer.clone()));
        buffer
    }

    pub(crate) fn filled(&self, contents: &[u8], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        filled(&self.device, contents, usage)
    }

    /// Ranges of rows that a binding can hold, of one matrix or of several.
    pub(crate) fn parts(&self, matrices: &[&Matrix<'_>]) -> Result<Vec<(u32, u32)>, Error> {
        let mut most = u32::MAX;
        for matrix in matrices {
            most = most.min(matrix.rows_within(self.limit, ALIGN)?);
        }
        let rows = matrices.first().map_or(0, |matrix| matrix.rows);
        let starts = (0..rows).step_by(most as usize);
        Ok(starts.map(|first| (first, first.saturating_add(most).min(rows))).collect())
    }
}

fn filled(device: &wgpu::Device, contents: &[u8], usage: wgpu::BufferUsages) -> wgpu::Buffer {
    let buffer = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: Some("surprisal"),
        contents,
        usage,
    });
    #[cfg(test)]
    crate::trace::filled(&buffer, contents);
    buffer
}
