//! Where the rows of a tensor `[…, vocab]` lie: in blocks, each of rows that are equally far apart.

use std::ops::Range;

/// The rows of a tensor in its storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Entries of a row, which lie side by side.
    pub vocab: usize,
    /// Elements from a row of a block to the next.
    pub stride: usize,
    /// Rows of every block.
    pub of_block: usize,
    /// Where each block begins.
    pub starts: Vec<usize>,
}

impl Rows {
    /// Those of a tensor of dimensions `dims`, whose neighbours along each are so many elements apart, and whose first element lies at `start`.
    ///
    /// `None` where rows overlap, or where their entries do not lie side by side: such a tensor must be copied first.
    #[must_use]
    pub fn of(dims: &[usize], strides: &[usize], start: usize) -> Option<Self> {
        let (&vocab, dims) = dims.split_last()?;
        let (&across, strides) = strides.split_last()?;
        if vocab == 0 || (vocab > 1 && across != 1) {
            return None;
        }
        let mut starts = vec![start];
        let (mut of_block, mut stride) = (1, vocab);
        for (&dim, &down) in dims.iter().zip(strides) {
            if of_block == 1 {
                (of_block, stride) = (dim, down);
            } else if dim != 1 && stride == down * dim {
                (of_block, stride) = (of_block * dim, down);
            } else if dim != 1 {
                // What was the innermost dimension so far is one of blocks.
                starts = starts
                    .iter()
                    .flat_map(|start| (0..of_block).map(move |block| start + block * stride))
                    .collect();
                (of_block, stride) = (dim, down);
            }
        }
        if of_block <= 1 {
            stride = vocab;
        }
        (stride >= vocab).then_some(Self { vocab, stride, of_block, starts })
    }

    /// Of rows one after the other.
    #[must_use]
    pub fn contiguous(rows: usize, vocab: usize) -> Self {
        Self { vocab, stride: vocab, of_block: rows, starts: vec![0] }
    }

    /// Rows of all blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.of_block * self.starts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of each block among all of them, and where its elements lie in the storage.
    pub fn blocks(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let extent = self.of_block.checked_sub(1).map_or(0, |last| last * self.stride + self.vocab);
        self.starts.iter().enumerate().map(move |(block, &start)| {
            (block * self.of_block..(block + 1) * self.of_block, start..start + extent)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_views() {
        // All of [2, 3, 5], and views of it.
        let strides = [15, 5, 1];
        let of = |dims: &[usize], start| Rows::of(dims, &strides, start);
        assert_eq!(of(&[2, 3, 5], 0), Some(Rows::contiguous(6, 5)));
        let shifted = Rows { vocab: 5, stride: 5, of_block: 2, starts: vec![5, 20] };
        assert_eq!(of(&[2, 2, 5], 5), Some(shifted));
        let padded = Rows { vocab: 4, stride: 5, of_block: 6, starts: vec![1] };
        assert_eq!(of(&[2, 3, 4], 1), Some(padded));
        assert_eq!(of(&[0, 3, 5], 0).map(|rows| rows.len()), Some(0));
        let swapped = Rows { vocab: 5, stride: 15, of_block: 2, starts: vec![0, 5, 10] };
        assert_eq!(Rows::of(&[3, 2, 5], &[5, 15, 1], 0), Some(swapped));
        let one = Rows { starts: vec![5], ..Rows::contiguous(1, 5) };
        assert_eq!(Rows::of(&[5], &[1], 5), Some(one));
        assert_eq!(Rows::of(&[1, 2, 3, 5], &[30, 15, 5, 1], 0), Some(Rows::contiguous(6, 5)));
    }

    #[test]
    fn what_cannot_be_read_where_it_lies() {
        // Transposed, broadcast, without a dimension, without a vocabulary.
        assert_eq!(Rows::of(&[2, 5, 3], &[15, 1, 5], 0), None);
        assert_eq!(Rows::of(&[2, 3, 5], &[15, 0, 1], 0), None);
        assert_eq!(Rows::of(&[], &[], 0), None);
        assert_eq!(Rows::of(&[3, 0], &[0, 1], 0), None);
    }
}
