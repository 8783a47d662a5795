//! How far the library's loss and gradient are from the exact ones, on the rows that `accuracy/torch_errors.py` specifies.

mod rows;

use surprisal::objective::Sft;
use surprisal::{Batch, Level, Logits, LogitsMut, Loss, Outputs, Reduction, Workspace};

pub use rows::Family;
use rows::Row;

impl Row {
    /// What the library gives.
    fn measured(&self, level: Level) -> Result<(f64, Vec<f32>), surprisal::Error> {
        let (vocab, targets) = (self.logits.len(), [self.target as u64].map(u64::cast_signed));
        let (mut nll, mut gradient) = ([0.0], vec![0.0; vocab]);
        let loss = Loss::new(Sft).reduction(Reduction::Sum).level(level);
        loss.forward_backward_with(
            Logits::new(&self.logits, 1, vocab)?,
            &Batch::new(&targets),
            LogitsMut::new(&mut gradient, 1, vocab)?,
            Outputs::new().nll(&mut nll),
            Workspace::none(),
        )?;
        Ok((nll[0].into(), gradient))
    }

    fn errors(&self, nll: f64, gradient: &[f32]) -> Errors {
        let (exact_nll, exact) = self.exact();
        let mut errors = Errors { nll: relative(nll, exact_nll), ..Errors::default() };
        let (mut sum, mut largest) = (0.0, 0.0_f64);
        for (class, (&entry, exact)) in gradient.iter().zip(exact).enumerate() {
            let (entry, of_target) = (f64::from(entry), class == self.target);
            let worst = if of_target { &mut errors.target } else { &mut errors.others };
            *worst = larger(*worst, relative(entry, exact));
            sum += entry;
            largest = larger(largest, entry.abs());
        }
        errors.row_sum = sum.abs() / largest;
        errors
    }
}

/// A line of the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Errors {
    /// Relative error of −ln p of the target.
    pub nll: f64,
    /// Relative error of the target's entry of the gradient, p − 1.
    pub target: f64,
    /// Largest relative error of the other entries, p.
    pub others: f64,
    /// |sum of the gradient's row|, which should be 0, over its largest entry.
    pub row_sum: f64,
}

impl Errors {
    /// The worst case over the rows of a family, at a SIMD level.
    ///
    /// # Errors
    /// None, for these rows.
    pub fn of(family: Family, level: Level) -> Result<Self, surprisal::Error> {
        let mut worst = Self::default();
        for row in family.rows() {
            let (nll, gradient) = row.measured(level)?;
            worst = worst.or(row.errors(nll, &gradient));
        }
        Ok(worst)
    }

    fn or(self, other: Self) -> Self {
        Self {
            nll: larger(self.nll, other.nll),
            target: larger(self.target, other.target),
            others: larger(self.others, other.others),
            row_sum: larger(self.row_sum, other.row_sum),
        }
    }

    /// Its columns.
    #[must_use]
    pub fn csv(&self) -> String {
        [self.nll, self.target, self.others, self.row_sum].map(scientific).join(",")
    }
}

fn relative(actual: f64, exact: f64) -> f64 {
    (actual - exact).abs() / exact.abs()
}

/// NaN is larger than any number.
fn larger(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}

/// As C and Python print it, with two digits in the exponent.
fn scientific(x: f64) -> String {
    let text = format!("{x:.2e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{mantissa}e-{exponent:0>2}"),
        None => format!("{mantissa}e+{exponent:0>2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::levels;

    #[test]
    fn errors_are_those_of_the_entry_that_is_off() {
        let row = Row { target: 1, logits: vec![0.0, 2.0, -1.0] };
        let (nll, exact) = row.exact();
        assert!((nll - (1.0 + (-2.0_f64).exp() + (-3.0_f64).exp()).ln()).abs() < 1e-15);
        #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
        let gradient: Vec<f32> = exact.iter().map(|&x| x as f32).collect();
        let near = |x: f64, y: f64| (x - y).abs() < 1e-6;
        let Errors { nll: e, target, others, row_sum } = row.errors(nll * 1.5, &gradient);
        assert!(near(e, 0.5) && near(target, 0.0) && near(others, 0.0) && near(row_sum, 0.0));
        let mut off = gradient.clone();
        off[1] *= 1.25;
        let Errors { target, others, row_sum, .. } = row.errors(nll, &off);
        assert!(near(target, 0.25) && near(others, 0.0) && near(row_sum, 0.2));
        off[2] = f32::NAN;
        assert!(row.errors(nll, &off).others.is_nan());
    }

    #[test]
    fn rows_that_are_sure_keep_the_contract_at_every_level() -> Result<(), surprisal::Error> {
        for level in levels() {
            for gap in [10, 12, 15, 20, 27] {
                let Errors { nll, target, row_sum, .. } = Errors::of(Family::Sure(gap), level)?;
                let bound = 4.0 * f64::from(f32::EPSILON);
                assert!(nll <= bound && target <= bound && row_sum <= 1e-6, "{level:?} {gap}");
            }
        }
        Ok(())
    }

    #[test]
    fn numbers_are_printed_as_python_prints_them() {
        assert_eq!(
            [0.0, 4.05e-8, 999.0, 1e-100].map(scientific),
            ["0.00e+00", "4.05e-08", "9.99e+02", "1.00e-100"]
        );
    }
}
