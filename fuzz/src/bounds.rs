//! What a loss and its gradient may differ from the f64 oracle: the accuracy contract of `Loss`, plus what ln p within the contract
//! does to the terms of the objective.
//!
//! An objective may be steep in ln p (a temperature of 1e-6) or jump (a clip, a selection). How steep it is here is measured: stage 2
//! runs over exact statistics, and again with ln p of one row moved by twice its bound, up and down. Values are never taken from there,
//! only how far they move.

use surprisal::objective::{Builtin, Input, Objective, TokenTerm};
use surprisal::{LossReport, OwnedWorkspace, Reduction, RowStats};
use surprisal_tests::compare::{assert_close, close};
use surprisal_tests::problem::{Outcome, Problem};

use crate::exact::{Row, class_weight, smoothing_per_class, weight_sum, z_loss};
use crate::rounding::Rounding;

/// Stage 2 under one reduction: the exact terms, and how far they and the report move.
struct Terms {
    exact: Vec<TokenTerm>,
    moved: Vec<TokenTerm>,
    /// What multiplies the dense extras in the loss, where `grad_scale` is no factor.
    dense: Vec<f64>,
    report_moved: LossReport,
}

impl Terms {
    fn new(problem: &Problem, rows: &[Option<Row>]) -> Self {
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
        }
        Self { exact, moved, dense, report_moved: sums }
    }

    /// What the dense extras of all rows may be off by.
    fn dense_slack(&self, problem: &Problem, rows: &[Option<Row>]) -> f64 {
        let smoothing = smoothing_per_class(problem) * weight_sum(problem);
        let of_row = |row: &Row, dense: &f64| {
            let z_loss = 2.0 * z_loss(problem) * row.stats.log_sum_exp().abs() * row.sums();
            dense * (smoothing * row.smoothed() + z_loss)
        };
        let rows = rows.iter().zip(&self.dense);
        rows.filter_map(|(row, dense)| Some(of_row(row.as_ref()?, dense))).sum()
    }

    /// Rounding of f64 sums.
    fn rounding(&self) -> f64 {
        1e-12 * self.exact.iter().map(|term| term.loss.abs()).sum::<f64>()
    }
}

/// Statistics of all rows with those of some moved, in sets: of a set the worst counts, and sets add up.
///
/// Each row by itself, up and down. Where objectives select by ln p, moves do not add up (two rows may tie for one place): there all rows
/// move, in every pattern.
fn moves(problem: &Problem, rows: &[Option<Row>], exact: &[RowStats]) -> Vec<Vec<Vec<RowStats>>> {
    let asks = |input| problem.objective.inputs().contains(&input);
    let moments = asks(Input::Entropy) || asks(Input::SumSquares);
    if matches!(problem.objective, Builtin::Rho1(_) | Builtin::SftGo(_)) {
        let pattern = |bits: usize| {
            let moved = |(index, row): (usize, &Option<Row>)| {
                let row = row.as_ref().map(|row| row.moved(false)[0][bits >> index & 1]);
                row.unwrap_or(RowStats::EMPTY)
            };
            rows.iter().enumerate().map(moved).collect()
        };
        return vec![(0..1 << rows.len()).map(pattern).collect()];
    }
    let alone = |index: usize, moved: RowStats| {
        let mut stats = exact.to_vec();
        stats[index] = moved;
        stats
    };
    let rows = rows.iter().enumerate().filter_map(|(index, row)| Some((index, row.as_ref()?)));
    rows.flat_map(|(index, row)| row.moved(moments).into_iter().map(move |both| (index, both)))
        .map(|(index, both)| both.map(|moved| alone(index, moved)).to_vec())
        .collect()
}

fn stage_2(problem: &Problem, stats: &[RowStats]) -> (Vec<TokenTerm>, LossReport) {
    let mut terms = vec![TokenTerm::default(); stats.len()];
    let (loss, batch) = (problem.loss(), problem.batch());
    let mut workspace = OwnedWorkspace::new();
    let workspace = workspace.lend(stats.len(), 0);
    let report = loss.token_terms(stats, &batch, problem.vocab, &mut terms, workspace).unwrap();
    (terms, report)
}

/// Bounds of one problem, for all its runs.
pub struct Bounds {
    rows: Vec<Option<Row>>,
    /// Under the problem's own reduction.
    terms: Terms,
    /// Under no reduction.
    sum: Terms,
}

impl Bounds {
    /// The bounds of a problem with finite logits.
    pub fn new(problem: &Problem) -> Self {
        let rows: Vec<_> = (0..problem.rows).map(|row| Row::new(problem, row)).collect();
        let terms = Terms::new(problem, &rows);
        let mut unreduced = problem.clone();
        unreduced.reduction = Reduction::Sum;
        let sum = Terms::new(&unreduced, &rows);
        Self { rows, terms, sum }
    }

    /// Checks an outcome against the oracle's.
    ///
    /// # Panics
    /// Where it is further off than it may be.
    pub fn check(
        &self,
        what: &str,
        problem: &Problem,
        actual: &Outcome,
        oracle: &Outcome,
        r: Rounding,
    ) {
        self.check_report(what, problem, &actual.report, &oracle.report);
        let nll_bound = |row: usize| self.rows[row].as_ref().map_or(0.0, Row::nll);
        assert_close(&format!("{what} nll"), &actual.nll, &oracle.nll, nll_bound);
        for (index, row) in self.rows.iter().enumerate() {
            let range = index * problem.vocab..(index + 1) * problem.vocab;
            let clamped = |all: &[f64]| -> Vec<f64> {
                all[range.clone()].iter().map(|d| d.clamp(-r.largest, r.largest)).collect()
            };
            let (found, expected) = (clamped(&actual.dlogits), clamped(&oracle.dlogits));
            let Some(row) = row else {
                assert!(found.iter().all(|d| d.to_bits() == 0), "{what}: ignored {index}");
                continue;
            };
            assert_close(&format!("{what} row {index}"), &found, &expected, |j| {
                // Of two rows the other may be selected: then 0 is expected, and what is found has been rounded.
                let stored = r.relative * expected[j].abs().max(found[j].abs()) + r.absolute;
                self.entry(problem, index, row, j) + stored
            });
            if r.relative == 0.0 && sums_to_zero(problem) {
                let largest = found.iter().fold(0.0_f64, |a, d| a.max(d.abs()));
                let lost = self.lost(problem, index) * problem.vocab as f64;
                let sum: f64 = found.iter().sum();
                assert!(
                    close(sum, 0.0, 1e-6 * largest + lost),
                    "{what}: row {index} sums to {sum:e}, its largest entry is {largest:e}"
                );
            }
        }
    }

    fn check_report(&self, what: &str, problem: &Problem, a: &LossReport, e: &LossReport) {
        assert_eq!((a.tokens, a.invalid_row), (e.tokens, e.invalid_row), "{what}: tokens");
        let nll: f64 = self.rows.iter().flatten().map(Row::nll).sum();
        let (terms, sum) = (&self.terms, &self.sum);
        let bound =
            |t: &Terms, moved: f64| moved + t.dense_slack(problem, &self.rows) + t.rounding();
        for (name, actual, expected, bound) in [
            ("loss", a.loss, e.loss, bound(terms, terms.report_moved.loss) + 1e-12 * e.loss.abs()),
            ("loss_sum", a.loss_sum, e.loss_sum, bound(sum, sum.report_moved.loss_sum)),
            ("nll_sum", a.nll_sum, e.nll_sum, nll + sum.report_moved.nll_sum),
            (
                "weight_sum",
                a.weight_sum,
                e.weight_sum,
                1e-12 * e.weight_sum + sum.report_moved.weight_sum,
            ),
        ] {
            let close = close(actual, expected, bound);
            assert!(close, "{what}: {name} {actual:e} for {expected:e}, allowed {bound:.1e}");
        }
        // Which of two rows is selected may hang on the last bits of ln p; how many are, not.
        if !matches!(problem.objective, Builtin::Rho1(_)) {
            assert_eq!(a.correct, e.correct, "{what}: correct");
        }
    }

    /// What one entry of the gradient may be off by.
    fn entry(&self, problem: &Problem, index: usize, row: &Row, class: usize) -> f64 {
        let (term, moved) = (&self.terms.exact[index], &self.terms.moved[index]);
        // What the coefficients may be at most.
        let (coef, dense) = (term.coef.abs() + moved.coef, term.dense.abs() + moved.dense);
        if coef == 0.0 && dense == 0.0 {
            return 0.0;
        }
        let p = row.p(class);
        let from_target = if class == row.target { row.miss } else { p };
        let uniform = smoothing_per_class(problem) * class_weight(problem, class);
        let squared = 2.0 * z_loss(problem);
        let extras = smoothing_per_class(problem) * weight_sum(problem)
            + squared * row.stats.log_sum_exp().abs();
        // The contract of `Loss`: relative to each of the parts, the uniform one of which has its own ULPs.
        let mut bound = row.entry(class) * (coef * from_target + dense * extras * p);
        bound += row.uniform(class) * dense * uniform;
        bound += dense * squared * row.sums() * p;
        // ln p within its bound.
        bound += moved.coef * from_target + moved.dense * (extras * p + uniform);
        f64::from(problem.extras.logit_scale) * bound + self.lost(problem, index)
    }

    /// An exponential below the smallest normal is 0: what it would have been multiplied by counts. So does what f32 cannot hold.
    fn lost(&self, problem: &Problem, index: usize) -> f64 {
        let (term, moved) = (&self.terms.exact[index], &self.terms.moved[index]);
        let coef = term.coef.abs() + moved.coef + term.dense.abs() + moved.dense;
        f64::from(f32::MIN_POSITIVE) * (f64::from(problem.extras.logit_scale) * coef).max(1.0)
    }
}

/// Whether the entries of a row cancel: they do for every objective, but neither under z-loss nor under a soft-cap's slopes.
fn sums_to_zero(problem: &Problem) -> bool {
    let extras = &problem.extras;
    extras.label_smoothing == 0.0 && extras.z_loss == 0.0 && extras.softcap.is_none()
}
