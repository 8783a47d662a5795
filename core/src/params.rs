//! Parameter-space baselines against forgetting: L2 to the initial weights, WiSE-FT averaging, LoRA.

use crate::entry::{self, read as at};
use crate::error::{Argument, Error, check_len, check_parameter};

/// L2 to the initial weights: returns λ·Σ(θ−θ₀)² / d and **adds** its gradient 2λ(θ−θ₀)/d to `gradient`. d = 1 is the textbook form;
/// FLOW's repository divides by the number of parameters (all of the model's, so that tensors can be visited one by one).
///
/// # Errors
/// [`Error::Length`] where slices differ; [`Error::Parameter`] where λ < 0 or d ≤ 0.
pub fn l2_to_initial(
    parameters: &[f32],
    initial: &[f32],
    lambda: f64,
    divisor: f64,
    gradient: &mut [f32],
) -> Result<f64, Error> {
    check_len(Argument::Initial, initial.len(), parameters.len())?;
    check_len(Argument::Output, gradient.len(), parameters.len())?;
    let allowed = lambda >= 0.0 && lambda.is_finite();
    check_parameter("lambda", lambda, allowed, "a finite number >= 0")?;
    check_parameter("divisor", divisor, divisor > 0.0, "a number > 0")?;
    let mut sum = 0.0;
    for ((theta, theta0), g) in parameters.iter().zip(initial).zip(gradient) {
        let difference = f64::from(*theta) - f64::from(*theta0);
        sum += difference * difference;
        *g = round(f64::from(*g) + 2.0 * lambda / divisor * difference);
    }
    Ok(lambda / divisor * sum)
}

/// WiSE-FT: `out = (1−α)·initial + α·parameters`, each entry rounded once. α = 1 keeps the fine-tuned model. Wortsman et al. 2022.
///
/// # Errors
/// [`Error::Length`]; [`Error::Parameter`] where α is outside \[0, 1\].
pub fn wise_ft(
    parameters: &[f32],
    initial: &[f32],
    alpha: f64,
    out: &mut [f32],
) -> Result<(), Error> {
    check_len(Argument::Initial, initial.len(), parameters.len())?;
    check_len(Argument::Output, out.len(), parameters.len())?;
    check_parameter("alpha", alpha, (0.0..=1.0).contains(&alpha), "a number in [0, 1]")?;
    for ((theta, theta0), out) in parameters.iter().zip(initial).zip(out) {
        *out = round((1.0 - alpha) * f64::from(*theta0) + alpha * f64::from(*theta));
    }
    Ok(())
}

/// Shape and scale of a low-rank adapter: W = W₀ + s·B·A with A `[rank × columns]`, B `[rows × rank]`, all row-major. Hu et al. 2021.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lora {
    /// Rows of W.
    pub rows: usize,
    /// Columns of W.
    pub columns: usize,
    /// Rank r.
    pub rank: usize,
    /// Scale s: α/r; rsLoRA has α/√r.
    pub scale: f64,
}

impl Lora {
    /// Adds s·B·A to `weights`.
    ///
    /// # Errors
    /// [`Error::Length`]; [`Error::Parameter`] for a scale that is not finite.
    pub fn merge(&self, a: &[f32], b: &[f32], weights: &mut [f32]) -> Result<(), Error> {
        self.check(a, b, weights.len())?;
        if weights.is_empty() {
            return Ok(());
        }
        for i in 0..self.rows {
            for j in 0..self.columns {
                let dot = (0..self.rank)
                    .map(|k| at(b, i * self.rank + k) * at(a, k * self.columns + j))
                    .sum::<f64>();
                let index = i * self.columns + j;
                let sum = at(weights, index) + self.scale * dot;
                entry::write(weights, index, round(sum));
            }
        }
        Ok(())
    }

    /// Writes the gradients of both factors from that of W: dA = s·Bᵀ·G, dB = s·G·Aᵀ.
    ///
    /// # Errors
    /// As [`Lora::merge`].
    pub fn gradients(
        &self,
        gradient: &[f32],
        (a, da): (&[f32], &mut [f32]),
        (b, db): (&[f32], &mut [f32]),
    ) -> Result<(), Error> {
        self.check(a, b, gradient.len())?;
        check_len(Argument::LoraA, da.len(), a.len())?;
        check_len(Argument::LoraB, db.len(), b.len())?;
        if a.is_empty() && b.is_empty() {
            // Nothing to write, however large the rank.
            return Ok(());
        }
        for k in 0..self.rank {
            for j in 0..self.columns {
                let column = (0..self.rows)
                    .map(|i| at(b, i * self.rank + k) * at(gradient, i * self.columns + j));
                let sum = column.sum::<f64>();
                entry::write(da, k * self.columns + j, round(self.scale * sum));
            }
            for i in 0..self.rows {
                let row = (0..self.columns)
                    .map(|j| at(gradient, i * self.columns + j) * at(a, k * self.columns + j));
                let sum = row.sum::<f64>();
                entry::write(db, i * self.rank + k, round(self.scale * sum));
            }
        }
        Ok(())
    }

    fn check(&self, a: &[f32], b: &[f32], weights: usize) -> Result<(), Error> {
        let extent =
            |argument, x: usize, y: usize| x.checked_mul(y).ok_or(Error::Extent { argument });
        check_len(Argument::LoraA, a.len(), extent(Argument::LoraA, self.rank, self.columns)?)?;
        check_len(Argument::LoraB, b.len(), extent(Argument::LoraB, self.rows, self.rank)?)?;
        let expected = extent(Argument::Parameters, self.rows, self.columns)?;
        check_len(Argument::Parameters, weights, expected)?;
        check_parameter("scale", self.scale, self.scale.is_finite(), "a finite number")
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
fn round(value: f64) -> f32 {
    value as f32
}
