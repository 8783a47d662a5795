//! What the results must be: f64, plain loops, nothing of the fast path. A path that is fast and wrong is no path.

use rayon::prelude::*;
use surprisal::{Batch, Loss, LossReport, reference};

use crate::data::{Data, Dtype};
use crate::path::Class;

/// Rows whose gradient is compared.
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
    /// −∂loss/∂ln p of every row.
    coef: Vec<f64>,
}

impl Oracle {
    /// Walks all rows.
    #[must_use]
    pub fn new<T: Dtype>(data: &Data<T>) -> Self {
        let rows = data.logits.par_chunks(data.shape.vocab).zip(&data.targets);
        let nll = rows.map(|(row, &target)| {
            let (max, sum) = softmax(row);
            max - row[target as usize].widen() + sum.ln()
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
        // The first entry is coef·(p − 1).
        let entries = gradient.as_chunks::<2>().0.iter().zip(&self.nll);
        let coef = entries.map(|([first, _], nll)| first / (-nll).exp_m1()).collect();
        Ok(Expected { loss: report.loss, coef })
    }
}

impl Expected {
    /// Compares the loss, and the gradient of some rows where there is one.
    ///
    /// # Errors
    /// Says what differs.
    pub fn check<T: Dtype>(
        &self,
        data: &Data<T>,
        report: &LossReport,
        gradient: Option<&[T]>,
    ) -> Result<(), String> {
        if !((report.loss - self.loss).abs() <= 4e-7 * (1.0 + self.loss)) {
            return Err(format!("loss {} instead of {}", report.loss, self.loss));
        }
        let Some(gradient) = gradient else { return Ok(()) };
        let last = data.shape.rows - 1;
        for sample in 0..SAMPLED {
            self.check_row(data, last * sample / (SAMPLED - 1), gradient)?;
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
        let ((max, sum), coef) = (softmax(logits), self.coef[row]);
        for (column, (z, actual)) in logits.iter().zip(gradient).enumerate() {
            let distance = max - z.widen();
            let p = (-distance).exp() / sum;
            let is_target = column == data.targets[row] as usize;
            let expected = coef * if is_target { p - 1.0 } else { p };
            let exact = (2.0 + distance) * coef * if is_target { 1.0 } else { p };
            // The contract of `Loss`, twice over: coef is computed too. Then one rounding; the least numbers of f16 are 6e-8 apart.
            let least = if T::NAME == "f16" { 6e-8 } else { 1e-37 };
            let bound = 2.0 * f64::from(f32::EPSILON) * exact + T::UNIT * expected.abs() + least;
            if !((actual.widen() - expected).abs() <= bound) {
                let actual = actual.widen();
                return Err(format!("row {row}, column {column}: {actual} instead of {expected}"));
            }
        }
        Ok(())
    }
}

/// The maximum and Σ exp(z − max).
fn softmax<T: Dtype>(row: &[T]) -> (f64, f64) {
    let max = row.iter().map(|z| z.widen()).fold(f64::NEG_INFINITY, f64::max);
    (max, row.iter().map(|z| (z.widen() - max).exp()).sum())
}
