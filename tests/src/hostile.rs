//! Consistent problems made of corners: impossible and certain targets, masks, ties, extreme logits, weights, side inputs and parameters, ignored
//! rows and empty sequences, in any combination.

use surprisal::objective::{
    Builtin, Cispo, Dapo, Dpo, Eaft, Flow, Focal, FocalDetached, Grpo, Gspo, InfoSft, Input,
    IwSequence, IwToken, Kl, Normalize, Objective, Power, Ppo, Psft, Rho1, SftGo, Talr, TalrAuto,
    TauFrom,
};
use surprisal::{ExtrasScale, Pair, Reduction};

use crate::cases::reductions;
use crate::problem::{Extras, Problem};
use crate::rng::Rng;

const INF: f32 = f32::INFINITY;

/// Where choices come from: a generator, or the bytes of a fuzzer.
pub trait Dice {
    /// One of 0..n.
    fn below(&mut self, n: usize) -> usize;

    /// One of these.
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Once in n times.
    fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// Something within ±4.
    fn small(&mut self) -> f32 {
        (self.below(2048) as f32 - 1024.0) / 256.0
    }
}

impl Dice for Rng {
    fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
}

/// A problem of up to 40 rows and, mostly, 70 classes.
pub fn problem(dice: &mut impl Dice) -> Problem {
    let rows = match dice.below(8) {
        0 => dice.below(3),
        7 => dice.below(41),
        _ => 1 + dice.below(9),
    };
    let vocab = match dice.below(8) {
        0 => 1 + dice.below(3),
        6 => 1 + dice.below(70),
        7 if dice.rarely(8) => 500 + dice.below(900),
        _ => 1 + dice.below(24),
    };
    let mut problem = Problem::new(rows, vocab, vec![0.0; rows * vocab], vec![0; rows]);
    problem.objective = objective(dice);
    problem.reduction = dice.pick(&reductions(&problem.objective));
    if let Reduction::By(divisor) = &mut problem.reduction {
        *divisor = dice.pick(&[3.5, 1.0, 1e-20, 1e20]);
    }
    set_targets(dice, &mut problem);
    for row in 0..rows {
        let target = usize::try_from(problem.targets[row]).unwrap_or(0).min(vocab - 1);
        fill_row(dice, &mut problem.logits[row * vocab..][..vocab], target);
    }
    set_side_inputs(dice, &mut problem);
    set_sequences(dice, &mut problem);
    problem.extras = extras(dice, vocab);
    problem.name = format!("{rows}x{vocab} {:?} {:?}", problem.objective, problem.reduction);
    problem
}

/// Any objective with any parameters that it takes.
fn objective(dice: &mut impl Dice) -> Builtin {
    let all: Vec<Builtin> = Builtin::all().collect();
    let objective = dice.pick(&all);
    if dice.below(3) == 0 {
        return objective;
    }
    let clip_low = dice.pick(&[0.2, 0.0, 1.0, 1e-12]);
    let clip_high = dice.pick(&[0.28, 0.0, 4.0, 1e-12, 1e30, f64::INFINITY]);
    let positive = dice.pick(&[1.0, 0.3, 7.0, 1e-3, 1e-9, 1e9, 1e-30]);
    let natural = dice.pick(&[1.0, 0.0, 0.5, 2.0, 1e-9, 30.0, 1e9]);
    let share = dice.pick(&[0.01, 0.0, 1.0, 0.3, 1e-12]);
    let unlimited = dice.pick(&[positive, f64::INFINITY]);
    match objective {
        Builtin::Talr(_) => {
            Talr { tau: unlimited, floor: share, p_min: dice.pick(&[0.0, 1e-6, 1.0]) }.into()
        }
        Builtin::Focal(_) => Focal { gamma: natural }.into(),
        Builtin::FocalDetached(_) => FocalDetached { gamma: natural }.into(),
        Builtin::Power(_) => Power { alpha: positive }.into(),
        Builtin::InfoSft(_) => {
            InfoSft { p_max: dice.pick(&[0.93, 0.501, 0.999_999, 0.5 + 1e-12]) }.into()
        }
        Builtin::Eaft(_) => {
            Eaft { power: natural, classes: dice.pick(&[20.0, 2.0, 1.001, 1e30]) }.into()
        }
        Builtin::IwToken(_) => {
            let low = dice.pick(&[0.2, 0.0, 1.0]);
            let high = low + dice.pick(&[1.6, 0.0, 1e9, f64::INFINITY]);
            IwToken { temperature: natural, low, high }.into()
        }
        Builtin::Psft(_) => Psft { clip_high }.into(),
        Builtin::Ppo(_) => {
            let dual_clip =
                dice.pick(&[None, Some(3.0), Some(1.0 + 1e-9), Some(1e30), Some(f64::INFINITY)]);
            Ppo { clip_low, clip_high, dual_clip }.into()
        }
        Builtin::Grpo(_) => {
            let kl = dice.pick(&[Kl::K1, Kl::K2, Kl::K3, Kl::K3Corrected, Kl::K3Clamped]);
            Grpo { clip_low, clip_high, beta: natural, kl }.into()
        }
        Builtin::Dapo(_) => Dapo { clip_low, clip_high }.into(),
        Builtin::Cispo(_) => Cispo { clip_high }.into(),
        Builtin::TalrAuto(_) => TalrAuto {
            floor: share,
            p_min: dice.pick(&[0.0, 1e-6, 1.0]),
            tau_from: dice.pick(&[
                TauFrom::SequenceMedian,
                TauFrom::SequenceMedianWithEmpty,
                TauFrom::TokenMedian,
            ]),
            normalize: dice.pick(&[
                Normalize::None,
                Normalize::Sum1Sequence,
                Normalize::Sum1Batch,
                Normalize::Mean1Batch,
            ]),
        }
        .into(),
        Builtin::IwSequence(_) => IwSequence { temperature: natural, max: unlimited }.into(),
        Builtin::Flow(_) => Flow { tau: dice.pick(&[None, Some(unlimited)]) }.into(),
        Builtin::Gspo(_) => Gspo { clip_low, clip_high }.into(),
        Builtin::Dpo(_) => Dpo { beta: positive }.into(),
        Builtin::Rho1(_) => Rho1 { keep: dice.pick(&[0.6, 1.0, 0.25, 1e-12]) }.into(),
        Builtin::SftGo(_) => SftGo { worst_weight: share }.into(),
        _ => objective,
    }
}

fn set_targets(dice: &mut impl Dice, problem: &mut Problem) {
    let vocab = problem.vocab;
    let ignored = match dice.below(3) {
        0 => None,
        1 => Some(-100),
        _ => Some(i64::try_from(dice.below(vocab)).unwrap()),
    };
    let all = ignored.is_some() && dice.rarely(20);
    for target in &mut problem.targets {
        *target = match ignored {
            Some(ignored) if all || dice.rarely(4) => ignored,
            _ => i64::try_from(dice.below(vocab)).unwrap(),
        };
    }
    problem.ignore_index = ignored;
}

fn fill_row(dice: &mut impl Dice, z: &mut [f32], target: usize) {
    let spread = dice.pick(&[1.0, 0.25, 8.0]);
    z.iter_mut().for_each(|z| *z = spread * dice.small());
    let others = |z: &mut [f32], change: &mut dyn FnMut(usize, &mut f32)| {
        z.iter_mut().enumerate().filter(|(j, _)| *j != target).for_each(|(j, z)| change(j, z));
    };
    match dice.below(14) {
        0..3 => {}
        3 | 4 => z[target] = -INF,
        // Certain, exactly or nearly.
        5 => others(z, &mut |_, z| *z = -INF),
        6 => z[target] += dice.pick(&[16.0, 30.0, 80.0, 90.0, 110.0, 800.0]),
        7 => z[target] -= dice.pick(&[16.0, 60.0, 86.0, 88.0, 104.0, 300.0, 800.0, 1e4, 1e30]),
        8 => z.fill(dice.pick(&[0.0, 1.25, -1e4, 1e30, f32::MIN, f32::MAX])),
        9 => others(z, &mut |j, z| *z = if j % 3 == 1 { -INF } else { *z }),
        10 => {
            let few = [0.0, -0.0, 1.0, -INF, f32::MIN, -1e30, 88.0, -88.0, -104.0, 1e-40, 1e4];
            z.iter_mut().for_each(|z| *z = dice.pick(&few));
        }
        11 => {
            let offset = dice.pick(&[1e4, -1e4, 3e7, -1e30, 1e38]);
            z.iter_mut().for_each(|z| *z += offset);
        }
        // The target is one of the largest, or nearly.
        12 => z[target] = z.iter().copied().fold(f32::MIN, f32::max) + dice.pick(&[0.0, 1e-6]),
        _ if dice.rarely(3) => {
            let broken = dice.pick(&[f32::NAN, INF, -INF]);
            if broken == -INF {
                z.fill(broken);
            } else {
                let class = dice.below(z.len());
                z[class] = broken;
            }
        }
        _ => {}
    }
}

/// ln p of a row's target before any transformation; NaN where there is none.
fn own_log_prob(problem: &Problem, row: usize) -> f32 {
    let z = &problem.logits[row * problem.vocab..][..problem.vocab];
    let z: Vec<f64> = z.iter().copied().map(f64::from).collect();
    let target = usize::try_from(problem.targets[row]).unwrap_or(usize::MAX);
    surprisal::reference::log_prob(&z, target) as f32
}

fn set_side_inputs(dice: &mut impl Dice, problem: &mut Problem) {
    let (rows, inputs) = (problem.rows, problem.objective.inputs());
    let own: Vec<f32> = (0..rows).map(|row| own_log_prob(problem, row)).collect();
    let log_p = |dice: &mut _, row: usize| -> f32 {
        let far = [0.0, -0.0, -1e-30, -1e-6, 1.0, 0.5, -20.0, -90.0, -300.0, -1e4, -1e30, -INF];
        let own = if own[row].is_nan() { -1.0 } else { own[row] };
        match Dice::below(dice, 4) {
            0 => (own + Dice::small(dice) / 8.0).min(1.0),
            1 => own.min(1.0),
            2 => -Dice::small(dice).abs(),
            _ => Dice::pick(dice, &far),
        }
    };
    let maybe = |dice: &mut _, input: Input| {
        let asked = inputs.contains(&input) || Dice::rarely(dice, 8);
        asked.then(|| (0..rows).map(|row| log_p(dice, row)).collect::<Vec<f32>>())
    };
    problem.ref_log_probs = maybe(dice, Input::RefLogProbs);
    problem.old_log_probs = maybe(dice, Input::OldLogProbs);
    if inputs.contains(&Input::Advantages) {
        let advantages = [1.0, -1.0, 0.0, -0.0, 0.3, -2.5, 1e-30, -1e-30, 1e30, -1e30];
        problem.advantages = Some((0..rows).map(|_| dice.pick(&advantages)).collect());
    }
    if inputs.contains(&Input::Groups) {
        let groups = 1 + dice.below(rows.clamp(1, 4));
        let group = |dice: &mut _| u32::try_from(Dice::below(dice, groups)).unwrap();
        problem.groups = Some((0..rows).map(|_| group(dice)).collect());
    }
    problem.token_weights = match dice.below(4) {
        0 | 1 => None,
        2 => Some(vec![dice.pick(&[0.0, 1.0, 1e-30, 1e30]); rows]),
        _ => Some((0..rows).map(|_| dice.pick(&[1.0, 0.0, 0.5, 3.0, 1e-30, 1e30])).collect()),
    };
}

/// Sequences, some of them empty, and what stands over them.
fn set_sequences(dice: &mut impl Dice, problem: &mut Problem) {
    let inputs = problem.objective.inputs();
    let needed =
        inputs.contains(&Input::Sequences) || problem.reduction == Reduction::MeanSequences;
    if !needed && dice.below(2) == 0 {
        return;
    }
    let mut offsets = vec![0, problem.rows];
    for _ in 0..dice.below(5) {
        offsets.push(dice.below(problem.rows + 1));
    }
    offsets.sort_unstable();
    let sequences = offsets.len() - 1;
    problem.cu_seqlens = Some(offsets.into_iter().map(|o| i64::try_from(o).unwrap()).collect());
    if inputs.contains(&Input::Keep) {
        problem.keep = Some((0..sequences).map(|_| dice.below(3) > 0).collect());
    }
    if inputs.contains(&Input::Pairs) {
        let count = if sequences < 2 { 0 } else { dice.below(4) };
        let pair = |dice: &mut _| {
            let (chosen, other) =
                (Dice::below(dice, sequences), Dice::below(dice, sequences.max(2) - 1));
            Pair { chosen, rejected: if other < chosen { other } else { other + 1 } }
        };
        problem.pairs = Some((0..count).map(|_| pair(dice)).collect());
    }
}

fn extras(dice: &mut impl Dice, vocab: usize) -> Extras {
    let mut extras = Extras::default();
    let with = |dice: &mut _| Dice::rarely(dice, 4);
    if with(dice) {
        extras.label_smoothing = dice.pick(&[0.125, 1.0, 1e-30]);
    }
    if with(dice) {
        extras.z_loss = dice.pick(&[1e-3, 1.0, 1e-30]);
    }
    if with(dice) {
        extras.logit_scale = dice.pick(&[0.7, 30.0, 1e-3, 1e-30, 1e9]);
    }
    if with(dice) {
        extras.softcap = Some(dice.pick(&[8.0, 1.0, 50.0, 1e-9]));
    }
    if with(dice) {
        let weights = [1.0, 0.0, 0.5, 3.0, 1e-30];
        extras.class_weights = Some((0..vocab).map(|_| dice.pick(&weights)).collect());
    }
    if with(dice) {
        extras.scale = ExtrasScale::Objective;
    }
    if with(dice) {
        extras.grad_scale = dice.pick(&[-512.0, 0.0, 1e-30, 1e30, -0.0]);
    }
    extras
}
