//! Work that is shared over the threads that a [`Gemm`] lends.

use surprisal::Level;

use crate::gemm::Gemm;
use crate::slot::Slot;

/// What a call computes on.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    pub(crate) gemm: &'a dyn Gemm,
    pub(crate) level: Level,
}

/// Tasks that are handed out at once.
pub(crate) const MOST_TASKS: usize = 64;

/// Fewer elements than this are not worth a task.
pub(crate) const TASK_ELEMENTS: usize = 1 << 15;

/// Does `work` to each item, at the same time as far as there are threads.
///
/// Every item is done once, whatever the caller's `parallel` does: an index that it calls twice finds nothing the second time, one that it forgets
/// is done here.
pub(crate) fn each<T: Send>(
    threads: &dyn Gemm,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) + Sync,
) {
    let mut items = items.into_iter();
    loop {
        let slots: [Slot<T>; MOST_TASKS] = core::array::from_fn(|_| Slot::new(items.next()));
        let tasks = slots.iter().take_while(|slot| slot.is_full()).count();
        let task = |index: usize| {
            if let Some(item) = slots.get(index).and_then(Slot::take) {
                work(item);
            }
        };
        if tasks > 1 {
            threads.parallel(tasks, &task);
        }
        (0..tasks).for_each(task);
        if tasks < MOST_TASKS {
            return;
        }
    }
}

/// Calls `work(index, chunk)` for every chunk of so many elements; what is left over is left out.
pub(crate) fn each_chunk<T: Send>(
    threads: &dyn Gemm,
    values: &mut [T],
    len: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let len = len.max(1);
    let chunks = values.len() / len;
    let least = TASK_ELEMENTS.div_ceil(len);
    let each_task = chunks.div_ceil(MOST_TASKS).max(least);
    each(
        threads,
        values.chunks_mut(each_task.saturating_mul(len).max(1)).enumerate(),
        |(task, part)| {
            for (index, chunk) in part.chunks_exact_mut(len.max(1)).enumerate() {
                work(task * each_task + index, chunk);
            }
        },
    );
}
