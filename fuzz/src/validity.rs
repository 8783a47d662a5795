//! Which calls are right, written from the documentation and not from the library's checks.

use surprisal::Reduction;
use surprisal::objective::{Builtin, Normalize, TauFrom};
use surprisal_tests::problem::Problem;

use crate::call::Shape;

/// A matrix: rows do not overlap, and the data ends within the last row's stride.
pub fn shape(s: Shape) -> bool {
    let (len, rows, vocab, stride) =
        (s.len as u128, s.rows as u128, s.vocab as u128, s.stride as u128);
    let end = rows * stride;
    let last = if rows == 0 { 0 } else { (rows - 1) * stride + vocab };
    vocab > 0 && stride >= vocab && end <= usize::MAX as u128 && (last..=end).contains(&len)
}

/// A shard lies in its vocabulary.
pub fn shard(s: Shape) -> bool {
    s.shard.is_none_or(|(start, total)| start as u128 + s.vocab as u128 <= total as u128)
}

/// A result's shard, if it is one, is that of the logits.
pub fn same_place(result: Shape, logits: Shape) -> bool {
    let place = |s: Shape| s.shard.unwrap_or((0, s.vocab));
    place(result).1 == result.vocab || place(result) == place(logits)
}

/// A workspace: enough of everything for a group objective, and a scratch that has no part of a row.
pub fn workspace(lens: [usize; 3], scratch: usize, rows: usize, vocab: usize, group: bool) -> bool {
    let enough = rows == 0 || lens.into_iter().all(|len| len >= rows);
    (scratch == 0 || scratch >= vocab) && (enough || !group)
}

/// All that does not depend on views and outputs, for this many rows and classes.
pub fn problem(p: &Problem, rows: usize, vocab_total: usize) -> bool {
    parameters(&p.objective)
        && vocab_total > 0
        && extras(p, vocab_total)
        && inputs(p)
        && reduction(p)
        && targets(p, rows, vocab_total)
        && per_row(p, rows)
        && sequences(p, rows)
}

/// Whether an objective is a group objective, which needs a workspace.
pub fn is_group(objective: &Builtin) -> bool {
    use Builtin::*;
    matches!(
        objective,
        TalrAuto(_)
            | IwSequence(_)
            | Flow(_)
            | DftSequence(_)
            | Gspo(_)
            | Dpo(_)
            | Rft(_)
            | Rho1(_)
            | SftGo(_)
    )
}

fn parameters(objective: &Builtin) -> bool {
    use Builtin::*;
    let clip = |low: f64, high: f64| (0.0..=1.0).contains(&low) && high >= 0.0;
    let share = |x: f64| (0.0..=1.0).contains(&x);
    let natural = |x: f64| x >= 0.0 && x.is_finite();
    match *objective {
        Sft(_) | Dft(_) | DftSequence(_) | Rft(_) | Deft(_) => true,
        Talr(o) => o.tau > 0.0 && share(o.floor),
        TalrAuto(o) => share(o.floor),
        Focal(o) => natural(o.gamma),
        FocalDetached(o) => natural(o.gamma),
        Power(o) => natural(o.alpha) && o.alpha != 0.0,
        InfoSft(o) => o.p_max > 0.5 && o.p_max < 1.0,
        Eaft(o) => natural(o.power) && o.classes > 1.0 && o.classes.is_finite(),
        IwToken(o) => natural(o.temperature) && o.low >= 0.0 && o.high >= o.low,
        IwSequence(o) => natural(o.temperature) && o.max > 0.0,
        Flow(o) => o.tau.is_none_or(|tau| tau > 0.0),
        Psft(o) => o.clip_high >= 0.0,
        Cispo(o) => o.clip_high >= 0.0,
        Ppo(o) => clip(o.clip_low, o.clip_high) && o.dual_clip.is_none_or(|c| c > 1.0),
        Grpo(o) => clip(o.clip_low, o.clip_high) && natural(o.beta),
        Dapo(o) => clip(o.clip_low, o.clip_high),
        Gspo(o) => clip(o.clip_low, o.clip_high),
        Dpo(o) => natural(o.beta) && o.beta != 0.0,
        Rho1(o) => o.keep > 0.0 && o.keep <= 1.0,
        SftGo(o) => share(o.worst_weight),
        ref other => panic!("{other:?} is new"),
    }
}

fn extras(p: &Problem, vocab_total: usize) -> bool {
    let e = &p.extras;
    let positive = |x: f32| x > 0.0 && x.is_finite();
    let weights = e.class_weights.as_ref();
    (0.0..=1.0).contains(&e.label_smoothing)
        && (e.z_loss >= 0.0 && e.z_loss.is_finite())
        && positive(e.logit_scale)
        && e.grad_scale.is_finite()
        && e.softcap.is_none_or(positive)
        && weights.is_none_or(|w| w.len() == vocab_total && w.iter().all(|&w| is_weight(w)))
}

/// The side inputs that the objective needs.
fn inputs(p: &Problem) -> bool {
    use Builtin::*;
    let (ref_, old) = (p.ref_log_probs.is_some(), p.old_log_probs.is_some());
    let (advantages, sequences) = (p.advantages.is_some(), p.cu_seqlens.is_some());
    match p.objective {
        IwToken(_) | Rho1(_) => ref_,
        Psft(_) => old,
        Ppo(_) | Dapo(_) | Cispo(_) => old && advantages,
        Grpo(o) => old && advantages && (ref_ || o.beta == 0.0),
        Gspo(_) => old && advantages && sequences,
        TalrAuto(o) => {
            let by_sequence =
                o.tau_from == TauFrom::SequenceMedian || o.normalize == Normalize::Sum1Sequence;
            sequences || !by_sequence
        }
        IwSequence(_) | Flow(_) => ref_ && sequences,
        DftSequence(_) => sequences,
        Dpo(_) => ref_ && sequences && p.pairs.is_some(),
        Rft(_) => sequences && p.keep.is_some(),
        SftGo(_) => p.groups.is_some(),
        _ => true,
    }
}

fn reduction(p: &Problem) -> bool {
    let of_pairs = matches!(p.objective, Builtin::Dpo(_));
    match p.reduction {
        Reduction::Sum => true,
        Reduction::By(x) => x > 0.0 && x.is_finite(),
        Reduction::MeanPairs => of_pairs,
        Reduction::MeanTokens | Reduction::MeanWeights => !of_pairs,
        Reduction::MeanSequences => !of_pairs && p.cu_seqlens.is_some(),
        other => panic!("{other:?} is new"),
    }
}

/// Rows that are not ignored.
fn active(p: &Problem) -> impl Iterator<Item = usize> + '_ {
    (0..p.targets.len()).filter(|&row| p.ignore_index != Some(p.targets[row]))
}

fn targets(p: &Problem, rows: usize, vocab_total: usize) -> bool {
    let is_class = |target: i64| target >= 0 && (target as u128) < vocab_total as u128;
    p.targets.len() == rows && active(p).all(|row| is_class(p.targets[row]))
}

fn is_weight(w: f32) -> bool {
    w >= 0.0 && w.is_finite()
}

/// One entry a row; only those of active rows are looked at.
fn per_row(p: &Problem, rows: usize) -> bool {
    let all = |values: &Option<Vec<f32>>, allowed: fn(f32) -> bool| {
        let right = |v: &Vec<f32>| v.len() == rows && active(p).all(|row| allowed(v[row]));
        values.as_ref().is_none_or(right)
    };
    let in_range = |g: &Vec<u32>| g.len() == rows && active(p).all(|row| (g[row] as usize) < rows);
    all(&p.token_weights, is_weight)
        && all(&p.ref_log_probs, |x| x <= 1.0)
        && all(&p.old_log_probs, |x| x <= 1.0)
        && all(&p.advantages, f32::is_finite)
        && p.groups.as_ref().is_none_or(in_range)
}

/// Offsets from 0 to the rows that never fall; pairs and keep flags only over sequences.
fn sequences(p: &Problem, rows: usize) -> bool {
    let Some(offsets) = &p.cu_seqlens else { return p.pairs.is_none() && p.keep.is_none() };
    let cover =
        offsets.first() == Some(&0) && offsets.last().map(|&o| o as u128) == Some(rows as u128);
    if !cover || !offsets.is_sorted() {
        return false;
    }
    let count = offsets.len() - 1;
    p.keep.as_ref().is_none_or(|keep| keep.len() == count)
        && p.pairs.iter().flatten().all(|pair| {
            pair.chosen < count && pair.rejected < count && pair.chosen != pair.rejected
        })
}
