//! What the results must be: f64, plain loops, nothing of the fast path. A path that is fast and wrong is no path.

use rayon::prelude::*;
use surprisal::{Batch, Loss, LossReport, reference};

use crate::data::{Data, Dtype};
use crate::path::Class;
use crate::shape::Shape;

/// Rows whose gradient is compared in every column; of the others, only the target's.
const SAMPLED: usize = 24;

/// −ln p of every row.
#[derive(Debug)]
pub struct Oracle {
    nll: Vec<f64>,
}

/// Loss and coefficients of one objective.
#[derive(Debug)]
pub struct Expected {
    loss: f64,
    /// −ln p of every row.
    nll: Vec<f64>,
    /// −∂loss/∂ln p of every row.
    coef: Vec<f64>,
}

impl Oracle {
    /// Walks all rows.
    #[must_use]
    pub fn new<T: Dtype>(data: &Data<T>) -> Self {
        let rows = data.logits.par_chunks(data.shape.vocab).zip(&data.targets);
        let nll = rows.map(|(row, &target)| {
            // The target is left out of the sum, so that nothing cancels where p is near 1.
            let (target, at_target) = (target as usize, row[target as usize].widen());
            let others = row.iter().enumerate().filter(|(column, _)| *column != target);
            others.map(|(_, z)| (z.widen() - at_target).exp()).sum::<f64>().ln_1p()
        });
        Self { nll: nll.collect() }
    }

    /// What an objective makes of these rows.
    ///
    /// It depends on them through ln p alone, so two classes a row, of which the first has the row's p, are enough for the reference.
    ///
    /// # Errors
    /// None, for sound data.
    pub fn expect<T: Dtype>(
        &self,
        class: Class,
        data: &Data<T>,
    ) -> Result<Expected, surprisal::Error> {
        let rows = self.nll.len();
        let pairs: Vec<f64> = self.nll.iter().flat_map(|nll| [0.0, nll.exp_m1().ln()]).collect();
        let targets = vec![0; rows];
        let batch = Batch::new(&targets).sequences(&data.sequences);
        let loss = Loss::new(class.objective());
        let mut gradient = vec![0.0; 2 * rows];
        let report = reference::forward_backward(&loss, &pairs, rows, 2, &batch, &mut gradient)?;
        // The first entry is coef·(p − 1). In a vocabulary of one class p is 1, and any coefficient will do.
        let coef = |([first, _], nll): (&[f64; 2], &f64)| {
            if *nll > 0.0 { first / (-nll).exp_m1() } else { 0.0 }
        };
        let coef = gradient.as_chunks::<2>().0.iter().zip(&self.nll).map(coef).collect();
        Ok(Expected { loss: report.loss, nll: self.nll.clone(), coef })
    }
}

impl Expected {
    /// Compares the loss and, where there is one, the gradient: the target's entry of every row, all entries of some.
    ///
    /// # Errors
    /// Says what differs.
    pub fn check<T: Dtype>(
        &self,
        data: &Data<T>,
        report: &LossReport,
        gradient: Option<&[T]>,
    ) -> Result<(), String> {
        if !within(report.loss - self.loss, 4e-7 * (1.0 + self.loss)) {
            return Err(format!("loss {} instead of {}", report.loss, self.loss));
        }
        let Some(gradient) = gradient else { return Ok(()) };
        let Shape { rows, vocab } = data.shape;
        for (row, gradient) in gradient.chunks(vocab).enumerate() {
            let (column, nll, coef) = (data.targets[row] as usize, self.nll[row], self.coef[row]);
            // No logit is farther from the maximum than −ln p says.
            check_entry((row, column), gradient[column], coef * (-nll).exp_m1(), nll)?;
        }
        for sample in 0..SAMPLED {
            self.check_row(data, (rows - 1) * sample / (SAMPLED - 1), gradient)?;
        }
        Ok(())
    }

    fn check_row<T: Dtype>(
        &self,
        data: &Data<T>,
        row: usize,
        gradient: &[T],
    ) -> Result<(), String> {
        let columns = row * data.shape.vocab..(row + 1) * data.shape.vocab;
        let (logits, gradient) = (&data.logits[columns.clone()], &gradient[columns]);
        let ((max, sum), coef, nll) = (softmax(logits), self.coef[row], self.nll[row]);
        for (column, (z, actual)) in logits.iter().zip(gradient).enumerate() {
            let distance = max - z.widen();
            let is_target = column == data.targets[row] as usize;
            let missing = if is_target { (-nll).exp_m1() } else { (-distance).exp() / sum };
            check_entry((row, column), *actual, coef * missing, distance)?;
        }
        Ok(())
    }
}

/// Holds a gradient's entry to the contract of `Loss`, relative to itself: `2^-23·(4 + distance)` of the logit from the maximum. Twice over, for
/// coef is computed too; then it is rounded once.
fn check_entry<T: Dtype>(
    (row, column): (usize, usize),
    actual: T,
    expected: f64,
    distance: f64,
) -> Result<(), String> {
    let actual = actual.widen();
    // The least numbers of f16 are 6e-8 apart.
    let least = if T::NAME == "f16" { 3e-8 } else { 1e-37 };
    let bound = (2.0 * f64::from(f32::EPSILON) * (4.0 + distance) + T::UNIT) * expected.abs();
    if within(actual - expected, bound + least) {
        Ok(())
    } else {
        Err(format!("row {row}, column {column}: {actual} instead of {expected}"))
    }
}

/// False for NaN.
fn within(difference: f64, bound: f64) -> bool {
    difference.abs() <= bound
}

/// The maximum and Σ exp(z − max).
fn softmax<T: Dtype>(row: &[T]) -> (f64, f64) {
    let max = row.iter().map(|z| z.widen()).fold(f64::NEG_INFINITY, f64::max);
    (max, row.iter().map(|z| (z.widen() - max).exp()).sum())
}

#[cfg(test)]
mod tests {
    use surprisal::{bf16, default_level, f16};

    use super::*;
    use crate::path::{Path, Target, Workspace};

    /// A right result of a path, and what the oracle says after `spoil` has had it.
    fn verdict<T: Dtype>(
        class: Class,
        shape: Shape,
        spoil: impl Fn(&Data<T>, &mut LossReport, &mut [T]),
    ) -> Result<(), String> {
        let data = Data::<T>::new(shape);
        let (mut logits, mut gradient) = (data.logits.clone(), data.logits.clone());
        let path = Path { class, target: Target::Separate, level: default_level() };
        let mut workspace = Workspace::new(shape, 1);
        let report = path.run(&data, &mut logits, &mut gradient, &mut workspace);
        let expected = Oracle::new(&data).expect(class, &data);
        let (mut report, expected) = (report.expect("sound"), expected.expect("sound"));
        spoil(&data, &mut report, &mut gradient);
        expected.check(&data, &report, Some(&gradient))
    }

    const SHAPE: Shape = Shape { rows: 70, vocab: 130 };

    fn all_types(class: Class, shape: Shape) -> Result<(), String> {
        verdict::<f32>(class, shape, |_, _, _| ())?;
        verdict::<bf16>(class, shape, |_, _, _| ())?;
        verdict::<f16>(class, shape, |_, _, _| ())
    }

    #[test]
    fn a_right_result_passes() -> Result<(), String> {
        for class in [Class::Token, Class::Batch] {
            all_types(class, SHAPE)?;
            all_types(class, Shape { rows: 1, vocab: 300 })?;
            all_types(class, Shape { rows: 3, vocab: 1 })?;
        }
        Ok(())
    }

    #[test]
    fn a_wrong_loss_fails() {
        for factor in [1.0 + 1e-5, 0.0, f64::NAN] {
            let spoil =
                |_: &Data<f32>, report: &mut LossReport, _: &mut [f32]| report.loss *= factor;
            assert!(verdict(Class::Token, SHAPE, spoil).is_err_and(|error| error.contains("loss")));
        }
    }

    #[test]
    fn an_entry_that_is_off_by_one_percent_fails() {
        fn scale<T: Dtype>(entry: &mut T, factor: f64) {
            #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
            let scaled = (entry.widen() * factor) as f32;
            *entry = T::round(scaled);
        }
        for factor in [1.01, 0.99, f64::NAN] {
            for class in [Class::Token, Class::Batch] {
                // Any column of a sampled row.
                for column in 0..SHAPE.vocab {
                    let fails =
                        verdict::<f32>(class, SHAPE, |_, _, g| scale(&mut g[column], factor));
                    assert!(fails.is_err(), "{column}");
                }
                // The target of any row.
                for row in 0..SHAPE.rows {
                    let fails = verdict::<bf16>(class, SHAPE, |data, _, g| {
                        scale(&mut g[row * SHAPE.vocab + data.targets[row] as usize], factor);
                    });
                    assert!(fails.is_err(), "{row}");
                }
            }
        }
    }

    #[test]
    fn a_row_that_nobody_wrote_fails() {
        for row in 0..SHAPE.rows {
            let columns = row * SHAPE.vocab..(row + 1) * SHAPE.vocab;
            let missing = verdict::<f32>(Class::Token, SHAPE, |_, _, gradient| {
                gradient[columns.clone()].fill(-7.0);
            });
            assert!(missing.is_err_and(|error| error.contains(&format!("row {row},"))));
        }
    }
}
