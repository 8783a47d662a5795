//! The stages one by one, on one thread and within its L2 cache, so that arithmetic takes the time: per storage type and SIMD level.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use surprisal::objective::{Builtin, Sft, TokenTerm};
// `default_level` is for the tests of `exp`.
use surprisal::{
    Batch, Logits, LogitsMut, Loss, OwnedWorkspace, RowStats, Softmax, Workspace, bf16,
    default_level, f16,
};
use surprisal_benches::data::{Data, Dtype};
use surprisal_benches::level::{level_name, levels};
use surprisal_benches::shape::Shape;

#[allow(
    dead_code,
    unused_imports,
    unused_qualifications,
    reason = "its tests are compiled for a benchmark too"
)]
#[allow(unexpected_cfgs, reason = "the feature for the scalar level is the library's")]
#[path = "../../core/src/kernel"]
mod kernel {
    //! The library's exponential, which it does not export.

    mod exp;
    pub(crate) mod level;
    mod native;
    /// All that the exponential wants of the library's.
    mod lanes {
        pub(super) const LANES: usize = 16;
    }

    use fearless_simd::{Level, Simd, f32x16, prelude::*};

    /// e^x, four vectors at once, as the kernels do it.
    pub(crate) fn exp(level: Level, x: &[f32], y: &mut [f32]) {
        level::dispatch!(level, simd => exp_all(simd, x, y));
    }

    #[inline(always)]
    fn exp_all<S: Simd>(simd: S, x: &[f32], y: &mut [f32]) {
        for (x, y) in x.as_chunks::<64>().0.iter().zip(y.as_chunks_mut::<64>().0) {
            let mut block = [simd.splat_f32x16(0.0); 4];
            for (z, x) in block.iter_mut().zip(x.as_chunks::<16>().0) {
                *z = f32x16::from_slice(simd, x);
            }
            let block = exp::natural(simd, block);
            for (z, y) in block.into_iter().zip(y.as_chunks_mut::<16>().0) {
                z.store_slice(y);
            }
        }
    }
}

/// 128 KiB of f32, and as much again for a result.
const SHAPE: Shape = Shape { rows: 8, vocab: 4096 };
/// Tokens where nothing is done for each class.
const TOKENS: Shape = Shape { rows: 1024, vocab: 256 };
/// A token alone, with its weight, with side inputs; a sequence's ratio, a median of the batch, an order by size, groups.
const OBJECTIVES: [&str; 7] = ["sft", "dft", "grpo", "gspo", "talr-auto", "rho1", "sft-go"];

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global()?;
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1200))
        .nresamples(10_000)
        .configure_from_args();
    exponential(&mut criterion);
    logits::<f32>(&mut criterion)?;
    logits::<bf16>(&mut criterion)?;
    logits::<f16>(&mut criterion)?;
    tokens(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

/// What a call does: elements, and bytes that it reads or writes, each counted once.
fn throughput(group: &mut BenchmarkGroup<'_, WallTime>, elements: usize, bytes_each: usize) {
    let bytes = (elements * bytes_each) as u64;
    group.throughput(Throughput::ElementsAndBytes { elements: elements as u64, bytes });
}

/// The library's exponential, and libm's for comparison.
fn exponential(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("f32");
    let x: Vec<f32> = Data::<f32>::new(SHAPE).logits.into_iter().map(|z| -z.abs()).collect();
    let mut y = vec![0.0; x.len()];
    throughput(&mut group, x.len(), 2 * size_of::<f32>());
    for level in levels() {
        group.bench_function(BenchmarkId::new("exp", level_name(level)), |bencher| {
            bencher.iter(|| kernel::exp(level, black_box(&x), &mut y));
        });
    }
    group.bench_function(BenchmarkId::new("exp", "libm"), |bencher| {
        bencher.iter(|| {
            for (x, y) in black_box(&x).iter().zip(&mut y) {
                *y = libm::expf(*x);
            }
        });
    });
}

/// What is done for each class, in logits of one type.
fn logits<T: Dtype>(criterion: &mut Criterion) -> Done {
    let Shape { rows, vocab } = SHAPE;
    let data = Data::<T>::new(SHAPE);
    let (mut output, mut stats) = (data.logits.clone(), vec![RowStats::EMPTY; rows]);
    let mut terms = vec![TokenTerm::default(); rows];
    let (loss, batch) = (Loss::new(Sft), Batch::new(&data.targets));
    loss.row_stats(Logits::new(&data.logits, rows, vocab)?, &batch, &mut stats)?;
    loss.token_terms(&stats, &batch, vocab, &mut terms, Workspace::none())?;

    let mut group = criterion.benchmark_group(T::NAME);
    for level in levels() {
        let id = |stage| BenchmarkId::new(stage, level_name(level));
        let (loss, softmax) = (loss.level(level), Softmax::at(level));
        let logits = Logits::new(&data.logits, rows, vocab)?;
        throughput(&mut group, SHAPE.len(), size_of::<T>());
        let mut fresh = stats.clone();
        group.bench_function(id("row_stats"), |bencher| {
            bencher.iter(|| loss.row_stats(black_box(logits), &batch, &mut fresh).expect("sound"));
        });
        throughput(&mut group, SHAPE.len(), 2 * size_of::<T>());
        group.bench_function(id("logits_grad"), |bencher| {
            bencher.iter(|| {
                let output = result(&mut output);
                loss.logits_grad(black_box(logits), &batch, &stats, &terms, output).expect("sound");
            });
        });
        group.bench_function(id("logits_grad_in_place"), |bencher| {
            bencher.iter_custom(|count| {
                let mut time = Duration::ZERO;
                for _ in 0..count {
                    // Not the gradient of a gradient.
                    output.copy_from_slice(&data.logits);
                    let begin = Instant::now();
                    let logits = result(black_box(&mut output));
                    loss.logits_grad_in_place(logits, &batch, &stats, &terms).expect("sound");
                    time += begin.elapsed();
                }
                time
            });
        });
        group.bench_function(id("log_softmax"), |bencher| {
            bencher.iter(|| {
                softmax.log_softmax(black_box(logits), result(&mut output)).expect("sound");
            });
        });
    }
    Ok(())
}

fn result<T: Dtype>(output: &mut [T]) -> LogitsMut<'_, T> {
    LogitsMut::new(output, SHAPE.rows, SHAPE.vocab).expect("sound")
}

/// What is done for each token, in f64 and without SIMD.
fn tokens(criterion: &mut Criterion) -> Done {
    let Shape { rows, vocab } = TOKENS;
    let data = Data::<f32>::new(TOKENS);
    let mut stats = vec![RowStats::EMPTY; rows];
    let mut terms = vec![TokenTerm::default(); rows];
    let logits = Logits::new(&data.logits, rows, vocab)?;
    Loss::new(Sft).row_stats(logits, &Batch::new(&data.targets), &mut stats)?;
    // The other half of each row has another maximum.
    let others: Vec<RowStats> = stats.iter().rev().copied().collect();
    let mut merged = stats.clone();
    let mut workspace = OwnedWorkspace::new();

    let mut group = criterion.benchmark_group("token");
    throughput(&mut group, rows, 3 * size_of::<RowStats>());
    group.bench_function("merge", |bencher| {
        bencher.iter(|| {
            for ((a, b), merged) in black_box(&stats).iter().zip(&others).zip(&mut merged) {
                *merged = a.merge(*b);
            }
        });
    });

    let old: Vec<f32> = data.logits.iter().take(rows).map(|z| -z.abs()).collect();
    let advantages: Vec<f32> = old.iter().map(|log_p| log_p + 2.0).collect();
    let groups: Vec<u32> = (0..8).cycle().take(rows).collect();
    let batch = Batch::new(&data.targets).sequences(&data.sequences).groups(&groups);
    let batch = batch.ref_log_probs(&old).old_log_probs(&old).advantages(&advantages);
    throughput(&mut group, rows, size_of::<RowStats>() + size_of::<TokenTerm>());
    for name in OBJECTIVES {
        let loss = Loss::new(Builtin::from_name(name).ok_or(name)?);
        group.bench_function(BenchmarkId::new("token_terms", name), |bencher| {
            bencher.iter(|| {
                let workspace = workspace.lend(rows, vocab);
                let stats = black_box(&stats);
                loss.token_terms(stats, &batch, vocab, &mut terms, workspace).expect("sound")
            });
        });
    }
    Ok(())
}
