//! A layer on the device: somewhere in larger buffers, in chunks of some size, with the gradients that are asked for.

use std::cell::RefCell;
use std::collections::HashMap;

use surprisal::objective::{Builtin, Objective, TokenTerm};
use surprisal::{Loss, OwnedWorkspace};
use surprisal_gpu::{
    Call, Gemm, Gradients, HostElement, LinearLoss, LinearPipelines, RowResults, Scratch,
};
use surprisal_linear::Scalar;
use surprisal_tests::storage::Storage;

use crate::common::{Layout, Placed, gpu, submit};
use crate::layers::{Asked, Case, Outcome, START};

/// Elements of tests, on the device and in them.
pub(crate) trait Number: HostElement + Storage + Scalar {}
impl<T: HostElement + Storage + Scalar> Number for T {}

/// How a case is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) chunk: usize,
    /// Of all matrices, each a little elsewhere.
    pub(crate) layout: Layout,
    /// Of the hidden states, the weights, the bias.
    pub(crate) asked: [bool; 3],
    pub(crate) gemm: Option<&'a dyn Gemm>,
}

impl Way<'_> {
    pub(crate) fn in_chunks_of(chunk: usize) -> Self {
        Self { chunk, layout: Layout::PLAIN, asked: [true; 3], gemm: None }
    }
}

/// What was compiled already on this thread.
pub(crate) fn pipelines(case: &Case) -> LinearPipelines<'_, Builtin> {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, LinearPipelines<'static, Builtin>>> = RefCell::default();
    }
    COMPILED.with_borrow_mut(|compiled| {
        let objective = case.problem.objective;
        let compile = || LinearPipelines::new(gpu().device(), Loss::new(objective)).unwrap();
        let key = format!("{objective:?}");
        compiled.entry(key).or_insert_with(compile).with_loss(case.problem.loss()).unwrap()
    })
}

/// Waits for a call.
pub(crate) fn read(call: &Call) -> RowResults {
    call.read(gpu().device(), gpu().queue()).unwrap()
}

pub(crate) fn run<T: Number, W: Number, G: Number>(case: &Case, way: Way<'_>) -> Outcome {
    run_with_results::<T, W, G>(case, way).0
}

/// The same, and what is known of every row.
pub(crate) fn run_with_results<T: Number, W: Number, G: Number>(
    case: &Case,
    way: Way<'_>,
) -> (Outcome, RowResults) {
    let (rows, vocab, d) = (case.problem.rows, case.problem.vocab, case.d);
    let layout = |more: usize| Layout { offset: way.layout.offset + more, ..way.layout };
    let h = Placed::new::<T>(&case.h, rows, d, (0, d), layout(0));
    let w = Placed::new::<W>(&case.w, vocab, d, (0, d), layout(1));
    let bias = case.bias.as_ref();
    let bias = bias.map(|bias| Placed::new::<f32>(bias, 1, vocab, (0, vocab), layout(2)));
    let dh = Placed::new::<G>(&vec![f32::NAN; rows * d], rows, d, (0, d), layout(3));
    let dw = Placed::new::<f32>(&vec![START; vocab * d], vocab, d, (0, d), layout(2));
    let dbias = Placed::new::<f32>(&vec![START; vocab], 1, vocab, (0, vocab), layout(1));

    let mut pipelines = pipelines(case);
    if let Some(bytes) = way.layout.limit {
        pipelines = pipelines.binding_limit(bytes);
    }
    let mut layer = LinearLoss::new(&pipelines, w.matrix(W::DTYPE));
    if let Some(bias) = &bias {
        layer = layer.bias(bias.matrix(f32::DTYPE));
    }
    if let Some(gemm) = way.gemm {
        layer = layer.gemm(gemm);
    }
    let scratch = Scratch::new(gpu().device(), layer.memory(rows).len(way.chunk)).unwrap();
    let mut gradients = Gradients::new();
    if way.asked[0] {
        gradients = gradients.hidden(dh.matrix(G::DTYPE));
    }
    if way.asked[1] {
        gradients = gradients.weight(dw.matrix(f32::DTYPE));
    }
    if way.asked[2] {
        gradients = gradients.bias(dbias.matrix(f32::DTYPE));
    }

    let (hidden, batch) = (h.matrix(T::DTYPE), case.problem.batch());
    let mut call = None;
    let (report, results) = if case.problem.objective.group_plan().is_none() {
        submit(|encoder| {
            let recorded = layer.forward_backward(encoder, hidden, &batch, gradients, &scratch);
            call = Some(recorded.unwrap());
        });
        let results = read(&call.unwrap());
        (results.report(pipelines.loss(), &batch, vocab).unwrap(), results)
    } else {
        submit(|encoder| {
            call = Some(layer.row_stats(encoder, hidden, &batch, &scratch).unwrap());
        });
        let results = read(&call.unwrap());
        let stats = results.row_stats();
        let mut terms = vec![TokenTerm::default(); rows];
        let mut workspace = OwnedWorkspace::new();
        let workspace = workspace.lend(rows, 0);
        let loss = case.problem.loss();
        let report = loss.token_terms(&stats, &batch, vocab, &mut terms, workspace).unwrap();
        submit(|encoder| {
            let known = (&*stats, &*terms);
            layer.backward(encoder, hidden, &batch, known, gradients, &scratch).unwrap();
        });
        (report, results)
    };
    // What is only read stays as it is, too.
    let same = |actual: Vec<f64>, expected: &[f32]| {
        assert!(actual.iter().zip(expected).all(|(a, e)| *a == f64::from(*e) || e.is_nan()));
    };
    same(h.values::<T>(), &case.h);
    same(w.values::<W>(), &case.w);
    let outcome = Outcome {
        report,
        dh: dh.values::<G>(),
        dw: dw.values::<f32>(),
        dbias: dbias.values::<f32>(),
        outputs: Asked::new(0),
    };
    (outcome, results)
}
