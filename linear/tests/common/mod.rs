//! A layer with a batch, and three ways to its loss and gradients: the crate, the composed path, the oracle over f64 products.
#![allow(clippy::cast_possible_truncation, reason = "a test that truncates fails")]
#![allow(dead_code, unreachable_pub, reason = "not every test file uses all of it")]

use surprisal::objective::TokenTerm;
use surprisal::{Element, LogitsMut, LossReport, Outputs, RowStats};
use surprisal_linear::{Gemm, Gradients, LinearLoss, Matrix, MatrixMut, OwnedWorkspace, Scalar};
use surprisal_tests::problem::Problem;

/// Products by plain loops, an entry at a time: an entry depends on its row and its column alone.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Gemm for Plain {
    fn product(
        &self,
        a: Matrix<'_, f32>,
        b: Matrix<'_, f32>,
        beta: f32,
        mut c: MatrixMut<'_, f32>,
    ) {
        assert_eq!(((a.rows(), b.cols()), a.cols()), (c.shape(), b.rows()));
        assert!(a.rows() > 0 && a.cols() > 0 && b.cols() > 0 && (beta == 0.0 || beta == 1.0));
        let (row_stride, col_stride) = (c.row_stride(), c.col_stride());
        for i in 0..a.rows() {
            for j in 0..b.cols() {
                let sum: f32 =
                    (0..a.cols()).map(|k| a.get(i, k).unwrap() * b.get(k, j).unwrap()).sum();
                let c = &mut c.data()[i * row_stride + j * col_stride];
                *c = if beta == 0.0 { sum } else { *c + sum };
            }
        }
    }
}

/// A problem whose logits are a product. `W` is near the identity, so that the side inputs stay near the log-probabilities.
#[derive(Clone, Debug)]
pub struct Case {
    pub problem: Problem,
    pub d: usize,
    pub h: Vec<f32>,
    pub w: Vec<f32>,
    pub bias: Option<Vec<f32>>,
}

/// Numbers between −1 and 1.
pub fn numbers(len: usize, mut state: u64) -> Vec<f32> {
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as i32 - (1 << 23)) as f32 / (1 << 23) as f32
    };
    (0..len).map(|_| next()).collect()
}

impl Case {
    /// Hidden states are the problem's logits, NaN in ignored rows included; d is a little less than the vocabulary.
    pub fn new(problem: Problem, with_bias: bool) -> Self {
        let (rows, vocab) = (problem.rows, problem.vocab);
        let d = (vocab - vocab / 9).max(1);
        let h = (0..rows * d).map(|i| problem.logits[i / d * vocab + i % d]).collect();
        let mut w = numbers(vocab * d, 5);
        for (i, w) in w.iter_mut().enumerate() {
            *w = 0.05 * *w + if i / d == i % d { 1.0 } else { 0.0 };
        }
        let bias = with_bias.then(|| numbers(vocab, 7));
        Self { problem, d, h, w, bias }.with_product()
    }

    /// The logits become the product, rounded to f32.
    fn with_product(mut self) -> Self {
        self.problem.logits = self.logits().into_iter().map(|z| z as f32).collect();
        self
    }

    /// The same with operands rounded to these types.
    pub fn rounded<T: Scalar, W: Scalar>(mut self) -> Self {
        self.h.iter_mut().for_each(|h| *h = T::from_f32(*h).to_f32());
        self.w.iter_mut().for_each(|w| *w = W::from_f32(*w).to_f32());
        self.with_product()
    }

    /// z = H·Wᵀ + bias in f64.
    pub fn logits(&self) -> Vec<f64> {
        let (vocab, d) = (self.problem.vocab, self.d);
        let entry = |i: usize| {
            let (h, w) = (&self.h[i / vocab * d..][..d], &self.w[i % vocab * d..][..d]);
            let bias = self.bias.as_ref().map_or(0.0, |bias| f64::from(bias[i % vocab]));
            bias + h.iter().zip(w).map(|(&h, &w)| f64::from(h) * f64::from(w)).sum::<f64>()
        };
        (0..self.problem.rows * vocab).map(entry).collect()
    }

    pub fn is_ignored(&self, row: usize) -> bool {
        self.problem.batch().target(row).is_none()
    }
}

/// What a way returns. Gradients that are added to start at what `START` says.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub report: LossReport,
    pub dh: Vec<f64>,
    pub dw: Vec<f64>,
    pub dbias: Vec<f64>,
    pub outputs: Asked,
}

/// What the accumulated gradients hold before a call.
pub const START: f32 = 0.25;

/// All per-token outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub stats: Vec<RowStats>,
    pub terms: Vec<TokenTerm>,
    pub floats: [Vec<f32>; 5],
    pub argmax: Vec<u32>,
    pub correct: Vec<u8>,
}

impl Asked {
    pub fn new(rows: usize) -> Self {
        Self {
            stats: vec![RowStats::EMPTY.merge(RowStats::EMPTY); rows],
            terms: vec![TokenTerm { loss: 7.0, coef: 7.0, dense: 7.0 }; rows],
            floats: [(); 5].map(|()| vec![7.0; rows]),
            argmax: vec![7; rows],
            correct: vec![7; rows],
        }
    }

    pub fn ask(&mut self) -> Outputs<'_> {
        let [nll, log_probs, losses, entropy, weights] = &mut self.floats;
        Outputs::new()
            .stats(&mut self.stats)
            .terms(&mut self.terms)
            .nll(nll)
            .log_probs(log_probs)
            .losses(losses)
            .entropy(entropy)
            .weights(weights)
            .argmax(&mut self.argmax)
            .correct(&mut self.correct)
    }
}

/// Bits, so that NaN and −0 compare.
pub fn bits(asked: &Asked) -> String {
    format!("{asked:?}")
}

pub fn store<T: Element>(values: &[f32]) -> Vec<T> {
    values.iter().map(|&v| T::from_f32(v)).collect()
}

pub fn widen<T: Element>(values: &[T]) -> Vec<f64> {
    values.iter().map(|v| f64::from(v.to_f32())).collect()
}

/// The crate's way, in chunks of so many rows.
pub fn run<T: Scalar, W: Scalar, G: Scalar>(case: &Case, chunk: usize, gemm: impl Gemm) -> Outcome {
    let (rows, vocab, d) = (case.problem.rows, case.problem.vocab, case.d);
    let (h, w) = (store::<T>(&case.h), store::<W>(&case.w));
    let mut dh = store::<G>(&vec![f32::NAN; rows * d]);
    let (mut dw, mut dbias) = (vec![START; vocab * d], vec![START; vocab]);
    let mut outputs = Asked::new(rows);
    let weight = Matrix::new(&w, vocab, d).unwrap();
    let mut layer = LinearLoss::with_gemm(case.problem.loss(), weight, gemm);
    if let Some(bias) = &case.bias {
        layer = layer.bias(bias);
    }
    let mut workspace = OwnedWorkspace::new(layer.memory(rows).len(chunk));
    let gradients = Gradients::new()
        .hidden(MatrixMut::new(&mut dh, rows, d).unwrap())
        .weight(MatrixMut::new(&mut dw, vocab, d).unwrap())
        .bias(&mut dbias);
    let hidden = Matrix::new(&h, rows, d).unwrap();
    let report = layer
        .forward_backward(hidden, &case.problem.batch(), gradients, outputs.ask(), workspace.lend())
        .unwrap_or_else(|error| panic!("{}: {error}", case.problem.name));
    Outcome { report, dh: widen(&dh), dw: widen(&dw), dbias: widen(&dbias), outputs }
}

/// The composed path over f32 operands: whole logits by plain loops, the loss in place, the products of what is left.
pub fn composed(case: &Case) -> Outcome {
    let (rows, vocab, d) = (case.problem.rows, case.problem.vocab, case.d);
    let mut z: Vec<f32> =
        (0..rows * vocab).map(|i| case.bias.as_ref().map_or(0.0, |bias| bias[i % vocab])).collect();
    let (h, w) = (Matrix::new(&case.h, rows, d).unwrap(), Matrix::new(&case.w, vocab, d).unwrap());
    let beta = if case.bias.is_some() { 1.0 } else { 0.0 };
    Plain.product(h, w.transposed(), beta, MatrixMut::new(&mut z, rows, vocab).unwrap());
    let mut outputs = Asked::new(rows);
    let mut workspace = surprisal::OwnedWorkspace::new();
    let report = case
        .problem
        .loss()
        .forward_backward_in_place_with(
            LogitsMut::new(&mut z, rows, vocab).unwrap(),
            &case.problem.batch(),
            outputs.ask(),
            workspace.lend(rows, vocab),
        )
        .unwrap_or_else(|error| panic!("{}: {error}", case.problem.name));
    let mut dh = vec![0.0; rows * d];
    let dz = Matrix::new(&z, rows, vocab).unwrap();
    Plain.product(dz, w, 0.0, MatrixMut::new(&mut dh, rows, d).unwrap());
    let dz: Vec<f64> = widen(&z);
    let (dw, dbias) = back(case, &dz);
    Outcome { report, dh: widen(&dh), dw, dbias, outputs }
}

/// dW and dbias in f64, where they start from.
fn back(case: &Case, dz: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (rows, vocab, d) = (case.problem.rows, case.problem.vocab, case.d);
    let (mut dw, mut dbias) = (vec![f64::from(START); vocab * d], vec![f64::from(START); vocab]);
    for row in (0..rows).filter(|&row| !case.is_ignored(row)) {
        for class in 0..vocab {
            let dz = dz[row * vocab + class];
            dbias[class] += dz;
            for k in 0..d {
                dw[class * d + k] += dz * f64::from(case.h[row * d + k]);
            }
        }
    }
    (dw, dbias)
}

/// The f64 oracle between f64 products.
pub fn oracle(case: &Case) -> Outcome {
    let (rows, vocab, d) = (case.problem.rows, case.problem.vocab, case.d);
    let (logits, mut dz) = (case.logits(), vec![0.0; rows * vocab]);
    let (loss, batch) = (case.problem.loss(), case.problem.batch());
    let report =
        surprisal::reference::forward_backward(&loss, &logits, rows, vocab, &batch, &mut dz)
            .unwrap_or_else(|error| panic!("{}: {error}", case.problem.name));
    let entry = |i: usize| {
        let dz = &dz[i / d * vocab..][..vocab];
        dz.iter().enumerate().map(|(j, dz)| dz * f64::from(case.w[j * d + i % d])).sum()
    };
    let dh = (0..rows * d).map(entry).collect();
    let (dw, dbias) = back(case, &dz);
    Outcome { report, dh, dw, dbias, outputs: Asked::new(rows) }
}

/// Panics where matrices differ by more than this of the largest entry.
pub fn assert_near(what: &str, actual: &[f64], expected: &[f64], relative: f64) {
    let largest = expected.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
    surprisal_tests::compare::assert_close(what, actual, expected, |_| relative * largest + 1e-30);
}

/// Panics where outcomes are further apart than this, of their largest entries.
pub fn assert_outcome(name: &str, actual: &Outcome, expected: &Outcome, relative: f64) {
    let (a, e) = (&actual.report, &expected.report);
    assert_eq!((a.tokens, a.invalid_row), (e.tokens, e.invalid_row), "{name}");
    for (what, a, e) in [
        ("loss", a.loss, e.loss),
        ("loss_sum", a.loss_sum, e.loss_sum),
        ("nll_sum", a.nll_sum, e.nll_sum),
        ("weight_sum", a.weight_sum, e.weight_sum),
        ("tau", a.tau.unwrap_or(0.0), e.tau.unwrap_or(0.0)),
    ] {
        let bound = relative * (e.abs() + expected.report.nll_sum.abs());
        assert!(surprisal_tests::compare::close(a, e, bound), "{name} {what}: {a} for {e}");
    }
    assert_near(&format!("{name} dH"), &actual.dh, &expected.dh, relative);
    assert_near(&format!("{name} dW"), &actual.dw, &expected.dw, relative);
    assert_near(&format!("{name} dbias"), &actual.dbias, &expected.dbias, relative);
}
