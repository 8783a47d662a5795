//! Claim f: weights and gradients of SFT and DFT where targets are the model's own samples, and where they are data.

use super::measure::{Text, expectations};
use crate::model::Transformer;
use candle_core::Result;

/// Mean and variance of a quantity over tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Moment {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
}

/// Of n = ‖p − e_y‖², the squared gradient of a token's nll at the logits: n/p (SFT read as importance sampling: the weight 1/p),
/// n (SFT as it is), p·n (DFT), in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Moments {
    /// y drawn from the model: exact, by summing over y.
    pub(crate) on_policy: [Moment; 3],
    /// y from the data.
    pub(crate) on_data: [Moment; 3],
}

/// Moments of a model on the learnt tokens of a text.
pub(crate) fn moments(model: &Transformer, text: &Text) -> Result<Moments> {
    let rows = expectations(model, text)?.1.to_vec2::<f32>()?;
    let targets = text.lessons.iter().flat_map(|lesson| {
        lesson.tokens.learnt().map(|token| lesson.tokens.targets[token].unsigned_abs() as usize)
    });
    let (mut on_policy, mut on_data) = (Sums::default(), Sums::default());
    for (row, target) in rows.iter().zip(targets) {
        let p: Vec<f64> = row.iter().map(|&log_p| f64::from(log_p).exp()).collect();
        let squares: f64 = p.iter().map(|p| p * p).sum();
        for &p in p.iter().filter(|&&p| p > 0.0) {
            on_policy.add(p, quantities(p, squares));
        }
        on_data.add(1.0, quantities(p[target], squares));
    }
    Ok(Moments { on_policy: on_policy.moments(), on_data: on_data.moments() })
}

/// n/p, n and p·n of a target of probability p in a row of this Σp².
fn quantities(p: f64, squares: f64) -> [f64; 3] {
    let n = squares - 2.0 * p + 1.0;
    [n / p.max(f64::MIN_POSITIVE), n, p * n]
}

/// Weighted sums.
#[derive(Debug, Default)]
struct Sums {
    weight: f64,
    sum: [f64; 3],
    squares: [f64; 3],
}

impl Sums {
    fn add(&mut self, weight: f64, values: [f64; 3]) {
        self.weight += weight;
        for (index, value) in values.into_iter().enumerate() {
            self.sum[index] += weight * value;
            self.squares[index] += weight * value * value;
        }
    }

    fn moments(&self) -> [Moment; 3] {
        std::array::from_fn(|index| {
            let mean = self.sum[index] / self.weight;
            Moment { mean, variance: self.squares[index] / self.weight - mean * mean }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_those_of_the_gradient() {
        let p = [0.7, 0.2, 0.1_f64];
        let squares = p.iter().map(|p| p * p).sum::<f64>();
        let n: f64 = (0.7_f64).powi(2) + (0.2 - 1.0_f64).powi(2) + 0.1_f64.powi(2);
        let [over, plain, times] = quantities(0.2, squares);
        assert!((plain - n).abs() < 1e-12);
        assert!((over - n / 0.2).abs() < 1e-12 && (times - 0.2 * n).abs() < 1e-12);
    }

    #[test]
    fn moments_are_weighted() {
        let mut sums = Sums::default();
        sums.add(1.0, [1.0, 0.0, 2.0]);
        sums.add(3.0, [5.0, 0.0, 2.0]);
        let [first, zero, constant] = sums.moments();
        assert_eq!((first.mean, first.variance), (4.0, 3.0));
        assert_eq!((zero.mean, constant.variance), (0.0, 0.0));
    }
}
