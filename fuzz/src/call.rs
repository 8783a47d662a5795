//! A call with anything wrong with it: a consistent problem to which arbitrary faults were done.

use arbitrary::{Arbitrary, Result, Unstructured};
use surprisal::objective::{
    Builtin, Cispo, Dapo, Dpo, Eaft, Flow, Focal, FocalDetached, Grpo, Gspo, InfoSft, IwSequence,
    IwToken, Power, Ppo, Psft, Rho1, SftGo, Talr, TalrAuto,
};
use surprisal::{Pair, Reduction};
use surprisal_tests::problem::Problem;

use crate::problem::Input;

/// What a view of a matrix is made of.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub len: usize,
    pub rows: usize,
    pub vocab: usize,
    pub stride: usize,
    /// First class and size of the whole vocabulary.
    pub shard: Option<(usize, usize)>,
}

/// Everything that a caller may get wrong.
#[derive(Debug)]
pub struct Call {
    /// Its `rows` and `vocab` are not used: those of the views are.
    pub problem: Problem,
    pub logits: Shape,
    pub dlogits: Shape,
    /// The vocabulary that stage 2 is told of.
    pub vocab_total: usize,
    /// Lengths of statistics, terms and one more output, where they are given.
    pub stats: Option<usize>,
    pub terms: Option<usize>,
    pub nll: Option<usize>,
    /// Lengths of what the workspace has for each row, and of its scratch.
    pub workspace: [usize; 3],
    pub scratch: usize,
}

impl<'a> Arbitrary<'a> for Call {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let problem = Input::arbitrary(u)?.problem;
        let (rows, vocab) = (problem.rows, problem.vocab);
        let stride = vocab + u.int_in_range(0..=3)?;
        let shape = Shape { len: rows * stride, rows, vocab, stride, shard: None };
        let mut call = Self {
            problem,
            logits: shape,
            dlogits: shape,
            vocab_total: vocab,
            stats: Some(rows),
            terms: Some(rows),
            nll: Some(rows),
            workspace: [rows; 3],
            scratch: 0,
        };
        for _ in 0..u.int_in_range(0..=3)? {
            fault(u, &mut call)?;
        }
        Ok(call)
    }
}

/// Does something to a call that may make it wrong.
fn fault(u: &mut Unstructured<'_>, call: &mut Call) -> Result<()> {
    let p = &mut call.problem;
    match u.int_in_range(0..=18)? {
        0 => shape(u, &mut call.logits)?,
        1 if u.arbitrary()? => call.dlogits.shard = Some((u.int_in_range(0..=4)?, size(u)?)),
        1 => shape(u, &mut call.dlogits)?,
        2 => {
            let start = u.int_in_range(0..=4)?;
            let total = call.logits.vocab.saturating_add(u.int_in_range(0..=8)?);
            call.logits.shard = Some((start, total));
            call.vocab_total = total;
        }
        3 => call.vocab_total = size(u)?,
        4 => match u.int_in_range(0..=4)? {
            0 => call.stats = length(u)?,
            1 => call.terms = length(u)?,
            2 => call.nll = length(u)?,
            3 => call.workspace[u.int_in_range(0..=2)?] = u.int_in_range(0..=10)?,
            _ => call.scratch = u.int_in_range(0..=200)?,
        },
        5 => list(u, &mut p.targets, |u| u.arbitrary())?,
        6 => p.ignore_index = u.arbitrary()?,
        7 => optional(u, &mut p.token_weights, |u| u.arbitrary())?,
        8 => optional(u, &mut p.ref_log_probs, |u| u.arbitrary())?,
        9 => optional(u, &mut p.old_log_probs, |u| u.arbitrary())?,
        10 => optional(u, &mut p.advantages, |u| u.arbitrary())?,
        11 => optional(u, &mut p.groups, |u| u.arbitrary())?,
        12 => optional(u, &mut p.cu_seqlens, |u| u.arbitrary())?,
        13 => optional(u, &mut p.keep, |u| u.arbitrary())?,
        14 => optional(u, &mut p.pairs, |u| {
            Ok(Pair { chosen: u.int_in_range(0..=6)?, rejected: size(u)? })
        })?,
        15 => optional(u, &mut p.extras.class_weights, |u| u.arbitrary())?,
        16 => p.objective = objective(u)?,
        17 => p.reduction = reduction(u)?,
        _ => match u.int_in_range(0..=4)? {
            0 => p.extras.label_smoothing = u.arbitrary()?,
            1 => p.extras.z_loss = u.arbitrary()?,
            2 => p.extras.logit_scale = u.arbitrary()?,
            3 => p.extras.grad_scale = u.arbitrary()?,
            _ => p.extras.softcap = u.arbitrary()?,
        },
    }
    Ok(())
}

fn shape(u: &mut Unstructured<'_>, shape: &mut Shape) -> Result<()> {
    match u.int_in_range(0..=4)? {
        0 => shape.len = u.int_in_range(0..=1000)?,
        1 => shape.rows = size(u)?,
        2 => shape.vocab = size(u)?,
        3 => shape.stride = size(u)?,
        // The padding behind the last row may be missing, but no more.
        _ => shape.len = shape.len.saturating_sub(u.int_in_range(0..=5)?),
    }
    Ok(())
}

/// A small number, now and then one at the end of the address space.
fn size(u: &mut Unstructured<'_>) -> Result<usize> {
    if u.ratio(1, 4)? { u.arbitrary() } else { u.int_in_range(0..=90) }
}

fn length(u: &mut Unstructured<'_>) -> Result<Option<usize>> {
    Ok(if u.arbitrary()? { Some(u.int_in_range(0..=10)?) } else { None })
}

/// Removes, adds or replaces one entry.
fn list<T>(
    u: &mut Unstructured<'_>,
    list: &mut Vec<T>,
    one: impl Fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<()> {
    match u.int_in_range(0..=3)? {
        0 => drop(list.pop()),
        1 => list.push(one(u)?),
        _ if list.is_empty() => {}
        _ => {
            let index = u.choose_index(list.len())?;
            list[index] = one(u)?;
        }
    }
    Ok(())
}

/// The same for one that may be absent; takes it away, too.
fn optional<T>(
    u: &mut Unstructured<'_>,
    values: &mut Option<Vec<T>>,
    one: impl Fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<()> {
    match values {
        Some(values) if u.ratio(3, 4)? => list(u, values, one)?,
        Some(_) => *values = None,
        None => *values = Some(vec![one(u)?]),
    }
    Ok(())
}

fn reduction(u: &mut Unstructured<'_>) -> Result<Reduction> {
    Ok(match u.int_in_range(0..=5)? {
        0 => Reduction::Sum,
        1 => Reduction::MeanTokens,
        2 => Reduction::MeanSequences,
        3 => Reduction::MeanWeights,
        4 => Reduction::MeanPairs,
        _ => Reduction::By(u.arbitrary()?),
    })
}

/// An objective with any parameters.
fn objective(u: &mut Unstructured<'_>) -> Result<Builtin> {
    let default = *u.choose(&Builtin::all().collect::<Vec<_>>())?;
    let mut any = || -> Result<f64> {
        Ok(match u.int_in_range(0..=4)? {
            0 => u.arbitrary()?,
            1 => 0.0,
            2 => 1.0,
            _ => f64::from(u.arbitrary::<i16>()?) / 16_384.0,
        })
    };
    Ok(match default {
        Builtin::Talr(_) => Talr { tau: any()?, floor: any()?, p_min: any()? }.into(),
        Builtin::TalrAuto(o) => TalrAuto { floor: any()?, p_min: any()?, ..o }.into(),
        Builtin::Focal(_) => Focal { gamma: any()? }.into(),
        Builtin::FocalDetached(_) => FocalDetached { gamma: any()? }.into(),
        Builtin::Power(_) => Power { alpha: any()? }.into(),
        Builtin::InfoSft(_) => InfoSft { p_max: any()? }.into(),
        Builtin::Eaft(_) => Eaft { power: any()?, classes: any()? }.into(),
        Builtin::IwToken(_) => IwToken { temperature: any()?, low: any()?, high: any()? }.into(),
        Builtin::IwSequence(_) => IwSequence { temperature: any()?, max: any()? }.into(),
        Builtin::Flow(_) => Flow { tau: Some(any()?) }.into(),
        Builtin::Psft(_) => Psft { clip_high: any()? }.into(),
        Builtin::Cispo(_) => Cispo { clip_high: any()? }.into(),
        Builtin::Ppo(_) => {
            Ppo { clip_low: any()?, clip_high: any()?, dual_clip: Some(any()?) }.into()
        }
        Builtin::Grpo(o) => Grpo { clip_low: any()?, clip_high: any()?, beta: any()?, ..o }.into(),
        Builtin::Dapo(_) => Dapo { clip_low: any()?, clip_high: any()? }.into(),
        Builtin::Gspo(_) => Gspo { clip_low: any()?, clip_high: any()? }.into(),
        Builtin::Dpo(_) => Dpo { beta: any()? }.into(),
        Builtin::Rho1(_) => Rho1 { keep: any()? }.into(),
        Builtin::SftGo(_) => SftGo { worst_weight: any()? }.into(),
        without_parameters => without_parameters,
    })
}
