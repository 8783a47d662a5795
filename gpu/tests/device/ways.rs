//! Ways through the device to the same loss and gradient.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::batches::on_device;
pub(crate) use crate::common::{Layout, Placed, gpu, submit};
use surprisal::objective::{Builtin, Objective, TokenTerm};
use surprisal::{Loss, OwnedWorkspace, RowStats};
use surprisal_gpu::{Dtype, Gradient, HostElement, Pipelines};
use surprisal_tests::problem::{Outcome, Problem};
use surprisal_tests::storage::Storage;

/// A way to compute a loss with its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `forward_backward` into a matrix of the logits' type.
    Separate,
    /// `forward_backward` into f32.
    SeparateF32,
    /// `forward_backward` into a matrix in the logits' buffer.
    SameBuffer,
    /// `forward_backward` over the logits.
    InPlace,
    /// `forward_backward_with`, over the logits, of a batch in buffers of the device.
    OnDevice,
    /// Statistics and gradient on the device, terms on the host, over this many vocabulary shards.
    Staged(usize),
    /// The same, in place.
    StagedInPlace,
}

pub(crate) const WAYS: [Way; 8] = [
    Way::Separate,
    Way::SeparateF32,
    Way::SameBuffer,
    Way::InPlace,
    Way::OnDevice,
    Way::Staged(1),
    Way::Staged(3),
    Way::StagedInPlace,
];

impl Way {
    /// The ways that are tried with an objective. The kernels of a group objective take long to compile, and it is all the same to them to which type and
    /// buffer the gradient goes.
    pub(crate) fn of(objective: &Builtin) -> impl Iterator<Item = Self> {
        let is_grouped = objective.group_plan().is_some();
        let is_left_out =
            move |way| is_grouped && matches!(way, Self::SeparateF32 | Self::SameBuffer);
        WAYS.into_iter().filter(move |&way| !is_left_out(way))
    }
}

/// Computes a problem one way.
///
/// # Panics
/// Where the library returns an error, or writes what it should not.
pub(crate) fn run<T: HostElement + Storage>(
    problem: &Problem,
    way: Way,
    layout: Layout,
) -> Outcome {
    match way {
        Way::SeparateF32 => fused::<T, f32>(problem, way, layout),
        Way::Separate | Way::SameBuffer | Way::InPlace => fused::<T, T>(problem, way, layout),
        Way::OnDevice => on_device::<T>(problem, layout),
        Way::Staged(shards) => staged::<T>(problem, shards, false, layout),
        Way::StagedInPlace => staged::<T>(problem, 1, true, layout),
    }
}

/// What was compiled already on this thread: a device takes a second to compile what it then computes in a millisecond.
pub(crate) fn pipelines<'l>(
    problem: &'l Problem,
    logits: Dtype,
    result: Dtype,
    layout: Layout,
) -> Pipelines<'l, Builtin> {
    type Key = (String, Dtype, Dtype);
    thread_local! {
        static COMPILED: RefCell<HashMap<Key, Pipelines<'static, Builtin>>> = RefCell::default();
    }
    let pipelines = COMPILED.with_borrow_mut(|compiled| {
        let key = (format!("{:?}", problem.objective), logits, result);
        let compile = || {
            let loss = Loss::new(problem.objective);
            Pipelines::with_types(gpu().device(), loss, logits, result).unwrap()
        };
        compiled.entry(key).or_insert_with(compile).with_loss(problem.loss()).unwrap()
    });
    match layout.limit {
        Some(bytes) => pipelines.binding_limit(bytes),
        None => pipelines,
    }
}

/// Loss and gradient in one call, by a way that is fused.
pub(crate) fn fused<T: HostElement + Storage, G: HostElement + Storage>(
    problem: &Problem,
    way: Way,
    layout: Layout,
) -> Outcome {
    let (rows, vocab) = (problem.rows, problem.vocab);
    // Another place than the logits', so that their packets differ.
    let elsewhere = Layout { offset: layout.offset + 1, ..layout };
    let blank = vec![f32::NAN; problem.logits.len()];
    let [logits, result] = if way == Way::SameBuffer {
        Placed::beside::<T>([&problem.logits, &blank], (rows, vocab), [layout, elsewhere])
    } else {
        [
            Placed::new::<T>(&problem.logits, rows, vocab, (0, vocab), layout),
            Placed::new::<G>(&blank, rows, vocab, (0, vocab), elsewhere),
        ]
    };
    let pipelines = pipelines(problem, T::DTYPE, G::DTYPE, layout);
    let batch = problem.batch();
    let gradient = match way {
        Way::InPlace => Gradient::InPlace,
        _ => Gradient::To(result.matrix(G::DTYPE)),
    };
    let mut call = None;
    submit(|encoder| {
        let z = logits.matrix(T::DTYPE);
        call = Some(pipelines.forward_backward(encoder, z, &batch, gradient).unwrap());
    });
    let results = call.unwrap().read(gpu().device(), gpu().queue()).unwrap();
    let dlogits = if way == Way::InPlace { logits.values::<T>() } else { result.values::<G>() };
    Outcome {
        report: results.report(&pipelines, &batch, vocab).unwrap(),
        nll: results.nll().into_iter().map(f64::from).collect(),
        dlogits,
    }
}

fn staged<T: HostElement + Storage>(
    problem: &Problem,
    shards: usize,
    in_place: bool,
    layout: Layout,
) -> Outcome {
    let (rows, vocab) = (problem.rows, problem.vocab);
    let (batch, loss) = (problem.batch(), problem.loss());
    let pipelines = pipelines(problem, T::DTYPE, T::DTYPE, layout);
    let shards = shards.min(vocab);
    let ranges: Vec<_> =
        (0..shards).map(|i| (i * vocab / shards, (i + 1) * vocab / shards)).collect();
    let mut stats = vec![RowStats::EMPTY; rows];
    let placed: Vec<_> = ranges
        .iter()
        .map(|&range| Placed::new::<T>(&problem.logits, rows, vocab, range, layout))
        .collect();
    for (part, &(start, _)) in placed.iter().zip(&ranges) {
        let mut call = None;
        submit(|encoder| {
            let shard = part.matrix(T::DTYPE).shard(start, vocab).unwrap();
            call = Some(pipelines.row_stats(encoder, shard, &batch).unwrap());
        });
        let results = call.unwrap().read(gpu().device(), gpu().queue()).unwrap();
        for (merged, part) in stats.iter_mut().zip(results.row_stats()) {
            *merged = merged.merge(part);
        }
    }
    let mut terms = vec![TokenTerm::default(); rows];
    let mut workspace = OwnedWorkspace::new();
    let workspace = workspace.lend(rows, 0);
    let report = loss.token_terms(&stats, &batch, vocab, &mut terms, workspace).unwrap();
    let mut dlogits = vec![0.0; rows * vocab];
    for (part, &(start, end)) in placed.iter().zip(&ranges) {
        let blank = vec![f32::NAN; rows * vocab];
        let result = Placed::new::<T>(&blank, rows, vocab, (start, end), layout);
        let gradient =
            if in_place { Gradient::InPlace } else { Gradient::To(result.matrix(T::DTYPE)) };
        submit(|encoder| {
            let shard = part.matrix(T::DTYPE).shard(start, vocab).unwrap();
            pipelines.logits_grad(encoder, shard, &batch, &stats, &terms, gradient).unwrap();
        });
        let values = if in_place { part.values::<T>() } else { result.values::<T>() };
        let width = end - start;
        for (row, values) in values.chunks(width).enumerate() {
            dlogits[row * vocab + start..row * vocab + end].copy_from_slice(values);
        }
    }
    let nll = |row: usize| batch.target(row).map_or(0.0, |_| stats[row].nll());
    Outcome { report, nll: (0..rows).map(nll).collect(), dlogits }
}
