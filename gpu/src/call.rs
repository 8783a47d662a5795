//! What a recorded call left on the device for every row, and how to read it.

use surprisal::backend::Plan;
use surprisal::objective::{Objective, TokenTerm};
use surprisal::{Batch, LossReport, RowStats};
use wgpu::util::DeviceExt;

use crate::error::Error;
use crate::layout::{ACTIVE, IGNORED, INVALID, Params, Part, RowInput, RowOutput, ZERO};
use crate::pipelines::Pipelines;

/// What a call is given of every row: inputs of stage 2, or the outputs of stage 2 if they come from the host.
pub(crate) enum Rows {
    Inputs(Vec<RowInput>),
    Outputs(Vec<RowOutput>),
}

/// In place of −∞, as in the shader.
const LOWEST: f32 = -3.0e38;

#[expect(clippy::cast_possible_truncation, reason = "the device computes in f32")]
fn narrow(value: f64) -> f32 {
    (value as f32).clamp(-3.0e38, 3.0e38)
}

fn class(target: usize) -> u32 {
    u32::try_from(target).unwrap_or(IGNORED)
}

impl Rows {
    pub(crate) fn from_plan<O: Objective>(plan: &Plan<'_, O>) -> Self {
        let ignored = RowInput { target_id: IGNORED, ..bytemuck::Zeroable::zeroed() };
        let input = |row: surprisal::backend::PlanRow| RowInput {
            target_id: class(row.target),
            token_weight: narrow(row.token_weight),
            scale: narrow(row.scale),
            class_weight: narrow(row.class_weight),
            // Impossible tokens: as the shader has them.
            ref_log_p: narrow(row.ref_log_p.max(-1.0e18)),
            old_log_p: narrow(row.old_log_p.max(-1.0e18)),
            advantage: narrow(row.advantage),
            pad: 0.0,
        };
        Self::Inputs(plan.rows().map(|row| row.map_or(ignored, input)).collect())
    }

    pub(crate) fn from_host<O: Objective>(
        plan: &Plan<'_, O>,
        stats: &[RowStats],
        terms: &[TokenTerm],
    ) -> Self {
        let zero = RowOutput { state: ZERO, ..bytemuck::Zeroable::zeroed() };
        let rows = plan.rows().zip(stats.iter().zip(terms)).map(|(row, (stats, term))| {
            let Some(row) = row else { return zero };
            if !stats.is_valid() {
                let dropped = term.coef == 0.0 && term.dense == 0.0;
                return RowOutput { state: if dropped { ZERO } else { INVALID }, ..zero };
            }
            let Some(grad) = plan.row_grad(row.target, stats, term) else { return zero };
            RowOutput {
                stats: Part { max: narrow(grad.max), ..zero.stats },
                state: ACTIVE,
                factor: narrow(grad.factor),
                uniform: narrow(grad.uniform),
                target_entry: narrow(grad.target_entry),
                target_id: class(row.target),
                ..zero
            }
        });
        Self::Outputs(rows.collect())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inputs(rows) => rows.len(),
            Self::Outputs(rows) => rows.len(),
        }
    }
}

/// A call that has been recorded: its small buffers, which hold the results once the encoder's commands have run.
#[derive(Debug)]
pub struct Call {
    pub(crate) params: Params,
    /// Whether rows share workgroups.
    pub(crate) short: bool,
    pub(crate) inputs: wgpu::Buffer,
    pub(crate) parts: wgpu::Buffer,
    pub(crate) outputs: wgpu::Buffer,
}

impl Call {
    pub(crate) fn new(
        device: &wgpu::Device,
        params: Params,
        short: bool,
        rows: Rows,
    ) -> Result<Self, Error> {
        let count = rows.len().max(1) as u64;
        let sizes = [
            count * size_of::<RowOutput>() as u64,
            count * u64::from(params.splits) * size_of::<Part>() as u64,
        ];
        let needed = sizes[0].max(sizes[1]);
        let limit = device.limits().max_storage_buffer_binding_size;
        if needed > limit {
            return Err(Error::Limit { name: "max_storage_buffer_binding_size", needed, limit });
        }
        let usage = wgpu::BufferUsages::STORAGE;
        let empty = |size| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("surprisal rows"),
                size,
                usage: usage | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            })
        };
        let filled = |contents: &[u8], usage| {
            let label = Some("surprisal rows");
            device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label, contents, usage })
        };
        let (inputs, outputs) = match rows {
            Rows::Inputs(rows) if rows.is_empty() => (empty(32), empty(sizes[0])),
            Rows::Inputs(rows) => (filled(bytemuck::cast_slice(&rows), usage), empty(sizes[0])),
            Rows::Outputs(rows) if rows.is_empty() => (empty(32), empty(sizes[0])),
            Rows::Outputs(rows) => (empty(32), filled(bytemuck::cast_slice(&rows), usage)),
        };
        Ok(Self { params, short, inputs, outputs, parts: empty(sizes[1]) })
    }

    /// Waits for the device and reads what the call left of every row. The only function here that blocks; the encoder must have been submitted.
    ///
    /// # Errors
    /// [`Error::Readback`].
    pub fn read(&self, device: &wgpu::Device, queue: &wgpu::Queue) -> Result<RowResults, Error> {
        let rows = self.params.rows as usize;
        if rows == 0 {
            return Ok(RowResults { rows: Vec::new(), label_smoothing: false });
        }
        let bytes = read_buffer(device, queue, &self.outputs, 0, self.outputs.size())?;
        let rows = bytemuck::cast_slice(&bytes).iter().take(rows).copied().collect();
        Ok(RowResults { rows, label_smoothing: self.params.label_smoothing > 0.0 })
    }
}

/// What a call left of every row, on the host.
#[derive(Clone, Debug)]
pub struct RowResults {
    rows: Vec<RowOutput>,
    label_smoothing: bool,
}

impl RowResults {
    /// Statistics of every row, which merge with those of the CPU and of other devices; [`RowStats::EMPTY`] on ignored rows.
    #[must_use]
    pub fn row_stats(&self) -> Vec<RowStats> {
        let of = |row: &RowOutput| {
            if row.target_id == IGNORED { RowStats::EMPTY } else { self.stats_of(&row.stats) }
        };
        self.rows.iter().map(of).collect()
    }

    fn stats_of(&self, part: &Part) -> RowStats {
        let valid = part.invalid == 0;
        let is_empty = part.max <= LOWEST;
        let max = if is_empty { RowStats::EMPTY.max } else { f64::from(part.max) };
        let sum_exp = if is_empty { 0.0 } else { 1.0 + f64::from(part.rest) };
        let weight = f64::from(part.weight);
        let sum_logits = if !self.label_smoothing {
            f64::NAN
        } else if is_empty && weight > 0.0 {
            f64::NEG_INFINITY
        } else {
            weight * max - f64::from(part.below_max)
        };
        let target = part.target_logit;
        RowStats {
            max,
            sum_exp: if valid { sum_exp } else { f64::NAN },
            target_logit: if target <= LOWEST { f64::NEG_INFINITY } else { f64::from(target) },
            sum_logits,
            sum_exp_logits: f64::from(part.sum_exp_logits),
        }
    }

    /// Terms of every row; NaN on rows without a softmax, 0 on ignored ones.
    #[must_use]
    pub fn terms(&self) -> Vec<TokenTerm> {
        let of = |output: &RowOutput| match output.state {
            INVALID => TokenTerm { loss: f64::NAN, coef: f64::NAN, dense: f64::NAN },
            _ => TokenTerm {
                loss: if output.infinite == 0 {
                    f64::from(output.loss)
                } else {
                    f64::INFINITY.copysign(f64::from(output.loss))
                },
                coef: f64::from(output.coef),
                dense: f64::from(output.dense),
            },
        };
        self.rows.iter().map(of).collect()
    }

    /// −ln p of every row's target, in nats; 0 on ignored rows.
    #[must_use]
    pub fn nll(&self) -> Vec<f32> {
        let of = |output: &RowOutput| match output.state {
            INVALID => f32::NAN,
            _ if output.nll > 1.0e30 => f32::INFINITY,
            _ => output.nll,
        };
        self.rows.iter().map(of).collect()
    }

    /// The objective's weight −∂loss/∂ln p of every row; 0 on ignored rows.
    #[must_use]
    pub fn weights(&self) -> Vec<f32> {
        let of =
            |output: &RowOutput| if output.state == INVALID { f32::NAN } else { output.weight };
        self.rows.iter().map(of).collect()
    }

    /// Class of every row's largest logit, the first among equals; `u32::MAX` on ignored rows.
    #[must_use]
    pub fn argmax(&self) -> Vec<u32> {
        // Nobody leads an ignored row.
        self.rows.iter().map(|row| row.stats.argmax).collect()
    }

    /// The report of an objective of a token.
    ///
    /// # Errors
    /// [`Error::Loss`].
    pub fn report<O: Objective>(
        &self,
        pipelines: &Pipelines<'_, O>,
        batch: &Batch<'_>,
        vocab_total: usize,
    ) -> Result<LossReport, Error> {
        let plan = pipelines.loss().plan(batch, vocab_total)?;
        Ok(plan.report(&self.row_stats(), &self.terms())?)
    }
}

/// Copies a part of a buffer to the host, and waits for it.
///
/// # Errors
/// [`Error::Readback`].
pub fn read_buffer(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    buffer: &wgpu::Buffer,
    offset: u64,
    size: u64,
) -> Result<Vec<u8>, Error> {
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("surprisal readback"),
        size,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(buffer, offset, &staging, 0, size);
    queue.submit([encoder.finish()]);
    let failed = |why: String| Error::Readback(why);
    let (sender, receiver) = std::sync::mpsc::channel();
    staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
        // Whoever waits is still there, or does not care.
        let _ = sender.send(result);
    });
    device.poll(wgpu::PollType::wait_indefinitely()).map_err(|why| failed(why.to_string()))?;
    let mapped = receiver.recv().map_err(|why| failed(why.to_string()))?;
    mapped.map_err(|why| failed(why.to_string()))?;
    let bytes = staging.slice(..).get_mapped_range();
    let bytes = bytes.map_err(|why| failed(why.to_string()))?.to_vec();
    staging.unmap();
    Ok(bytes)
}
