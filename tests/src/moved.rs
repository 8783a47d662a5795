//! How far the terms of stage 2 move with ln p: it runs over exact statistics, and again with ln p of one row moved by twice its bound, up and down.
//! Values are never taken from there, only how far they move.

use surprisal::objective::{Builtin, Input, Objective, TokenTerm};
use surprisal::{LossReport, OwnedWorkspace, RowStats};

use crate::exact::{Row, smoothing_per_class, weight_sum, z_loss};
use crate::problem::Problem;

/// So many rows have every pattern of moves.
const PATTERN_ROWS: usize = 9;

/// Stage 2 under one reduction: the exact terms, and how far they and the report move.
pub(crate) struct Terms {
    pub(crate) exact: Vec<TokenTerm>,
    pub(crate) moved: Vec<TokenTerm>,
    /// What multiplies the dense extras in the loss, where `grad_scale` is no factor.
    dense: Vec<f64>,
    pub(crate) report_moved: LossReport,
}

impl Terms {
    pub(crate) fn new(problem: &Problem, rows: &[Option<Row>]) -> Self {
        let stats: Vec<RowStats> =
            rows.iter().map(|row| row.as_ref().map_or(RowStats::EMPTY, |row| row.stats)).collect();
        let (exact, report) = stage_2(problem, &stats);
        let mut unscaled = problem.clone();
        unscaled.extras.grad_scale = 1.0;
        let dense = stage_2(&unscaled, &stats).0.iter().map(|term| term.dense.abs()).collect();
        let mut moved = vec![TokenTerm::default(); rows.len()];
        let mut sums = LossReport::default();
        for together in moves(problem, rows, &stats) {
            let mut worst = vec![TokenTerm::default(); rows.len()];
            let mut worst_report = LossReport::default();
            for stats in together {
                let (terms, other) = stage_2(problem, &stats);
                for (worst, (a, b)) in worst.iter_mut().zip(terms.iter().zip(&exact)) {
                    worst.loss = worst.loss.max((a.loss - b.loss).abs());
                    worst.coef = worst.coef.max((a.coef - b.coef).abs());
                    worst.dense = worst.dense.max((a.dense - b.dense).abs());
                }
                let w = &mut worst_report;
                w.loss = w.loss.max((other.loss - report.loss).abs());
                w.loss_sum = w.loss_sum.max((other.loss_sum - report.loss_sum).abs());
                w.nll_sum = w.nll_sum.max((other.nll_sum - report.nll_sum).abs());
                w.weight_sum = w.weight_sum.max((other.weight_sum - report.weight_sum).abs());
                let tau = |report: &LossReport| report.tau.unwrap_or(0.0);
                w.tau = Some(tau(w).max((tau(&other) - tau(&report)).abs()));
            }
            for (sum, worst) in moved.iter_mut().zip(worst) {
                sum.loss += worst.loss;
                sum.coef += worst.coef;
                sum.dense += worst.dense;
            }
            sums.loss += worst_report.loss;
            sums.loss_sum += worst_report.loss_sum;
            sums.nll_sum += worst_report.nll_sum;
            sums.weight_sum += worst_report.weight_sum;
            sums.tau = Some(sums.tau.unwrap_or(0.0) + worst_report.tau.unwrap_or(0.0));
        }
        Self { exact, moved, dense, report_moved: sums }
    }

    /// What the dense extras of all rows may be off by.
    pub(crate) fn dense_slack(&self, problem: &Problem, rows: &[Option<Row>]) -> f64 {
        let smoothing = smoothing_per_class(problem) * weight_sum(problem);
        let of_row = |row: &Row, dense: &f64| {
            let (lse, error) = (row.stats.log_sum_exp().abs(), row.sums());
            let z_loss = z_loss(problem) * (2.0 * lse + error) * error;
            times(*dense, smoothing * row.smoothed() + z_loss)
        };
        let rows = rows.iter().zip(&self.dense);
        rows.filter_map(|(row, dense)| Some(of_row(row.as_ref()?, dense))).sum()
    }

    /// Rounding of f64 sums.
    pub(crate) fn rounding(&self) -> f64 {
        let losses = self.exact.iter().map(|term| term.loss.abs());
        1e-12 * losses.filter(|loss| loss.is_finite()).sum::<f64>()
    }
}

/// Statistics of all rows with those of some moved, in sets: of a set the worst counts, and sets add up.
///
/// Each row by itself, up and down; of objectives of a group also all rows together, which may have the median in common. Where objectives select
/// by ln p, moves do not add up (two rows may tie for one place): there all rows move, in every pattern, or where rows are many, each row (of
/// SFT-GO, group) against all others.
fn moves(problem: &Problem, rows: &[Option<Row>], exact: &[RowStats]) -> Vec<Vec<Vec<RowStats>>> {
    let asks = |input| problem.objective.inputs().contains(&input);
    let moments = asks(Input::Entropy) || asks(Input::SumSquares);
    let pattern = |up: &dyn Fn(usize) -> bool| -> Vec<RowStats> {
        let moved = |(index, row): (usize, &Option<Row>)| {
            let row = row.as_ref().map(|row| row.moved(false)[0][usize::from(up(index))]);
            row.unwrap_or(RowStats::EMPTY)
        };
        rows.iter().enumerate().map(moved).collect()
    };
    if matches!(problem.objective, Builtin::Rho1(_) | Builtin::SftGo(_)) {
        if rows.len() <= PATTERN_ROWS {
            let all = 0..1_usize << rows.len();
            return vec![all.map(|bits| pattern(&|row| bits >> row & 1 == 1)).collect()];
        }
        let batch = problem.batch();
        let together = |a: usize, b: usize| match (&problem.objective, &problem.groups) {
            (Builtin::SftGo(_), Some(groups)) => groups[a] == groups[b],
            _ => a == b,
        };
        let against = |one: usize| {
            vec![pattern(&|row| together(row, one)), pattern(&|row| !together(row, one))]
        };
        let together = [vec![pattern(&|_| true), pattern(&|_| false)]];
        return batch.active_rows().map(against).chain(together).collect();
    }
    let alone = |index: usize, moved: RowStats| {
        let mut stats = exact.to_vec();
        stats[index] = moved;
        stats
    };
    let active = rows.iter().enumerate().filter_map(|(index, row)| Some((index, row.as_ref()?)));
    let each = active
        .flat_map(|(index, row)| row.moved(moments).into_iter().map(move |both| (index, both)))
        .map(|(index, both)| both.map(|moved| alone(index, moved)).to_vec());
    let grouped = problem.objective.group_plan().is_some();
    each.chain(grouped.then(|| vec![pattern(&|_| true), pattern(&|_| false)])).collect()
}

fn stage_2(problem: &Problem, stats: &[RowStats]) -> (Vec<TokenTerm>, LossReport) {
    let mut terms = vec![TokenTerm::default(); stats.len()];
    let (loss, batch) = (problem.loss(), problem.batch());
    let mut workspace = OwnedWorkspace::new();
    let workspace = workspace.lend(stats.len(), 0);
    let report = loss.token_terms(stats, &batch, problem.vocab, &mut terms, workspace).unwrap();
    (terms, report)
}

/// A product in which a 0 wins over an infinity.
pub(crate) fn times(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 { 0.0 } else { a * b }
}
