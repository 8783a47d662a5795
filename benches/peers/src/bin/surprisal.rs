//! surprisal as a worker, and the yardsticks: what the machine needs to move the same bytes.
//!
//! Its ways are named as in the table, and one setup does for all tasks. Besides, `copy` and `read` are the yardsticks, and `evict` clears the
//! caches for a peer that runs next.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;

use bytemuck::Pod;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use surprisal::objective::{Dft, Objective, Sft};
use surprisal::{Batch, Element, Logits, LogitsMut, Loss, Outputs, Workspace};
use surprisal_peers::{Logits as Data, Result, Setup, Worker, read_setup, serve};

fn main() -> Result<()> {
    serve(|arguments| {
        let (setup, logits) = read_setup(arguments)?;
        Ok(match logits {
            Data::F32(logits) => Box::new(Ours::new(setup, logits)?),
            Data::Bf16(logits) => Box::new(Ours::new(setup, logits)?),
        })
    })
}

struct Ours<T> {
    setup: Setup,
    logits: Vec<T>,
    /// The gradient, or a copy of the logits to overwrite. Empty until it is needed.
    second: Vec<T>,
    /// A row for each thread. Empty until it is needed.
    scratch: Vec<f32>,
    /// Several times what the caches hold.
    flood: Vec<u64>,
    pool: ThreadPool,
}

impl<T: Element + Pod> Ours<T> {
    fn new(setup: Setup, logits: Vec<T>) -> Result<Self> {
        // Written, not zeroed: pages that were never written are all the same page of zeros.
        let flood = (0..4 * last_level_cache() as u64 / 8).collect();
        let pool = ThreadPoolBuilder::new().num_threads(setup.threads).build()?;
        Ok(Self { setup, logits, second: Vec::new(), scratch: Vec::new(), flood, pool })
    }

    fn separate(&mut self, objective: impl Objective) -> Result<f64> {
        self.fill_scratch();
        let Self {
            setup: Setup { rows, vocab, targets, .. }, logits, second, scratch, pool, ..
        } = self;
        // Only where memory is measured: the gradient's is this call's.
        if second.is_empty() {
            *second = vec![T::zeroed(); logits.len()];
        }
        let logits = Logits::new(logits, *rows, *vocab)?;
        let gradient = LogitsMut::new(second, *rows, *vocab)?;
        let (loss, batch) = (Loss::new(objective), Batch::new(&*targets));
        let (outputs, workspace) = (Outputs::new(), Workspace::none().scratch(scratch));
        let call = || loss.forward_backward_with(logits, &batch, gradient, outputs, workspace);
        Ok(pool.install(call)?.loss)
    }

    fn in_place(&mut self, objective: impl Objective) -> Result<f64> {
        self.fill_scratch();
        let Self { setup: Setup { rows, vocab, targets, .. }, second, scratch, pool, .. } = self;
        let logits = LogitsMut::new(second, *rows, *vocab)?;
        let (loss, batch) = (Loss::new(objective), Batch::new(&*targets));
        let (outputs, workspace) = (Outputs::new(), Workspace::none().scratch(scratch));
        let call = || loss.forward_backward_in_place_with(logits, &batch, outputs, workspace);
        Ok(pool.install(call)?.loss)
    }

    /// The rows that a 16-bit gradient keeps its exponentials in; f32 ones keep them in the gradient.
    fn fill_scratch(&mut self) {
        if self.scratch.is_empty() && size_of::<T>() < size_of::<f32>() {
            self.scratch = vec![0.0; self.setup.vocab * self.setup.threads];
        }
    }

    fn forward(&self) -> Result<f64> {
        let Setup { rows, vocab, targets, .. } = &self.setup;
        let logits = Logits::new(&self.logits, *rows, *vocab)?;
        let (loss, batch) = (Loss::new(Sft), Batch::new(targets));
        Ok(self.pool.install(|| loss.forward(logits, &batch))?.loss)
    }

    fn copy(&mut self) {
        let part = self.logits.len().div_ceil(self.setup.threads);
        let (from, to) = (self.logits.par_chunks(part), self.second.par_chunks_mut(part));
        self.pool.install(|| from.zip(to).for_each(|(from, to)| to.copy_from_slice(from)));
    }

    fn read(&self) {
        let words = bytemuck::pod_align_to::<T, u64>(&self.logits).1;
        let parts = words.par_chunks(words.len().div_ceil(self.setup.threads));
        black_box(self.pool.install(|| parts.map(sum).max()));
    }
}

impl<T: Element + Pod> Worker for Ours<T> {
    /// Restores what `in-place` will overwrite. Then every run starts with cold caches: how warm they are would depend on who ran before.
    fn prepare(&mut self, what: &str) -> Result<()> {
        if !what.starts_with("ce-forward") && self.second.is_empty() {
            self.second = self.logits.clone();
        }
        if what.ends_with("in-place") {
            self.second.copy_from_slice(&self.logits);
        }
        self.pool.broadcast(|_| black_box(sum(&self.flood)));
        Ok(())
    }

    fn call(&mut self, what: &str) -> Result<f64> {
        match what {
            "ce/surprisal-separate" => return self.separate(Sft),
            "dft/surprisal-separate" => return self.separate(Dft),
            "ce/surprisal-in-place" => return self.in_place(Sft),
            "dft/surprisal-in-place" => return self.in_place(Dft),
            "ce-forward/surprisal" => return self.forward(),
            "copy" => self.copy(),
            "read" => self.read(),
            "evict" => {}
            _ => return Err(format!("cannot {what}").into()),
        }
        Ok(f64::NAN)
    }

    /// The gradient's buffer counts as memory of `separate`; what `in-place` overwrites is the logits. The scratch rows count for both.
    fn release(&mut self, what: &str) {
        self.scratch = Vec::new();
        if what.ends_with("separate") {
            self.second = Vec::new();
        }
    }

    /// Three rows of the gradient: the first, the middle one, the last.
    fn save(&self) -> Result<()> {
        let Setup { rows, vocab, folder, .. } = &self.setup;
        let mut file = File::create(folder.join("gradient"))?;
        for row in [0, rows / 2, rows - 1] {
            file.write_all(bytemuck::cast_slice(&self.second[row * vocab..][..*vocab]))?;
        }
        Ok(())
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
