//! The device against the f64 oracle: the cases of the CPU, in every element type, way and objective, with bindings of every size.

use crate::ways::{Layout, Way, fused, run};
use surprisal::objective::{Deft, Dft, Eaft, Sft, TalrAuto};
use surprisal::{ExtrasScale, bf16, f16};
use surprisal_gpu::HostElement;
use surprisal_tests::cases::{Content, dressed, objectives, problem, problems};
use surprisal_tests::problem::Problem;
use surprisal_tests::storage::Storage;
use surprisal_tests::tolerance::{BF16, F16, F32, Rounding, assert_outcome};

pub(crate) fn check<T: HostElement + Storage>(
    problem: &Problem,
    rounding: Rounding,
    layout: Layout,
) {
    let problem = problem.clone().rounded::<T>();
    let oracle = problem.oracle();
    for way in Way::of(&problem.objective) {
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

fn check_types<T: HostElement + Storage, G: HostElement + Storage>(
    problem: &Problem,
    rounding: Rounding,
) {
    let problem = problem.clone().rounded::<T>();
    let oracle = problem.oracle();
    for layout in [Layout::PLAIN, Layout { offset: 5, padding: 3, limit: None }] {
        let actual = fused::<T, G>(&problem, Way::Separate, layout);
        assert_outcome(&problem, &actual, &oracle, rounding.on_device());
    }
}

/// Gradients of a type of their own, narrower than the logits or of the other 16 bits.
pub(crate) fn gradients_of_another_type() {
    for vocab in [3, 64, 131, 4099] {
        let problem = problem(5, vocab, Content::Normal, 7).objective(Dft.into());
        check_types::<f32, bf16>(&problem, BF16);
        check_types::<f32, f16>(&problem, F16);
        check_types::<bf16, f16>(&problem, F16);
        check_types::<f16, bf16>(&problem, BF16);
        check_types::<f16, f32>(&problem, F32);
    }
}

/// The factor of loss scaling comes before the rounding: what f16 cannot hold without it survives.
pub(crate) fn gradients_are_scaled_before_rounding() {
    let mut problem = problem(20, 1000, Content::Normal, 8).objective(Sft.into());
    problem.extras.grad_scale = 4096.0;
    check::<f16>(&problem, F16, Layout::PLAIN);
    check_types::<f32, f16>(&problem, F16);
    problem.extras.grad_scale = -0.5;
    check::<f32>(&problem, F32, Layout::PLAIN);
}

/// An offset that many times exceeds what tells the classes apart, also where the logits are scaled.
pub(crate) fn offsets_cost_no_digits() {
    for (offset, logit_scale) in [(1000.0, 0.7), (-16_384.0, 1.3), (30_000.0, 1.0)] {
        for vocab in [37, 4099] {
            let mut problem = problem(5, vocab, Content::Offset(offset), 9);
            problem.extras.logit_scale = logit_scale;
            for objective in [Sft.into(), Eaft::default().into()] {
                check::<f32>(&problem.clone().objective(objective), F32, Layout::PLAIN);
            }
        }
    }
}

/// So many equal terms that each rounding of their sum goes the same way.
pub(crate) fn equal_terms_add_up() {
    let (rows, vocab) = (3, 151_936);
    let mut logits = vec![0.0; rows * vocab];
    logits.iter_mut().step_by(vocab).for_each(|z| *z = 3.3);
    let problem = Problem::new(rows, vocab, logits, vec![0, 1, 0]).objective(Sft.into());
    check::<f32>(&problem, F32, Layout::PLAIN);
}

/// Objectives that weigh by the whole row: short rows, long ones that workgroups share, masked ones.
pub(crate) fn objectives_of_the_whole_row() {
    for objective in [Eaft::default().into(), Deft.into()] {
        for (vocab, content) in
            [(131, Content::Masked), (4099, Content::Confident), (32_001, Content::Normal)]
        {
            let problem = problem(3, vocab, content, 10).objective(objective);
            check::<f32>(&problem, F32, Layout::PLAIN);
            check::<bf16>(&problem, BF16, Layout { offset: 3, padding: 1, limit: None });
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
