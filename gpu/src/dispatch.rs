//! Binds what a stage needs and dispatches it, in chunks of rows that bindings can hold.

use surprisal::objective::Objective;
use wgpu::util::DeviceExt;

use crate::call::Call;
use crate::error::Error;
use crate::layout::Params;
use crate::matrix::Matrix;
use crate::pipelines::{GROUP, MOST_GROUPS, Pipelines};
use crate::record::Gradient;

impl<O: Objective> Pipelines<'_, O> {
    /// Bind group of the shader's numbers, for whatever the pipeline uses.
    fn group(
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

    fn uniform(&self, params: Params) -> wgpu::Buffer {
        self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some("surprisal params"),
            contents: bytemuck::bytes_of(&params),
            usage: wgpu::BufferUsages::UNIFORM,
        })
    }

    /// Ranges of rows that a binding can hold, of one matrix or of two.
    fn chunks(&self, matrices: &[&Matrix<'_>]) -> Result<Vec<(u32, u32)>, Error> {
        let align = self.align();
        let mut most = u32::MAX;
        for matrix in matrices {
            most = most.min(matrix.rows_within(self.binding_limit, align)?);
        }
        let rows = matrices.first().map_or(0, |matrix| matrix.rows);
        let starts = (0..rows).step_by(most as usize);
        Ok(starts.map(|first| (first, first.saturating_add(most).min(rows))).collect())
    }

    fn align(&self) -> u64 {
        u64::from(self.device.limits().min_storage_buffer_offset_alignment)
    }

    pub(crate) fn record_stats(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        call: &Call,
    ) -> Result<(), Error> {
        let chunks = self.chunks(&[&logits])?;
        let (pipeline, lanes) = self.row_stats.of(call.short);
        let mut pass = begin_pass(encoder);
        for (first, end) in chunks {
            let (binding, start, _) = logits.binding(first, end, self.align());
            let rows = end - first;
            let params = Params { rows, first_row: first, logits_start: start, ..call.params };
            let group = self.group(
                pipeline,
                &[
                    (0, self.uniform(params).as_entire_binding()),
                    (1, wgpu::BindingResource::Buffer(binding)),
                    (3, call.inputs.as_entire_binding()),
                    (4, call.parts.as_entire_binding()),
                    (6, self.class_weights.as_entire_binding()),
                ],
            );
            dispatch(&mut pass, pipeline, &group, (rows * params.splits).div_ceil(GROUP / lanes));
        }
        Ok(())
    }

    pub(crate) fn record_terms(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        call: &Call,
    ) -> Result<(), Error> {
        if call.params.rows == 0 {
            return Ok(());
        }
        let pipeline = &self.token_terms;
        let group = self.group(
            pipeline,
            &[
                (0, self.uniform(call.params).as_entire_binding()),
                (3, call.inputs.as_entire_binding()),
                (4, call.parts.as_entire_binding()),
                (5, call.outputs.as_entire_binding()),
            ],
        );
        dispatch(&mut begin_pass(encoder), pipeline, &group, call.params.rows.div_ceil(GROUP));
        Ok(())
    }

    /// Records the gradient from what stage 2 has left, or all stages at once.
    pub(crate) fn record_gradient(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        call: &Call,
        gradient: &Gradient<'_>,
        fused: bool,
    ) -> Result<(), Error> {
        let result = gradient.of(logits);
        let pipelines = match gradient {
            Gradient::InPlace => self.in_place.as_ref().ok_or(Error::Types)?,
            Gradient::To(_) => &self.separate,
        };
        let (fused_pipeline, lanes) = pipelines.fused.of(call.short);
        let pipeline = if fused { fused_pipeline } else { &pipelines.logits_grad };
        let chunks = self.chunks(&[&logits, &result])?;
        let mut pass = begin_pass(encoder);
        for (first, end) in chunks {
            let (source, logits_start, _) = logits.binding(first, end, self.align());
            let (target, result_start, packets) = result.binding(first, end, self.align());
            let rows = end - first;
            let params = self.uniform(Params {
                rows,
                first_row: first,
                splits: if fused { 1 } else { call.params.splits },
                logits_start,
                result_start,
                result_stride: result.row_stride,
                packets,
                ..call.params
            });
            let mut entries = vec![
                (0, params.as_entire_binding()),
                (1, wgpu::BindingResource::Buffer(source)),
                (5, call.outputs.as_entire_binding()),
                (6, self.class_weights.as_entire_binding()),
            ];
            if let Gradient::To(_) = gradient {
                entries.push((2, wgpu::BindingResource::Buffer(target)));
            }
            if fused {
                entries.push((3, call.inputs.as_entire_binding()));
            }
            let group = self.group(pipeline, &entries);
            let groups = if fused {
                rows.div_ceil(GROUP / lanes)
            } else {
                (packets - result_start / result.dtype.packet()).div_ceil(GROUP)
            };
            dispatch(&mut pass, pipeline, &group, groups);
        }
        Ok(())
    }
}

fn begin_pass(encoder: &mut wgpu::CommandEncoder) -> wgpu::ComputePass<'_> {
    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
        label: Some("surprisal"),
        timestamp_writes: None,
    })
}

fn dispatch(
    pass: &mut wgpu::ComputePass<'_>,
    pipeline: &wgpu::ComputePipeline,
    group: &wgpu::BindGroup,
    groups: u32,
) {
    let x = groups.min(MOST_GROUPS);
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, group, &[]);
    pass.dispatch_workgroups(x, groups.div_ceil(x.max(1)), 1);
}
