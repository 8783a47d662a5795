//! `Recorder`: one compute pass into which all kernels of a call go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytemuck::Pod;

use crate::batch::Workspace;
use crate::binder::{Binder, MOST_GROUPS};

/// A number of the shader, and what is bound to it.
pub(crate) type Binding<'a> = (u32, wgpu::BindingResource<'a>);

/// The bind groups of the latest call, in its order: a call like it makes none. They keep its buffers alive.
pub(crate) type Kept = Arc<Mutex<Vec<Group>>>;

/// A bind group, and all that makes it what it is.
#[derive(Debug)]
pub(crate) struct Group {
    pipeline: wgpu::ComputePipeline,
    bindings: Vec<(u32, wgpu::Buffer, u64, Option<wgpu::BufferSize>)>,
    group: wgpu::BindGroup,
}

impl Group {
    fn new(binder: &Binder, pipeline: &wgpu::ComputePipeline, bindings: &[Binding<'_>]) -> Self {
        let parts = bindings.iter().filter_map(part_of);
        let kept = parts.map(|(number, buffer, at, size)| (number, buffer.clone(), at, size));
        Self {
            pipeline: pipeline.clone(),
            bindings: kept.collect(),
            group: binder.group(pipeline, bindings),
        }
    }

    fn is(&self, pipeline: &wgpu::ComputePipeline, bindings: &[Binding<'_>]) -> bool {
        let known =
            self.bindings.iter().map(|(number, buffer, at, size)| (*number, buffer, *at, *size));
        self.pipeline == *pipeline && known.map(Some).eq(bindings.iter().map(part_of))
    }
}

/// The part of a buffer that is bound, and where; every binding of this crate is one.
fn part_of<'a>(
    (number, resource): &Binding<'a>,
) -> Option<(u32, &'a wgpu::Buffer, u64, Option<wgpu::BufferSize>)> {
    match resource {
        wgpu::BindingResource::Buffer(part) => Some((*number, part.buffer, part.offset, part.size)),
        _ => None,
    }
}

fn begin<'e>(
    encoder: &'e mut wgpu::CommandEncoder,
    timestamps: Option<&(wgpu::QuerySet, u32)>,
) -> wgpu::ComputePass<'e> {
    let timestamp_writes = timestamps.map(|(query_set, first)| wgpu::ComputePassTimestampWrites {
        query_set,
        beginning_of_pass_write_index: Some(*first),
        end_of_pass_write_index: Some(*first + 1),
    });
    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
        label: Some("surprisal"),
        timestamp_writes,
    })
}

/// A compute pass. What one kernel writes, the next one reads: wgpu puts barriers between them.
pub(crate) struct Recorder<'e> {
    binder: &'e Binder,
    pass: wgpu::ComputePass<'e>,
    kept: Option<MutexGuard<'e, Vec<Group>>>,
    /// Bind groups that have been used so far.
    used: usize,
}

impl<'e> Recorder<'e> {
    pub(crate) fn new(binder: &'e Binder, encoder: &'e mut wgpu::CommandEncoder) -> Self {
        Self { binder, pass: begin(encoder, None), kept: None, used: 0 }
    }

    /// Uses bind groups of the workspace's latest call again.
    pub(crate) fn of_workspace(
        binder: &'e Binder,
        encoder: &'e mut wgpu::CommandEncoder,
        workspace: &'e Workspace,
    ) -> Self {
        let pass = begin(encoder, workspace.timestamps.as_ref());
        // A thread that panicked leaves what it had.
        let kept = workspace.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Self { binder, pass, kept: Some(kept), used: 0 }
    }

    pub(crate) fn uniform<P: Pod>(&self, params: P) -> wgpu::Buffer {
        self.binder.uniform(params)
    }

    /// Dispatches so many workgroups, in as many dimensions as that takes.
    pub(crate) fn run(
        &mut self,
        pipeline: &wgpu::ComputePipeline,
        bindings: &[Binding<'_>],
        groups: u32,
    ) {
        let x = groups.min(MOST_GROUPS);
        self.run_on(pipeline, bindings, [x, groups.div_ceil(x.max(1))]);
    }

    /// Dispatches workgroups in two dimensions.
    pub(crate) fn run_on(
        &mut self,
        pipeline: &wgpu::ComputePipeline,
        bindings: &[Binding<'_>],
        [x, y]: [u32; 2],
    ) {
        #[cfg(test)]
        crate::trace::step(pipeline, bindings, [x, y]);
        let Self { binder, pass, kept, used } = self;
        pass.set_pipeline(pipeline);
        match kept {
            None => pass.set_bind_group(0, &binder.group(pipeline, bindings), &[]),
            Some(kept) => {
                let known = kept.get(*used).is_some_and(|group| group.is(pipeline, bindings));
                if !known {
                    kept.truncate(*used);
                    kept.push(Group::new(binder, pipeline, bindings));
                }
                pass.set_bind_group(0, &kept[*used].group, &[]);
                *used += 1;
            }
        }
        pass.dispatch_workgroups(x, y, 1);
    }
}

impl Drop for Recorder<'_> {
    fn drop(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.truncate(self.used);
        }
    }
}
