//! One line a measurement, the same format from every program here.

use crate::shape::Shape;

/// The columns of [`Line`].
pub const HEADER: &str = "what,dtype,rows,vocab,threads,median_ms,yardstick_ms,ratio";

/// A path (or a yardstick) in one run.
#[derive(Clone, Debug)]
pub struct Line {
    /// Path, and SIMD level where it is not the machine's best.
    pub what: String,
    /// Storage type of logits and gradient.
    pub dtype: &'static str,
    /// Sizes.
    pub shape: Shape,
    /// Threads that worked.
    pub threads: usize,
    /// Median over the rounds, in milliseconds.
    pub median_ms: f64,
    /// Median of what moved the same bytes in the same rounds.
    pub yardstick_ms: f64,
}

impl Line {
    /// Time over the yardstick's: 1 is the limit.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.median_ms / self.yardstick_ms
    }

    /// Comma-separated, in the order of [`HEADER`].
    #[must_use]
    pub fn csv(&self) -> String {
        let Self { what, dtype, shape, threads, median_ms, yardstick_ms } = self;
        let (rows, vocab, ratio) = (shape.rows, shape.vocab, self.ratio());
        format!(
            "{what},{dtype},{rows},{vocab},{threads},{median_ms:.4},{yardstick_ms:.4},{ratio:.3}"
        )
    }
}

/// The middle of some numbers.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count.is_multiple_of(2) => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}
