//! Runs the plan of a group objective on the device, step by step.

use surprisal::objective::{GroupPlan, Objective, Over, Statistic, Step as PlanStep};

use crate::batch::prepare::window;
use crate::batch::workspace::Workspace;
use crate::batch::{Column, DeviceBatch};
use crate::binder::{Binder, GROUP};
use crate::call::Call;
use crate::layout::{Params, Step};
use crate::pipelines::Pipelines;
use crate::recorder::{Binding, Recorder};
use crate::rows::narrow;
use crate::shader::{Destination, LITERALS};

/// Bindings of the shader.
const PARAMS: u32 = 0;
const INPUTS: u32 = 3;
const PARTS: u32 = 4;
const OUTPUTS: u32 = 5;
const TOTALS: u32 = 7;
const TOKENS: u32 = 8;
const HEADS: u32 = 9;
const STEP: u32 = 10;
const SEQUENCES: u32 = 11;
const GROUPS: u32 = 12;
const PAIRS: u32 = 13;

fn number_of(statistic: Statistic) -> (u32, f32) {
    match statistic {
        Statistic::Mean => (1, 0.0),
        Statistic::LowerMedian => (2, 0.0),
        Statistic::LogSumExp => (3, 0.0),
        Statistic::LogMeanExp => (4, 0.0),
        Statistic::Top(share) => (5, narrow(share)),
        Statistic::LowerMedianWithEmpty => (6, 0.0),
        _ => (0, 0.0),
    }
}

/// What the kernels of a plan are bound to.
struct Bound<'c> {
    params: wgpu::Buffer,
    sequence_ids: wgpu::BindingResource<'c>,
    group_ids: wgpu::BindingResource<'c>,
    pair_ids: wgpu::BindingResource<'c>,
    /// What every step is told.
    step: Step,
}

impl<'c> Bound<'c> {
    fn new(binder: &Binder, call: &'c Call, batch: &DeviceBatch<'c>) -> Self {
        // A binding must not be empty; this one is not read.
        let nothing = || (call.inputs.as_entire_binding(), 0);
        let of = |column: Option<(Column<'c>, u64)>| {
            column.map_or_else(nothing, |(column, entries)| window(&column, entries))
        };
        let pairs = batch.pairs.filter(|&(_, count)| count > 0);
        let (sequence_ids, sequences_start) =
            of(batch.sequences.map(|(column, count)| (column, u64::from(count) + 1)));
        let (group_ids, groups_start) = of(batch.groups.map(|ids| (ids, batch.rows.into())));
        let (pair_ids, pairs_start) =
            of(pairs.map(|(column, count)| (column, 2 * u64::from(count))));
        let step = Step {
            rows: batch.rows,
            sequences: batch.sequences.map_or(0, |(_, count)| count),
            pairs: pairs.map_or(0, |(_, count)| count),
            sequences_start,
            sequences_words: batch.sequences.map_or(1, |(column, _)| column.words),
            groups_start,
            pairs_start,
            ..Step::default()
        };
        let params = binder.uniform(Params { first_row: 0, ..call.params });
        Self { params, sequence_ids, group_ids, pair_ids, step }
    }
}

impl<O: Objective> Pipelines<'_, O> {
    /// Records the plan, from the statistics of all rows on.
    pub(crate) fn record_plan(
        &self,
        recorder: &mut Recorder<'_>,
        plan: GroupPlan,
        (call, batch, workspace): (&Call, &DeviceBatch<'_>, &Workspace),
    ) {
        let bound = Bound::new(&self.binder, call, batch);
        let of_rows = batch.rows.div_ceil(GROUP);
        let start = [
            (PARAMS, bound.params.as_entire_binding()),
            (PARTS, call.parts.as_entire_binding()),
            (OUTPUTS, call.outputs.as_entire_binding()),
            (TOKENS, workspace.tokens.as_entire_binding()),
        ];
        self.run(recorder, "group_start", call, of_rows, &start);
        if plan.steps().any(|(_, step)| matches!(step.over, Over::Group | Over::Groups)) {
            let step = recorder.uniform(bound.step);
            let heads = [
                (INPUTS, call.inputs.as_entire_binding()),
                (HEADS, workspace.heads.as_entire_binding()),
                (STEP, step.as_entire_binding()),
                (GROUPS, bound.group_ids.clone()),
            ];
            self.run(recorder, "group_heads", call, of_rows, &heads);
        }
        for (index, step) in plan.steps() {
            self.record_step(recorder, index, step, (call, workspace, &bound));
        }
    }

    fn record_step(
        &self,
        recorder: &mut Recorder<'_>,
        index: usize,
        step: PlanStep,
        (call, workspace, bound): (&Call, &Workspace, &Bound<'_>),
    ) {
        let (statistic, share) = number_of(step.statistic);
        let (over, segments) = match step.over {
            Over::Sequence => (0, bound.step.sequences),
            Over::Group => (1, bound.step.rows),
            Over::Sequences => (3, 1),
            Over::Groups => (4, 1),
            Over::Pairs => (5, bound.step.sequences),
            _ => (2, 1),
        };
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let step = recorder.uniform(Step { index, statistic, over, share, ..bound.step });
        let mut bindings = vec![
            (PARAMS, bound.params.as_entire_binding()),
            (INPUTS, call.inputs.as_entire_binding()),
            (OUTPUTS, call.outputs.as_entire_binding()),
            (TOKENS, workspace.tokens.as_entire_binding()),
            (STEP, step.as_entire_binding()),
            (SEQUENCES, bound.sequence_ids.clone()),
            (LITERALS, self.literals.as_entire_binding()),
        ];
        let entry_point = if over == 5 {
            bindings.push((PAIRS, bound.pair_ids.clone()));
            "group_pairs"
        } else {
            bindings.push((HEADS, workspace.heads.as_entire_binding()));
            bindings.push((GROUPS, bound.group_ids.clone()));
            "group_step"
        };
        self.run(recorder, entry_point, call, segments, &bindings);
    }

    /// Records stage 2 after the plan.
    pub(crate) fn record_group_terms(
        &self,
        recorder: &mut Recorder<'_>,
        call: &Call,
        workspace: &Workspace,
    ) {
        let params = recorder.uniform(Params { first_row: 0, ..call.params });
        let bindings = [
            (PARAMS, params.as_entire_binding()),
            (INPUTS, call.inputs.as_entire_binding()),
            (OUTPUTS, call.outputs.as_entire_binding()),
            (TOTALS, call.totals.as_entire_binding()),
            (TOKENS, workspace.tokens.as_entire_binding()),
            (LITERALS, self.literals.as_entire_binding()),
        ];
        let of_rows = call.params.rows.div_ceil(GROUP);
        self.run(recorder, "group_terms", call, of_rows, &bindings);
    }

    fn run(
        &self,
        recorder: &mut Recorder<'_>,
        entry_point: &'static str,
        call: &Call,
        groups: u32,
        bindings: &[Binding<'_>],
    ) {
        let kernel = self.kernel(entry_point, Destination::Separate, &call.params);
        recorder.run(&kernel.pipeline, bindings, groups);
    }
}
