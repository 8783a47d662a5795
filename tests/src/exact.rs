//! The rows of a problem in f64, and what the accuracy contract of `Loss` lets their parts differ.

use surprisal::RowStats;

use crate::problem::Problem;

/// ULP of 1 in f32.
const ULP: f64 = 1.0 / (1 << 23) as f64;
/// A distance beyond which nothing is left of an exponential.
const FAR: f64 = 200.0;

/// A row that is not ignored.
pub(crate) struct Row {
    pub(crate) target: usize,
    /// Transformed logits.
    mapped: Vec<f64>,
    pub(crate) stats: RowStats,
    /// 1 − p of the target, which is not found by a subtraction.
    pub(crate) miss: f64,
    /// ULPs that a soft-cap adds.
    capped: f64,
    /// ULPs that its slope adds to the entry of each class: 1 − tanh² u falls as e^(−2|u|), which doubles what |u| is off by.
    slopes: Vec<f64>,
}

impl Row {
    pub(crate) fn new(problem: &Problem, row: usize) -> Option<Self> {
        let target = usize::try_from(problem.batch().target(row)?).ok()?;
        let z = &problem.logits[row * problem.vocab..][..problem.vocab];
        let mapped: Vec<f64> = z.iter().map(|&z| problem.mapped(f64::from(z))).collect();
        let max = mapped.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // A weight of 0 wins over any infinity, and so does a probability.
        let times = |a: f64, b: f64| if a == 0.0 { 0.0 } else { a * b };
        let weighted = mapped.iter().enumerate().map(|(j, &z)| times(class_weight(problem, j), z));
        let others = || {
            let others = mapped.iter().enumerate().filter(|(class, _)| *class != target);
            others.map(|(_, z)| z - max)
        };
        // As the fast path tells them: nothing finite is no row, and a NaN is one that `max` does not see.
        let nothing = max == f64::NEG_INFINITY;
        let broken = max == f64::INFINITY || mapped.iter().any(|z| z.is_nan());
        let sum = others().map(f64::exp).sum();
        let stats = RowStats {
            max: if nothing { RowStats::EMPTY.max } else { max },
            others: match (nothing, broken) {
                (true, _) => 0.0,
                (_, true) => f64::NAN,
                _ => sum,
            },
            target_logit: mapped[target],
            sum_logits: weighted.sum(),
            sum_exp_logits: others().map(|x| times(x.exp(), x)).sum(),
            sum_exp_squared: others().map(|x| (2.0 * x).exp()).sum(),
        };
        let capped = problem.extras.softcap.map_or(0.0, |cap| 8.0 + 4.0 * f64::from(cap));
        let scale = f64::from(problem.extras.logit_scale);
        let steepness = |&z: &f32| {
            let steepness = |cap| 2.0 * scale * f64::from(z.abs()) / f64::from(cap);
            problem.extras.softcap.map_or(0.0, |cap| steepness(cap).min(FAR))
        };
        let slopes = z.iter().map(steepness).collect();
        let miss = stats.others / (stats.others + (mapped[target] - max).exp());
        Some(Self { target, mapped, stats, miss, capped, slopes })
    }

    /// How far a class is from the maximum.
    fn distance(&self, class: usize) -> f64 {
        self.stats.max - self.mapped[class]
    }

    /// The same, where it only counts ULPs.
    fn near(&self, class: usize) -> f64 {
        self.distance(class).min(FAR)
    }

    pub(crate) fn p(&self, class: usize) -> f64 {
        if class == self.target {
            return (-self.stats.nll()).exp();
        }
        (-self.distance(class)).exp() / (self.stats.others + (-self.distance(self.target)).exp())
    }

    /// What −ln p of the target may be off by: also all exponentials that are too small to be normal.
    pub(crate) fn nll(&self) -> f64 {
        let lost = f64::from(f32::MIN_POSITIVE) * self.mapped.len() as f64;
        ULP * (4.0 + self.near(self.target) + self.capped) * self.stats.nll() + lost
    }

    /// What an entry of the gradient may be off by relative to itself.
    pub(crate) fn entry(&self, class: usize) -> f64 {
        ULP * (4.0 + self.near(class) + self.capped + self.slopes[class])
    }

    /// What the uniform part of label smoothing in it may be off by.
    pub(crate) fn uniform(&self, class: usize) -> f64 {
        ULP * (1.5 + self.capped + self.slopes[class])
    }

    /// What sums of exponentials may be off by relative to themselves, and lse absolutely.
    pub(crate) fn sums(&self) -> f64 {
        ULP * (4.0 + self.capped)
    }

    /// What lse less a logit may be off by, at most: the difference from the maximum is an f32.
    pub(crate) fn smoothed(&self) -> f64 {
        let distances = (0..self.mapped.len()).map(|class| self.distance(class));
        let farthest = distances.filter(|distance| distance.is_finite()).fold(0.0, f64::max);
        self.sums() + ULP * (farthest + self.capped)
    }

    /// The statistics with an error that the contract allows doubled: first those that move ln p, up and down; then, where `moments` are
    /// looked at, those that move entropy and Σp².
    pub(crate) fn moved(&self, moments: bool) -> Vec<[RowStats; 2]> {
        let (stats, both) = (self.stats, [1.0, -1.0]);
        // What is infinite, or not a number, does not move.
        let step = if self.nll().is_finite() { 2.0 * self.nll() } else { 0.0 };
        // −ln p moves by `miss` times the step of the target's logit, or by that of the others' sum over the whole one: the one where the target does
        // not lead, the other where it does, or where its logit is too large to be moved.
        let sum = stats.others + (-self.distance(self.target)).exp();
        let of_log_p = both.map(|sign| {
            if step == 0.0 {
                stats
            } else if self.miss > 0.5 && stats.target_logit + step != stats.target_logit {
                RowStats { target_logit: stats.target_logit + sign * step / self.miss, ..stats }
            } else {
                RowStats { others: (stats.others + sign * step * sum).max(0.0), ..stats }
            }
        });
        let mut moved = vec![of_log_p];
        if moments {
            let step = 2.0 * self.sums();
            // What exponentials that are too small were.
            let lost = f64::from(f32::MIN_POSITIVE) * self.mapped.len() as f64;
            let logits = step * (stats.sum_exp_logits.abs() + stats.others) + FAR * lost;
            moved.extend([
                both.map(|sign| RowStats {
                    others: (stats.others + sign * (step * stats.others + lost)).max(0.0),
                    ..stats
                }),
                both.map(|sign| RowStats {
                    sum_exp_logits: stats.sum_exp_logits + sign * logits,
                    ..stats
                }),
                both.map(|sign| RowStats {
                    sum_exp_squared: stats.sum_exp_squared * (1.0 + 2.0 * sign * step)
                        + (sign * lost).max(0.0),
                    ..stats
                }),
            ]);
        }
        moved
    }
}

pub(crate) fn class_weight(problem: &Problem, class: usize) -> f64 {
    problem.extras.class_weights.as_ref().map_or(1.0, |weights| f64::from(weights[class]))
}

pub(crate) fn weight_sum(problem: &Problem) -> f64 {
    (0..problem.vocab).map(|class| class_weight(problem, class)).sum()
}

pub(crate) fn smoothing_per_class(problem: &Problem) -> f64 {
    f64::from(problem.extras.label_smoothing) / problem.vocab as f64
}

pub(crate) fn z_loss(problem: &Problem) -> f64 {
    f64::from(problem.extras.z_loss)
}
