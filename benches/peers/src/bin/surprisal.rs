//! surprisal as a worker, and the yardsticks: what the machine needs to move the same bytes.
//!
//! It computes `separate`, `in-place` or `forward`, and knows `copy` and `read` (the yardsticks), `evict` (clears the caches, for a peer
//! that runs next) and `save` (writes rows of the last gradient, for the driver to check).

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::path::PathBuf;

use bytemuck::Pod;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use surprisal::objective::{Dft, Objective, Sft};
use surprisal::{Batch, Element, Logits, LogitsMut, Loss};
use surprisal_peers::{Logits as Data, Result, Setup, Task, Worker, serve};

fn main() -> Result<()> {
    serve(|setup, logits| {
        Ok(match (logits, setup.task) {
            (Data::F32(logits), Task::Dft) => Box::new(Ours::new(logits, setup, Dft)?),
            (Data::F32(logits), _) => Box::new(Ours::new(logits, setup, Sft)?),
            (Data::Bf16(logits), Task::Dft) => Box::new(Ours::new(logits, setup, Dft)?),
            (Data::Bf16(logits), _) => Box::new(Ours::new(logits, setup, Sft)?),
        })
    })
}

struct Ours<T, O> {
    loss: Loss<'static, O>,
    rows: usize,
    vocab: usize,
    targets: Vec<u32>,
    logits: Vec<T>,
    /// The gradient, or a copy of the logits to overwrite. Empty until it is needed.
    second: Vec<T>,
    /// Several times what the caches hold.
    scratch: Vec<u64>,
    pool: ThreadPool,
    folder: PathBuf,
}

impl<T: Element + Pod, O: Objective> Ours<T, O> {
    fn new(logits: Vec<T>, setup: Setup, objective: O) -> Result<Self> {
        let Setup { rows, vocab, threads, folder, targets, .. } = setup;
        Ok(Self {
            loss: Loss::new(objective),
            rows,
            vocab,
            targets,
            logits,
            second: Vec::new(),
            // Written, not zeroed: pages that were never written are all the same page of zeros.
            scratch: (0..4 * last_level_cache() as u64 / 8).collect(),
            pool: ThreadPoolBuilder::new().num_threads(threads).build()?,
            folder,
        })
    }

    /// Three rows of the gradient: the first, the middle one, the last.
    fn save(&self) -> Result<()> {
        let mut file = File::create(self.folder.join("gradient"))?;
        for row in [0, self.rows / 2, self.rows - 1] {
            let row = &self.second[row * self.vocab..][..self.vocab];
            file.write_all(bytemuck::cast_slice(row))?;
        }
        Ok(())
    }
}

impl<T: Element + Pod, O: Objective> Worker for Ours<T, O> {
    /// Restores what `in-place` will overwrite. Then every run starts with cold caches: how warm they are would depend on who ran before.
    fn prepare(&mut self, what: &str) -> Result<()> {
        if what != "forward" && self.second.is_empty() {
            self.second = self.logits.clone();
        }
        if what == "in-place" {
            self.second.copy_from_slice(&self.logits);
        }
        self.pool.broadcast(|_| black_box(sum(&self.scratch)));
        Ok(())
    }

    fn call(&mut self, what: &str) -> Result<f64> {
        let Self { loss, rows, vocab, targets, logits, second, pool, .. } = self;
        let part = logits.len().div_ceil(pool.current_num_threads());
        let batch = Batch::new(&*targets);
        let view = Logits::new(logits, *rows, *vocab)?;
        let report = match what {
            "forward" => pool.install(|| loss.forward(view, &batch)),
            "separate" => {
                // Only where memory is measured: the gradient's is then this call's.
                if second.is_empty() {
                    second.resize(logits.len(), T::zeroed());
                }
                let gradient = LogitsMut::new(second, *rows, *vocab)?;
                pool.install(|| loss.forward_backward(view, &batch, gradient))
            }
            "in-place" => {
                let matrix = LogitsMut::new(second, *rows, *vocab)?;
                pool.install(|| loss.forward_backward_in_place(matrix, &batch))
            }
            "copy" => {
                pool.install(|| {
                    let (from, to) = (logits.par_chunks(part), second.par_chunks_mut(part));
                    from.zip(to).for_each(|(from, to)| to.copy_from_slice(from));
                });
                return Ok(f64::NAN);
            }
            "read" => {
                let sum_of = |part: &[T]| sum(bytemuck::pod_align_to::<T, u64>(part).1);
                black_box(pool.install(|| logits.par_chunks(part).map(sum_of).max()));
                return Ok(f64::NAN);
            }
            "evict" => return Ok(f64::NAN),
            "save" => return self.save().map(|()| f64::NAN),
            _ => return Err(format!("unknown way to run: {what}").into()),
        };
        Ok(report?.loss)
    }

    /// The gradient's buffer counts as memory of `separate`; what `in-place` overwrites is the logits.
    fn release(&mut self, what: &str) {
        if what == "separate" {
            self.second = Vec::new();
        }
    }
}

/// Reads all words, in vectors and with enough sums side by side that only memory is waited for.
fn sum(words: &[u64]) -> u64 {
    let (blocks, rest) = words.as_chunks::<16>();
    let mut sums = [0_u64; 16];
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().chain(rest).fold(0, |all, word| all.wrapping_add(*word))
}

/// Bytes of the largest cache; a guess where the kernel does not tell.
fn last_level_cache() -> usize {
    let text = fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index3/size");
    let kib = text.ok().and_then(|text| text.trim().trim_end_matches('K').parse::<usize>().ok());
    kib.map_or(32 << 20, |kib| kib << 10)
}
