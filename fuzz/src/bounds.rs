//! What a loss and its gradient may differ from the f64 oracle: the accuracy contract of `Loss`, plus what ln p within the contract
//! does to the terms of the objective.
//!
//! An objective may be steep in ln p (a temperature of 1e-6) or jump (a clip, a selection). How steep it is here is measured: stage 2
//! runs over exact statistics, and again with ln p of one row moved by twice its bound, up and down. Values are never taken from there,
//! only how far they move.

use surprisal::objective::{Builtin, TokenTerm};
use surprisal::{LossReport, Reduction, RowStats};
use surprisal_tests::compare::{assert_close, close};
use surprisal_tests::problem::{Outcome, Problem};

use crate::rounding::Rounding;

/// ULP of 1 in f32.
const ULP: f64 = 1.0 / (1 << 23) as f64;
/// What ln p may be off by, relative and absolute.
const LOG_P: f64 = 2e-7;

/// A row that is not ignored, in f64.
struct Row {
    target: usize,
    /// Transformed logits.
    mapped: Vec<f64>,
    stats: RowStats,
    /// What ln p may be off by.
    slack: f64,
    /// What a transformed logit may be off by; 0 where it is not transformed.
    mapping: f64,
}

impl Row {
    fn new(problem: &Problem, row: usize) -> Option<Self> {
        let target = usize::try_from(problem.batch().target(row)?).ok()?;
        let z = &problem.logits[row * problem.vocab..][..problem.vocab];
        let mapped: Vec<f64> = z.iter().map(|&z| problem.mapped(f64::from(z))).collect();
        let max = mapped.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weighted = mapped.iter().enumerate().map(|(j, z)| class_weight(problem, j) * z);
        let stats = RowStats {
            max,
            sum_exp: mapped.iter().map(|z| (z - max).exp()).sum(),
            target_logit: mapped[target],
            sum_logits: weighted.sum(),
            sum_exp_logits: f64::NAN,
        };
        let largest = mapped.iter().fold(0.0_f64, |a, z| a.max(z.abs()));
        let is_mapped = problem.extras.logit_scale != 1.0 || problem.extras.softcap.is_some();
        let mapping = if is_mapped { 2.0 * ULP * largest } else { 0.0 };
        let slack = LOG_P * (1.0 + stats.nll().abs()) + mapping;
        Some(Self { target, mapped, stats, slack, mapping })
    }
}

fn class_weight(problem: &Problem, class: usize) -> f64 {
    problem.extras.class_weights.as_ref().map_or(1.0, |weights| f64::from(weights[class]))
}

/// Stage 2 under one reduction: the exact terms, and how far they and the report move.
struct Terms {
    exact: Vec<TokenTerm>,
    moved: Vec<TokenTerm>,
    report_moved: LossReport,
}

impl Terms {
    fn new(problem: &Problem, rows: &[Option<Row>]) -> Self {
        let stats: Vec<RowStats> =
            rows.iter().map(|row| row.as_ref().map_or(RowStats::EMPTY, |row| row.stats)).collect();
        let (exact, report) = stage_2(problem, &stats);
        let mut moved = vec![TokenTerm::default(); rows.len()];
        let mut sums = LossReport::default();
        for together in moves(problem, rows) {
            let mut worst = vec![TokenTerm::default(); rows.len()];
            let mut worst_report = LossReport::default();
            for steps in together {
                let step = |(stats, step): (&RowStats, f64)| RowStats {
                    target_logit: stats.target_logit + step,
                    ..*stats
                };
                let stats: Vec<RowStats> = stats.iter().zip(steps).map(step).collect();
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
        Self { exact, moved, report_moved: sums }
    }

    /// What the dense extras of all rows may be off by.
    fn dense_slack(&self, problem: &Problem, rows: &[Option<Row>]) -> f64 {
        let per_class = smoothing_per_class(problem);
        let weights = weight_sum(problem);
        let of_row = |row: &Row, term: &TokenTerm| {
            let lse = LOG_P + row.mapping;
            let smoothing = per_class * weights * (lse + row.mapping);
            let z_loss = 2.0 * z_loss(problem) * row.stats.log_sum_exp().abs() * lse;
            term.dense.abs() * (smoothing + z_loss)
        };
        let rows = rows.iter().zip(&self.exact);
        rows.filter_map(|(row, term)| Some(of_row(row.as_ref()?, term))).sum()
    }

    /// Rounding of f64 sums.
    fn rounding(&self) -> f64 {
        1e-12 * self.exact.iter().map(|term| term.loss.abs()).sum::<f64>()
    }
}

/// Ways to move ln p of the rows, in sets: of a set the worst counts, and sets add up.
///
/// Each row by itself, up and down. Where objectives select by ln p, moves do not add up (two rows may tie for one place): there all rows
/// move, in every pattern.
fn moves(problem: &Problem, rows: &[Option<Row>]) -> Vec<Vec<Vec<f64>>> {
    let steps: Vec<f64> =
        rows.iter().map(|row| row.as_ref().map_or(0.0, |row| 2.0 * row.slack)).collect();
    let moving: Vec<usize> = (0..rows.len()).filter(|&row| rows[row].is_some()).collect();
    if matches!(problem.objective, Builtin::Rho1(_) | Builtin::SftGo(_)) {
        let pattern = |bits: usize| {
            let signed =
                |(row, step): (usize, &f64)| if bits >> row & 1 == 0 { *step } else { -step };
            steps.iter().enumerate().map(signed).collect()
        };
        return vec![(0..1 << rows.len()).map(pattern).collect()];
    }
    let alone = |row: usize, step: f64| {
        let mut steps = vec![0.0; rows.len()];
        steps[row] = step;
        steps
    };
    moving.into_iter().map(|row| vec![alone(row, steps[row]), alone(row, -steps[row])]).collect()
}

fn stage_2(problem: &Problem, stats: &[RowStats]) -> (Vec<TokenTerm>, LossReport) {
    let mut terms = vec![TokenTerm::default(); stats.len()];
    let (loss, batch) = (problem.loss(), problem.batch());
    let report = loss.token_terms(stats, &batch, problem.vocab, &mut terms).unwrap();
    (terms, report)
}

fn smoothing_per_class(problem: &Problem) -> f64 {
    f64::from(problem.extras.label_smoothing) / problem.vocab as f64
}

fn weight_sum(problem: &Problem) -> f64 {
    (0..problem.vocab).map(|class| class_weight(problem, class)).sum()
}

fn z_loss(problem: &Problem) -> f64 {
    f64::from(problem.extras.z_loss)
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
        let nll_bound = |row: usize| self.rows[row].as_ref().map_or(0.0, |row| row.slack);
        assert_close(&format!("{what} nll"), &actual.nll, &oracle.nll, nll_bound);
        for (index, row) in self.rows.iter().enumerate() {
            let range = index * problem.vocab..(index + 1) * problem.vocab;
            let clamped = |all: &[f64]| -> Vec<f64> {
                all[range.clone()].iter().map(|d| d.clamp(-r.largest, r.largest)).collect()
            };
            let (found, expected) = (clamped(&actual.dlogits), clamped(&oracle.dlogits));
            match row {
                None => assert!(found.iter().all(|d| d.to_bits() == 0), "{what}: ignored {index}"),
                Some(row) => assert_close(&format!("{what} row {index}"), &found, &expected, |j| {
                    let stored = r.relative * expected[j].abs() + r.absolute;
                    self.entry(problem, index, row, j) + stored
                }),
            }
        }
    }

    fn check_report(&self, what: &str, problem: &Problem, a: &LossReport, e: &LossReport) {
        assert_eq!((a.tokens, a.invalid_row), (e.tokens, e.invalid_row), "{what}: tokens");
        let nll: f64 = self.rows.iter().flatten().map(|row| row.slack).sum();
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
        let distance = row.stats.max - row.mapped[class];
        let p = (-distance).exp() / row.stats.sum_exp;
        let lse = row.stats.log_sum_exp().abs();
        let uniform = smoothing_per_class(problem) * class_weight(problem, class);
        let dense =
            smoothing_per_class(problem) * weight_sum(problem) + 2.0 * z_loss(problem) * lse;
        // What the coefficients may be at most.
        let (most, most_dense) = (term.coef.abs() + moved.coef, term.dense.abs() + moved.dense);
        let total = most + most_dense * dense;
        let scale = f64::from(problem.extras.logit_scale);
        if total == 0.0 && most_dense == 0.0 {
            return 0.0;
        }
        if scale * total > f64::from(f32::MAX) {
            // The kernels multiply by an f32: a coefficient beyond (GRPO's K3 far from its reference) saturates.
            return f64::INFINITY;
        }
        // The contract of `Loss`.
        let mut bound = ULP * (2.0 + distance) * total * p;
        bound += row.mapping * total * p;
        if class == row.target {
            bound += 4e-7 * total;
        }
        // The dense extras: a part that follows no p, and one that follows lse.
        // Half an ULP each for the f32 factor, its product with the class weight, and the difference.
        bound += 1.5 * ULP * most_dense * uniform;
        bound += most_dense * 2.0 * z_loss(problem) * (LOG_P + row.mapping) * p;
        // ln p within its bound.
        let from_target = if class == row.target { 1.0 - p } else { p };
        bound += moved.coef * from_target + moved.dense * (dense * p + uniform);
        bound += self.slope(problem, index, class, total * p + most_dense * uniform);
        // An exponential below the smallest normal is 0: what it would have been multiplied by counts. So does what f32 cannot hold.
        scale * bound + f64::from(f32::MIN_POSITIVE) * (scale * total).max(1.0)
    }

    /// What the soft-cap's slope 4e/(1+e)², e = exp(−2|u|), may be off by: u has two roundings, which e doubles, and there are a few more.
    fn slope(&self, problem: &Problem, index: usize, class: usize, entry: f64) -> f64 {
        problem.extras.softcap.map_or(0.0, |cap| {
            let z = problem.logits[index * problem.vocab + class];
            let u = f64::from(problem.extras.logit_scale) * f64::from(z) / f64::from(cap);
            ULP * (4.0 + 2.0 * u.abs()) * entry / u.cosh().powi(2)
        })
    }
}
