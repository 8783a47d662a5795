//! The kernels that check a batch in buffers of the device, bring it to the rows, count it, and add up the report.

use core::mem::offset_of;

use surprisal::backend::PlanOptions;
use surprisal::objective::{Input, Selection};
use surprisal::{Argument, Reduction};

use crate::batch::workspace::Workspace;
use crate::batch::{Column, DeviceBatch, Value};
use crate::binder::{ALIGN, Binder, GROUP};
use crate::layout::{BatchParams, Part, RowInput, RowOutput, SLOTS};
use crate::recorder::{Binding, Recorder};
use crate::rows::narrow;
use crate::shader::batch_shader_source;

/// The kernels, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Prepare {
    targets: wgpu::ComputePipeline,
    values: wgpu::ComputePipeline,
    check_sequences: wgpu::ComputePipeline,
    check_pairs: wgpu::ComputePipeline,
    check_groups: wgpu::ComputePipeline,
    select_sequences: wgpu::ComputePipeline,
    select_tokens: wgpu::ComputePipeline,
    share_sequences: wgpu::ComputePipeline,
    divide: wgpu::ComputePipeline,
    report: wgpu::ComputePipeline,
}

/// Bindings of the shader.
const ENTRIES: u32 = 1;
const PAIRS: u32 = 2;
const INPUTS: u32 = 3;
const OUTPUTS: u32 = 4;
const TOKENS: u32 = 5;
const CLASS_WEIGHTS: u32 = 6;
const TOTALS: u32 = 7;

impl Prepare {
    pub(crate) fn new(binder: &Binder) -> Self {
        let module = binder.module(batch_shader_source());
        let pipeline = |entry| binder.pipeline(&module, entry, &[]);
        Self {
            targets: pipeline("targets"),
            values: pipeline("values"),
            check_sequences: pipeline("check_sequences"),
            check_pairs: pipeline("check_pairs"),
            check_groups: pipeline("check_groups"),
            select_sequences: pipeline("select_sequences"),
            select_tokens: pipeline("select_tokens"),
            share_sequences: pipeline("share_sequences"),
            divide: pipeline("divide"),
            report: pipeline("report"),
        }
    }
}

/// A call's batch with what its kernels are given.
#[derive(Clone, Copy)]
pub(crate) struct Preparation<'c> {
    pub(crate) workspace: &'c Workspace,
    pub(crate) batch: &'c DeviceBatch<'c>,
    pub(crate) class_weights: &'c wgpu::Buffer,
    pub(crate) inputs: &'static [Input],
    /// What all kernels are told.
    pub(crate) params: BatchParams,
}

/// The slot of an argument's errors.
pub(crate) const ARGUMENTS: [Argument; 8] = [
    Argument::Targets,
    Argument::TokenWeights,
    Argument::RefLogProbs,
    Argument::OldLogProbs,
    Argument::Advantages,
    Argument::Groups,
    Argument::Sequences,
    Argument::Pairs,
];

fn slot(argument: Argument) -> u32 {
    let place = ARGUMENTS.iter().position(|&known| known == argument);
    small(place.unwrap_or(SLOTS - 1))
}

/// Counts of rows, of which a device has no more than this.
pub(super) fn small(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The word of a row's inputs that a column fills.
fn field(value: Value) -> u32 {
    let bytes = match value {
        Value::TokenWeight => offset_of!(RowInput, token_weight),
        Value::RefLogP => offset_of!(RowInput, ref_log_p),
        Value::OldLogP => offset_of!(RowInput, old_log_p),
        Value::Advantage => offset_of!(RowInput, advantage),
        Value::Extra(place) => offset_of!(RowInput, extra) + 4 * place,
    };
    small(bytes / 4)
}

/// The part of a column's buffer that holds its entries, and the word of it at which they begin.
pub(crate) fn window<'a>(column: &Column<'a>, entries: u64) -> (wgpu::BindingResource<'a>, u32) {
    let start = column.offset / ALIGN * ALIGN;
    let bytes = column.offset - start + entries.max(1) * 4 * u64::from(column.words);
    let binding = wgpu::BufferBinding {
        buffer: column.buffer,
        offset: start,
        size: std::num::NonZeroU64::new(bytes.min(column.buffer.size() - start)),
    };
    let first = u32::try_from((column.offset - start) / 4).unwrap_or(0);
    (wgpu::BindingResource::Buffer(binding), first)
}

/// The uniforms of a batch with these options.
pub(crate) fn params_of(
    batch: &DeviceBatch<'_>,
    options: &PlanOptions<'_>,
    selection: Option<Selection>,
    vocab: u32,
) -> BatchParams {
    let ignored = batch.ignore_index.map_or([0; 2], |id| {
        let [low, high] = [id, id >> 32].map(|half| half & 0xffff_ffff);
        [low, high].map(|half| u32::try_from(half).unwrap_or(0))
    });
    let (reduction, reduction_by) = match options.reduction {
        Reduction::By(x) => (1, x),
        Reduction::MeanTokens => (2, 0.0),
        Reduction::MeanWeights => (3, 0.0),
        Reduction::MeanSequences => (4, 0.0),
        Reduction::MeanPairs => (5, 0.0),
        _ => (0, 0.0),
    };
    let (selects, step) = match selection {
        Some(Selection::Kept) => (1, 0),
        Some(Selection::Paired) => (2, 0),
        Some(Selection::Step(step)) => (3, small(step)),
        _ => (0, 0),
    };
    BatchParams {
        rows: batch.rows,
        words: 1,
        vocab,
        ignore_low: ignored[0],
        ignore_high: ignored[1],
        ignores: u32::from(batch.ignore_index.is_some()),
        has_class_weights: u32::from(options.class_weights.is_some()),
        sequences: batch.sequences.map_or(0, |(_, count)| count),
        pairs: batch.pairs.map_or(0, |(_, count)| count),
        selection: selects,
        step,
        reduction,
        grouped: u32::from(selection.is_some()),
        reduction_by: narrow(reduction_by),
        grad_scale: options.grad_scale,
        ..BatchParams::default()
    }
}

impl Preparation<'_> {
    /// Checks the batch and fills the rows' inputs.
    pub(crate) fn fill(&self, recorder: &mut Recorder<'_>) {
        let Self { batch, workspace, params, .. } = *self;
        let prepare = &workspace.prepare;
        let rows = u64::from(batch.rows);
        let weights = (CLASS_WEIGHTS, self.class_weights.as_entire_binding());
        let targets = (batch.targets, rows);
        self.column(recorder, &prepare.targets, params, targets, Argument::Targets, &[weights]);
        for (argument, column, rule, value) in batch.values(self.inputs) {
            let params = BatchParams { rule: rule as u32, field: field(value), ..params };
            self.column(recorder, &prepare.values, params, (column, rows), argument, &[]);
        }
        if let Some((column, count)) = batch.sequences {
            let offsets = (column, u64::from(count) + 1);
            let name = Argument::Sequences;
            self.column(recorder, &prepare.check_sequences, params, offsets, name, &[]);
        }
        if let Some(column) = batch.groups {
            let ids = (column, rows);
            self.column(recorder, &prepare.check_groups, params, ids, Argument::Groups, &[]);
        }
        if let Some((column, count)) = batch.pairs.filter(|&(_, count)| count > 0) {
            let (binding, start) = window(&column, 2 * u64::from(count));
            let slot = slot(Argument::Pairs);
            let params = BatchParams { pairs_start: start, slot, ..params };
            self.run(recorder, &prepare.check_pairs, params, count, &[(PAIRS, binding)]);
        }
    }

    /// Runs a kernel over the entries of a column.
    fn column(
        &self,
        recorder: &mut Recorder<'_>,
        pipeline: &wgpu::ComputePipeline,
        params: BatchParams,
        (column, entries): (Column<'_>, u64),
        argument: Argument,
        more: &[Binding<'_>],
    ) {
        let (binding, start) = window(&column, entries);
        let params = BatchParams { start, words: column.words, slot: slot(argument), ..params };
        let bindings = [&[(ENTRIES, binding)], more].concat();
        let entries = u32::try_from(entries).unwrap_or(u32::MAX);
        self.run(recorder, pipeline, params, entries, &bindings);
    }

    /// Drops the tokens that take no part.
    pub(crate) fn select(&self, recorder: &mut Recorder<'_>, selection: Selection) {
        let Self { batch, workspace, params, .. } = *self;
        match selection {
            Selection::Kept | Selection::Paired => {
                let (flags, count) = match (selection, batch.keep, batch.pairs) {
                    (Selection::Kept, Some(keep), _) => (keep, u64::from(params.sequences)),
                    (_, _, Some((pairs, count))) => (pairs, 2 * u64::from(count)),
                    _ => return,
                };
                let (binding, pairs_start) = window(&flags, count);
                let params = BatchParams { pairs_start, ..params };
                let pipeline = &workspace.prepare.select_sequences;
                self.sequences(recorder, pipeline, params, &[(PAIRS, binding)]);
            }
            Selection::Step(_) => {
                let tokens = (TOKENS, workspace.tokens.as_entire_binding());
                self.run(recorder, &workspace.prepare.select_tokens, params, batch.rows, &[tokens]);
            }
            _ => {}
        }
    }

    /// Runs a kernel over the sequences.
    fn sequences(
        &self,
        recorder: &mut Recorder<'_>,
        pipeline: &wgpu::ComputePipeline,
        params: BatchParams,
        more: &[Binding<'_>],
    ) {
        if let Some((column, count)) = self.batch.sequences {
            let (binding, start) = window(&column, u64::from(count) + 1);
            let params = BatchParams { start, words: column.words, ..params };
            let bindings = [&[(ENTRIES, binding)], more].concat();
            self.run(recorder, pipeline, params, count, &bindings);
        }
    }

    /// Counts the tokens that take part, and what losses are divided by.
    pub(crate) fn divide(&self, recorder: &mut Recorder<'_>) {
        let prepare = &self.workspace.prepare;
        if self.params.reduction == 4 {
            self.sequences(recorder, &prepare.share_sequences, self.params, &[]);
        }
        self.run(recorder, &prepare.divide, self.params, 1, &[]);
    }

    /// Adds up what the rows have left.
    pub(crate) fn report(&self, recorder: &mut Recorder<'_>) {
        let outputs = (OUTPUTS, self.workspace.outputs.as_entire_binding());
        let tokens = (TOKENS, self.workspace.tokens.as_entire_binding());
        self.run(recorder, &self.workspace.prepare.report, self.params, 1, &[outputs, tokens]);
    }

    fn run(
        &self,
        recorder: &mut Recorder<'_>,
        pipeline: &wgpu::ComputePipeline,
        params: BatchParams,
        invocations: u32,
        more: &[Binding<'_>],
    ) {
        let workspace = self.workspace;
        let uniform = recorder.uniform(params);
        let own = [
            (0, uniform.as_entire_binding()),
            (INPUTS, workspace.inputs.as_entire_binding()),
            (TOTALS, workspace.totals.as_entire_binding()),
        ];
        let prepare = &workspace.prepare;
        let uses_totals = ![&prepare.select_sequences, &prepare.select_tokens].contains(&pipeline);
        let uses_inputs = ![&prepare.check_sequences, &prepare.check_pairs].contains(&pipeline);
        let used = |binding: u32| match binding {
            INPUTS => uses_inputs,
            TOTALS => uses_totals,
            _ => true,
        };
        let own = own.into_iter().filter(|&(binding, _)| used(binding));
        let bindings: Vec<_> = own.chain(more.iter().cloned()).collect();
        recorder.run(pipeline, &bindings, invocations.div_ceil(GROUP));
    }
}

// The words that the shader has for the fields of rows.
const _: () = {
    assert!(size_of::<RowInput>() == 4 * 11 && size_of::<RowOutput>() == 4 * 21);
    assert!(offset_of!(RowInput, target_id) == 0 && offset_of!(RowInput, token_weight) == 4);
    assert!(offset_of!(RowInput, scale) == 4 * 2 && offset_of!(RowInput, class_weight) == 4 * 3);
    assert!(offset_of!(Part, max) == 0 && offset_of!(Part, target_logit) == 4 * 7);
    assert!(offset_of!(Part, invalid) == 4 * 9 && offset_of!(RowOutput, stats) == 0);
    assert!(offset_of!(RowOutput, state) == 4 * 10 && offset_of!(RowOutput, loss) == 4 * 15);
    assert!(offset_of!(RowOutput, nll) == 4 * 18 && offset_of!(RowOutput, infinite) == 4 * 20);
};
