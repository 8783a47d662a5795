//! Operands that are infinite, NaN, huge or nearly nothing: what the documentation says of rows whose logits they break, and of ignored rows.

mod common;

use common::{Case, Plain, bits, composed, run};
use surprisal::objective::Builtin;
use surprisal_linear::DefaultGemm;
use surprisal_tests::cases::objectives;
use surprisal_tests::compare::assert_same_bits;
use surprisal_tests::problem::Problem;
use surprisal_tests::rng::Rng;

const INF: f32 = f32::INFINITY;
const CORNERS: [f32; 12] =
    [INF, -INF, f32::NAN, f32::MAX, f32::MIN, 1e30, -1e30, 1e-40, -1e-45, 0.0, -0.0, 1e19];

/// A few corners in the hidden states; in every fourth case in the weights, too.
fn case(objective: Builtin, seed: u64) -> Case {
    let problem = Problem::random(9, 7, seed).objective(objective).with_ignored_rows();
    let (mut case, mut rng) = (Case::new(problem, seed.is_multiple_of(2)), Rng::new(seed));
    let mut corner = |values: &mut [f32]| {
        let at = usize::try_from(rng.below(values.len())).unwrap();
        values[at] = CORNERS[usize::try_from(rng.below(CORNERS.len())).unwrap()];
    };
    (0..1 + seed % 4).for_each(|_| corner(&mut case.h));
    if seed % 4 == 3 {
        corner(&mut case.w);
    }
    case
}

/// Whether the row's logits are none that a loss could have: by the same sums in f32.
fn is_broken(case: &Case, row: usize) -> bool {
    let (vocab, d) = (case.problem.vocab, case.d);
    let logit = |class: usize| {
        let (h, w) = (&case.h[row * d..][..d], &case.w[class * d..][..d]);
        let sum: f32 = h.iter().zip(w).map(|(h, w)| h * w).sum();
        case.bias.as_ref().map_or(sum, |bias| bias[class] + sum)
    };
    let mut z = (0..vocab).map(logit);
    z.clone().any(|z| z.is_nan() || z == INF) || z.all(|z| z == -INF)
}

fn each_case(mut check: impl FnMut(&str, &Case, Vec<usize>)) {
    for objective in objectives() {
        for seed in 0..24 {
            let case = case(objective, seed);
            let active = (0..case.problem.rows).filter(|&row| !case.is_ignored(row));
            let broken = active.filter(|&row| is_broken(&case, row)).collect();
            check(&format!("{} corners {seed}", case.problem.name), &case, broken);
        }
    }
}

#[test]
fn broken_rows_are_named_and_make_gradients_nan() {
    let (mut broken_cases, mut whole_cases) = (0, 0);
    each_case(|name, case, broken| {
        // These leave rows out, broken ones among them.
        if ["rft", "rho1"].contains(&case.problem.objective.name()) {
            return;
        }
        let actual = run::<f32, f32, f32>(case, 4, Plain);
        assert_eq!(actual.report.invalid_row, broken.first().copied(), "{name}");
        for &row in &broken {
            let dh = &actual.dh[row * case.d..][..case.d];
            assert!(dh.iter().all(|dh| dh.is_nan()), "{name}: dH of row {row}");
        }
        if broken.is_empty() {
            whole_cases += 1;
        } else {
            broken_cases += 1;
            assert!(actual.report.loss.is_nan(), "{name}: loss");
            assert!(actual.dw.iter().chain(&actual.dbias).all(|dw| dw.is_nan()), "{name}: dW");
        }
    });
    assert!(broken_cases > 100 && whole_cases > 100, "{broken_cases} and {whole_cases}");
}

/// Rows beside broken ones, and all of them where none is: bit for bit.
#[test]
fn the_other_rows_are_those_of_the_composed_path() {
    each_case(|name, case, _| {
        let expected = composed(case);
        for chunk in [1, 4, 9] {
            let actual = run::<f32, f32, f32>(case, chunk, Plain);
            assert_eq!(bits(&actual.outputs), bits(&expected.outputs), "{name} in {chunk}");
            for row in (0..case.problem.rows).filter(|&row| !case.is_ignored(row)) {
                let of_row = row * case.d..(row + 1) * case.d;
                let (a, e) = (&actual.dh[of_row.clone()], &expected.dh[of_row]);
                assert_same_bits(&format!("{name} in {chunk}: dH of row {row}"), a, e);
            }
        }
    });
}

/// Whatever the hidden states of ignored rows are.
#[test]
fn ignored_rows_are_not_read() {
    for objective in objectives() {
        for seed in 0..4 {
            let problem = Problem::random(9, 7, seed).objective(objective).with_ignored_rows();
            let mut case = Case::new(problem, true);
            let ignored: Vec<usize> = (0..9).filter(|&row| case.is_ignored(row)).collect();
            let mut outcomes = Vec::new();
            for corner in CORNERS {
                for &row in &ignored {
                    case.h[row * case.d..][..case.d].fill(corner);
                }
                outcomes.push(run::<f32, f32, f32>(&case, 4, DefaultGemm));
            }
            let (name, first) = (&case.problem.name, &outcomes[0]);
            assert!(first.report.loss.is_finite(), "{name}");
            for outcome in &outcomes {
                assert_eq!(outcome.report, first.report, "{name}");
                assert_eq!(bits(&outcome.outputs), bits(&first.outputs), "{name}");
                assert_same_bits(name, &outcome.dh, &first.dh);
                assert_same_bits(name, &outcome.dw, &first.dw);
                assert_same_bits(name, &outcome.dbias, &first.dbias);
                for &row in &ignored {
                    let dh = &outcome.dh[row * case.d..][..case.d];
                    assert!(dh.iter().all(|dh| dh.to_bits() == 0), "{name}: dH of row {row}");
                }
            }
        }
    }
}
