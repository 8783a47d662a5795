//! A call allocates nothing. What the library of the products takes is measured: on a thread of its own, after a first call.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use common::{Plain, numbers, store};
use surprisal::{Batch, Loss, Outputs, bf16, objective::Builtin};
use surprisal_linear::{
    DefaultGemm, Gemm, Gradients, LinearLoss, Matrix, MatrixMut, OwnedWorkspace,
};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator, counted.
#[allow(unsafe_code, reason = "an allocator")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const D: usize = 48;

/// Allocations of a second call, and the most bytes that they held.
fn second_call(
    rows: usize,
    vocab: usize,
    chunk: usize,
    objective: Builtin,
    gemm: impl Gemm,
) -> (usize, usize) {
    let h = numbers(rows * D, 1);
    let w = store::<bf16>(&numbers(vocab * D, 2));
    let targets: Vec<i64> =
        (0..rows).map(|row| if row % 3 == 1 { -100 } else { row as i64 }).collect();
    let offsets = [0, rows as i64];
    let batch = Batch::new(&targets).ignore_index(-100).sequences(&offsets);
    let (mut dh, mut dw) = (vec![0.0_f32; rows * D], vec![0.0; vocab * D]);
    let weight = Matrix::new(&w, vocab, D).unwrap();
    let layer = LinearLoss::with_gemm(Loss::new(objective), weight, gemm);
    let mut workspace = OwnedWorkspace::new(layer.memory(rows).len(chunk));
    let mut used = (0, 0);
    for _ in 0..2 {
        let (calls, bytes) = (CALLS.load(Relaxed), NOW.load(Relaxed));
        PEAK.store(bytes, Relaxed);
        let gradients = Gradients::new()
            .hidden(MatrixMut::new(&mut dh, rows, D).unwrap())
            .weight(MatrixMut::new(&mut dw, vocab, D).unwrap());
        let hidden = Matrix::new(&h, rows, D).unwrap();
        layer
            .forward_backward(hidden, &batch, gradients, Outputs::new(), workspace.lend())
            .unwrap();
        used = (CALLS.load(Relaxed) - calls, PEAK.load(Relaxed) - bytes);
    }
    used
}

/// A program of its own: the threads of a test harness would allocate meanwhile.
fn main() {
    for objective in ["sft", "dft-sequence"] {
        let objective = Builtin::from_name(objective).unwrap();
        if cfg!(not(feature = "rayon")) {
            assert_eq!(second_call(20, 60, 7, objective, Plain), (0, 0));
        }
        // dzᵀ is packed a block at a time: less than a copy of the chunk's logits.
        let (rows, vocab) = (512, 20_000);
        let (calls, bytes) = second_call(rows, vocab, 256, objective, DefaultGemm);
        println!(
            "gemm, {rows} x {D} x {vocab} in chunks of 256: {calls} allocations, at most {bytes} bytes"
        );
        assert!(bytes < 8 << 20, "{bytes} bytes");
    }
}
