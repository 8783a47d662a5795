//! The device against the f64 oracle: the cases of the CPU, in every element type, way and objective, with bindings of every size.

use crate::ways::{Layout, WAYS, Way, run};
use surprisal::objective::{Dft, Objective, Scope, Sft, TalrAuto};
use surprisal::{ExtrasScale, bf16, f16};
use surprisal_gpu::HostElement;
use surprisal_tests::cases::{dressed, objectives, problems};
use surprisal_tests::problem::Problem;
use surprisal_tests::storage::Storage;
use surprisal_tests::tolerance::{BF16, F16, F32, Rounding, assert_outcome};

fn check<T: HostElement + Storage>(problem: &Problem, rounding: Rounding, layout: Layout) {
    let problem = problem.clone().rounded::<T>();
    let oracle = problem.oracle();
    for way in WAYS {
        if problem.objective.scope() != Scope::Token && way.is_fused() {
            continue;
        }
        let rounding = if way == Way::SeparateF32 { F32 } else { rounding };
        let actual = run::<T>(&problem, way, layout);
        assert_outcome(&problem, &actual, &oracle, rounding.on_device());
    }
}

/// Shapes that software finishes in time.
fn shapes() -> impl Iterator<Item = Problem> {
    problems().filter(|problem| problem.logits.len() < 200_000)
}

pub(crate) fn f32_logits() {
    for problem in shapes() {
        check::<f32>(&problem.clone().objective(Sft.into()), F32, Layout::PLAIN);
        check::<f32>(
            &problem.objective(Dft.into()),
            F32,
            Layout { offset: 3, padding: 5, limit: None },
        );
    }
}

pub(crate) fn bf16_logits() {
    for problem in shapes() {
        check::<bf16>(&problem.clone().objective(Sft.into()), BF16, Layout::PLAIN);
        check::<bf16>(
            &problem.objective(Dft.into()),
            BF16,
            Layout { offset: 7, padding: 3, limit: None },
        );
    }
}

pub(crate) fn f16_logits() {
    for problem in shapes() {
        if problem.logits.iter().all(|z| !z.is_finite() || z.abs() < 65_000.0) {
            let layout = Layout { offset: 1, padding: 0, limit: None };
            check::<f16>(&problem.objective(Dft.into()), F16, layout);
        }
    }
}

pub(crate) fn small_bindings() {
    for problem in shapes().filter(|problem| problem.vocab < 8000) {
        // A few rows a chunk, and one.
        for rows in [1, 3] {
            let limit = Some((problem.vocab * 4 * rows + 600) as u64);
            let layout = Layout { offset: 3, padding: 1, limit };
            check::<f32>(&problem.clone().objective(Dft.into()), F32, layout);
            check::<bf16>(&problem.clone().objective(TalrAuto::default().into()), BF16, layout);
        }
    }
}

pub(crate) fn every_objective() {
    for objective in objectives() {
        for problem in dressed(objective, 5) {
            check::<f32>(&problem, F32, Layout::PLAIN);
        }
    }
}

pub(crate) fn extras_and_ignored_rows() {
    for problem in shapes().filter(|problem| problem.vocab < 300) {
        if problem.logits.iter().any(|z| z.is_infinite()) {
            continue;
        }
        for scale in [ExtrasScale::One, ExtrasScale::Objective] {
            let problem = problem.clone().objective(Dft.into()).with_ignored_rows();
            let problem = problem.with_token_weights().with_extras(scale);
            check::<f32>(&problem, F32, Layout { offset: 2, padding: 1, limit: None });
        }
    }
}
