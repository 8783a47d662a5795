//! Integer ids over the caller's memory, and the sequences that offsets cut a batch into.

use core::ops::Range;

use crate::error::{Argument, Error, check_len};

/// Integer ids over the caller's memory: targets or sequence offsets, as `i32`, `u32` or `i64`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Ids<'a> {
    /// 32-bit signed (llama.cpp's `llama_token`, `FlashAttention`'s `cu_seqlens`).
    I32(&'a [i32]),
    /// 32-bit unsigned (candle).
    U32(&'a [u32]),
    /// 64-bit signed (PyTorch).
    I64(&'a [i64]),
}

impl<'a> Ids<'a> {
    /// The ids, one after the other.
    pub fn iter(self) -> impl Iterator<Item = i64> + 'a {
        (0..self.len()).filter_map(move |index| self.get(index))
    }

    pub(crate) fn len(self) -> usize {
        match self {
            Self::I32(ids) => ids.len(),
            Self::U32(ids) => ids.len(),
            Self::I64(ids) => ids.len(),
        }
    }

    pub(crate) fn get(self, index: usize) -> Option<i64> {
        match self {
            Self::I32(ids) => ids.get(index).map(|&id| i64::from(id)),
            Self::U32(ids) => ids.get(index).map(|&id| i64::from(id)),
            Self::I64(ids) => ids.get(index).copied(),
        }
    }
}

macro_rules! ids_from {
    ($($int:ty => $variant:ident),*) => {$(
        impl<'a> From<&'a [$int]> for Ids<'a> {
            fn from(ids: &'a [$int]) -> Self {
                Self::$variant(ids)
            }
        }

        impl<'a, const N: usize> From<&'a [$int; N]> for Ids<'a> {
            fn from(ids: &'a [$int; N]) -> Self {
                Self::$variant(ids)
            }
        }

        #[cfg(feature = "std")]
        impl<'a> From<&'a std::vec::Vec<$int>> for Ids<'a> {
            fn from(ids: &'a std::vec::Vec<$int>) -> Self {
                Self::$variant(ids)
            }
        }
    )*};
}
ids_from!(i32 => I32, u32 => U32, i64 => I64);

/// Sequences of a packed batch, as cumulative offsets: sequence `i` has the rows `offsets[i]..offsets[i + 1]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequences<'a>(pub(crate) Ids<'a>);

impl Sequences<'_> {
    /// Offsets start at 0, never fall, and end at `rows`.
    pub(crate) fn check(self, rows: usize) -> Result<(), Error> {
        let offsets = self.0;
        if offsets.len() == 0 {
            return check_len(Argument::Sequences, 0, 1);
        }
        let mut last = 0;
        for (index, offset) in (0..).map_while(|i| offsets.get(i)).enumerate() {
            let starts = index > 0 || offset == 0;
            let ends = index + 1 < offsets.len() || usize::try_from(offset) == Ok(rows);
            if offset < last || !starts || !ends {
                return Err(Error::Sequences { index, offset });
            }
            last = offset;
        }
        Ok(())
    }

    pub(crate) fn len(self) -> usize {
        self.0.len() - 1
    }

    /// The rows of a sequence, none where there is no such sequence; the offsets have been checked.
    pub(crate) fn rows(self, sequence: usize) -> Range<usize> {
        let offset = |i| self.0.get(i).and_then(|offset| usize::try_from(offset).ok());
        let end = offset(sequence.saturating_add(1));
        offset(sequence).zip(end).map_or(0..0, |(start, end)| start..end)
    }

    /// The sequence that a row lies in: the last one that starts at or before it.
    pub(crate) fn of_row(self, row: usize) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.rows(middle).end <= row { low = middle + 1 } else { high = middle }
        }
        low
    }
}
