//! Whole runs side by side, one to a core.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A thread with a rayon pool to itself: what candle and this library would share over threads stays on it.
#[derive(Debug)]
pub(crate) struct Core(rayon::ThreadPool);

impl Core {
    /// A pool of one thread.
    pub(crate) fn new() -> Self {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        Self(pool.expect("the system lends a thread"))
    }

    /// Does `work` there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0.install(work)
    }
}

/// Does `work` to each index below `count`, as many at a time as there are cores: runs know nothing of
/// each other, so this is faster than several threads in one, and each result is the same in any case.
pub(crate) fn side_by_side<T: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, candle_core::Error> + Sync,
) -> Result<Vec<T>, candle_core::Error> {
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<_>>> = (0..count).map(|_| Mutex::new(None)).collect();
    let workers = thread::available_parallelism().map_or(1, usize::from).min(count);
    let worker = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = done.get(index) else { break };
            *slot.lock().expect("one worker per slot") = Some(work(index));
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| Core::new().run(worker));
        }
    });
    done.into_iter()
        .map(|slot| slot.into_inner().expect("no worker panicked").expect("every run was made"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::side_by_side;
    use candle_core::Error;

    #[test]
    fn every_index_is_done_once_and_the_first_failure_is_kept() {
        let squares = side_by_side(9, |index| Ok(index * index)).expect("all of them");
        assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49, 64]);
        let odd = |index: usize| {
            if index % 2 == 1 { Err(Error::Msg(index.to_string())) } else { Ok(index) }
        };
        assert_eq!(side_by_side(9, odd).expect_err("index 1").to_string(), "1");
        assert_eq!(side_by_side(9, |_| Ok(rayon::current_num_threads())).expect("all"), [1; 9]);
    }
}
