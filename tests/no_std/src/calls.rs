//! Every entry point of the library, in fixed memory. Logits are uniform, so that every result is known.

use surprisal::objective::{Builtin, Sft, TokenTerm};
use surprisal::{
    Batch, Element, Error, GradientOf, Logits, LogitsMut, Loss, LossReport, Outputs, Pair,
    Reduction, RowStats, bf16, diagnose, entropy, f16, log_softmax, log_softmax_in_place,
    log_sum_exp, params, token_log_probs,
};

const ROWS: usize = 2;
const VOCAB: usize = 8;
const LEN: usize = ROWS * VOCAB;
const TARGETS: [i32; ROWS] = [3, 5];

/// ln 8.
const EXPECTED: f64 = 3.0 * core::f64::consts::LN_2;

/// NaN where a value is not what it should be: it reaches the result, and `main.c` sees it.
fn expect(value: f64, expected: f64) -> f64 {
    let error = value - expected;
    if (-1e-6..=1e-6).contains(&error) { 0.0 } else { f64::NAN }
}

/// The loss of uniform logits, from every part of the library.
pub(crate) fn all() -> Result<f64, Error> {
    let mut doubt = loss([0.5_f32; LEN])?;
    doubt += loss([bf16::from_f32_const(0.5); LEN])?;
    doubt += loss([f16::from_f32_const(0.5); LEN])?;
    doubt += objectives()? + stages()? + conveniences()? + parameters()?;
    #[cfg(feature = "reference")]
    {
        doubt += oracle()?;
    }
    Ok(EXPECTED + doubt)
}

/// In place, separate in the same type and separate into f32.
fn loss<T: Element>(z: [T; LEN]) -> Result<f64, Error>
where
    f32: GradientOf<T>,
{
    let (loss, batch) = (Loss::new(Sft), Batch::new(&TARGETS));
    let (mut same, mut wide, mut place) = (z, [9.0_f32; LEN], z);
    let logits = Logits::new(&z, ROWS, VOCAB)?;
    let out = LogitsMut::new(&mut same, ROWS, VOCAB)?;
    let mut doubt = expect(loss.forward_backward(logits, &batch, out)?.loss, EXPECTED);
    let out = LogitsMut::new(&mut wide, ROWS, VOCAB)?;
    doubt += expect(loss.forward_backward(logits, &batch, out)?.loss, EXPECTED);
    let out = LogitsMut::new(&mut place, ROWS, VOCAB)?;
    doubt += expect(loss.forward_backward_in_place(out, &batch)?.loss, EXPECTED);
    // (1/8 − 1)/2 at the target, (1/8)/2 elsewhere.
    Ok(doubt + expect(f64::from(wide[3]), -0.4375) + expect(f64::from(wide[4]), 0.0625))
}

/// A batch with every side input, all of them those of a model that is as uniform.
fn with_full_batch<R>(f: impl FnOnce(&Batch<'_>) -> R) -> R {
    let log_probs = [-(EXPECTED as f32); ROWS];
    let batch = Batch::new(&TARGETS)
        .token_weights(&[1.0; ROWS])
        .ref_log_probs(&log_probs)
        .old_log_probs(&log_probs)
        .advantages(&[1.0; ROWS])
        .groups(&[0; ROWS])
        .sequences(&[0, 1, 2])
        .pairs(&[Pair { chosen: 0, rejected: 1 }])
        .keep(&[true, true]);
    f(&batch)
}

/// Every objective of the library, those of groups with their workspace, with all dense extras.
fn objectives() -> Result<f64, Error> {
    with_full_batch(|batch| {
        let mut doubt = 0.0;
        for objective in Builtin::all() {
            let loss = Loss::new(objective)
                .reduction(Reduction::Sum)
                .label_smoothing(0.1)
                .z_loss(1e-4)
                .softcap(30.0)
                .class_weights(&[1.0; VOCAB]);
            let (mut z, mut stats) = ([0.5_f32; LEN], [RowStats::EMPTY; ROWS]);
            let mut terms = [TokenTerm::default(); ROWS];
            let outputs = Outputs::new().stats(&mut stats).terms(&mut terms);
            let view = LogitsMut::new(&mut z, ROWS, VOCAB)?;
            let report = loss.forward_backward_in_place_with(view, batch, outputs)?;
            doubt += expect(report.mean_nll(), EXPECTED) + 0.0 * report.loss;
        }
        Ok(doubt)
    })
}

/// The three stages over two shards.
fn stages() -> Result<f64, Error> {
    const HALF: usize = VOCAB / 2;
    let (loss, batch) = (Loss::new(Sft), Batch::new(&TARGETS));
    let z = [0.5_f32; ROWS * HALF];
    let shard = |start| Logits::new(&z, ROWS, HALF)?.shard(start, VOCAB);
    let (mut low, mut high) = ([RowStats::EMPTY; ROWS], [RowStats::EMPTY; ROWS]);
    loss.row_stats(shard(0)?, &batch, &mut low)?;
    loss.row_stats(shard(HALF)?, &batch, &mut high)?;
    let stats = [low[0].merge(high[0]), low[1].merge(high[1])];
    let mut terms = [TokenTerm::default(); ROWS];
    let report: LossReport = loss.token_terms(&stats, &batch, VOCAB, &mut terms)?;
    let mut dz = [9.0_f32; ROWS * HALF];
    let out = LogitsMut::new(&mut dz, ROWS, HALF)?;
    loss.logits_grad(shard(0)?, &batch, &stats, &terms, out)?;
    Ok(expect(report.loss, EXPECTED) + expect(f64::from(dz[3]), -0.4375))
}

/// Log-softmax, log-sum-exp, entropy, log-probabilities, and the numbers to look at.
fn conveniences() -> Result<f64, Error> {
    let (mut z, mut out, mut row) = ([0.5_f32; LEN], [9.0_f32; LEN], [9.0_f32; ROWS]);
    let batch = Batch::new(&TARGETS);
    log_softmax(Logits::new(&z, ROWS, VOCAB)?, LogitsMut::new(&mut out, ROWS, VOCAB)?)?;
    let mut doubt = expect(f64::from(out[0]), -EXPECTED);
    entropy(Logits::new(&z, ROWS, VOCAB)?, &mut row)?;
    doubt += expect(f64::from(row[1]), EXPECTED);
    log_sum_exp(Logits::new(&z, ROWS, VOCAB)?, &mut row)?;
    doubt += expect(f64::from(row[1]), EXPECTED + 0.5);
    doubt +=
        expect(token_log_probs(Logits::new(&z, ROWS, VOCAB)?, &batch, &mut row)?.perplexity(), 8.0);
    log_softmax_in_place(LogitsMut::new(&mut z, ROWS, VOCAB)?)?;
    doubt += expect(f64::from(z[LEN - 1]), -EXPECTED);
    let mut bins = [0; 4];
    diagnose::histogram(&batch, &row, &mut bins)?;
    doubt += expect(bins[0] as f64, 2.0);
    doubt += expect(diagnose::hard_token_share(&batch, &row, 0.5)?, 1.0);
    doubt += expect(diagnose::effective_sample_size(&batch, &[1.0; ROWS])?, 2.0);
    Ok(doubt + expect(diagnose::second_moment(&batch, &[1.0; ROWS])?, 1.0))
}

/// L2 to the initial weights, WiSE-FT, LoRA.
fn parameters() -> Result<f64, Error> {
    let (theta, theta0, mut out) = ([3.0_f32; 2], [1.0_f32; 2], [0.0_f32; 2]);
    let mut doubt = expect(params::l2_to_initial(&theta, &theta0, 0.5, 1.0, &mut out)?, 4.0);
    params::wise_ft(&theta, &theta0, 0.5, &mut out)?;
    doubt += expect(f64::from(out[1]), 2.0);
    let lora = params::Lora { rows: 2, columns: 1, rank: 1, scale: 2.0 };
    lora.merge(&[1.0], &[1.0, 1.0], &mut out)?;
    let (mut da, mut db) = ([0.0_f32; 1], [0.0_f32; 2]);
    lora.gradients(&[1.0; 2], (&[1.0], &mut da), (&[1.0; 2], &mut db))?;
    Ok(doubt + expect(f64::from(out[0]), 4.0) + expect(f64::from(da[0]), 4.0))
}

/// The oracle says the same, for every objective.
#[cfg(feature = "reference")]
fn oracle() -> Result<f64, Error> {
    use surprisal::reference;

    with_full_batch(|batch| {
        let (z, mut dz) = ([0.5; LEN], [9.0; LEN]);
        let mut doubt = 0.0;
        for objective in Builtin::all() {
            let loss = Loss::new(objective).reduction(Reduction::Sum);
            let report = reference::forward_backward(&loss, &z, ROWS, VOCAB, batch, &mut dz)?;
            doubt += expect(report.mean_nll(), EXPECTED) + 0.0 * report.loss;
        }
        let loss = Loss::new(Builtin::from(Sft));
        let f =
            |x: &[f64]| reference::surrogate(&loss, x, &z, ROWS, VOCAB, batch).unwrap_or(f64::NAN);
        reference::forward_backward(&loss, &z, ROWS, VOCAB, batch, &mut dz)?;
        let check = reference::check_gradient(f, &mut z.clone(), &dz, 1e-3);
        Ok(doubt + if check.within(1e-9) { 0.0 } else { f64::NAN })
    })
}
