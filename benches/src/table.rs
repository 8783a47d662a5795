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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 100.0, 2.0]), 3.0);
        assert_eq!(median(vec![5.0]), 5.0);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn a_line_has_the_columns_of_the_header() {
        let (what, shape) = ("sft/forward".to_owned(), Shape { rows: 2, vocab: 3 });
        let line =
            Line { what, dtype: "f32", shape, threads: 4, median_ms: 3.0, yardstick_ms: 2.0 };
        assert_eq!(line.csv(), "sft/forward,f32,2,3,4,3.0000,2.0000,1.500");
        assert_eq!(line.csv().split(',').count(), HEADER.split(',').count());
    }
}
