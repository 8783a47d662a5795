//! What a call is given of every row, from the plan of the loss.

use surprisal::RowStats;
use surprisal::backend::{Plan, PlanRow};
use surprisal::objective::{Objective, TokenTerm};

use crate::layout::{
    ACTIVE, IGNORED, IMPOSSIBLE, INVALID, LARGEST, LOWEST, Params, Part, RowInput, RowOutput, ZERO,
};

/// Inputs of stage 2, or its outputs if they come from the host.
pub(crate) enum Rows {
    Inputs(Vec<RowInput>),
    Outputs(Vec<RowOutput>),
}

/// Nearest number of the device.
#[expect(clippy::cast_possible_truncation, reason = "the device computes in f32")]
pub(crate) fn narrow(value: f64) -> f32 {
    (value as f32).clamp(LOWEST, LARGEST)
}

/// A class, as the device counts them.
pub(crate) fn class(target: usize) -> u32 {
    u32::try_from(target).unwrap_or(IGNORED)
}

fn row_input(row: PlanRow) -> RowInput {
    let log_p = |value: f64| narrow(value).max(IMPOSSIBLE);
    RowInput {
        target_id: class(row.target),
        token_weight: narrow(row.token_weight),
        scale: narrow(row.scale),
        class_weight: narrow(row.class_weight),
        ref_log_p: log_p(row.ref_log_p),
        old_log_p: log_p(row.old_log_p),
        advantage: narrow(row.advantage),
        extra: row.extra.map(narrow),
    }
}

/// What stage 3 needs of a row; `None` where its gradient is 0.
fn row_output<O: Objective>(
    plan: &Plan<'_, O>,
    params: &Params,
    row: &PlanRow,
    stats: &RowStats,
    term: &TokenTerm,
) -> Option<RowOutput> {
    let zero: RowOutput = bytemuck::Zeroable::zeroed();
    if !stats.is_valid() {
        let dropped = term.coef == 0.0 && term.dense == 0.0;
        return (!dropped).then_some(RowOutput { state: INVALID, ..zero });
    }
    let grad = plan.row_grad(row.row, row.target, stats, term)?;
    // The logit that was scaled: exact.
    let max = narrow(grad.max / f64::from(params.spread));
    Some(RowOutput {
        stats: Part { max, ..zero.stats },
        state: ACTIVE,
        factor: narrow(grad.factor),
        uniform: narrow(grad.uniform),
        target_entry: narrow(grad.target_entry),
        target_id: class(row.target),
        ..zero
    })
}

impl Rows {
    pub(crate) fn from_plan<O: Objective>(plan: &Plan<'_, O>) -> Self {
        let ignored = RowInput { target_id: IGNORED, ..bytemuck::Zeroable::zeroed() };
        Self::Inputs(plan.rows().map(|row| row.map_or(ignored, row_input)).collect())
    }

    pub(crate) fn from_host<O: Objective>(
        plan: &Plan<'_, O>,
        params: &Params,
        stats: &[RowStats],
        terms: &[TokenTerm],
    ) -> Self {
        let zero = RowOutput { state: ZERO, ..bytemuck::Zeroable::zeroed() };
        let rows = plan.rows().zip(stats.iter().zip(terms)).map(|(row, (stats, term))| {
            row.and_then(|row| row_output(plan, params, &row, stats, term)).unwrap_or(zero)
        });
        Self::Outputs(rows.collect())
    }

    /// The rows that have a loss or, where they come from the host, a gradient.
    pub(crate) fn active(&self) -> Vec<u32> {
        let of = |is_active: bool, row: u32| is_active.then_some(row);
        match self {
            Self::Inputs(rows) => (0..)
                .zip(rows)
                .filter_map(|(row, input)| of(input.target_id != IGNORED, row))
                .collect(),
            Self::Outputs(rows) => {
                (0..).zip(rows).filter_map(|(row, output)| of(output.state != ZERO, row)).collect()
            }
        }
    }

    /// Some of the rows.
    pub(crate) fn pick(&self, rows: &[u32]) -> Self {
        match self {
            Self::Inputs(all) => Self::Inputs(rows.iter().map(|&row| all[row as usize]).collect()),
            Self::Outputs(all) => {
                Self::Outputs(rows.iter().map(|&row| all[row as usize]).collect())
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inputs(rows) => rows.len(),
            Self::Outputs(rows) => rows.len(),
        }
    }
}
