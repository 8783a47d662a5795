//! Records the stages into the caller's encoder.

use surprisal::objective::{Objective, Scope, TokenTerm};
use surprisal::{Argument, Batch, Error as LossError, RowStats};
use wgpu::util::DeviceExt;

use crate::call::{Call, Rows};
use crate::error::Error;
use crate::layout::Params;
use crate::matrix::Matrix;
use crate::pipelines::{GROUP, MOST_GROUPS, Pipelines};

/// Workgroups that keep a large device busy; it does not tell how many it can run.
const BUSY: u32 = 512;
/// Columns up to which rows share a workgroup.
const SHORT_ROW: u32 = 2048;

/// Where the gradient goes.
#[derive(Clone, Copy, Debug)]
pub enum Gradient<'a> {
    /// Over the logits.
    InPlace,
    /// To another matrix of the same rows and columns, of the logits' type or f32.
    To(Matrix<'a>),
}

impl<'a> Gradient<'a> {
    /// The matrix that is written.
    fn of(&self, logits: Matrix<'a>) -> Matrix<'a> {
        match *self {
            Self::InPlace => logits,
            Self::To(result) => result,
        }
    }
}

impl<O: Objective> Pipelines<'_, O> {
    /// Records statistics and loss of every row.
    ///
    /// # Errors
    /// [`Error::Loss`] as [`Loss::forward`](surprisal::Loss::forward), [`Error::NeedsTerms`] for objectives of a group, [`Error::Limit`].
    pub fn forward(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
    ) -> Result<Call, Error> {
        self.check_whole(&logits)?;
        self.row_stats(encoder, logits, batch)
    }

    /// Records loss and gradient.
    ///
    /// # Errors
    /// As [`Pipelines::forward`], and [`Error::Types`], [`Error::Buffer`] where gradient and logits overlap.
    pub fn forward_backward(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
        gradient: Gradient<'_>,
    ) -> Result<Call, Error> {
        self.check_whole(&logits)?;
        self.check_gradient(&logits, &gradient)?;
        let call = self.begin(logits, batch)?;
        let result = gradient.of(logits);
        if logits.is_cached() && logits.rows_are_apart() && result.rows_are_apart() {
            self.record_gradient(encoder, logits, &call, &gradient, true)?;
        } else {
            self.record_stats(encoder, logits, &call)?;
            self.record_terms(encoder, &call)?;
            self.record_gradient(encoder, logits, &call, &gradient, false)?;
        }
        Ok(call)
    }

    /// Records stage 1 alone: statistics of every row, of whole rows or of a vocabulary shard. Read them with [`RowResults::row_stats`](crate::RowResults::row_stats).
    ///
    /// # Errors
    /// As [`Pipelines::forward`], but for any objective.
    pub fn row_stats(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
    ) -> Result<Call, Error> {
        let call = self.begin(logits, batch)?;
        self.record_stats(encoder, logits, &call)?;
        self.record_terms(encoder, &call)?;
        Ok(call)
    }

    /// Records stage 3 alone: the gradient of every row, of whole rows or of a shard, from (merged) statistics and terms on the host.
    ///
    /// # Errors
    /// As [`Pipelines::forward_backward`], for any objective; `stats` and `terms` have one entry a row.
    pub fn logits_grad(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
        stats: &[RowStats],
        terms: &[TokenTerm],
        gradient: Gradient<'_>,
    ) -> Result<(), Error> {
        self.check_gradient(&logits, &gradient)?;
        let rows = logits.rows as usize;
        for (argument, actual) in [(Argument::Stats, stats.len()), (Argument::Terms, terms.len())] {
            if actual != rows {
                return Err(LossError::Length { argument, expected: rows, actual }.into());
            }
        }
        let call = self.begin_with(logits, batch, |plan| Rows::from_host(plan, stats, terms))?;
        self.record_gradient(encoder, logits, &call, &gradient, false)
    }

    fn check_whole(&self, logits: &Matrix<'_>) -> Result<(), Error> {
        if self.loss.objective().scope() != Scope::Token {
            return Err(Error::NeedsTerms);
        }
        if logits.vocab != logits.vocab_total {
            return Err(LossError::NeedsWholeRows.into());
        }
        Ok(())
    }

    fn check_gradient(&self, logits: &Matrix<'_>, gradient: &Gradient<'_>) -> Result<(), Error> {
        let result = match gradient {
            Gradient::InPlace if self.result != self.logits => return Err(Error::Types),
            Gradient::InPlace => return Ok(()),
            Gradient::To(result) => result,
        };
        if result.dtype != self.result {
            return Err(Error::Types);
        }
        if (result.rows, result.vocab) != (logits.rows, logits.vocab) {
            return Err(LossError::Shape { argument: Argument::Dlogits }.into());
        }
        if result.buffer == logits.buffer {
            let message = "lies in the logits' buffer: use Gradient::InPlace or another buffer";
            return Err(Error::Buffer { name: "dlogits", message });
        }
        Ok(())
    }

    fn begin(&self, logits: Matrix<'_>, batch: &Batch<'_>) -> Result<Call, Error> {
        self.begin_with(logits, batch, Rows::from_plan)
    }

    /// Checks the call and puts what it needs of every row on the device.
    fn begin_with(
        &self,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
        rows: impl FnOnce(&surprisal::backend::Plan<'_, O>) -> Rows,
    ) -> Result<Call, Error> {
        if logits.dtype != self.logits {
            return Err(Error::Types);
        }
        let count = logits.rows as usize;
        let plan = self.loss.plan(batch, logits.vocab_total as usize)?;
        let rows = rows(&plan);
        if rows.len() != count {
            let argument = Argument::Targets;
            let actual = rows.len();
            return Err(LossError::Length { argument, expected: count, actual }.into());
        }
        let options = plan.options();
        let narrow = |value: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "the device computes in f32")]
            let value = value as f32;
            value
        };
        let short = logits.vocab <= SHORT_ROW;
        let params = Params {
            rows: logits.rows,
            vocab: logits.vocab,
            splits: if short { 1 } else { splits(&logits) },
            logits_stride: logits.row_stride,
            vocab_start: logits.vocab_start,
            class_weights: u32::from(options.class_weights.is_some()),
            extras_scale: u32::from(options.extras_scale == surprisal::ExtrasScale::Objective),
            logit_scale: options.logit_scale,
            softcap: options.softcap.unwrap_or(0.0),
            label_smoothing: options.label_smoothing,
            z_loss: options.z_loss,
            smoothing_per_class: narrow(options.smoothing_per_class),
            class_weight_sum: narrow(options.class_weight_sum),
            ..Params::default()
        };
        Call::new(&self.device, params, short, rows)
    }

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

    fn record_stats(
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

    fn record_terms(&self, encoder: &mut wgpu::CommandEncoder, call: &Call) -> Result<(), Error> {
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
    fn record_gradient(
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

/// Workgroups that share a row, where there are too few rows to keep the device busy.
fn splits(logits: &Matrix<'_>) -> u32 {
    let packets = logits.vocab / logits.dtype.packet();
    let most = (packets / (4 * GROUP)).max(1);
    BUSY.div_ceil(logits.rows.max(1)).clamp(1, most)
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
