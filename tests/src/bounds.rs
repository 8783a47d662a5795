//! What a loss and its gradient may differ from the f64 oracle: the accuracy contract of `Loss`, plus what ln p within the contract
//! does to the terms of the objective.
//!
//! An objective may be steep in ln p (a temperature of 1e-6) or jump (a clip, a selection). How steep it is here is measured (`moved.rs`).

use surprisal::objective::Builtin;
use surprisal::{Element, Level, LossReport, Reduction};

use crate::compare::{assert_close, assert_same_bits, close};
use crate::exact::{Row, class_weight, smoothing_per_class, weight_sum, z_loss};
use crate::moved::{Terms, times};
use crate::problem::{Outcome, Problem};
use crate::run::{WAYS, Way, run};
use crate::storage::Storage;
use crate::tolerance::{F32, Rounding};

/// Bounds of one problem, for all its runs.
pub struct Bounds {
    rows: Vec<Option<Row>>,
    /// Under the problem's own reduction.
    terms: Terms,
    /// Under no reduction.
    sum: Terms,
}

impl Bounds {
    /// The bounds of a problem.
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
        // As f32.
        let nll: Vec<f64> = oracle.nll.iter().map(|&nll| F32.stored(nll)).collect();
        assert_close(&format!("{what} nll"), &actual.nll, &nll, nll_bound);
        for (index, row) in self.rows.iter().enumerate() {
            let range = index * problem.vocab..(index + 1) * problem.vocab;
            let (found, expected) = (&actual.dlogits[range.clone()], &oracle.dlogits[range]);
            let Some(row) = row else {
                assert!(found.iter().all(|d| d.to_bits() == 0), "{what}: ignored {index}");
                continue;
            };
            let bound = |j: usize| {
                // Of two rows the other may be selected: then 0 is expected, and what is found has been rounded.
                let size = expected[j].abs().max(found[j].abs()).min(r.largest);
                let bound = self.entry(problem, index, row, j) + r.relative * size + r.absolute;
                if bound.is_nan() { 0.0 } else { bound }
            };
            // What leaves the range of the type is infinite, at its end perhaps. A part that was lost may have left it, or not.
            let conflict = self.conflicts(index, row);
            let overflow = self.overflows(index);
            let fits = |(j, &expected): (usize, &f64)| {
                let lost = bound(j) >= r.largest && !found[j].is_nan();
                let beyond = found[j].is_infinite()
                    && found[j].signum() == expected.signum()
                    && expected.abs() + bound(j) >= r.largest;
                let free = lost || beyond || overflow || (conflict && expected.is_nan());
                if free { found[j] } else { r.stored(expected) }
            };
            let stored: Vec<f64> = expected.iter().enumerate().map(fits).collect();
            assert_close(&format!("{what} row {index}"), found, &stored, bound);
            let finite = found.iter().all(|d| d.is_finite());
            if r.relative == 0.0 && sums_to_zero(problem) && finite {
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
        // Where sums are not finite, those of bounds need not be.
        let nll = self.rows.iter().flatten().map(Row::nll).filter(|nll| nll.is_finite());
        let nll: f64 = nll.sum();
        let (terms, sum) = (&self.terms, &self.sum);
        let bound = |t: &Terms, moved: f64| {
            1.01 * moved + t.dense_slack(problem, &self.rows) + t.rounding() + VANISHING
        };
        // Sums of parts of both signs are reduced with what was rounded off.
        let reduced = [a, e].map(|report| (report.loss / report.loss_sum).abs());
        let reduced = terms.rounding() * reduced.into_iter().filter(|r| r.is_finite()).sum::<f64>();
        for (name, actual, expected, bound) in [
            (
                "loss",
                a.loss,
                e.loss,
                bound(terms, terms.report_moved.loss) + reduced + 1e-12 * e.loss.abs(),
            ),
            ("loss_sum", a.loss_sum, e.loss_sum, bound(sum, sum.report_moved.loss_sum)),
            ("nll_sum", a.nll_sum, e.nll_sum, nll + sum.report_moved.nll_sum),
            (
                "weight_sum",
                a.weight_sum,
                e.weight_sum,
                1e-12 * e.weight_sum + sum.report_moved.weight_sum,
            ),
            ("tau", a.tau.unwrap_or(0.0), e.tau.unwrap_or(0.0), {
                sum.report_moved.tau.unwrap_or(0.0) + 1e-12 * e.tau.unwrap_or(0.0)
            }),
        ] {
            // A loss beyond 1e200 is infinite, and a weight that nearly vanishes may decide whether one is.
            let jumps = bound > 1e200;
            let vanishes = expected.is_infinite() && actual.is_finite() && self.vanishes();
            let conflict = expected.is_nan() && !self.is_nan();
            let free = jumps || vanishes || conflict;
            let close = actual == expected || free || close(actual, expected, bound);
            assert!(close, "{what}: {name} {actual:e} for {expected:e}, allowed {bound:.1e}");
        }
        assert_eq!(a.tau.is_some(), e.tau.is_some(), "{what}: tau");
        // Which of two rows is selected may hang on the last bits of ln p; how many are, not.
        if !matches!(problem.objective, Builtin::Rho1(_)) {
            assert_eq!(a.correct, e.correct, "{what}: correct");
        }
    }

    /// Whether a row's parts may be infinities of both signs. The oracle has NaN then where they meet, and so does, or does not, the fast path, whose
    /// infinities are large numbers for as long as they can be.
    fn conflicts(&self, index: usize, row: &Row) -> bool {
        let term = &self.terms.exact[index];
        row.stats.is_valid() && !term.coef.is_nan() && !term.dense.is_nan()
    }

    /// Whether both coefficients of a row have left the range of f64.
    fn overflows(&self, index: usize) -> bool {
        self.terms.exact[index].coef.is_infinite() && self.terms.exact[index].dense.is_infinite()
    }

    /// Whether some row's weight is hardly a number of f64: what is 0 here may be more elsewhere, and make an infinity.
    fn vanishes(&self) -> bool {
        let terms = self.rows.iter().zip(&self.terms.exact).filter(|(row, _)| row.is_some());
        terms.map(|(_, term)| term.coef.abs().min(term.dense.abs())).any(|least| least < VANISHING)
    }

    /// Whether the losses must be NaN, since one of them is.
    fn is_nan(&self) -> bool {
        self.terms.exact.iter().any(|term| term.loss.is_nan())
    }

    /// What one entry of the gradient may be off by.
    fn entry(&self, problem: &Problem, index: usize, row: &Row, class: usize) -> f64 {
        let (term, moved) = (&self.terms.exact[index], &self.terms.moved[index]);
        // What the coefficients may be at most.
        let (coef, dense) = (term.coef.abs() + moved.coef, term.dense.abs() + moved.dense);
        if coef == 0.0 && dense == 0.0 {
            // But for a weight that f64 cannot hold.
            return VANISHING;
        }
        let p = row.p(class);
        let is_target = class == row.target;
        let from_target = if is_target { row.miss } else { p };
        let uniform = smoothing_per_class(problem) * class_weight(problem, class);
        let squared = 2.0 * z_loss(problem);
        let extras = smoothing_per_class(problem) * weight_sum(problem)
            + squared * row.stats.log_sum_exp().abs();
        // The contract of `Loss`: relative to each of the parts, the uniform one of which has its own ULPs.
        let mut bound = row.entry(class) * (times(coef, from_target) + times(dense, extras * p));
        bound += row.uniform(class) * times(dense, uniform);
        bound += times(dense, squared * row.sums() * p);
        // ln p within its bound. Where a coefficient jumps, it has been measured beside its place.
        let drift = times(moved.coef, from_target) + times(moved.dense, extras * p + uniform);
        bound += 1.001 * drift;
        // Parts that f32 cannot hold may meet as an infinity.
        let parts = times(coef, from_target) + times(dense, extras * p + uniform);
        if f64::from(problem.extras.logit_scale) * parts > f64::from(f32::MAX) {
            return f64::INFINITY;
        }
        // An exponential below the smallest normal is 0: what it would have been multiplied by counts. So does what f32 cannot hold.
        let lost = SMALLEST * if is_target { problem.vocab as f64 } else { 1.0 };
        let of_lost = |part: f64, factor: f64| if part < MAY_BE_LOST { lost * factor } else { 0.0 };
        bound += of_lost(from_target, coef) + of_lost(p, times(dense, extras));
        f64::from(problem.extras.logit_scale) * bound + SMALLEST
    }

    /// What all entries together may have lost.
    fn lost(&self, problem: &Problem, index: usize) -> f64 {
        let (term, moved) = (&self.terms.exact[index], &self.terms.moved[index]);
        let coef = term.coef.abs() + moved.coef + term.dense.abs() + moved.dense;
        SMALLEST * (f64::from(problem.extras.logit_scale) * coef).max(1.0)
    }
}

/// The smallest normal number, and what an exponential or a sum of some may be that has lost a part which is smaller.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;
const MAY_BE_LOST: f64 = 1e-30;

/// Weights below are those that only f64 could tell from 0.
const VANISHING: f64 = 1e-200;

/// Computes a problem every way in one element type: all of them with the same bits, where those are of one type, and within the bounds.
///
/// # Panics
/// Where they are not.
pub fn check_ways<T: Element + Storage>(problem: &Problem, rounding: Rounding, level: Level) {
    let (oracle, bounds) = (problem.oracle(), Bounds::new(problem));
    let first = run::<T>(problem, WAYS[0], level);
    bounds.check("separate", problem, &first, &oracle, rounding);
    for way in &WAYS[1..] {
        let what = format!("{way:?}");
        let other = run::<T>(problem, *way, level);
        assert_same_bits(&what, &other.nll, &first.nll);
        // As text, since a NaN differs from itself.
        let [a, b] = [&other, &first].map(|outcome| format!("{:?}", outcome.report));
        assert_eq!(a, b, "{what}");
        if way.is_f32() {
            bounds.check(&what, problem, &other, &oracle, F32);
        } else {
            assert_same_bits(&what, &other.dlogits, &first.dlogits);
        }
    }
    let shards = run::<T>(problem, Way::Shards(3), level);
    bounds.check("shards", problem, &shards, &oracle, rounding);
}

/// Whether the entries of a row cancel: they do for every objective, but neither under z-loss nor under a soft-cap's slopes.
fn sums_to_zero(problem: &Problem) -> bool {
    let extras = &problem.extras;
    extras.label_smoothing == 0.0 && extras.z_loss == 0.0 && extras.softcap.is_none()
}
