//! Consistent problems from arbitrary bytes: any shape, objective, reduction, side inputs and extras that belong together.

use arbitrary::{Arbitrary, Result, Unstructured};
use surprisal::objective::{Input as Needs, Objective};
use surprisal::{ExtrasScale, Level, Pair, Reduction};
use surprisal_tests::cases::{objectives, reductions};
use surprisal_tests::problem::{Extras, Problem};
use surprisal_tests::run::levels;

use crate::logits::{Content, Storage};

/// Largest number of rows: more than two leaves of the summation tree.
const MAX_ROWS: usize = 9;
/// Largest vocabulary: several chunks of every kernel, and a tail.
const MAX_VOCAB: usize = 80;

/// A problem with moderate logits, and how to run it.
#[derive(Debug)]
pub struct Input {
    pub problem: Problem,
    pub storage: Storage,
    pub level: Level,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let storage: Storage = u.arbitrary()?;
        let level = *u.choose(&levels())?;
        let (rows, vocab) = (u.int_in_range(0..=MAX_ROWS)?, u.int_in_range(1..=MAX_VOCAB)?);
        let mut problem = Problem::new(rows, vocab, vec![0.0; rows * vocab], vec![0; rows]);
        problem.objective = *u.choose(&objectives())?;
        problem.reduction = *u.choose(&reductions(&problem.objective))?;
        set_targets(u, &mut problem)?;
        set_side_inputs(u, &mut problem)?;
        set_sequences(u, &mut problem)?;
        problem.extras = extras(u, vocab)?;
        // Last, since they may eat all bytes that are left.
        let content = u.arbitrary::<Content>()?;
        problem.logits = storage.moderate(u, content, rows * vocab)?;
        problem.name = format!("{rows}x{vocab} {:?}", problem.objective);
        Ok(Self { problem, storage, level })
    }
}

fn set_targets(u: &mut Unstructured<'_>, problem: &mut Problem) -> Result<()> {
    let classes = 0..=i64::try_from(problem.vocab - 1).unwrap();
    // Any id may be the ignored one, also that of a class.
    problem.ignore_index = match u.int_in_range(0..=2)? {
        0 => None,
        1 => Some(-100),
        _ => Some(u.int_in_range(classes.clone())?),
    };
    for target in &mut problem.targets {
        *target = match problem.ignore_index {
            Some(ignored) if u.ratio(1, 4)? => ignored,
            _ => u.int_in_range(classes.clone())?,
        };
    }
    Ok(())
}

fn set_side_inputs(u: &mut Unstructured<'_>, problem: &mut Problem) -> Result<()> {
    let needs = |input| problem.objective.inputs().contains(&input);
    let (ref_, old) = (needs(Needs::RefLogProbs), needs(Needs::OldLogProbs));
    let (advantages, groups) = (needs(Needs::Advantages), needs(Needs::Groups));
    let rows = problem.rows;
    let log_p = |u: &mut Unstructured<'_>| Ok(-f32::from(u.arbitrary::<u16>()?) / 2048.0);
    problem.token_weights = maybe(u, false, rows, |u| Ok(f32::from(u.arbitrary::<u8>()?) / 64.0))?;
    problem.ref_log_probs = maybe(u, ref_, rows, log_p)?;
    problem.old_log_probs = maybe(u, old, rows, log_p)?;
    problem.advantages =
        maybe(u, advantages, rows, |u| Ok(f32::from(u.arbitrary::<i8>()?) / 16.0))?;
    problem.groups =
        maybe(u, groups, rows, |u| u.int_in_range(0..=u32::try_from(rows - 1).unwrap()))?;
    Ok(())
}

/// Sequences, some of them empty, and what stands over them.
fn set_sequences(u: &mut Unstructured<'_>, problem: &mut Problem) -> Result<()> {
    let needs = |input| problem.objective.inputs().contains(&input);
    let (pairs, keep) = (needs(Needs::Pairs), needs(Needs::Keep));
    let by_sequence = problem.reduction == Reduction::MeanSequences;
    if !needs(Needs::Sequences) && !by_sequence && u.ratio(1, 2)? {
        return Ok(());
    }
    let rows = i64::try_from(problem.rows).unwrap();
    let mut offsets = vec![0, rows];
    for _ in 0..u.int_in_range(0..=4)? {
        offsets.push(u.int_in_range(0..=rows)?);
    }
    offsets.sort_unstable();
    let sequences = offsets.len() - 1;
    problem.cu_seqlens = Some(offsets);
    problem.keep = maybe(u, keep, sequences, |u| u.arbitrary())?;
    let count = if sequences < 2 { 0 } else { u.int_in_range(0..=3)? };
    problem.pairs = maybe(u, pairs, count, |u| {
        let chosen = u.int_in_range(0..=sequences - 1)?;
        let other = u.int_in_range(0..=sequences - 2)?;
        Ok(Pair { chosen, rejected: if other < chosen { other } else { other + 1 } })
    })?;
    Ok(())
}

/// A vector of this length where it is needed, and half of the time where it is not.
fn maybe<T>(
    u: &mut Unstructured<'_>,
    needed: bool,
    len: usize,
    mut one: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<Vec<T>>> {
    if !needed && u.ratio(1, 2)? {
        return Ok(None);
    }
    (0..len).map(|_| one(u)).collect::<Result<_>>().map(Some)
}

fn extras(u: &mut Unstructured<'_>, vocab: usize) -> Result<Extras> {
    if u.ratio(1, 2)? {
        return Ok(Extras::default());
    }
    let mut share = || Ok(f32::from(u.arbitrary::<u8>()?) / 255.0);
    let (label_smoothing, z_loss) = (share()?, share()? / 16.0);
    Ok(Extras {
        label_smoothing,
        z_loss,
        logit_scale: f32::from(u.int_in_range(1_u8..=64)?) / 16.0,
        softcap: if u.arbitrary()? {
            Some(f32::from(u.int_in_range(1_u8..=200)?) / 4.0)
        } else {
            None
        },
        class_weights: maybe(u, false, vocab, |u| Ok(f32::from(u.arbitrary::<u8>()?) / 64.0))?,
        scale: if u.arbitrary()? { ExtrasScale::One } else { ExtrasScale::Objective },
        grad_scale: if u.arbitrary()? { f32::from(u.arbitrary::<i8>()?) / 8.0 } else { 1.0 },
    })
}
