//! Statistics of vocabulary shards, merged, against those of the whole row and against the f64 oracle; and the laws of `merge`.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use half::{bf16, f16};
use libfuzzer_sys::fuzz_target;
use surprisal::{
    Batch, Element, Level, Logits, Loss, Outputs, RowStats, Softmax, Workspace, objective::Sft,
};
use surprisal_fuzz::logits::{Storage, WildContent};
use surprisal_tests::compare::close;
use surprisal_tests::run::levels;
use surprisal_tests::storage;

/// ULP of 1 in f32.
const ULP: f64 = f32::EPSILON as f64;
/// An exponential below this is 0.
const LOST: f64 = f32::MIN_POSITIVE as f64;

/// One row, and where it is cut.
#[derive(Debug)]
struct Row {
    storage: Storage,
    level: Level,
    smoothing: f32,
    target: usize,
    /// Rising, with 0 and the vocabulary at the ends; empty shards are left out.
    cuts: Vec<usize>,
    logits: Vec<f32>,
}

impl<'a> Arbitrary<'a> for Row {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let storage: Storage = u.arbitrary()?;
        let level = *u.choose(&levels())?;
        let vocab = u.int_in_range(1..=300)?;
        let target = u.int_in_range(0..=vocab - 1)?;
        let smoothing = if u.arbitrary()? { 0.25 } else { 0.0 };
        let mut cuts = vec![0, vocab];
        for _ in 0..u.int_in_range(0..=4)? {
            cuts.push(u.int_in_range(0..=vocab)?);
        }
        cuts.sort_unstable();
        cuts.dedup();
        let content: WildContent = u.arbitrary()?;
        let logits = storage.wild(u, content, vocab)?;
        Ok(Self { storage, level, smoothing, target, cuts, logits })
    }
}

fuzz_target!(|row: Row| match row.storage {
    Storage::F32 => check::<f32>(&row),
    Storage::Bf16 => check::<bf16>(&row),
    Storage::F16 => check::<f16>(&row),
});

fn check<T: Element + storage::Storage>(row: &Row) {
    let z: Vec<T> = row.logits.iter().map(|&z| T::round(z)).collect();
    let vocab = z.len();
    let part = |start: usize, end: usize| stats(row, &z[start..end], start);
    let whole = part(0, vocab);
    let parts: Vec<RowStats> = row.cuts.windows(2).map(|cut| part(cut[0], cut[1])).collect();
    let merged = parts.iter().fold(RowStats::EMPTY, |all, &part| all.merge(part));
    let reverse = parts.iter().rev().fold(RowStats::EMPTY, |all, &part| all.merge(part));

    let wide: Vec<f64> = z.iter().map(|z| f64::from(z.widen())).collect();
    let expected = surprisal::reference::nll(&wide, row.target);
    let valid = wide.iter().any(|z| z.is_finite())
        && wide.iter().all(|&z| !z.is_nan() && z != f64::INFINITY);
    for (what, stats) in [("whole", whole), ("merged", merged), ("reverse", reverse)] {
        assert_eq!(stats.is_valid(), valid, "{what}: {stats:?}");
        let distance = wide.iter().fold(wide[row.target], |max, z| max.max(*z)) - wide[row.target];
        let bound = ULP * (4.0 + distance) * expected + LOST * wide.len() as f64;
        assert!(close(stats.nll(), expected, bound), "{what}: nll {} for {expected}", stats.nll());
        if valid {
            let max = wide.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert_eq!((stats.max, stats.target_logit), (max, wide[row.target]), "{what}");
            assert_eq!(stats.is_correct(), wide[row.target] == max, "{what}");
            check_sum_logits(row.smoothing > 0.0, &wide, max, stats.sum_logits);
        }
    }
    // Out of the fused pass come statistics with nothing left out.
    let full = fused(row, &z, whole, &wide);
    for &a in parts.iter().chain([&whole, &merged, &full]) {
        assert_same(a.merge(RowStats::EMPTY), a, "right identity");
        assert_same(RowStats::EMPTY.merge(a), a, "left identity");
        for &b in parts.iter().chain([&full]) {
            assert_same(a.merge(b), b.merge(a), "commutativity");
        }
    }
}

/// Σ z, whose terms are taken relative to the maximum in f32.
fn check_sum_logits(asked: bool, wide: &[f64], max: f64, actual: f64) {
    let sum = if asked { wide.iter().sum() } else { f64::NAN };
    let finite = || wide.iter().copied().filter(|z| z.is_finite());
    let bound =
        1e-13 * finite().map(f64::abs).sum::<f64>() + ULP * finite().map(|z| max - z).sum::<f64>();
    // A difference that is no f32.
    let far = finite().any(|z| max - z > f64::from(f32::MAX)) && actual == f64::NEG_INFINITY;
    assert!(far || close(actual, sum, bound), "sum_logits {actual} for {sum}");
}

/// Stage 1 by itself over one part of the row.
fn stats<T: Element>(row: &Row, z: &[T], start: usize) -> RowStats {
    let mut stats = [RowStats::EMPTY];
    let logits = Logits::new(z, 1, z.len()).unwrap();
    let logits = logits.shard(start, row.logits.len()).unwrap();
    let targets = [i64::try_from(row.target).unwrap()];
    let loss = Loss::new(Sft).level(row.level).label_smoothing(row.smoothing);
    loss.row_stats(logits, &Batch::new(&targets), &mut stats).unwrap();
    stats[0]
}

/// The same statistics, and what is derived from them, out of the fused pass.
fn fused<T: Element>(row: &Row, z: &[T], staged: RowStats, wide: &[f64]) -> RowStats {
    let (mut stats, mut entropy) = ([RowStats::EMPTY], [9.0]);
    let (mut argmax, mut correct, mut log_sum_exp) = ([9], [9], [9.0]);
    let logits = Logits::new(z, 1, z.len()).unwrap();
    let outputs = Outputs::new()
        .stats(&mut stats)
        .entropy(&mut entropy)
        .argmax(&mut argmax)
        .correct(&mut correct);
    let targets = [i64::try_from(row.target).unwrap()];
    let loss = Loss::new(Sft).level(row.level).label_smoothing(row.smoothing);
    let report =
        loss.forward_with(logits, &Batch::new(&targets), outputs, Workspace::none()).unwrap();
    assert_eq!(report.invalid_row.is_none(), staged.is_valid());
    let nan = f64::NAN;
    let without_moments = RowStats { sum_exp_logits: nan, sum_exp_squared: nan, ..stats[0] };
    assert_same(without_moments, staged, "fused");
    Softmax::at(row.level).log_sum_exp(logits, &mut log_sum_exp).unwrap();
    let lse = surprisal::reference::log_sum_exp(wide);
    let bound = 2e-7 * (1.0 + lse.abs());
    assert!(close(f64::from(log_sum_exp[0]), lse, bound), "lse {} for {lse}", log_sum_exp[0]);
    let expected = surprisal::reference::entropy(wide);
    let bound = 1e-6 * (1.0 + expected);
    assert!(close(f64::from(entropy[0]), expected, bound), "H {} for {expected}", entropy[0]);
    if staged.is_valid() {
        let first = wide.iter().position(|&z| z == staged.max);
        assert_eq!(usize::try_from(argmax[0]).ok(), first, "argmax");
        assert_eq!(correct[0] == 1, wide[row.target] == staged.max, "correct");
    }
    stats[0]
}

/// The same bits in every field; any NaN equals any other.
fn assert_same(a: RowStats, b: RowStats, what: &str) {
    let fields = |s: RowStats| {
        let sums = [s.others, s.sum_logits, s.sum_exp_logits, s.sum_exp_squared];
        [s.max, s.target_logit].into_iter().chain(sums)
    };
    for (x, y) in fields(a).zip(fields(b)) {
        let same = x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
        assert!(same, "{what}: {a:?} and {b:?}");
    }
}
