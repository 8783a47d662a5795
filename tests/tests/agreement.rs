//! Same bits for every way, row split, thread count and SIMD level with FMA.

use std::ops::Range;

use surprisal::objective::{Builtin, Dft, Objective, Sft, TalrAuto, TokenTerm};
use surprisal::{
    Batch, Element, Error, ExtrasScale, Logits, LogitsMut, Loss, LossReport, Outputs,
    OwnedWorkspace, Reduction, RowStats, Workspace, bf16, f16,
};
use surprisal_tests::cases::problems;
use surprisal_tests::compare::assert_same_bits;
use surprisal_tests::problem::Problem;
use surprisal_tests::run::{WAYS, is_fused, levels, run};
use surprisal_tests::storage::Storage;

fn same_bits<T: Element + Storage>(problem: &Problem) {
    let problem = problem.clone().rounded::<T>();
    let levels: Vec<_> = levels().into_iter().filter(|&level| is_fused(level)).collect();
    for way in WAYS {
        // Ways that write another type agree with themselves across levels only.
        let reference = if way.is_f32() { way } else { WAYS[0] };
        let expected = run::<T>(&problem, reference, levels[0]);
        for &level in &levels {
            let actual = run::<T>(&problem, way, level);
            let what = format!("{} {way:?} {level:?}", problem.name);
            assert_same_bits(&format!("{what} dlogits"), &actual.dlogits, &expected.dlogits);
            assert_same_bits(&format!("{what} nll"), &actual.nll, &expected.nll);
            let (a, e) = (actual.report, expected.report);
            assert_same_bits(
                &what,
                &[a.loss, a.loss_sum, a.nll_sum],
                &[e.loss, e.loss_sum, e.nll_sum],
            );
        }
    }
}

#[test]
fn ways_and_levels_agree() {
    for problem in problems() {
        same_bits::<f32>(&problem.clone().objective(Sft.into()));
        same_bits::<bf16>(&problem.clone().objective(Dft.into()));
        same_bits::<f16>(&problem.objective(TalrAuto::default().into()));
    }
}

#[test]
fn ways_and_levels_agree_with_extras() {
    for problem in problems().filter(|problem| problem.vocab < 300) {
        let problem = problem.with_ignored_rows().with_token_weights();
        same_bits::<f32>(&problem.with_extras(ExtrasScale::One));
    }
}

/// Micro-batches with the caller's denominator give the gradient of the whole batch, bit for bit, wherever they are cut.
#[test]
fn micro_batches_agree() {
    let problem = Problem::random(23, 301, 7).with_ignored_rows();
    let loss = Loss::new(Dft).reduction(Reduction::By(15.0));
    let whole = run::<f32>(
        &problem.clone().objective(Dft.into()).reduction(Reduction::By(15.0)),
        WAYS[0],
        levels()[0],
    );
    for size in [1, 2, 4, 5, 22] {
        let mut dlogits = vec![0.0_f32; problem.logits.len()];
        let (mut loss_sum, mut tokens) = (0.0, 0);
        for start in (0..problem.rows).step_by(size) {
            let end = (start + size).min(problem.rows);
            let range = start * problem.vocab..end * problem.vocab;
            let logits =
                Logits::new(&problem.logits[range.clone()], end - start, problem.vocab).unwrap();
            let out = LogitsMut::new(&mut dlogits[range], end - start, problem.vocab).unwrap();
            let batch = Batch::new(&problem.targets[start..end]).ignore_index(-100);
            let report = loss.forward_backward(logits, &batch, out).unwrap();
            loss_sum += report.loss_sum;
            tokens += report.tokens;
        }
        let wide: Vec<f64> = dlogits.into_iter().map(f64::from).collect();
        assert_same_bits(&format!("micro-batches of {size}"), &wide, &whole.dlogits);
        assert_eq!(tokens, whole.report.tokens);
        assert!((loss_sum - whole.report.loss_sum).abs() <= 1e-12 * whole.report.loss_sum.abs());
    }
}

/// Ranges of a batch's rows give the gradient of the whole, bit for bit, under every reduction and objective; their reports add up.
#[test]
fn row_ranges_agree() {
    let random = Problem::random(23, 61, 7).with_ignored_rows().with_token_weights();
    for objective in Builtin::all() {
        let problem = random.clone().objective(objective);
        let reductions = [Reduction::MeanTokens, Reduction::MeanSequences, Reduction::MeanWeights];
        let of_pairs = problem.reduction == Reduction::MeanPairs;
        for reduction in if of_pairs { &[Reduction::MeanPairs][..] } else { &reductions } {
            let problem = problem.clone().reduction(*reduction);
            let whole = run::<f32>(&problem, WAYS[0], levels()[0]);
            for size in [1, 4, 5, 22] {
                let (report, dlogits) = in_ranges(&problem, size);
                let what = format!("{} {reduction:?} by {size}", objective.name());
                assert_same_bits(&what, &dlogits, &whole.dlogits);
                let expected = whole.report;
                let close = |a: f64, b: f64| (a - b).abs() <= 1e-13 * b.abs();
                assert!(close(report.loss, expected.loss), "{what}: {report:?} {expected:?}");
                assert!(close(report.loss_sum, expected.loss_sum), "{what}");
                assert!(close(report.nll_sum, expected.nll_sum), "{what}");
                assert!(close(report.weight_sum, expected.weight_sum), "{what}");
                assert_eq!((report.tokens, report.correct), (expected.tokens, expected.correct));
            }
        }
    }
}

/// A problem by ranges of `size` rows: one pass each where the objective allows it, else in stages.
fn in_ranges(problem: &Problem, size: usize) -> (LossReport, Vec<f64>) {
    let (rows, vocab) = (problem.rows, problem.vocab);
    let (loss, batch) = (problem.loss(), problem.batch());
    let mut dlogits = vec![f32::NAN; rows * vocab];
    let mut stats = vec![RowStats::EMPTY; rows];
    let mut terms = vec![TokenTerm::default(); rows];
    let mut report = LossReport::default();
    let mut workspace = OwnedWorkspace::new();
    let mut sequence_tokens = vec![0; 4];
    let ranges: Vec<_> = (0..rows).step_by(size).map(|a| a..(a + size).min(rows)).collect();
    let view = |range: &Range<usize>| {
        let part = &problem.logits[range.start * vocab..range.end * vocab];
        Logits::new(part, range.len(), vocab).unwrap()
    };
    let of_tokens = problem.objective.group_plan().is_none();
    let denominator = loss.denominator(&batch, &mut sequence_tokens).unwrap();
    let batch = batch.denominator(denominator);
    for range in &ranges {
        let part = batch.row_range(range.clone());
        loss.row_stats(view(range), &part, &mut stats[range.clone()]).unwrap();
    }
    if !of_tokens {
        let workspace = workspace.lend(rows, 0);
        report = loss.token_terms(&stats, &batch, vocab, &mut terms, workspace).unwrap();
    }
    for range in &ranges {
        let part = batch.row_range(range.clone());
        let out = &mut dlogits[range.start * vocab..range.end * vocab];
        let out = LogitsMut::new(out, range.len(), vocab).unwrap();
        let (stats, terms) = (&stats[range.clone()], &mut terms[range.clone()]);
        if of_tokens {
            let fused = loss.forward_backward(view(range), &part, out).unwrap();
            let none = Workspace::none();
            let staged = loss.token_terms(stats, &part, vocab, terms, none).unwrap();
            assert_eq!(fused, staged);
            report = report.merge(fused);
        } else {
            let lent = workspace.lend(range.len(), 0);
            let refused = loss.forward_with(view(range), &part, Outputs::new(), lent);
            assert_eq!(refused, Err(Error::NeedsWholeBatch));
            loss.logits_grad(view(range), &part, stats, terms, out).unwrap();
        }
    }
    (report, dlogits.into_iter().map(f64::from).collect())
}

/// 16-bit storage: every bit pattern is widened exactly, in full chunks and in tails, at every level.
#[test]
fn every_16_bit_pattern_is_widened_exactly() {
    fn check<T: Element + Storage>(from_bits: fn(u16) -> T) {
        for vocab in [1, 16] {
            let z: Vec<T> = (0..=u16::MAX)
                .flat_map(|bits| std::iter::repeat_with(move || from_bits(bits)).take(vocab))
                .collect();
            let rows = z.len() / vocab;
            let targets = vec![0_i32; rows];
            for level in levels() {
                // The largest logit of a row of equal ones is the widened value.
                let mut stats = vec![RowStats::EMPTY; rows];
                let logits = Logits::new(&z, rows, vocab).unwrap();
                let loss = Loss::new(Sft).level(level);
                loss.row_stats(logits, &Batch::new(&targets), &mut stats).unwrap();
                for (stats, z) in stats.iter().zip(z.chunks(vocab)) {
                    let z = z[0].widen();
                    if z.is_nan() {
                        assert!(stats.others.is_nan());
                    } else if z == f32::NEG_INFINITY {
                        assert!(!stats.is_valid());
                    } else {
                        assert_eq!(stats.max, f64::from(z), "{level:?}");
                    }
                }
            }
        }
    }
    check::<bf16>(bf16::from_bits);
    check::<f16>(f16::from_bits);
}

/// The SIMD rounding to 16 bits is the nearest-even rounding of `half`, over values that stress it.
#[test]
fn conversions_round_once() {
    fn check<T: Element + Storage + std::fmt::Debug>(to_bits: fn(T) -> u16) {
        // The gradient carries the value: the target is all but impossible, so the other class has p = 1 and its entry is the
        // token weight, rounded by the kernel.
        let weights: Vec<f32> = (0..200_000_u32)
            .map(|i| f32::from_bits(i.wrapping_mul(21_474).wrapping_add(17) & 0x7f7f_ffff))
            // f16 subnormals.
            .chain((0..4096).map(|i| 5.9e-8 * (1.0 + i as f32 / 512.0)))
            // Ties of both types and their neighbours, over all exponents of f16 and around 1 for bf16.
            .chain((0..0x4000_u32).flat_map(|i| {
                let bits = 0x3300_0000 + (i << 13);
                [0x0fff, 0x1000, 0x1001].map(|low| f32::from_bits(bits | low))
            }))
            .chain((0x3f00_u32..0x4080).flat_map(|high| {
                [0x7fff, 0x8000, 0x8001].map(|low| f32::from_bits((high << 16) | low))
            }))
            .collect();
        for level in levels() {
            for chunk in weights.chunks(1000) {
                let z: Vec<T> =
                    chunk.iter().flat_map(|_| [T::round(-1e4), T::round(0.0)]).collect();
                let targets = vec![0_i32; chunk.len()];
                let batch = Batch::new(&targets).token_weights(chunk);
                let mut out = z.clone();
                let logits = Logits::new(&z, chunk.len(), 2).unwrap();
                let result = LogitsMut::new(&mut out, chunk.len(), 2).unwrap();
                Loss::new(Sft)
                    .level(level)
                    .reduction(Reduction::Sum)
                    .forward_backward(logits, &batch, result)
                    .unwrap();
                for (weight, pair) in chunk.iter().zip(out.chunks(2)) {
                    let expected = T::round(*weight);
                    assert_eq!(to_bits(pair[1]), to_bits(expected), "{weight:e} {level:?}");
                }
            }
        }
    }
    check::<bf16>(bf16::to_bits);
    check::<f16>(f16::to_bits);
}

#[cfg(feature = "rayon")]
#[test]
fn thread_counts_agree() {
    let problem = Problem::random(1037, 257, 11).with_ignored_rows();
    let in_pool = |threads: usize, problem: &Problem| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run::<f32>(problem, WAYS[0], levels()[0]))
    };
    for reduction in [Reduction::MeanTokens, Reduction::MeanSequences] {
        for objective in [Dft.into(), TalrAuto::default().into()] {
            let problem = problem.clone().objective(objective).reduction(reduction);
            let one = in_pool(1, &problem);
            for threads in [2, 3, 8] {
                let many = in_pool(threads, &problem);
                assert_same_bits("dlogits", &many.dlogits, &one.dlogits);
                assert_eq!(many.report, one.report, "{threads} threads");
            }
        }
    }
}
