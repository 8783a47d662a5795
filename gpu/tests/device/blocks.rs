//! Rows around the sizes that the kernels work in: packets of 4 or 8, blocks of 512 and 4096 columns. Targets on either side of every boundary.

use half::{bf16, f16};
use surprisal::objective::{Builtin, Dft, Eaft, Sft};
use surprisal::{Batch, Loss};
use surprisal_gpu::{Dtype, HostElement, Matrix, Pipelines};
use surprisal_tests::problem::{Outcome, Problem};
use surprisal_tests::storage::Storage;
use surprisal_tests::tolerance::{BF16, F16, F32, Rounding, assert_outcome};

use crate::oracle::check;
use crate::ways::{Layout, Way, gpu, run, submit};

const SIZES: [usize; 14] = [7, 8, 9, 33, 511, 512, 513, 1027, 2047, 2049, 4095, 4097, 4101, 8191];

/// A problem with a target at every column where something begins or ends.
fn at_boundaries(vocab: usize, objective: Builtin) -> Problem {
    let edges = [0, 1, 3, 4, 7, 8, 511, 512, 1023, 1024, 2047, 2048, 4095, 4096, 8188, 24_577];
    let inside = edges.into_iter().filter(|&edge| edge < vocab);
    let targets: Vec<i64> = inside.chain([vocab - 2, vocab - 1]).map(|edge| edge as i64).collect();
    let logits = Problem::random(targets.len(), vocab, vocab as u64).logits;
    Problem::new(targets.len(), vocab, logits, targets).objective(objective)
}

/// In the same place among their packets, and in others.
fn of_type<T: HostElement + Storage>(rounding: Rounding) {
    for (index, vocab) in SIZES.into_iter().enumerate() {
        let problem = at_boundaries(vocab, Dft.into());
        check::<T>(&problem, rounding, Layout::PLAIN);
        let layout = Layout { offset: 3 + index % 5, padding: index % 7, limit: None };
        check::<T>(&problem, rounding, layout);
    }
}

pub(crate) fn boundaries_of_packets_and_blocks() {
    of_type::<f32>(F32);
    of_type::<bf16>(BF16);
    of_type::<f16>(F16);
}

/// Rows that begin with a packet, so many that one kernel does all: held by 32, 256 and 512 invocations, up to the longest that are.
pub(crate) fn boundaries_in_one_kernel() {
    for vocab in SIZES.into_iter().chain([16_384, 16_385, 32_765, 32_768]) {
        in_one_kernel::<f32>(vocab, F32);
    }
    for vocab in SIZES.into_iter().chain([32_768, 32_769, 65_533, 65_536]) {
        in_one_kernel::<bf16>(vocab, BF16);
    }
}

fn in_one_kernel<T: HostElement + Storage>(vocab: usize, rounding: Rounding) {
    let problem = at_boundaries(vocab, Sft.into());
    let times = 16_usize.div_ceil(problem.rows);
    let (mut logits, targets) = (problem.logits.repeat(times), problem.targets.repeat(times));
    // Every third row has one logit far above the others, each in another invocation's share.
    for (row, logits) in logits.chunks_mut(vocab).enumerate().step_by(3) {
        logits[(1500 + 1201 * row) % vocab] += 120.0;
    }
    let problem = Problem::new(targets.len(), vocab, logits, targets).objective(Sft.into());
    if vocab.is_multiple_of(8) {
        of_types::<T, f32>(&problem, F32);
        of_types::<T, bf16>(&problem, BF16);
    }
    let padding = vocab.next_multiple_of(8) - vocab;
    let problem = problem.rounded::<T>();
    let actual = run::<T>(&problem, Way::InPlace, Layout { offset: 0, padding, limit: None });
    assert_outcome(&problem, &actual, &problem.oracle(), rounding.on_device());
}

/// Gradients of every type, in the same place as their logits: of more packets, of as many, of fewer.
pub(crate) fn boundaries_between_types() {
    for vocab in SIZES {
        let problem = at_boundaries(vocab, Dft.into());
        of_types::<f32, f32>(&problem, F32);
        of_types::<f32, bf16>(&problem, BF16);
        of_types::<f32, f16>(&problem, F16);
        of_types::<bf16, f32>(&problem, F32);
        of_types::<f16, bf16>(&problem, BF16);
    }
}

fn of_types<T: HostElement + Storage, G: HostElement + Storage>(
    problem: &Problem,
    rounding: Rounding,
) {
    let problem = problem.clone().rounded::<T>();
    let (rows, vocab, batch) = (problem.rows, problem.vocab, problem.batch());
    let logits: Vec<T> = problem.logits.iter().map(|&z| T::round(z)).collect();
    let mut dlogits = vec![G::round(9.0); logits.len()];
    let outcome = gpu()
        .forward_backward(&problem.loss(), &logits, rows, vocab, &batch, Some(&mut dlogits))
        .unwrap();
    let actual = Outcome {
        report: outcome.report,
        nll: outcome.nll.into_iter().map(f64::from).collect(),
        dlogits: dlogits.into_iter().map(|d| f64::from(d.widen())).collect(),
    };
    assert_outcome(&problem, &actual, &problem.oracle(), rounding.on_device());
}

/// Logits of which many are the largest, in one packet, in several and in several workgroups: the first leads, and the others count.
pub(crate) fn the_first_of_equals_leads() {
    for vocab in [5, 131, 513, 4099, 50_003] {
        let (rows, mut logits) = (3, Problem::random(3, vocab, 7).logits);
        logits.iter_mut().for_each(|z| *z = z.round().min(1.0));
        let targets = vec![0, vocab as i64 - 1, vocab as i64 / 2];
        let problem = Problem::new(rows, vocab, logits, targets).objective(Eaft::default().into());
        check::<f32>(&problem, F32, Layout::PLAIN);
        for objective in [problem.objective, Sft.into()] {
            assert_eq!(argmax(&problem, objective), first_of_largest(&problem), "vocab {vocab}");
        }
    }
}

fn argmax(problem: &Problem, objective: Builtin) -> Vec<u32> {
    let pipelines = Pipelines::new(gpu().device(), Loss::new(objective), Dtype::F32).unwrap();
    let buffer = gpu().upload(&problem.logits).unwrap();
    let matrix = Matrix::new(&buffer, Dtype::F32, problem.rows, problem.vocab).unwrap();
    let mut call = None;
    submit(|encoder| {
        let batch = Batch::new(&problem.targets);
        call = Some(pipelines.forward(encoder, matrix, &batch).unwrap());
    });
    call.unwrap().read(gpu().device(), gpu().queue()).unwrap().argmax()
}

fn first_of_largest(problem: &Problem) -> Vec<u32> {
    let of = |row: &[f32]| {
        let largest = row.iter().fold(f32::MIN, |largest, z| largest.max(*z));
        u32::try_from(row.iter().position(|&z| z == largest).unwrap()).unwrap()
    };
    problem.logits.chunks(problem.vocab).map(of).collect()
}
