//! Corners where naive arithmetic goes wrong: zero weights against infinite coefficients, huge finite logits, denominators, signed zeros; and
//! every objective against the oracle in all of them at once.

use surprisal::objective::{Builtin, Grpo, Input, Kl, Objective, Ppo, Real, Sft, TalrAuto, Token};
use surprisal::{
    Argument, Batch, Error, ExtrasScale, Logits, LogitsMut, Loss, LossReport, Outputs,
    OwnedWorkspace, Reduction, RowStats, Workspace, bf16, f16,
};
use surprisal_tests::cases::objectives;
use surprisal_tests::compare::assert_same_bits;
use surprisal_tests::problem::{Outcome, Problem};
use surprisal_tests::run::{WAYS, Way, levels, run};
use surprisal_tests::tolerance::{BF16, F16, F32, assert_outcome};

const INF: f32 = f32::INFINITY;

fn every_way(problem: &Problem, check: impl Fn(&Outcome, &str)) {
    for level in levels() {
        for way in WAYS.into_iter().chain([Way::Shards(2), Way::Shards(3)]) {
            check(&run::<f32>(problem, way, level), &format!("{} {way:?} {level:?}", problem.name));
        }
    }
}

/// What a row looks like.
#[derive(Clone, Copy, Debug)]
enum Row {
    Ordinary,
    Impossible,
    Certain,
    Equal,
}

/// Nine rows of 23 classes, every third one of this kind, with all side inputs.
fn problem(kind: Row, seed: u64) -> Problem {
    let mut problem = Problem::random(9, 23, seed);
    for row in (0..9).step_by(3) {
        let target = usize::try_from(problem.targets[row]).unwrap();
        let z = &mut problem.logits[row * 23..][..23];
        match kind {
            Row::Ordinary => {}
            Row::Impossible => z[target] = -INF,
            Row::Certain => z.iter_mut().enumerate().filter(|(j, _)| *j != target).for_each(|(_, z)| *z = -INF),
            Row::Equal => z.fill(1.25),
        }
    }
    problem.name = format!("{kind:?}");
    problem
}

/// The dense extras one by one, and all of them.
fn extras(problem: &Problem) -> Vec<Problem> {
    let with = |name: &str, change: &dyn Fn(&mut Problem)| {
        let mut problem = problem.clone();
        change(&mut problem);
        problem.name = format!("{} {name}", problem.name);
        problem
    };
    let weights: Vec<f32> = (0..23).map(|j| if j % 5 == 2 { 0.0 } else { 0.5 + j as f32 / 16.0 }).collect();
    vec![
        with("plain", &|_| {}),
        with("smoothing", &|p| p.extras.label_smoothing = 0.125),
        with("all smoothing", &|p| p.extras.label_smoothing = 1.0),
        with("z-loss", &|p| p.extras.z_loss = 1e-3),
        with("scale", &|p| p.extras.logit_scale = 0.7),
        with("softcap", &|p| p.extras.softcap = Some(8.0)),
        with("class weights", &|p| p.extras.class_weights = Some(weights.clone())),
        with("gradient scale", &|p| p.extras.grad_scale = -512.0),
    ]
}

/// Weights 0, tiny and 1 on rows of every kind.
fn weighted(mut problem: Problem, weight: f32) -> Problem {
    problem.token_weights = Some((0..9).map(|row| if row % 2 == 0 { weight } else { 1.0 }).collect());
    problem.name = format!("{} weight {weight:e}", problem.name);
    problem
}

#[test]
fn every_objective_in_every_corner() {
    let mut compared = 0;
    for (seed, objective) in objectives().into_iter().enumerate() {
        for kind in [Row::Ordinary, Row::Impossible, Row::Certain, Row::Equal] {
            let base = problem(kind, seed as u64).objective(objective);
            for scale in [ExtrasScale::One, ExtrasScale::Objective] {
                for mut problem in extras(&base) {
                    problem.extras.scale = scale;
                    for weight in [0.0, 1e-30, 1.0] {
                        let problem = weighted(problem.clone(), weight);
                        let oracle = problem.oracle();
                        // In f32 the order of a sum over tokens, or of cuts, decides whether a huge coefficient is infinite.
                        for way in WAYS.into_iter().chain([Way::Shards(3)]) {
                            let actual = run::<f32>(&problem, way, levels()[0]);
                            assert_outcome(&problem, &actual, &oracle, F32);
                            compared += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(compared > 10_000, "{compared}");
}
