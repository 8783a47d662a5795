//! How the rows of a batch are cut into chunks that hold so many active rows.

use core::ops::Range;

/// Neighbouring rows of a batch, and which of its active rows are among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) rows: Range<u32>,
    pub(crate) active: Range<u32>,
}

impl Chunk {
    /// Its active rows.
    pub(crate) fn len(&self) -> u32 {
        self.active.end - self.active.start
    }
}

/// Cuts so many rows, of which these are active, into chunks of at most `most` active rows, all of about the same number.
pub(crate) fn chunks(rows: u32, active: &[u32], most: u32) -> Vec<Chunk> {
    let each = active.len().div_ceil(active.len().div_ceil(most.max(1) as usize).max(1));
    let mut chunks = Vec::new();
    let (mut start, mut first) = (0, 0);
    for part in active.chunks(each.max(1)) {
        let end = part.last().map_or(start, |row| row + 1);
        let next = first + narrow(part.len());
        chunks.push(Chunk { rows: start..end, active: first..next });
        (start, first) = (end, next);
    }
    // Ignored rows behind the last active one.
    if start < rows {
        chunks.push(Chunk { rows: start..rows, active: first..first });
    }
    chunks
}

/// Active rows are no more than the rows, whose number fits.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_chunk() {
        for pattern in 0..1_u32 << 9 {
            let active: Vec<u32> = (0..9).filter(|row| pattern >> row & 1 == 1).collect();
            for most in 1..10 {
                let (mut next_row, mut next_active) = (0, 0);
                for chunk in chunks(9, &active, most) {
                    assert_eq!((chunk.rows.start, chunk.active.start), (next_row, next_active));
                    assert!(chunk.len() <= most && !chunk.rows.is_empty());
                    let inside = active.iter().filter(|row| chunk.rows.contains(row)).count();
                    assert_eq!(inside, chunk.len() as usize);
                    (next_row, next_active) = (chunk.rows.end, chunk.active.end);
                }
                assert_eq!((next_row, next_active as usize), (9, active.len()));
            }
        }
        assert!(chunks(0, &[], 3).is_empty());
    }
}
