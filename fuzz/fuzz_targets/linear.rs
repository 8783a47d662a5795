//! The output layer and any loss in one, against the composed path over whole logits: outputs and dH bit for bit, sums over rows to their rounding.
//! Calls with a fault: an error, and nothing written.
#![no_main]

use half::{bf16, f16};
use libfuzzer_sys::fuzz_target;
use std::ops::Range;
use surprisal::objective::{Builtin, Scalars, TokenTerm};
use surprisal::{Batch, Element, LogitsMut, Loss, LossReport, Outputs, OwnedWorkspace, RowStats};
use surprisal_fuzz::common::{Asked, Plain, START, bits, store};
use surprisal_fuzz::layer::{Fault, Layer, Place};
use surprisal_fuzz::logits::Storage;
use surprisal_fuzz::products::{Checked, Sum, entries};
use surprisal_linear::{
    Error, Gemm, Gradients, LinearLoss, Matrix, MatrixMut, Memory, Scalar, Workspace,
};
use surprisal_tests::compare::{assert_same_bits, close};

/// What stands between entries, and in dH before a call.
const CANARY: f32 = 1536.0;
fuzz_target!(|layer: Layer| match layer.hidden.storage {
    Storage::F32 => of_hidden::<f32>(&layer),
    Storage::Bf16 => of_hidden::<bf16>(&layer),
    Storage::F16 => of_hidden::<f16>(&layer),
});

fn of_hidden<T: Scalar>(layer: &Layer) {
    match layer.weight.storage {
        Storage::F32 => of_weight::<T, f32>(layer),
        Storage::Bf16 => of_weight::<T, bf16>(layer),
        Storage::F16 => of_weight::<T, f16>(layer),
    }
}

fn of_weight<T: Scalar, W: Scalar>(layer: &Layer) {
    match layer.gradient {
        Storage::F32 => check::<T, W, f32>(layer),
        Storage::Bf16 => check::<T, W, bf16>(layer),
        Storage::F16 => check::<T, W, f16>(layer),
    }
}

fn loss(layer: &Layer) -> Loss<'_, Builtin> {
    layer.input.problem.loss().level(layer.input.level)
}

/// Calls `visit` with the batch of a call.
fn with_batch<R>(layer: &Layer, visit: impl FnOnce(&Batch<'_>) -> R) -> R {
    let batch = layer.input.problem.batch();
    let Some(mut rows) = layer.range.clone() else { return visit(&batch) };
    let mut tokens = vec![0; layer.input.problem.rows + 9];
    let sequences = layer.input.problem.cu_seqlens.as_ref().map_or(0, |offsets| offsets.len() - 1);
    let denominator = loss(layer).denominator(&batch, &mut tokens[..sequences]).unwrap();
    if layer.fault == Some(Fault::Range) {
        rows.end = layer.input.problem.rows + 1;
    }
    visit(&batch.denominator(denominator).row_range(rows))
}

/// What the composed path makes of whole logits.
struct Composed {
    report: LossReport,
    outputs: Asked,
    dlogits: Vec<f32>,
    dhidden: Vec<f32>,
}

fn composed(layer: &Layer) -> Composed {
    let (rows, vocab, d) = (layer.rows(), layer.input.problem.vocab, layer.width);
    let hidden = &layer.hidden.values[rows.start * d..rows.end * d];
    let mut z: Vec<f32> = Vec::new();
    for _ in rows.clone() {
        z.extend(layer.bias.clone().unwrap_or(vec![0.0; vocab]));
    }
    let (mut outputs, mut dhidden) = (Asked::new(rows.len()), vec![0.0; rows.len() * d]);
    let hidden = Matrix::new(hidden, rows.len(), d).unwrap();
    let weight = Matrix::new(&layer.weight.values, vocab, d).unwrap();
    let beta = if layer.bias.is_some() { 1.0 } else { 0.0 };
    if !rows.is_empty() {
        let z = MatrixMut::new(&mut z, rows.len(), vocab).unwrap();
        Plain.product(hidden, weight.transposed(), beta, z);
    }
    let mut workspace = OwnedWorkspace::new();
    let report = with_batch(layer, |batch| {
        let logits = LogitsMut::new(&mut z, rows.len(), vocab).unwrap();
        let workspace = workspace.lend(rows.len(), vocab);
        loss(layer).forward_backward_in_place_with(logits, batch, outputs.ask(), workspace)
    });
    for row in (0..rows.len()).filter(|row| is_active(layer, rows.start + row)) {
        let dz = Matrix::new(&z[row * vocab..][..vocab], 1, vocab).unwrap();
        Plain.product(dz, weight, 0.0, MatrixMut::new(&mut dhidden[row * d..][..d], 1, d).unwrap());
    }
    Composed { report: report.unwrap(), outputs, dlogits: z, dhidden }
}

fn is_active(layer: &Layer, row: usize) -> bool {
    layer.input.problem.batch().target(row).is_some()
}

/// The operands as they lie in memory, and all that a call may write.
#[derive(Clone)]
struct Memories<T, W, G> {
    hidden: Vec<T>,
    weight: Vec<W>,
    of_hidden: Place,
    dhidden: Vec<G>,
    dweight: Vec<f32>,
    dbias: Vec<f32>,
    outputs: Asked,
}

impl<T: Scalar, W: Scalar, G: Scalar> Memories<T, W, G> {
    fn new(layer: &Layer) -> Self {
        let (rows, d) = (layer.rows(), layer.width);
        let of_hidden = Place { rows: rows.len(), ..layer.hidden.place };
        // Nobody reads the hidden states of ignored rows.
        let value = |i: usize| {
            let row = rows.start + i / d;
            let value = layer.hidden.values[rows.start * d + i];
            T::from_f32(if is_active(layer, row) { value } else { f32::NAN })
        };
        let weights = store::<W>(&layer.weight.values);
        let (nan, canary) = (f32::NAN, G::from_f32(CANARY));
        Self {
            hidden: of_hidden.lay_out(value, T::from_f32(nan)),
            weight: layer.weight.place.lay_out(|i| weights[i], W::from_f32(nan)),
            of_hidden,
            dhidden: vec![canary; of_hidden.len()],
            dweight: layer.weight.place.lay_out(|_| START, CANARY),
            dbias: vec![START; layer.input.problem.vocab],
            outputs: Asked::new(rows.len() + usize::from(layer.fault == Some(Fault::Outputs))),
        }
    }

    /// Everything that may be written, as bits.
    fn written(&self) -> (Vec<u32>, String) {
        let floats = self.dhidden.iter().map(|g| g.to_f32());
        let floats = floats.chain(self.dweight.iter().copied()).chain(self.dbias.iter().copied());
        (floats.map(f32::to_bits).collect(), bits(&self.outputs))
    }
}

fn view<T: Copy>(data: &[T], p: Place) -> Matrix<'_, T> {
    Matrix::strided(&data[p.around..], p.rows, p.cols, p.down, p.across).unwrap()
}

fn view_mut<T: Copy>(data: &mut [T], p: Place) -> MatrixMut<'_, T> {
    MatrixMut::strided(&mut data[p.around..], p.rows, p.cols, p.down, p.across).unwrap()
}

/// What a call is lent, with some more than it needs.
struct Room {
    scratch: Vec<f32>,
    stats: Vec<RowStats>,
    terms: Vec<TokenTerm>,
    scalars: Vec<Scalars>,
}

impl Room {
    fn new(layer: &Layer, memory: Memory) -> Self {
        let (len, spare) = (memory.len(layer.chunk), layer.spare);
        let (mut scratch, mut lens) = (len.scratch + spare, [len.group + spare; 3]);
        match layer.fault {
            Some(Fault::Scratch) => scratch = memory.len(1).scratch - 1 - spare.min(5),
            Some(Fault::Group(part)) => lens[usize::from(part % 3)] = len.group - 1,
            _ => {}
        }
        Self {
            scratch: vec![f32::NAN; scratch],
            stats: vec![RowStats::EMPTY; lens[0]],
            terms: vec![TokenTerm::default(); lens[1]],
            scalars: vec![Scalars::DROPPED; lens[2]],
        }
    }

    fn lend(&mut self) -> Workspace<'_> {
        Workspace::new(&mut self.scratch).group(&mut self.stats, &mut self.terms, &mut self.scalars)
    }
}

/// Makes the call with whatever is wrong with it: with gradients, or the loss alone.
fn call<T: Scalar, W: Scalar, G: Scalar>(
    layer: &Layer,
    memories: &mut Memories<T, W, G>,
    backward: bool,
) -> Result<LossReport, Error> {
    let (rows, d) = (layer.rows().len(), layer.width);
    let is = |fault| layer.fault == Some(fault);
    let zeros = vec![T::from_f32(0.0); (rows + 1) * (d + 1)];
    let hidden = match layer.fault {
        Some(Fault::Hidden) => Matrix::new(&zeros[..(rows + 1) * d], rows + 1, d).unwrap(),
        Some(Fault::Width) => Matrix::new(&zeros[..rows * (d + 1)], rows, d + 1).unwrap(),
        _ => view(&memories.hidden, memories.of_hidden),
    };
    let mut bias = layer.bias.clone();
    if is(Fault::Bias) {
        bias.get_or_insert_with(|| vec![0.0; layer.input.problem.vocab]).push(0.0);
    }
    let mut linear =
        LinearLoss::with_gemm(loss(layer), view(&memories.weight, layer.weight.place), Checked);
    if let Some(bias) = &bias {
        linear = linear.bias(bias);
    }
    let Memories { of_hidden, dhidden, dweight, dbias, outputs, .. } = memories;
    let gradients = gradients(layer, *of_hidden, 0..rows, (dhidden, dweight, dbias));
    let mut room = Room::new(layer, linear.memory(rows));
    with_batch(layer, |batch| {
        if backward {
            linear.forward_backward(hidden, batch, gradients, outputs.ask(), room.lend())
        } else {
            linear.forward(hidden, batch, outputs.ask(), room.lend())
        }
    })
}

/// Those that are asked for, dH of some of the rows.
fn gradients<'m, G: Scalar>(
    layer: &Layer,
    of_hidden: Place,
    rows: Range<usize>,
    (dhidden, dweight, dbias): (&'m mut [G], &'m mut [f32], &'m mut [f32]),
) -> Gradients<'m> {
    let mut gradients = Gradients::new();
    if layer.asked[0] {
        let view = view_mut(dhidden, of_hidden).row_range(rows);
        let wrong = layer.fault == Some(Fault::DHidden);
        gradients = gradients.hidden(if wrong { view.transposed() } else { view });
    }
    if layer.asked[1] {
        let view = view_mut(dweight, layer.weight.place);
        let wrong = layer.fault == Some(Fault::DWeight);
        gradients = gradients.weight(if wrong { view.transposed() } else { view });
    }
    if layer.asked[2] {
        let wrong = layer.fault == Some(Fault::DBias);
        gradients = gradients.bias(&mut dbias[usize::from(wrong)..]);
    }
    gradients
}

fn check<T: Scalar, W: Scalar, G: Scalar>(layer: &Layer) {
    let before = Memories::<T, W, G>::new(layer);
    let (mut memories, mut forward) = (before.clone(), before.clone());
    let result = call(layer, &mut memories, true);
    if layer.is_refused() {
        assert!(result.is_err(), "not refused: {:?}", layer.fault);
        assert_eq!(memories.written(), before.written(), "written despite {result:?}");
        let of_gradient = [Fault::DHidden, Fault::DWeight, Fault::DBias].map(Some);
        if !of_gradient.contains(&layer.fault) {
            let result = call(layer, &mut forward, false);
            assert!(result.is_err(), "forward is not refused: {:?}", layer.fault);
            assert_eq!(forward.written(), before.written(), "written despite {result:?}");
        }
        return;
    }
    let (report, expected) = (result.unwrap(), composed(layer));
    check_report(&report, &expected);
    assert_eq!(bits(&memories.outputs), bits(&expected.outputs), "outputs");
    check_gradients(layer, &memories, &expected);
    let alone = call(layer, &mut forward, false).unwrap();
    assert_eq!(format!("{alone:?}"), format!("{report:?}"), "forward");
    assert_eq!(bits(&forward.outputs), bits(&expected.outputs), "outputs of forward");
    if layer.range.is_none() {
        let mut memories = before;
        staged(layer, &mut memories);
        check_gradients(layer, &memories, &expected);
    }
}

/// The stages one by one, stages 1 and 3 on two parts of the rows.
fn staged<T: Scalar, W: Scalar, G: Scalar>(layer: &Layer, memories: &mut Memories<T, W, G>) {
    let Memories { hidden, weight, of_hidden, dhidden, dweight, dbias, .. } = memories;
    let (rows, batch) = (layer.rows().len(), layer.input.problem.batch());
    let mut linear = LinearLoss::with_gemm(loss(layer), view(weight, layer.weight.place), Checked);
    if let Some(bias) = &layer.bias {
        linear = linear.bias(bias);
    }
    let (hidden, cut) = (view(hidden, *of_hidden), layer.chunk.min(rows));
    let mut room = Room::new(layer, linear.memory(rows));
    let mut stats = vec![RowStats::EMPTY; rows];
    for part in [0..cut, cut..rows] {
        let outputs = Outputs::new().stats(&mut stats[part.clone()]);
        let (hidden, batch) = (hidden.row_range(part.clone()), batch.row_range(part));
        linear.row_stats(hidden, &batch, outputs, room.lend()).unwrap();
    }
    let (vocab, mut terms) = (layer.input.problem.vocab, vec![TokenTerm::default(); rows]);
    let mut workspace = OwnedWorkspace::new();
    let workspace = workspace.lend(rows, vocab);
    loss(layer).token_terms(&stats, &batch, vocab, &mut terms, workspace).unwrap();
    for part in [0..cut, cut..rows] {
        let of_part = gradients(layer, *of_hidden, part.clone(), (dhidden, dweight, dbias));
        let (hidden, batch) = (hidden.row_range(part.clone()), batch.row_range(part.clone()));
        let known = (&stats[part.clone()], &terms[part]);
        linear.backward(hidden, &batch, known, of_part, room.lend()).unwrap();
    }
}

fn check_report(actual: &LossReport, expected: &Composed) {
    let (a, e) = (actual, &expected.report);
    assert_eq!((a.tokens, a.correct, a.invalid_row), (e.tokens, e.correct, e.invalid_row));
    let [_, _, losses, ..] = &expected.outputs.floats;
    // Where all weights are 0, a loss that is NaN counts nowhere.
    let size: f64 = losses.iter().filter(|v| !v.is_nan()).map(|v| f64::from(v.abs())).sum();
    // Each loss is divided by something, the same one for all of them where that is small.
    let divided = (e.loss / e.loss_sum).abs();
    let divided = if divided.is_finite() { divided.max(1.0) } else { 1.0 };
    for (what, a, e, size) in [
        ("loss", a.loss, e.loss, size * divided),
        ("loss_sum", a.loss_sum, e.loss_sum, size),
        ("nll_sum", a.nll_sum, e.nll_sum, 0.0),
        ("weight_sum", a.weight_sum, e.weight_sum, 0.0),
        ("tau", a.tau.unwrap_or(-1.0), e.tau.unwrap_or(-1.0), 0.0),
    ] {
        let bound = 1e-13 * (size + e.abs()) + 1e-40 * divided;
        assert!(close(a, e, bound), "{what}: {a} for {e}");
    }
}

fn check_gradients<T: Scalar, W: Scalar, G: Scalar>(
    layer: &Layer,
    memories: &Memories<T, W, G>,
    expected: &Composed,
) {
    let before = Memories::<T, W, G>::new(layer);
    let (rows, vocab, d) = (layer.rows(), layer.input.problem.vocab, layer.width);
    let place = memories.of_hidden;
    let dhidden = |i: usize| G::from_f32(if layer.asked[0] { expected.dhidden[i] } else { CANARY });
    same("dH", &memories.dhidden, &place.lay_out(dhidden, G::from_f32(CANARY)));
    let active = || (0..rows.len()).filter(|row| is_active(layer, rows.start + row));
    let mut dweight = memories.dweight.clone();
    for (class, k) in entries(vocab, d) {
        let at = layer.weight.place.at(class, k);
        if layer.asked[1] {
            let mut sum = Sum::new(START);
            for row in active() {
                let hidden = layer.hidden.values[(rows.start + row) * d + k];
                sum.add(expected.dlogits[row * vocab + class], hidden);
            }
            sum.check("dW", dweight[at]);
            dweight[at] = START;
        }
    }
    same("what is not dW", &dweight, &before.dweight);
    for (class, &dbias) in memories.dbias.iter().enumerate() {
        let mut sum = Sum::new(START);
        let rows = active().filter(|_| layer.asked[2]);
        rows.for_each(|row| sum.add(expected.dlogits[row * vocab + class], 1.0));
        sum.check("dbias", dbias);
    }
}

/// The same bits; any NaN equals any other.
fn same<G: Element>(what: &str, actual: &[G], expected: &[G]) {
    let wide = |values: &[G]| values.iter().map(|v| f64::from(v.to_f32())).collect::<Vec<_>>();
    assert_same_bits(what, &wide(actual), &wide(expected));
}
