//! How the rows of a batch are cut: into chunks that hold so many active rows, and a chunk into runs of active and of ignored rows.

use core::ops::Range;

use surprisal::Batch;

/// Neighbouring rows of a batch, and how many of them are active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) rows: Range<usize>,
    pub(crate) active: usize,
}

/// Cuts a batch's own range of rows into chunks of at most so many active rows, all of about the same number.
pub(crate) fn chunks<'b>(batch: &'b Batch<'_>, most: usize) -> impl Iterator<Item = Chunk> + 'b {
    let Range { mut start, end } = batch.range();
    let mut left = active(batch, start..end);
    let each = left.div_ceil(left.div_ceil(most.max(1)).max(1));
    core::iter::from_fn(move || {
        let wanted = each.min(left);
        left -= wanted;
        // The last chunk also has the ignored rows behind its last active one.
        let stop = if left == 0 { end } else { after(batch, start..end, wanted) };
        let chunk = Chunk { rows: start..stop, active: wanted };
        start = stop;
        (!chunk.rows.is_empty()).then_some(chunk)
    })
}

/// Active rows among these.
pub(crate) fn active(batch: &Batch<'_>, rows: Range<usize>) -> usize {
    rows.filter(|&row| batch.target(row).is_some()).count()
}

/// The row behind the `count`-th active one.
fn after(batch: &Batch<'_>, rows: Range<usize>, count: usize) -> usize {
    let end = rows.end;
    let mut actives = rows.filter(|&row| batch.target(row).is_some());
    actives.nth(count - 1).map_or(end, |row| row + 1)
}

/// The longest run of rows of one kind that starts at the first, and whether they are active.
fn first_run(batch: &Batch<'_>, rows: Range<usize>) -> (Range<usize>, bool) {
    let is_active = |row| batch.target(row).is_some();
    let kind = is_active(rows.start);
    let end = rows.clone().find(|&row| is_active(row) != kind).unwrap_or(rows.end);
    (rows.start..end, kind)
}

/// All runs, in order.
pub(crate) fn runs<'b>(
    batch: &'b Batch<'_>,
    mut rows: Range<usize>,
) -> impl Iterator<Item = (Range<usize>, bool)> + 'b {
    core::iter::from_fn(move || {
        if rows.is_empty() {
            return None;
        }
        let (run, is_active) = first_run(batch, rows.clone());
        rows.start = run.end;
        Some((run, is_active))
    })
}

/// The run of active rows that all active rows of a chunk make, if they are neighbours.
pub(crate) fn only_run(batch: &Batch<'_>, chunk: &Chunk) -> Option<Range<usize>> {
    let (run, _) = runs(batch, chunk.rows.clone()).find(|(_, is_active)| *is_active)?;
    (run.len() == chunk.active).then_some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_chunk() {
        for pattern in 0..1_u32 << 9 {
            let targets: Vec<i32> = (0..9).map(|row| 1 - 2 * (pattern >> row & 1) as i32).collect();
            let batch = Batch::new(&targets).ignore_index(-1);
            for range in [0..9, 2..7, 3..3] {
                let batch = batch.row_range(range.clone());
                for most in 1..10 {
                    let mut next = range.start;
                    for chunk in chunks(&batch, most) {
                        assert_eq!(chunk.rows.start, next);
                        assert_eq!(active(&batch, chunk.rows.clone()), chunk.active);
                        assert!(chunk.active <= most);
                        next = chunk.rows.end;
                        let runs: Vec<_> = runs(&batch, chunk.rows.clone()).collect();
                        let actives: Vec<_> = runs.iter().filter(|(_, active)| *active).collect();
                        let only = only_run(&batch, &chunk);
                        assert_eq!(only.is_some(), actives.len() == 1);
                    }
                    assert_eq!(next, range.end);
                }
            }
        }
    }
}
