//! The oracle against values worked out by hand, and against finite differences of itself.

use super::{check_gradient, entropy, forward, forward_backward, log_softmax, nll, surrogate};
use crate::objective::{
    Builtin, Dft, Dpo, Focal, Grpo, Gspo, InfoSft, Kl, Normalize, Ppo, Rho1, Sft, SftGo, Talr,
    TalrAuto, TauFrom,
};
use crate::{Batch, Error, ExtrasScale, Loss, LossReport, Pair, Reduction};

const ROWS: usize = 10;
const VOCAB: usize = 5;
const LN2: f64 = core::f64::consts::LN_2;

/// A batch with every side input: an ignored row, an empty sequence, an unpaired one.
struct Case {
    logits: [f64; ROWS * VOCAB],
    token_weights: [f32; ROWS],
    ref_log_probs: [f32; ROWS],
    old_log_probs: [f32; ROWS],
    advantages: [f32; ROWS],
    class_weights: [f32; VOCAB],
}

const TARGETS: [i32; ROWS] = [0, 1, 2, 3, -100, 4, 0, 2, 1, 3];
const OFFSETS: [i32; 6] = [0, 3, 3, 6, 8, 10];
const GROUPS: [u32; ROWS] = [0, 2, 2, 0, 9, 7, 7, 0, 2, 7];
const PAIRS: [Pair; 2] = [Pair { chosen: 0, rejected: 2 }, Pair { chosen: 3, rejected: 0 }];
const KEEP: [bool; 5] = [true, false, false, true, true];

/// A linear congruential generator: uniform in [0, 1).
struct Uniform(u32);

impl Uniform {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        low + (high - low) * f64::from(self.0 >> 8) / f64::from(1 << 24)
    }

    fn fill<const N: usize>(&mut self, low: f64, high: f64) -> [f32; N] {
        #[expect(clippy::cast_possible_truncation, reason = "any number near will do")]
        core::array::from_fn(|_| self.between(low, high) as f32)
    }
}

impl Case {
    fn new(seed: u32) -> Self {
        let mut random = Uniform(seed);
        Self {
            logits: core::array::from_fn(|_| random.between(-2.0, 2.0)),
            token_weights: random.fill(0.0, 2.0),
            ref_log_probs: random.fill(-3.0, -0.2),
            old_log_probs: random.fill(-3.0, -0.2),
            advantages: random.fill(-1.5, 1.5),
            class_weights: random.fill(0.0, 2.0),
        }
    }

    fn batch(&self) -> Batch<'_> {
        Batch::new(&TARGETS)
            .ignore_index(-100)
            .ref_log_probs(&self.ref_log_probs)
            .old_log_probs(&self.old_log_probs)
            .advantages(&self.advantages)
            .groups(&GROUPS)
            .sequences(&OFFSETS)
            .pairs(&PAIRS)
            .keep(&KEEP)
    }
}

/// Every objective, and those with more than one formula once more for each.
fn objectives() -> impl Iterator<Item = Builtin> {
    let talr = TalrAuto::default();
    let grpo = Grpo { beta: 0.3, ..Grpo::default() };
    Builtin::all().chain([
        Focal { gamma: 0.5 }.into(),
        Focal { gamma: 1.0 }.into(),
        Focal { gamma: 0.0 }.into(),
        Talr { tau: 3.0, floor: 0.2, ..Talr::default() }.into(),
        TalrAuto { tau_from: TauFrom::TokenMedian, floor: 0.3, ..talr }.into(),
        TalrAuto { normalize: Normalize::Sum1Sequence, floor: 0.0, ..talr }.into(),
        TalrAuto { normalize: Normalize::Sum1Batch, ..talr }.into(),
        TalrAuto { normalize: Normalize::Mean1Batch, ..talr }.into(),
        Ppo { dual_clip: Some(1.5), ..Ppo::default() }.into(),
        Grpo { kl: Kl::K1, ..grpo }.into(),
        Grpo { kl: Kl::K2, ..grpo }.into(),
        Grpo { kl: Kl::K3Corrected, ..grpo }.into(),
        Grpo { kl: Kl::K3Clamped, ..grpo }.into(),
        Gspo { clip_low: 0.4, clip_high: 0.4 }.into(),
        Dpo { beta: 2.0 }.into(),
        SftGo { worst_weight: 1.0 }.into(),
    ])
}

fn with_extras<'a>(loss: Loss<'a, Builtin>, case: &'a Case) -> Loss<'a, Builtin> {
    loss.label_smoothing(0.1)
        .z_loss(0.05)
        .logit_scale(0.7)
        .softcap(3.0)
        .class_weights(&case.class_weights)
}

/// Finite differences of the surrogate against `forward_backward`, and its value against the loss.
fn check(loss: &Loss<'_, Builtin>, case: &Case, batch: &Batch<'_>) {
    let (z, mut dz) = (case.logits, [f64::NAN; ROWS * VOCAB]);
    let report = forward_backward(loss, &z, ROWS, VOCAB, batch, &mut dz).unwrap();
    assert_eq!(Ok(report), forward(loss, &z, ROWS, VOCAB, batch));
    let f = |x: &[f64]| surrogate(loss, x, &z, ROWS, VOCAB, batch).unwrap();
    assert_eq!(f(&z), report.loss);
    assert_eq!(dz[4 * VOCAB..5 * VOCAB], [0.0; VOCAB]);
    let check = check_gradient(f, &mut z.clone(), &dz, 1e-3);
    assert!(check.within(1e-9), "{check:?} of {loss:?}");
}

#[test]
fn gradients_are_those_of_the_surrogate() {
    use Reduction::{By, MeanPairs, MeanSequences, MeanTokens, MeanWeights, Sum};
    for seed in 0..3 {
        let case = Case::new(seed);
        let weighted = case.batch().token_weights(&case.token_weights);
        for objective in objectives() {
            let of_tokens = &[Sum, By(7.0), MeanTokens, MeanSequences, MeanWeights][..];
            let of_pairs = &[Sum, By(7.0), MeanPairs][..];
            let is_pairs = matches!(objective, Builtin::Dpo(_));
            for &reduction in if is_pairs { of_pairs } else { of_tokens } {
                let plain = Loss::new(objective).reduction(reduction);
                let extras = with_extras(plain, &case);
                check(&plain, &case, &case.batch());
                check(&plain, &case, &weighted);
                check(&extras, &case, &weighted);
                check(&extras.extras_scale(ExtrasScale::Objective), &case, &weighted);
            }
        }
    }
}

/// Objectives that detach nothing are checked without the surrogate, against the loss itself.
#[test]
fn true_functions_need_no_surrogate() {
    let mut case = Case::new(5);
    // One advantage for each sequence, and no clipping near.
    case.advantages = [1.0, 1.0, 1.0, -0.5, -0.5, -0.5, 0.7, 0.7, -1.2, -1.2];
    let batch = case.batch();
    let sequences = Reduction::MeanSequences;
    let gspo = Gspo { clip_low: 0.9, clip_high: 9.0 };
    let cases: [(Builtin, Reduction); 9] = [
        (Sft.into(), Reduction::MeanTokens),
        (Focal { gamma: 2.0 }.into(), sequences),
        (Builtin::from_name("power").unwrap(), Reduction::Sum),
        (Builtin::from_name("psft").unwrap(), Reduction::MeanTokens),
        (Ppo::default().into(), Reduction::MeanTokens),
        (Grpo::default().into(), sequences),
        (Builtin::from_name("rft").unwrap(), sequences),
        (gspo.into(), sequences),
        (Dpo { beta: 0.8 }.into(), Reduction::MeanPairs),
    ];
    for (objective, reduction) in cases {
        let loss = Loss::new(objective).reduction(reduction).z_loss(0.1).logit_scale(1.3);
        let (mut z, mut dz) = (case.logits, [0.0; ROWS * VOCAB]);
        forward_backward(&loss, &z, ROWS, VOCAB, &batch, &mut dz).unwrap();
        let f = |x: &[f64]| forward(&loss, x, ROWS, VOCAB, &batch).unwrap().loss;
        let check = check_gradient(f, &mut z, &dz, 1e-3);
        assert!(check.within(1e-9), "{check:?} of {loss:?}");
    }
}

/// One row of two classes in which the target 0 has probability `p`.
fn two(objective: impl Into<Builtin>, p: f64, batch: &Batch<'_>) -> (LossReport, [f64; 2]) {
    let logits = [libm::log(p), libm::log1p(-p)];
    let mut dlogits = [0.0; 2];
    let loss = Loss::new(objective.into());
    let report = forward_backward(&loss, &logits, 1, 2, batch, &mut dlogits).unwrap();
    (report, dlogits)
}

fn assert_near(a: f64, b: f64) {
    assert!(a == b || (a - b).abs() <= 1e-14 * (1.0 + b.abs()), "{a} is not {b}");
}

#[test]
fn coefficients_by_hand() {
    let batch = Batch::new(&[0]).ref_log_probs(&[-1.0]).old_log_probs(&[-1.0]).advantages(&[2.0]);
    // With one token and p = 1/4: loss and coefficient; dlogits = coef·(−3/4, 3/4).
    let nll = 2.0 * LN2;
    let r = core::f64::consts::E / 4.0;
    let infosft = 0.25 * (1.0 + libm::log(3.0) / libm::log(0.93 / 0.07));
    let cases: [(Builtin, f64, f64); 9] = [
        (Sft.into(), nll, 1.0),
        (Dft.into(), nll / 4.0, 0.25),
        (Talr { tau: 2.0, floor: 0.01, ..Talr::default() }.into(), nll / 2.0, 0.5),
        // (3/4)² and (3/4)² + 2·(1/4)·(3/4)·nll.
        (Focal { gamma: 2.0 }.into(), 9.0 / 16.0 * nll, 9.0 / 16.0 + 0.375 * nll),
        (Builtin::from_name("power").unwrap(), 0.75, 0.25),
        (InfoSft { p_max: 0.93 }.into(), infosft * nll, infosft),
        // r = e/4 is inside [0.2, 1.8] and below 1.28.
        (Builtin::from_name("iw-token").unwrap(), r * nll, r),
        (Builtin::from_name("psft").unwrap(), -r, r),
        // A > 0 and r < 0.8: not clipped.
        (Ppo::default().into(), -2.0 * r, 2.0 * r),
    ];
    for (objective, loss, coef) in cases {
        let (report, dlogits) = two(objective, 0.25, &batch);
        assert_near(report.loss, loss);
        assert_near(report.nll_sum, nll);
        assert_near(dlogits[0], -0.75 * coef);
        assert_near(dlogits[1], 0.75 * coef);
    }
}

#[test]
fn rows_by_hand() {
    assert_near(nll(&[7.0, 7.0], 1), LN2);
    assert_near(entropy(&[7.0, 7.0, 7.0, 7.0]), 2.0 * LN2);
    let mut out = [0.0; 3];
    log_softmax(&[f64::NEG_INFINITY, 0.0, 0.0], &mut out).unwrap();
    assert_eq!(out, [f64::NEG_INFINITY, -LN2, -LN2]);
    assert!(nll(&[f64::NEG_INFINITY; 2], 0).is_nan());
}

#[test]
fn an_impossible_target_takes_the_limit() {
    let batch = Batch::new(&[0]).ref_log_probs(&[-1.0]).old_log_probs(&[-1.0]).advantages(&[2.0]);
    let infinite = f64::INFINITY;
    let cases = [
        (Builtin::from(Sft), infinite, 1.0),
        (Dft.into(), 0.0, 0.0),
        (Talr { tau: 1.0, floor: 0.01, ..Talr::default() }.into(), infinite, 0.01),
        (Talr { tau: 1.0, floor: 0.0, ..Talr::default() }.into(), 0.0, 0.0),
        (Focal { gamma: 2.0 }.into(), infinite, 1.0),
        (Builtin::from_name("power").unwrap(), 1.0, 0.0),
        (InfoSft { p_max: 0.93 }.into(), 0.0, 0.0),
        (Builtin::from_name("iw-token").unwrap(), infinite, 0.2),
        (Builtin::from_name("cispo").unwrap(), 0.0, 0.0),
    ];
    for (objective, loss, coef) in cases {
        let mut dlogits = [f64::NAN; 2];
        let logits = [f64::NEG_INFINITY, 3.0];
        let loss_of = Loss::new(objective);
        let report = forward_backward(&loss_of, &logits, 1, 2, &batch, &mut dlogits).unwrap();
        assert_eq!((report.loss, report.nll_sum), (loss, infinite), "{objective:?}");
        assert_eq!(dlogits, [-coef, coef], "{objective:?}");
    }
}

#[test]
fn degenerate_rows() {
    let nan = f64::NAN;
    let logits = [nan, nan, 1.0, 2.0, f64::INFINITY, 0.0];
    let loss = Loss::new(Builtin::from(Sft));
    let mut dlogits = [9.0; 6];
    let batch = Batch::new(&[-1, 0, 1]).ignore_index(-1);
    let report = forward_backward(&loss, &logits, 3, 2, &batch, &mut dlogits).unwrap();
    assert!(report.loss.is_nan() && report.invalid_row == Some(2) && report.tokens == 2);
    assert!(dlogits[..2] == [0.0; 2] && dlogits[2].is_finite() && dlogits[4].is_nan());

    let ignored = Batch::new(&[-1, -1, -1]).ignore_index(-1);
    for reduction in [Reduction::Sum, Reduction::MeanTokens, Reduction::MeanWeights] {
        let loss = loss.reduction(reduction);
        let report = forward_backward(&loss, &logits, 3, 2, &ignored, &mut dlogits).unwrap();
        assert_eq!((report, dlogits), (LossReport::default(), [0.0; 6]));
    }
}

#[test]
fn groups_by_hand() {
    // Rows with p = 1/2, 1/4, 1/8 of the target; nll = 1, 2, 3 times ln 2.
    let mut logits = [0.0; 6];
    for (row, p) in [0.5, 0.25, 0.125].into_iter().enumerate() {
        (logits[2 * row], logits[2 * row + 1]) = (libm::log(p), libm::log1p(-p));
    }
    let batch = Batch::new(&[0, 0, 0])
        .sequences(&[0, 2, 3])
        .groups(&[1, 0, 1])
        .ref_log_probs(&[0.0; 3])
        .pairs(&[Pair { chosen: 0, rejected: 1 }]);
    let loss_of = |objective: Builtin, reduction| {
        let loss = Loss::new(objective).reduction(reduction);
        forward(&loss, &logits, 3, 2, &batch).unwrap()
    };
    // Sequence means 1.5 and 3 (times ln 2): the lower median is τ = 1.5 ln 2, the weights e^(−bits/1.5).
    let w = |bits: f64| libm::exp(-bits / 1.5);
    let talr = loss_of(TalrAuto::default().into(), Reduction::Sum);
    assert_near(talr.loss, LN2 * (w(1.0) + 2.0 * w(2.0) + 3.0 * w(3.0)));
    // Top ⌈0.6·3⌉ = 2 tokens: those of 2 and 3 bits.
    let rho = loss_of(Rho1 { keep: 0.6 }.into(), Reduction::MeanTokens);
    assert_near(rho.loss, 2.5 * LN2);
    assert_eq!(rho.tokens, 2);
    // Groups 1 and 0 both have mean 2: the lower id is the worst. Half of the mean, half of the group's.
    let go = loss_of(SftGo { worst_weight: 0.5 }.into(), Reduction::MeanTokens);
    assert_near(go.loss, 2.0 * LN2);
    // D = −3 ln 2 + 3 ln 2 = 0: −ln σ(0) = ln 2.
    assert_near(loss_of(Dpo { beta: 0.1 }.into(), Reduction::MeanPairs).loss, LN2);
    // Mean of the means 1.5 and 3 bits.
    assert_near(loss_of(Sft.into(), Reduction::MeanSequences).loss, 2.25 * LN2);
}

#[test]
fn errors() {
    let loss = Loss::new(Builtin::from(Sft));
    let batch = Batch::new(&[0]);
    assert_eq!(forward(&loss, &[], 1, 0, &batch), Err(Error::EmptyVocab));
    assert!(matches!(forward(&loss, &[0.0; 3], 1, 2, &batch), Err(Error::Length { .. })));
    assert!(matches!(
        forward(&loss, &[0.0; 2], 1, 2, &Batch::new(&[2])),
        Err(Error::Target { .. })
    ));
    let empty: [i32; 0] = [];
    let report = forward(&loss, &[], 0, 2, &Batch::new(&empty));
    assert_eq!(report, Ok(LossReport::default()));
}

#[test]
fn the_checker_catches_what_is_planted() {
    let f = |x: &[f64]| libm::sin(x[0]) * x[1];
    let mut x = [0.3, 0.7];
    let gradient = [libm::cos(0.3) * 0.7, libm::sin(0.3)];
    assert!(check_gradient(f, &mut x, &gradient, 1e-3).within(1e-10));
    assert_eq!(x, [0.3, 0.7]);
    let planted = check_gradient(f, &mut x, &[gradient[0], gradient[1] + 1e-6], 1e-3);
    assert!(planted.index == 1 && !planted.within(1e-7) && planted.within(1e-5));
    let nan = check_gradient(f, &mut x, &[f64::NAN, gradient[1]], 1e-3);
    assert!(nan.index == 0 && !nan.within(f64::INFINITY));
    let not_a_number = check_gradient(|_| f64::NAN, &mut x, &gradient, 1e-3);
    assert!(!not_a_number.within(f64::INFINITY));
    assert!(check_gradient(|_| 0.0, &mut [], &[], 1e-3).within(0.0));
}
