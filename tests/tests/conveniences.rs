//! Log-softmax and its relatives, per-token outputs, diagnostics, parameter-space baselines.

use surprisal::diagnose::{effective_sample_size, hard_token_share, histogram, second_moment};
use surprisal::objective::{Builtin, Dft, Objective, TokenTerm};
use surprisal::params::{Lora, l2_to_initial, wise_ft};
use surprisal::{
    Argument, Batch, Element, Error, Logits, LogitsMut, Outputs, OwnedWorkspace, RowStats, Softmax,
    bf16, f16, reference, token_log_probs,
};
use surprisal_tests::cases::{objectives, problems};
use surprisal_tests::compare::{assert_close, assert_same_bits, close};
use surprisal_tests::problem::Problem;
use surprisal_tests::run::levels;
use surprisal_tests::storage::Storage;

fn wide<T: Storage + Copy>(values: &[T]) -> Vec<f64> {
    values.iter().map(|v| f64::from(v.widen())).collect()
}

fn log_softmax_agrees<T: Element + Storage>(half_ulp: f64) {
    for problem in problems() {
        let z: Vec<T> = problem.logits.iter().map(|&z| T::round(z)).collect();
        if z.iter().any(|z| z.widen() == f32::INFINITY) {
            continue;
        }
        let exact = wide(&z);
        let (rows, vocab) = (problem.rows, problem.vocab);
        let mut expected = vec![0.0; exact.len()];
        for (row, out) in exact.chunks(vocab).zip(expected.chunks_mut(vocab)) {
            reference::log_softmax(row, out).unwrap();
        }
        for level in levels() {
            let mut out = vec![0.0_f32; z.len()];
            let (view, at) = (Logits::new(&z, rows, vocab).unwrap(), Softmax::at(level));
            at.log_softmax(view, LogitsMut::new(&mut out, rows, vocab).unwrap()).unwrap();
            let bound = |i: usize| 2.4e-7 * f64::abs(expected[i]) + 2e-7;
            assert_close(&problem.name, &wide(&out), &expected, bound);

            let mut same = z.clone();
            at.log_softmax_in_place(LogitsMut::new(&mut same, rows, vocab).unwrap()).unwrap();
            let rounded: Vec<T> = out.iter().map(|&v| T::round(v)).collect();
            assert_same_bits(&problem.name, &wide(&same), &wide(&rounded));
            let bound = |i: usize| (2.4e-7 + half_ulp) * f64::abs(expected[i]) + 2e-7;
            assert_close(&problem.name, &wide(&same), &expected, bound);

            let mut lse = vec![0.0; rows];
            at.log_sum_exp(view, &mut lse).unwrap();
            let mut h = vec![0.0; rows];
            at.entropy(view, &mut h).unwrap();
            for (row, z) in exact.chunks(vocab).enumerate() {
                let l = reference::log_sum_exp(z);
                assert!(close(f64::from(lse[row]), l, 2e-7 * l.abs() + 2e-7), "{}", problem.name);
                let e = reference::entropy(z);
                assert!(close(f64::from(h[row]), e, 1e-6 * e.abs() + 1e-6), "{}", problem.name);
            }
        }
    }
}

#[test]
fn log_softmax_f32() {
    log_softmax_agrees::<f32>(0.0);
}

#[test]
fn log_softmax_bf16() {
    log_softmax_agrees::<bf16>(1.0 / 256.0);
}

#[test]
fn log_softmax_f16() {
    log_softmax_agrees::<f16>(1.0 / 2048.0);
}

#[test]
fn log_probs_of_targets() {
    let problem = Problem::random(9, 50, 1).with_ignored_rows();
    let mut log_probs = [7.0; 9];
    let logits = Logits::new(&problem.logits, 9, 50).unwrap();
    let report = token_log_probs(logits, &problem.batch(), &mut log_probs).unwrap();
    let nll = problem.oracle().nll;
    assert_close(
        "log_probs",
        &wide(&log_probs),
        &nll.iter().map(|n| -n).collect::<Vec<_>>(),
        |i| 2e-7 * nll[i] + 2e-7,
    );
    assert_eq!(report.tokens, 6);
    assert_eq!(log_probs[0].to_bits(), (0.0_f32).to_bits());
}

/// Every per-token output of every objective, against what the oracle's log-probabilities say.
#[test]
fn per_token_outputs() {
    for objective in objectives() {
        let problem = Problem::random(11, 29, 2)
            .objective(objective)
            .with_ignored_rows()
            .with_token_weights();
        let n = problem.rows;
        let (mut stats, mut terms) = (vec![RowStats::EMPTY; n], vec![TokenTerm::default(); n]);
        let (mut nll, mut log_probs) = (vec![9.0; n], vec![9.0; n]);
        let (mut losses, mut entropy, mut weights) = (vec![9.0; n], vec![9.0; n], vec![9.0; n]);
        let (mut argmax, mut correct) = (vec![9; n], vec![9; n]);
        let outputs = Outputs::new()
            .stats(&mut stats)
            .terms(&mut terms)
            .nll(&mut nll)
            .log_probs(&mut log_probs)
            .losses(&mut losses)
            .entropy(&mut entropy)
            .weights(&mut weights)
            .argmax(&mut argmax)
            .correct(&mut correct);
        let logits = Logits::new(&problem.logits, n, problem.vocab).unwrap();
        let mut workspace = OwnedWorkspace::new();
        let lent = workspace.lend(n, problem.vocab);
        let report = problem.loss().forward_with(logits, &problem.batch(), outputs, lent).unwrap();
        let oracle = problem.oracle();
        for row in 0..n {
            // Rounded once; of an ignored token, or one that was dropped, a positive 0.
            assert_eq!(losses[row].to_bits(), (terms[row].loss as f32).to_bits());
            let z = &problem.logits[row * 29..][..29];
            let Some(target) = problem.batch().target(row) else {
                assert_eq!(
                    (nll[row], log_probs[row], entropy[row], weights[row]),
                    (0., 0., 0., 0.)
                );
                assert_eq!((losses[row].to_bits(), argmax[row], correct[row]), (0, u32::MAX, 0));
                assert_eq!((stats[row], terms[row]), (RowStats::EMPTY, TokenTerm::default()));
                continue;
            };
            assert!(close(f64::from(nll[row]), oracle.nll[row], 1e-6));
            assert_eq!(log_probs[row], -nll[row]);
            let exact: Vec<f64> = z.iter().copied().map(f64::from).collect();
            assert!(close(f64::from(entropy[row]), reference::entropy(&exact), 2e-6));
            let first = (0..29).rev().max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap();
            assert_eq!(argmax[row] as usize, first);
            assert_eq!(correct[row] == 1, i64::try_from(first).unwrap() == target);
        }
        let sum: f64 = terms.iter().map(|term| term.loss).sum();
        assert!(close(sum, report.loss_sum, 1e-12 * sum.abs() + 1e-12));
        if objective == Builtin::from(Dft) {
            let p: Vec<f64> = oracle.nll.iter().map(|n| (-n).exp()).collect();
            for row in problem.batch().active_rows() {
                assert!(close(f64::from(weights[row]), p[row], 1e-6));
            }
        }
        assert!(objective.group_plan().is_none() || report.tokens > 0);
    }
}

#[test]
fn diagnostics() {
    let batch = Batch::new(&[0, 0, 0, -1, 0]).ignore_index(-1);
    let ln = |p: f32| p.ln();
    let log_probs = [ln(0.05), ln(0.55), 0.0, f32::NAN, f32::NEG_INFINITY];
    let mut bins = [1; 10];
    histogram(&batch, &log_probs, &mut bins).unwrap();
    assert_eq!(bins, [3, 1, 1, 1, 1, 2, 1, 1, 1, 2], "added to what was there");
    assert_eq!(hard_token_share(&batch, &log_probs, 0.2).unwrap(), 0.5);
    let weights = [1.0, 1.0, 0.0, f32::NAN, 2.0];
    assert_eq!(effective_sample_size(&batch, &weights).unwrap(), 16.0 / 6.0);
    assert_eq!(second_moment(&batch, &weights).unwrap(), 1.5);
    let none = Batch::new(&[-1]).ignore_index(-1);
    assert_eq!(hard_token_share(&none, &[0.0], 0.5).unwrap(), 0.0);
    assert_eq!(effective_sample_size(&none, &[1.0]).unwrap(), 0.0);
    assert_eq!(second_moment(&none, &[1.0]).unwrap(), 0.0);
    assert!(histogram(&batch, &log_probs, &mut []).is_err());
    assert!(histogram(&batch, &log_probs[..4], &mut bins).is_err());
    assert!(hard_token_share(&batch, &log_probs, f64::NAN).is_err());

    let report = Problem::new(2, 4, vec![0.0; 8], vec![0, 3]).oracle().report;
    assert!((report.perplexity() - 4.0).abs() < 1e-12);
    assert!((report.bits_per_token() - 2.0).abs() < 1e-12);
    assert_eq!(report.accuracy(), 1.0);
}

#[test]
fn l2_and_wise_ft() {
    let (theta, theta0) = ([1.0_f32, -2.0, 0.5], [0.5_f32, -2.0, 1.0]);
    let mut gradient = [1.0, 1.0, 1.0];
    let value = l2_to_initial(&theta, &theta0, 0.1, 1.0, &mut gradient).unwrap();
    assert!((value - 0.05).abs() < 1e-15);
    let value = |x: &[f64]| {
        let x: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        l2_to_initial(&x, &theta0, 0.1, 1.0, &mut [0.0; 3]).unwrap()
    };
    let analytic: Vec<f64> = gradient.iter().map(|g| f64::from(*g) - 1.0).collect();
    let mut x = theta.map(f64::from);
    assert!(reference::check_gradient(value, &mut x, &analytic, 0.0625).within(1e-6));

    let mut out = [0.0; 3];
    wise_ft(&theta, &theta0, 0.25, &mut out).unwrap();
    assert_eq!(out, [0.625, -2.0, 0.875]);
    for (alpha, expected) in [(0.0, theta0), (1.0, theta)] {
        wise_ft(&theta, &theta0, alpha, &mut out).unwrap();
        assert_eq!(out, expected);
    }
    for alpha in [-0.1, 1.1, f64::NAN] {
        assert!(wise_ft(&theta, &theta0, alpha, &mut out).is_err());
    }
    assert!(l2_to_initial(&theta, &theta0, -1.0, 1.0, &mut gradient).is_err());
    assert!(l2_to_initial(&theta, &theta0, 1.0, 0.0, &mut gradient).is_err());
    assert_eq!(
        l2_to_initial(&theta, &theta0[..2], 1.0, 1.0, &mut gradient).unwrap_err(),
        Error::Length { argument: Argument::Initial, expected: 3, actual: 2 }
    );
}

#[test]
fn lora_merge_and_gradients() {
    let lora = Lora { rows: 2, columns: 3, rank: 1, scale: 0.5 };
    let (a, b) = ([1.0_f32, 2.0, -1.0], [4.0_f32, -2.0]);
    let mut w = [1.0_f32; 6];
    lora.merge(&a, &b, &mut w).unwrap();
    assert_eq!(w, [3.0, 5.0, -1.0, 0.0, -1.0, 2.0]);

    // The loss Σ g·W has gradient g with respect to W; its derivative with respect to the factors is what must come out.
    let g = [0.5_f32, -1.0, 2.0, 1.5, 0.25, -0.75];
    let (mut da, mut db) = ([0.0; 3], [0.0; 2]);
    lora.gradients(&g, (&a, &mut da), (&b, &mut db)).unwrap();
    let value = |x: &[f64]| -> f64 {
        (0..6).map(|i| f64::from(g[i]) * 0.5 * x[3 + i / 3] * x[i % 3]).sum()
    };
    let mut x: Vec<f64> = a.iter().chain(&b).copied().map(f64::from).collect();
    let analytic: Vec<f64> = da.iter().chain(&db).copied().map(f64::from).collect();
    let check = reference::check_gradient(value, &mut x, &analytic, 1e-3);
    assert!(check.within(1e-6), "{check:?}");

    // Empty matrices end at once, whatever the other extents are.
    let empty = Lora { rows: 0, columns: 0, rank: usize::MAX, scale: 1.0 };
    assert_eq!(empty.gradients(&[], (&[], &mut []), (&[], &mut [])), Ok(()));
    let empty = Lora { rows: usize::MAX, columns: 0, rank: 0, scale: 1.0 };
    assert_eq!(empty.merge(&[], &[], &mut []), Ok(()));

    assert!(lora.merge(&a[..2], &b, &mut w).is_err());
    assert!(Lora { rank: usize::MAX, ..lora }.merge(&a, &b, &mut w).is_err());
    assert!(Lora { scale: f64::NAN, ..lora }.merge(&a, &b, &mut w).is_err());
}
