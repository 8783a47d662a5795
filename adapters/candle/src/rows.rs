//! Where the rows of a tensor `[…, vocab]` lie: in blocks, each of rows that are equally far apart.

use std::ops::Range;

use candle_core::Layout;

/// The rows of a tensor in its storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) vocab: usize,
    /// Elements from a row of a block to the next.
    pub(crate) stride: usize,
    /// Rows of every block.
    pub(crate) of_block: usize,
    /// Where each block begins.
    pub(crate) starts: Vec<usize>,
}

impl Rows {
    /// `None` where rows overlap, or where their entries do not lie side by side.
    pub(crate) fn of(layout: &Layout) -> Option<Self> {
        let (&vocab, dims) = layout.dims().split_last()?;
        let (&across, strides) = layout.stride().split_last()?;
        if vocab == 0 || (vocab > 1 && across != 1) {
            return None;
        }
        let mut starts = vec![layout.start_offset()];
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
    pub(crate) fn contiguous(rows: usize, vocab: usize) -> Self {
        Self { vocab, stride: vocab, of_block: rows, starts: vec![0] }
    }

    /// Rows of all blocks.
    pub(crate) fn len(&self) -> usize {
        self.of_block * self.starts.len()
    }

    /// The rows of each block among all of them, and where its elements lie in the storage.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let extent = self.of_block.checked_sub(1).map_or(0, |last| last * self.stride + self.vocab);
        self.starts.iter().enumerate().map(move |(block, &start)| {
            (block * self.of_block..(block + 1) * self.of_block, start..start + extent)
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor};

    use super::*;

    fn of(tensor: &Tensor) -> Option<Rows> {
        Rows::of(tensor.layout())
    }

    #[test]
    fn rows_of_views() -> Result<()> {
        let all = Tensor::arange(0_u32, 2 * 3 * 5, &Device::Cpu)?.reshape((2, 3, 5))?;
        assert_eq!(of(&all), Some(Rows::contiguous(6, 5)));
        let shifted = Rows { vocab: 5, stride: 5, of_block: 2, starts: vec![5, 20] };
        assert_eq!(of(&all.narrow(1, 1, 2)?), Some(shifted));
        let padded = Rows { vocab: 4, stride: 5, of_block: 6, starts: vec![1] };
        assert_eq!(of(&all.narrow(2, 1, 4)?), Some(padded));
        let swapped = Rows { vocab: 5, stride: 15, of_block: 2, starts: vec![0, 5, 10] };
        assert_eq!(of(&all.transpose(0, 1)?), Some(swapped));
        assert_eq!(of(&all.transpose(1, 2)?), None);
        assert_eq!(of(&all.narrow(1, 0, 1)?.broadcast_as((2, 3, 5))?), None);
        assert_eq!(
            of(&all.get(0)?.get(1)?),
            Some(Rows { starts: vec![5], ..Rows::contiguous(1, 5) })
        );
        assert_eq!(of(&all.narrow(0, 0, 0)?).map(|rows| rows.len()), Some(0));
        let four = all.reshape((1, 2, 3, 5))?;
        assert_eq!(of(&four), Some(Rows::contiguous(6, 5)));
        Ok(())
    }
}
