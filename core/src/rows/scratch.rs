//! The caller's scratch rows, handed to the workers of a call.

#[cfg(not(feature = "rayon"))]
use core::cell::Cell;
#[cfg(feature = "rayon")]
use std::sync::Mutex;

/// More workers than this share a call only in part: the others go without.
#[cfg(feature = "rayon")]
const WORKERS: usize = 64;

/// f32 rows, one for each worker. A worker that finds none left computes twice what it would have kept there.
pub(crate) struct Scratch<'a> {
    #[cfg(feature = "rayon")]
    rows: [Mutex<&'a mut [f32]>; WORKERS],
    /// So many of them are the caller's, the others empty.
    #[cfg(feature = "rayon")]
    given: usize,
    #[cfg(not(feature = "rayon"))]
    row: Cell<&'a mut [f32]>,
}

impl<'a> Scratch<'a> {
    /// Cuts the caller's slice into rows of `vocab` entries.
    pub(crate) fn new(scratch: &'a mut [f32], vocab: usize) -> Self {
        #[cfg(feature = "rayon")]
        {
            let mut rows = scratch.chunks_exact_mut(vocab.max(1));
            let given = rows.len().min(WORKERS);
            let rows = core::array::from_fn(|_| Mutex::new(rows.next().unwrap_or_default()));
            Self { rows, given }
        }
        #[cfg(not(feature = "rayon"))]
        {
            Self { row: Cell::new(scratch.get_mut(..vocab).unwrap_or_default()) }
        }
    }

    /// For passes that keep nothing.
    pub(crate) fn none() -> Self {
        Self::new(&mut [], 0)
    }

    /// Runs `work` with a row that nobody else uses meanwhile, or with an empty one.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut [f32]) -> R) -> R {
        #[cfg(feature = "rayon")]
        {
            let mut free = self.rows.get(..self.given).unwrap_or_default().iter();
            match free.find_map(|row| row.try_lock().ok()) {
                Some(mut row) => work(&mut row),
                None => work(&mut []),
            }
        }
        #[cfg(not(feature = "rayon"))]
        {
            let row = self.row.take();
            let result = work(row);
            self.row.set(row);
            result
        }
    }
}
