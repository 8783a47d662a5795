//! Every entry point of the library, in fixed memory. Logits are uniform, so that every result is known. Shapes and lengths are hidden from
//! the optimiser: what it knew, it would not check, and the program would not show where the library can panic.

use core::hint::black_box;

use surprisal::objective::{Builtin, Scalars, Sft, TokenTerm};
use surprisal::{
    Batch, Element, Error, Ids, Level, Logits, LogitsMut, Loss, LossReport, Outputs, Pair,
    Reduction, RowStats, Softmax, Workspace, bf16, default_level, diagnose, entropy, f16,
    log_softmax, log_softmax_in_place, log_sum_exp, params, token_log_probs,
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

/// A slice of unknown length.
fn any<T>(values: &[T]) -> &[T] {
    black_box(values)
}

/// As [`any`], to write.
fn any_mut<T>(values: &mut [T]) -> &mut [T] {
    black_box(values)
}

/// Any SIMD level.
fn level() -> Level {
    black_box(default_level())
}

/// Logits of unknown shape.
fn read<T: Element>(z: &[T], vocab: usize) -> Result<Logits<'_, T>, Error> {
    let (rows, vocab) = black_box((ROWS, vocab));
    Logits::new(any(z), rows, vocab)
}

/// As [`read`], to write.
fn write<T: Element>(z: &mut [T], vocab: usize) -> Result<LogitsMut<'_, T>, Error> {
    let (rows, vocab) = black_box((ROWS, vocab));
    LogitsMut::new(any_mut(z), rows, vocab)
}

/// A batch of unknown length, with ids of any type.
fn targets() -> Batch<'static> {
    Batch::new(black_box(Ids::from(&TARGETS)))
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

/// In place, separate in the same type, in f32 and in bf16, each with and without scratch.
fn loss<T: Element>(z: [T; LEN]) -> Result<f64, Error> {
    let (loss, batch, mut scratch) = (Loss::new(Sft).level(level()), targets(), [9.0; VOCAB]);
    let mut doubt = 0.0;
    for scratch in [&mut [][..], &mut scratch] {
        let (mut same, mut wide, mut narrow, mut place) = (z, [9.0_f32; LEN], [bf16::ONE; LEN], z);
        doubt += expect(separate(&loss, &z, &batch, &mut same, any_mut(scratch))?, EXPECTED);
        doubt += expect(separate(&loss, &z, &batch, &mut wide, any_mut(scratch))?, EXPECTED);
        doubt += expect(separate(&loss, &z, &batch, &mut narrow, any_mut(scratch))?, EXPECTED);
        let (out, outputs) = (write(&mut place, VOCAB)?, Outputs::new());
        let workspace = Workspace::none().scratch(any_mut(scratch));
        let report = loss.forward_backward_in_place_with(out, &batch, outputs, workspace)?;
        // (1/8 − 1)/2 at the target, (1/8)/2 elsewhere: all of them exact in bf16.
        doubt += expect(report.loss, EXPECTED) + expect(f64::from(wide[3]), -0.4375);
        doubt += expect(f64::from(wide[4]), 0.0625) + expect(narrow[3].to_f64(), -0.4375);
    }
    Ok(doubt)
}

/// The loss, with its gradient in any type.
fn separate<T: Element, G: Element>(
    loss: &Loss<'_, Sft>,
    z: &[T],
    batch: &Batch<'_>,
    dz: &mut [G],
    scratch: &mut [f32],
) -> Result<f64, Error> {
    let (logits, out, workspace) =
        (read(z, VOCAB)?, write(dz, VOCAB)?, Workspace::none().scratch(scratch));
    Ok(loss.forward_backward_with(logits, batch, out, Outputs::new(), workspace)?.loss)
}

/// A batch with every side input, all of them those of a model that is as uniform.
fn with_full_batch<R>(f: impl FnOnce(&Batch<'_>) -> R) -> R {
    let log_probs = [-(EXPECTED as f32); ROWS];
    let batch = targets()
        .token_weights(any(&[1.0; ROWS]))
        .ref_log_probs(any(&log_probs))
        .old_log_probs(any(&log_probs))
        .advantages(any(&[1.0; ROWS]))
        .groups(any(&[0; ROWS]))
        .sequences(black_box(Ids::from(&[0_i64, 1, 2])))
        .pairs(any(&[Pair { chosen: 0, rejected: 1 }]))
        .keep(any(&[true, true]));
    f(&batch)
}

/// What a workspace is made of.
struct Room([RowStats; ROWS], [TokenTerm; ROWS], [Scalars; ROWS], [f32; VOCAB]);

impl Room {
    fn new() -> Self {
        let (stats, term) = (RowStats::EMPTY, TokenTerm::default());
        Self([stats; ROWS], [term; ROWS], [Scalars::DROPPED; ROWS], [9.0; VOCAB])
    }

    fn lend(&mut self) -> Workspace<'_> {
        let Self(stats, terms, scalars, scratch) = self;
        let workspace = Workspace::none().stats(any_mut(stats)).terms(any_mut(terms));
        workspace.scalars(any_mut(scalars)).scratch(any_mut(scratch))
    }
}

/// Every objective of the library, those of groups with their workspace, with all dense extras.
fn objectives() -> Result<f64, Error> {
    with_full_batch(|batch| {
        let mut doubt = 0.0;
        for objective in Builtin::all() {
            let mut loss = Loss::new(objective)
                .level(level())
                .with_moments()
                .reduction(black_box(Reduction::Sum))
                .label_smoothing(0.1)
                .z_loss(1e-4)
                .class_weights(any(&[1.0; VOCAB]));
            if black_box(true) {
                loss = loss.softcap(30.0);
            }
            let (mut z, mut room) = ([0.5_f32; LEN], Room::new());
            let (mut stats, mut terms) = ([RowStats::EMPTY; ROWS], [TokenTerm::default(); ROWS]);
            let [mut nll, mut log_probs, mut losses, mut entropy, mut weights] =
                [[9.0_f32; ROWS]; 5];
            let (mut argmax, mut correct) = ([0; ROWS], [0; ROWS]);
            let outputs = Outputs::new()
                .stats(any_mut(&mut stats))
                .terms(any_mut(&mut terms))
                .nll(any_mut(&mut nll))
                .log_probs(any_mut(&mut log_probs))
                .losses(any_mut(&mut losses))
                .entropy(any_mut(&mut entropy))
                .weights(any_mut(&mut weights))
                .argmax(any_mut(&mut argmax))
                .correct(any_mut(&mut correct));
            let view = write(&mut z, VOCAB)?;
            let report = loss.forward_backward_in_place_with(view, batch, outputs, room.lend())?;
            doubt += expect(report.mean_nll(), EXPECTED) + 0.0 * report.loss;
        }
        Ok(doubt)
    })
}

/// The three stages over two shards.
fn stages() -> Result<f64, Error> {
    const HALF: usize = VOCAB / 2;
    let (loss, batch, mut room) = (Loss::new(Sft).level(level()), targets(), Room::new());
    let z = [0.5_f32; ROWS * HALF];
    let shard = |start| read(&z, HALF)?.shard(start, VOCAB);
    let (mut low, mut high) = ([RowStats::EMPTY; ROWS], [RowStats::EMPTY; ROWS]);
    loss.row_stats(shard(0)?, &batch, any_mut(&mut low))?;
    loss.row_stats(shard(HALF)?, &batch, any_mut(&mut high))?;
    let stats = [low[0].merge(high[0]), low[1].merge(high[1])];
    let mut terms = [TokenTerm::default(); ROWS];
    let out = any_mut(&mut terms);
    let report: LossReport = loss.token_terms(any(&stats), &batch, VOCAB, out, room.lend())?;
    let mut dz = [9.0_f32; ROWS * HALF];
    let out = write(&mut dz, HALF)?;
    loss.logits_grad(shard(0)?, &batch, any(&stats), any(&terms), out)?;
    Ok(expect(report.loss, EXPECTED) + expect(f64::from(dz[3]), -0.4375))
}

/// Log-softmax, log-sum-exp, entropy, log-probabilities, and the numbers to look at.
fn conveniences() -> Result<f64, Error> {
    let (mut z, mut out, mut row) = ([0.5_f32; LEN], [9.0_f32; LEN], [9.0_f32; ROWS]);
    let (batch, softmax) = (targets(), Softmax::at(level()));
    softmax.log_softmax(read(&z, VOCAB)?, write(&mut out, VOCAB)?)?;
    let mut doubt = expect(f64::from(out[0]), -EXPECTED);
    softmax.entropy(read(&z, VOCAB)?, any_mut(&mut row))?;
    doubt += expect(f64::from(row[1]), EXPECTED);
    log_softmax(read(&z, VOCAB)?, write(&mut out, VOCAB)?)?;
    doubt += expect(f64::from(out[0]), -EXPECTED);
    entropy(read(&z, VOCAB)?, any_mut(&mut row))?;
    doubt += expect(f64::from(row[1]), EXPECTED);
    log_sum_exp(read(&z, VOCAB)?, any_mut(&mut row))?;
    doubt += expect(f64::from(row[1]), EXPECTED + 0.5);
    doubt +=
        expect(token_log_probs(read(&z, VOCAB)?, &batch, any_mut(&mut row))?.perplexity(), 8.0);
    log_softmax_in_place(write(&mut z, VOCAB)?)?;
    doubt += expect(f64::from(z[LEN - 1]), -EXPECTED);
    let mut bins = [0; 4];
    diagnose::histogram(&batch, any(&row), any_mut(&mut bins))?;
    doubt += expect(bins[0] as f64, 2.0);
    doubt += expect(diagnose::hard_token_share(&batch, any(&row), 0.5)?, 1.0);
    doubt += expect(diagnose::effective_sample_size(&batch, any(&[1.0; ROWS]))?, 2.0);
    Ok(doubt + expect(diagnose::second_moment(&batch, any(&[1.0; ROWS]))?, 1.0))
}

/// L2 to the initial weights, WiSE-FT, LoRA.
fn parameters() -> Result<f64, Error> {
    let (theta, theta0, mut out) = ([3.0_f32; 2], [1.0_f32; 2], [0.0_f32; 2]);
    let mut doubt =
        expect(params::l2_to_initial(any(&theta), any(&theta0), 0.5, 1.0, any_mut(&mut out))?, 4.0);
    params::wise_ft(any(&theta), any(&theta0), 0.5, any_mut(&mut out))?;
    doubt += expect(f64::from(out[1]), 2.0);
    let lora = black_box(params::Lora { rows: 2, columns: 1, rank: 1, scale: 2.0 });
    lora.merge(any(&[1.0]), any(&[1.0, 1.0]), any_mut(&mut out))?;
    let (mut da, mut db) = ([0.0_f32; 1], [0.0_f32; 2]);
    lora.gradients(
        any(&[1.0; 2]),
        (any(&[1.0]), any_mut(&mut da)),
        (any(&[1.0; 2]), any_mut(&mut db)),
    )?;
    Ok(doubt + expect(f64::from(out[0]), 4.0) + expect(f64::from(da[0]), 4.0))
}

/// The oracle says the same, for every objective.
#[cfg(feature = "reference")]
fn oracle() -> Result<f64, Error> {
    use surprisal::reference;

    with_full_batch(|batch| {
        let (z, mut dz, (rows, vocab)) = (any(&[0.5; LEN]), [9.0; LEN], black_box((ROWS, VOCAB)));
        let dz = any_mut(&mut dz);
        let mut doubt = 0.0;
        for objective in Builtin::all() {
            let loss = Loss::new(objective).reduction(Reduction::Sum);
            let report = reference::forward_backward(&loss, z, rows, vocab, batch, dz)?;
            doubt += expect(report.mean_nll(), EXPECTED) + 0.0 * report.loss;
        }
        let loss = Loss::new(Builtin::from(Sft));
        let f =
            |x: &[f64]| reference::surrogate(&loss, x, z, rows, vocab, batch).unwrap_or(f64::NAN);
        reference::forward_backward(&loss, z, rows, vocab, batch, dz)?;
        let check = reference::check_gradient(f, any_mut(&mut [0.5; LEN]), dz, 1e-3);
        Ok(doubt + if check.within(1e-9) { 0.0 } else { f64::NAN })
    })
}
