//! Properties that need no oracle, on generated batches.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use surprisal::objective::{Builtin, Dft, Sft};
use surprisal::{Batch, ExtrasScale, Level, Logits, Loss, Reduction, RowStats};
use surprisal_tests::cases::objectives;
use surprisal_tests::compare::{assert_close, assert_same_bits};
use surprisal_tests::problem::Problem;
use surprisal_tests::run::{WAYS, Way, levels, run};

/// A row of logits: ordinary ones, with now and then a −inf or a large one.
fn logits(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        12 => -20.0_f32..20.0,
        1 => Just(f32::NEG_INFINITY),
        1 => -2000.0_f32..2000.0,
        1 => prop_oneof![Just(0.0_f32), Just(-0.0_f32)],
    ];
    proptest::collection::vec(logit, len)
}

fn level() -> impl Strategy<Value = Level> {
    (0..levels().len()).prop_map(|index| levels()[index])
}

fn stats(z: &[f32], start: usize, total: usize, target: i64, level: Level) -> RowStats {
    let mut stats = [RowStats::EMPTY];
    let logits = Logits::new(z, 1, z.len()).unwrap().shard(start, total).unwrap();
    // Asks for every sum.
    let loss = Loss::new(Sft).label_smoothing(0.1).with_moments().level(level);
    loss.row_stats(logits, &Batch::new(&[target]), &mut stats).unwrap();
    stats[0]
}

fn close_stats(a: RowStats, b: RowStats) {
    let fields = |s: RowStats| {
        [s.max, s.others, s.target_logit, s.sum_logits, s.sum_exp_logits, s.sum_exp_squared]
    };
    let (a, b) = (fields(a), fields(b));
    assert_close("stats", &a, &b, |i| 2e-6 * b[i].abs() + 1e-30);
}

proptest! {
    // A fixed seed: the fuzz targets look for new cases, these check the same ones every time.
    #![proptest_config(ProptestConfig {
        cases: 200,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn merge_is_a_monoid(rows in proptest::collection::vec(logits(1..40), 3), level in level()) {
        let parts: Vec<RowStats> =
            rows.iter().map(|z| stats(z, 0, z.len(), 0, level)).collect();
        let (a, b, c) = (parts[0], parts[1], parts[2]);
        for s in [a, b, c, RowStats::EMPTY] {
            prop_assert_eq!(s.merge(RowStats::EMPTY), s);
            prop_assert_eq!(RowStats::EMPTY.merge(s), s);
        }
        prop_assert_eq!(a.merge(b), b.merge(a));
        let (left, right) = (a.merge(b).merge(c), a.merge(b.merge(c)));
        prop_assert_eq!(left.max, right.max);
        prop_assert!((left.others - right.others).abs() <= 1e-14 * left.others);
        // MAX and SUM alone do the same.
        let max = a.max.max(b.max).max(c.max);
        let sum: f64 = [a, b, c].map(|s| s.rebase(max).others).iter().sum();
        prop_assert!((left.others - sum).abs() <= 1e-14 * sum);
    }

    #[test]
    fn any_split_of_the_vocabulary_is_the_whole(
        z in logits(1..200),
        cut in 0.0..1.0,
        target in 0.0..1.0,
        level in level(),
    ) {
        let index = |share: f64| (share * z.len() as f64) as usize;
        let (cut, target) = (index(cut), i64::try_from(index(target)).unwrap());
        let total = z.len();
        let part = |range: std::ops::Range<usize>| match range.len() {
            0 => RowStats::EMPTY,
            _ => stats(&z[range.clone()], range.start, total, target, level),
        };
        close_stats(part(0..cut).merge(part(cut..total)), stats(&z, 0, total, target, level));
    }

    #[test]
    fn shards_give_the_gradient_of_the_whole(
        seed in 0_u64..1000, vocab in 1_usize..90, shards in 2_usize..6, level in level(),
    ) {
        let problem = Problem::random(6, vocab, seed).objective(Dft.into());
        let whole = run::<f32>(&problem, Way::Separate, level);
        let split = run::<f32>(&problem, Way::Shards(shards), level);
        // Cuts round the exponentials anew; each entry stays within twice its bound.
        let relative = |i: usize| 6e-6 * whole.dlogits[i].abs() + 1e-30;
        assert_close("dlogits", &split.dlogits, &whole.dlogits, relative);
        prop_assert!((split.report.loss - whole.report.loss).abs() <= 1e-6);
    }

    #[test]
    fn a_common_offset_costs_no_digit(
        seed in 0_u64..1000, vocab in 2_usize..90, offset in -100_i32..100, level in level(),
    ) {
        let mut problem = Problem::random(5, vocab, seed);
        for z in &mut problem.logits {
            *z = (*z * 256.0).round() / 256.0;
        }
        let plain = run::<f32>(&problem, Way::Separate, level);
        for z in &mut problem.logits {
            *z += (offset * 64) as f32;
        }
        let moved = run::<f32>(&problem, Way::Separate, level);
        // Differences of such logits are exact; the exponentials are rounded anew, by no more than before.
        let twice = |distance: f64, value: f64| 2.4e-7 * (4.0 + distance) * value.abs();
        assert_close("nll", &moved.nll, &plain.nll, |i| twice(0.0, plain.nll[i]));
        assert_close("dlogits", &moved.dlogits, &plain.dlogits, |i| twice(0.0, plain.dlogits[i]));
    }

    #[test]
    fn gradient_rows_sum_to_zero(seed in 0_u64..1000, vocab in 2_usize..3000, level in level()) {
        for objective in [Builtin::from(Sft), Dft.into()] {
            let problem = Problem::random(4, vocab, seed).objective(objective);
            let outcome = run::<f32>(&problem, Way::InPlace, level);
            for (row, d) in outcome.dlogits.chunks(vocab).enumerate() {
                let largest = d.iter().fold(0.0_f64, |a, d| a.max(d.abs()));
                let sum: f64 = d.iter().sum();
                prop_assert!(sum.abs() <= 1e-6 * largest, "row {row}: {sum:e} of {largest:e}");
            }
        }
    }

    #[test]
    fn in_place_is_separate_is_staged(
        seed in 0_u64..1000, vocab in 1_usize..200, rows in 1_usize..30, level in level(),
        extras in any::<bool>(),
    ) {
        let mut problem = Problem::random(rows, vocab, seed).with_ignored_rows();
        if extras {
            problem = problem.with_extras(ExtrasScale::Objective);
        }
        let first = run::<f32>(&problem, WAYS[0], level);
        for way in WAYS {
            let other = run::<f32>(&problem, way, level);
            assert_same_bits("dlogits", &other.dlogits, &first.dlogits);
            prop_assert_eq!(other.report, first.report);
        }
        for (row, d) in first.dlogits.chunks(vocab).enumerate() {
            if problem.batch().target(row).is_none() {
                prop_assert!(d.iter().all(|d| d.to_bits() == 0));
            }
        }
    }

    /// Doubling the token weights doubles loss and gradient.
    #[test]
    fn token_weights_scale(
        seed in 0_u64..1000, which in 0..objectives().len(), level in level(),
    ) {
        let objective = objectives()[which];
        let mut problem = Problem::random(8, 19, seed).objective(objective);
        problem = problem.reduction(Reduction::Sum);
        problem.token_weights = Some(vec![1.0; 8]);
        let once = run::<f32>(&problem, Way::Separate, level);
        problem.token_weights = Some(vec![2.0; 8]);
        let twice = run::<f32>(&problem, Way::Separate, level);
        let doubled: Vec<f64> = once.dlogits.iter().map(|d| 2.0 * d).collect();
        // Exact but where a subnormal loses bits.
        assert_close("dlogits", &twice.dlogits, &doubled, |_| f64::from(f32::MIN_POSITIVE));
        prop_assert_eq!(twice.report.loss, 2.0 * once.report.loss);
    }
}
