//! Batches in buffers of the device: uploaded problems, refused entries, reports.

use std::sync::mpsc::channel;

use crate::uploaded::Uploaded;
use crate::ways::{Layout, Placed, Way, gpu, pipelines, run, submit};
use surprisal::objective::{Builtin, Dft, Dpo, Input, Objective as _, Rho1, Sft, TalrAuto};
use surprisal::{Argument, Loss, Reduction};
use surprisal_gpu::{
    Column, DeviceBatch, DeviceCall, Dtype, Error, Gradient, HostElement, Pipelines, Workspace,
    wgpu,
};
use surprisal_tests::cases::{dressed, objectives};
use surprisal_tests::problem::{Outcome, Problem};
use surprisal_tests::storage::Storage;
use surprisal_tests::tolerance::{F32, assert_outcome};

/// One for all: what a call leaves must not matter to the next.
fn workspace() -> Workspace {
    thread_local! {
        static WORKSPACE: Workspace = Workspace::new(gpu().device(), 20_000).unwrap();
    }
    WORKSPACE.with(Workspace::clone)
}

/// Loss and gradient of a problem whose batch is on the device.
pub(crate) fn on_device<T: HostElement + Storage>(problem: &Problem, layout: Layout) -> Outcome {
    let (rows, vocab) = (problem.rows, problem.vocab);
    let uploaded = Uploaded::new(gpu(), problem, rows % 2 == 1);
    let logits = Placed::new::<T>(&problem.logits, rows, vocab, (0, vocab), layout);
    let pipelines = pipelines(problem, T::DTYPE, T::DTYPE, layout);
    let workspace = workspace();
    let (mut call, mut pending) = (None::<DeviceCall>, None);
    submit(|encoder| {
        let (z, batch) = (logits.matrix(T::DTYPE), uploaded.batch());
        let recorded = pipelines
            .forward_backward_with(encoder, z, &batch, Gradient::InPlace, &workspace)
            .unwrap();
        pending = Some(recorded.report(gpu().device(), encoder));
        call = Some(recorded);
    });
    let report = pending.unwrap().read(gpu().device()).unwrap();
    let results = call.unwrap().rows(gpu().device(), gpu().queue()).unwrap();
    let nll = results.nll().into_iter().map(f64::from).collect();
    Outcome { report, nll, dlogits: logits.values::<T>() }
}

pub(crate) fn every_objective_on_the_device() {
    for objective in objectives() {
        let problem = Problem::random(23, 37, 31).objective(objective);
        check::<f32>(&problem, F32);
        check::<f32>(&problem.clone().with_ignored_rows().with_token_weights(), F32);
        if objective.inputs().contains(&Input::Sequences) {
            check::<f32>(&with_sequences_without_tokens(problem), F32);
        }
    }
}

/// A masked sequence and two empty ones.
fn with_sequences_without_tokens(mut problem: Problem) -> Problem {
    problem.cu_seqlens = Some(vec![0, 0, 5, 9, 9, 14, 23]);
    problem.keep = Some(vec![true, false, true, true, false, true]);
    problem.ignore_index = Some(-100);
    problem.targets[5..9].fill(-100);
    problem
}

pub(crate) fn every_reduction_on_the_device() {
    for reduction in [
        Reduction::Sum,
        Reduction::By(7.25),
        Reduction::MeanTokens,
        Reduction::MeanWeights,
        Reduction::MeanSequences,
    ] {
        for objective in [Builtin::from(Dft), TalrAuto::default().into(), Rho1::default().into()] {
            let problem = Problem::random(23, 37, 33).objective(objective).reduction(reduction);
            let problem = problem.with_ignored_rows().with_token_weights();
            check::<f32>(&problem, F32);
        }
    }
}

pub(crate) fn options_on_the_device() {
    for objective in [Builtin::from(Dft), TalrAuto::default().into()] {
        dressed(objective, 37).iter().for_each(|problem| check::<f32>(problem, F32));
    }
}

fn check<T: HostElement + Storage>(
    problem: &Problem,
    rounding: surprisal_tests::tolerance::Rounding,
) {
    let actual = run::<T>(problem, Way::OnDevice, Layout::PLAIN);
    assert_outcome(problem, &actual, &problem.oracle(), rounding.on_device());
}

/// An entry that is out of range: the report says which, and the logits stay as they were.
pub(crate) fn entries_that_are_refused() {
    type Change = fn(&mut Problem);
    let cases: [(Argument, usize, Builtin, Change); 8] = [
        (Argument::Targets, 4, Sft.into(), |p| p.targets[4] = 37),
        (Argument::Targets, 2, Sft.into(), |p| p.targets[2] = -7),
        (Argument::TokenWeights, 3, Sft.into(), |p| {
            p.token_weights = Some(vec![1.0; p.rows]);
            p.token_weights.as_mut().unwrap()[3] = -1.0;
        }),
        (Argument::RefLogProbs, 5, Rho1::default().into(), |p| {
            p.ref_log_probs.as_mut().unwrap()[5] = 1.5;
        }),
        (Argument::RefLogProbs, 0, Rho1::default().into(), |p| {
            p.ref_log_probs.as_mut().unwrap()[0] = f32::NAN;
        }),
        (Argument::Sequences, 1, TalrAuto::default().into(), |p| {
            p.cu_seqlens = Some(vec![0, 99, 23]);
        }),
        (Argument::Sequences, 2, TalrAuto::default().into(), |p| {
            p.cu_seqlens = Some(vec![0, 9, 22]);
        }),
        (Argument::Pairs, 0, Dpo::default().into(), |p| {
            p.pairs.as_mut().unwrap()[0].rejected = p.pairs.as_ref().unwrap()[0].chosen;
        }),
    ];
    for (argument, index, objective, change) in cases {
        let mut problem = Problem::random(23, 37, 34).objective(objective);
        change(&mut problem);
        let uploaded = Uploaded::new(gpu(), &problem, false);
        let pipelines = pipelines(&problem, Dtype::F32, Dtype::F32, Layout::PLAIN);
        let workspace = workspace();
        for _ in 0..2 {
            let plain = Layout::PLAIN;
            let logits = Placed::new::<f32>(&problem.logits, 23, 37, (0, 37), plain);
            let mut recorded = None;
            submit(|encoder| {
                let (z, batch) = (logits.matrix(Dtype::F32), uploaded.batch());
                let call = pipelines
                    .forward_backward_with(encoder, z, &batch, Gradient::InPlace, &workspace)
                    .unwrap();
                recorded = Some((call.report(gpu().device(), encoder), call));
            });
            let (pending, call) = recorded.unwrap();
            let refused = pending.read(gpu().device());
            assert_eq!(refused, Err(Error::Refused { argument, index }));
            assert_ne!(word(call.refused()), 0, "{argument:?}");
            let untouched: Vec<f64> = problem.logits.iter().map(|&z| z.into()).collect();
            assert_eq!(logits.values::<f32>(), untouched, "{argument:?}");
        }
    }
}

/// Reports of many calls come without a wait, in a callback, and their loss lies on the device as well.
pub(crate) fn reports_come_by_themselves() {
    let problem = Problem::random(23, 37, 35).objective(Dft.into());
    let uploaded = Uploaded::new(gpu(), &problem, false);
    let pipelines = Pipelines::new(gpu().device(), problem.loss(), Dtype::F32).unwrap();
    let workspace = Workspace::new(gpu().device(), 23).unwrap();
    let logits = Placed::new::<f32>(&problem.logits, 23, 37, (0, 37), Layout::PLAIN);
    let (sender, receiver) = channel();
    let mut last = None;
    for _ in 0..3 {
        let mut pending = None;
        submit(|encoder| {
            let z = logits.matrix(Dtype::F32);
            let call = pipelines.forward_with(encoder, z, &uploaded.batch(), &workspace).unwrap();
            pending = Some(call.report(gpu().device(), encoder));
            last = Some(call);
        });
        let sender = sender.clone();
        pending.unwrap().then(move |report| sender.send(report.unwrap()).unwrap());
    }
    gpu().device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let expected = problem.oracle().report.loss;
    for _ in 0..3 {
        let report = receiver.try_recv().unwrap();
        assert!((report.loss - expected).abs() < 1e-5 * expected, "{report:?}");
    }
    let call = last.unwrap();
    let on_device = f32::from_bits(word(call.loss()));
    assert!((f64::from(on_device) - expected).abs() < 1e-5 * expected);
    assert_eq!(word(call.refused()), 0);
}

/// A word of a buffer on the device.
fn word((buffer, offset): (&wgpu::Buffer, u64)) -> u32 {
    let mut word = [0_u32];
    gpu().read(buffer, offset, bytemuck::cast_slice_mut(&mut word)).unwrap();
    word[0]
}

/// What the host can see is refused before anything is recorded.
pub(crate) fn batches_that_do_not_fit() {
    let problem = Problem::random(23, 37, 36);
    let uploaded = Uploaded::new(gpu(), &problem, false);
    let logits = Placed::new::<f32>(&problem.logits, 23, 37, (0, 37), Layout::PLAIN);
    let sft = Pipelines::new(gpu().device(), Loss::new(Sft), Dtype::F32).unwrap();
    let talr = Pipelines::new(gpu().device(), Loss::new(TalrAuto::default()), Dtype::F32).unwrap();
    let [enough, small] = [23, 22].map(|n| Workspace::new(gpu().device(), n).unwrap());
    let z = logits.matrix(Dtype::F32);
    submit(|encoder| {
        let batch = uploaded.batch();
        let refused = sft.forward_with(encoder, z, &batch, &small).unwrap_err();
        assert!(matches!(refused, Error::Buffer { name: "workspace", .. }), "{refused:?}");
        let buffer = gpu().buffer(16).unwrap();
        let short = DeviceBatch::new(Column::new(&buffer, 0), 23);
        let refused = sft.forward_with(encoder, z, &short, &enough).unwrap_err();
        assert!(matches!(refused, Error::Buffer { name: "targets", .. }), "{refused:?}");
        let fewer = DeviceBatch::new(Column::new(&buffer, 0), 4);
        assert!(sft.forward_with(encoder, z, &fewer, &enough).is_err());
        let without = DeviceBatch::new(uploaded.targets(), 23);
        let refused = talr.forward_with(encoder, z, &without, &enough).unwrap_err();
        assert_eq!(refused, surprisal::Error::Missing(Argument::Sequences).into());
    });
}
