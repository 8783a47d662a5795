//! Sizes of a logits matrix.

use std::fmt;
use std::str::FromStr;

/// Rows (token positions) × vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Token positions.
    pub rows: usize,
    /// Classes.
    pub vocab: usize,
}

/// Llama-2's vocabulary, Qwen's, a matrix of 1 GiB, a small vocabulary, Gemma's with few rows, bytes with many.
pub const SHAPES: [Shape; 6] = [
    Shape { rows: 512, vocab: 32_000 },
    Shape { rows: 128, vocab: 151_936 },
    Shape { rows: 8192, vocab: 32_768 },
    Shape { rows: 4096, vocab: 1000 },
    Shape { rows: 16, vocab: 262_144 },
    Shape { rows: 65_536, vocab: 256 },
];

/// Shapes that take a moment: odd, longer than a block, shorter than a vector.
pub const QUICK: [Shape; 4] = [
    Shape { rows: 37, vocab: 5003 },
    Shape { rows: 2, vocab: 70_001 },
    Shape { rows: 301, vocab: 257 },
    Shape { rows: 513, vocab: 7 },
];

impl Shape {
    /// Number of logits.
    #[must_use]
    pub fn len(self) -> usize {
        self.rows * self.vocab
    }

    /// Whether there is nothing to measure.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.vocab)
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Targets are i32, and so are the offsets of sequences.
        let parse = |text: &str| text.parse::<u32>().ok().filter(|&n| 0 < n && n < 1 << 31);
        let (rows, vocab) = text
            .split_once('x')
            .and_then(|(rows, vocab)| Some((parse(rows)? as usize, parse(vocab)? as usize)))
            .ok_or_else(|| format!("{text:?} is no shape like 512x32000"))?;
        rows.checked_mul(vocab).ok_or_else(|| format!("{text} is too large"))?;
        Ok(Self { rows, vocab })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_read_as_it_is_written() {
        for shape in SHAPES.into_iter().chain(QUICK) {
            assert_eq!(shape.to_string().parse(), Ok(shape));
        }
    }

    #[test]
    fn what_is_no_shape_is_refused() {
        for text in ["", "x", "12", "0x5", "5x0", "-1x5", "5x", "5x6x7", "5 x 6", "1x2147483648"] {
            assert!(text.parse::<Shape>().is_err_and(|error| error.contains(text)), "{text}");
        }
    }
}
