//! Random batches made of corners, every way, against the oracle: what is not finite must be so exactly, the rest is within the contract.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use surprisal::objective::{
    Builtin, Cispo, Dpo, Flow, Grpo, Gspo, InfoSft, IwSequence, IwToken, Kl, Ppo, Psft, Sft,
};
use surprisal::{Element, Pair, bf16, f16};
use surprisal_tests::bounds::check_ways;
use surprisal_tests::hostile::{self, Dice};
use surprisal_tests::problem::Problem;
use surprisal_tests::rng::Rng;
use surprisal_tests::run::levels;
use surprisal_tests::storage::Storage;
use surprisal_tests::tolerance::{BF16, F16, F32, Rounding};

fn check<T: Element + Storage>(problem: Problem, rounding: Rounding) {
    check_ways::<T>(&problem.rounded::<T>(), rounding, levels()[0]);
}

/// One batch, from its number alone.
fn check_seed(seed: u64) {
    let mut rng = Rng::new(seed);
    let storage = Dice::below(&mut rng, 3);
    let problem = hostile::problem(&mut rng);
    match storage {
        0 => check::<f32>(problem, F32),
        1 => check::<bf16>(problem, BF16),
        _ => check::<f16>(problem, F16),
    }
}

/// A row of three classes, its target the last, with both other models' ln p of it.
fn row(objective: impl Into<Builtin>, logits: [f32; 3], other: f32, advantage: f32) -> Problem {
    let mut problem = Problem::new(1, 3, logits.to_vec(), vec![2]).objective(objective.into());
    problem.ref_log_probs = Some(vec![other]);
    problem.old_log_probs = Some(vec![other]);
    problem.advantages = Some(vec![advantage]);
    problem.cu_seqlens = Some(vec![0, 1]);
    problem
}

/// What random batches have found, each alone.
#[test]
fn corners_alone() {
    const INF: f32 = f32::INFINITY;
    let (any, certain, impossible) = ([0.5, 1.0, 0.0], [-INF, -INF, 0.0], [1.0, 0.0, -INF]);
    let unlimited = f64::INFINITY;
    let grpo = |kl| Grpo { kl, ..Grpo::default() };
    // The loss was infinite, its gradient 0.
    let mut problems = vec![
        row(Ppo::default(), any, -INF, -1.0),
        row(Gspo::default(), any, -INF, -1.0),
        row(Psft { clip_high: unlimited }, any, -INF, 1.0),
    ];
    // These were NaN: 0 times an infinity.
    problems.extend([
        row(InfoSft { p_max: 0.5 + 1e-12 }, impossible, 0.0, 0.0),
        row(IwSequence { temperature: 1e9, max: unlimited }, certain, -INF, 0.0),
        row(IwToken { temperature: 1e9, low: 0.0, high: unlimited }, certain, -INF, 0.0),
        row(Cispo { clip_high: unlimited }, certain, -INF, -1e30),
        row(grpo(Kl::K3Corrected), [0.0, -1e5, -1e5], -INF, 1.0),
    ]);
    // A small weight left the loss finite.
    problems.push(row(Flow { tau: Some(1.5) }, impossible, -600.0, 0.0));
    // The coefficient was a difference of two numbers near 1.
    let rest = -2.0 * (-35.0_f32).exp();
    problems
        .extend([Kl::K3, Kl::K3Clamped].map(|kl| row(grpo(kl), [-35.0, -35.0, 0.0], rest, 0.0)));
    // A sum of f32 numbers overflowed.
    let mut scaled = row(Sft, [1e38, 1e38, -1e38], 0.0, 0.0);
    (scaled.extras.logit_scale, scaled.extras.label_smoothing) = (1e9, 0.125);
    problems.push(scaled);
    // What the models agree to be impossible drowned the other tokens of its sequence.
    let z = [any, impossible, any, any].concat();
    let mut pairs = Problem::new(4, 3, z, vec![2; 4]).objective(Dpo::default().into());
    pairs.ref_log_probs = Some(vec![-3.0, -INF, -0.5, -0.25]);
    pairs.cu_seqlens = Some(vec![0, 2, 4]);
    pairs.pairs = Some(vec![Pair { chosen: 0, rejected: 1 }]);
    problems.push(pairs);
    for problem in problems {
        check_ways::<f32>(&problem, F32, levels()[0]);
    }
}

#[test]
fn corners_together() {
    (0..3000).for_each(check_seed);
}

/// Hundreds of thousands, minutes: `SEEDS=0..300000 cargo test -p surprisal-tests --release --test hostile -- --ignored --nocapture`. Tells of each
/// objective how many batches differ, and what the first ones differ in.
#[test]
#[ignore = "minutes"]
fn corners_together_at_length() {
    let seeds = std::env::var("SEEDS").unwrap_or("0..100000".into());
    let (start, end) = seeds.split_once("..").expect("SEEDS is a range");
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    std::panic::set_hook(Box::new(|_| {}));
    for seed in start.parse::<u64>().unwrap()..end.parse().unwrap() {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check_seed(seed))) {
            let mut rng = Rng::new(seed);
            Dice::below(&mut rng, 3);
            let problem = hostile::problem(&mut rng);
            let text = panic.downcast_ref::<String>().map_or("?", String::as_str);
            let text = format!("{seed} {}: {text}", problem.name);
            found.entry(problem.objective.name()).or_default().push(text);
        }
    }
    let _ = std::panic::take_hook();
    for (objective, found) in &found {
        println!("{objective}: {} differ", found.len());
        found.iter().take(6).for_each(|text| println!("  {text}"));
    }
    assert!(found.is_empty(), "{} differ", found.values().map(Vec::len).sum::<usize>());
}
