//! Work that is shared over the threads of the current rayon pool, or done here without feature `rayon`.

/// Fewer elements than this are not worth another thread.
#[cfg(feature = "rayon")]
const TASK_ELEMENTS: usize = 1 << 15;

/// Calls `work(index, chunk)` for every chunk of so many elements; what is left over is left out.
pub(crate) fn each_chunk<T: Send>(
    values: &mut [T],
    len: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let len = len.max(1);
    #[cfg(feature = "rayon")]
    {
        use rayon::prelude::*;
        if values.len() >= TASK_ELEMENTS {
            let chunks = values.par_chunks_exact_mut(len).enumerate();
            let least = TASK_ELEMENTS.div_ceil(len);
            return chunks.with_min_len(least).for_each(|(index, chunk)| work(index, chunk));
        }
    }
    values.chunks_exact_mut(len).enumerate().for_each(|(index, chunk)| work(index, chunk));
}

/// Both, at the same time if there are threads.
pub(crate) fn join<A: Send, B: Send>(
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B + Send,
) -> (A, B) {
    #[cfg(feature = "rayon")]
    return rayon::join(a, b);
    #[cfg(not(feature = "rayon"))]
    (a(), b())
}
