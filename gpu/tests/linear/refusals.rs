//! What a call refuses: typed errors, and nothing recorded.

use surprisal::objective::{Builtin, Sft, TalrAuto, TokenTerm};
use surprisal::{Argument, Batch, Error as LossError, Loss, RowStats};
use surprisal_gpu::{
    Call, Dtype, Error, Gradients, LinearLoss, LinearPipelines, Matrix, Scratch, wgpu,
};

use crate::common::{gpu, submit};

const ROWS: usize = 6;
const D: usize = 4;
const VOCAB: usize = 8;
const TARGETS: [i64; ROWS] = [0, 7, -100, 2, 3, 1];

/// What a call is given, each of it right until a test changes it.
struct Given<'a> {
    batch: Batch<'a>,
    hidden: Matrix<'a>,
    weight: Matrix<'a>,
    bias: Matrix<'a>,
    gradients: [Matrix<'a>; 3],
    scratch: Scratch,
    shard: Option<(usize, usize)>,
}

impl Given<'_> {
    /// The error of a call, of all ways to call; nothing is recorded that a device could refuse.
    fn error(self, pipelines: &LinearPipelines<'_, Builtin>) -> Error {
        let mut layer = LinearLoss::new(pipelines, self.weight).bias(self.bias);
        if let Some((start, total)) = self.shard {
            layer = layer.shard(start, total);
        }
        let [dh, dw, dbias] = self.gradients;
        let gradients = Gradients::new().hidden(dh).weight(dw).bias(dbias);
        let (hidden, batch, scratch) = (self.hidden, &self.batch, &self.scratch);
        let mut error = None;
        submit(|encoder| {
            let call = layer.forward_backward(encoder, hidden, batch, gradients, scratch);
            error = Some(call.map(|_: Call| ()).unwrap_err());
        });
        error.unwrap()
    }
}

pub(crate) fn refusals() {
    let gpu = gpu();
    let buffers: [wgpu::Buffer; 6] = [(); 6].map(|()| gpu.buffer(4 * 64).unwrap());
    let [h, w, b, dh, dw, db] = &buffers;
    let matrix = |buffer, rows, cols| Matrix::new(buffer, Dtype::F32, rows, cols).unwrap();
    let loss = Loss::new(Builtin::from(Sft));
    let pipelines = LinearPipelines::new(gpu.device(), loss).unwrap();
    let weight = matrix(w, VOCAB, D);
    let memory = LinearLoss::new(&pipelines, weight).memory(ROWS);
    let scratch = Scratch::new(gpu.device(), memory.len(2)).unwrap();
    let given = || Given {
        batch: Batch::new(&TARGETS).ignore_index(-100),
        hidden: matrix(h, ROWS, D),
        weight,
        bias: matrix(b, 1, VOCAB),
        gradients: [matrix(dh, ROWS, D), matrix(dw, VOCAB, D), matrix(db, 1, VOCAB)],
        scratch: scratch.clone(),
        shard: None,
    };
    let error = |given: Given<'_>| given.error(&pipelines);

    let shape = |argument, expected, actual| Error::Shape { argument, expected, actual };
    let narrow = Given { hidden: matrix(h, ROWS, 3), ..given() };
    assert_eq!(error(narrow), shape("hidden", (6, 4), (6, 3)));
    let short = Given { bias: matrix(b, 1, 7), ..given() };
    assert_eq!(error(short), shape("bias", (1, 8), (1, 7)));
    let [of_h, of_w, of_b] = given().gradients;
    let with = |gradients| Given { gradients, ..given() };
    let wrong = error(with([matrix(dh, 5, D), of_w, of_b]));
    assert_eq!(wrong, shape("dhidden", (6, 4), (5, 4)));
    let wrong = error(with([of_h, matrix(dw, VOCAB, 5), of_b]));
    assert_eq!(wrong, shape("dweight", (8, 4), (8, 5)));
    let wrong = error(with([of_h, of_w, matrix(db, 2, VOCAB)]));
    assert_eq!(wrong, shape("dbias", (1, 8), (2, 8)));

    let bf16 = |buffer, rows, cols| Matrix::new(buffer, Dtype::Bf16, rows, cols).unwrap();
    assert_eq!(error(with([of_h, bf16(dw, VOCAB, D), of_b])), Error::Types);
    assert_eq!(error(with([of_h, of_w, bf16(db, 1, VOCAB)])), Error::Types);
    assert_eq!(error(Given { bias: bf16(b, 1, VOCAB), ..given() }), Error::Types);

    let named = |error: Error| match error {
        Error::Buffer { name, .. } => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(named(error(with([matrix(h, ROWS, D), of_w, of_b]))), "dhidden");
    assert_eq!(named(error(with([of_h, matrix(w, VOCAB, D), of_b]))), "dweight");
    assert_eq!(named(error(with([of_h, of_w, matrix(dw, 1, VOCAB)]))), "dbias");
    let lent = |logits: &wgpu::Buffer, hidden: &wgpu::Buffer| Given {
        scratch: Scratch::lent(logits, hidden),
        ..given()
    };
    assert_eq!(named(error(lent(w, &gpu.buffer(64).unwrap()))), "scratch logits");
    let one = gpu.buffer(256).unwrap();
    assert_eq!(named(error(lent(&one, &one))), "scratch hidden");
    let small = gpu.buffer(16).unwrap();
    assert_eq!(named(error(lent(&small, &one))), "scratch");
    let useless = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 256,
        usage: wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    assert_eq!(named(error(lent(&one, &useless))), "scratch hidden");

    let target = Given { batch: Batch::new(&[0, 8, 2, 0, 0, 0]), ..given() };
    assert_eq!(error(target), LossError::Target { row: 1, target: 8 }.into());
    let short = error(Given { batch: Batch::new(&TARGETS[..5]).ignore_index(-100), ..given() });
    assert!(matches!(short, Error::Loss(LossError::Length { .. })), "{short:?}");
    let shard = error(Given { shard: Some((9, 16)), ..given() });
    assert!(matches!(shard, Error::Loss(LossError::Shard { .. })), "{shard:?}");
    let shard = error(Given { shard: Some((8, 16)), ..given() });
    assert_eq!(shard, LossError::NeedsWholeRows.into());
    let none = error(Given { weight: matrix(w, 0, D), ..given() });
    assert_eq!(none, LossError::EmptyVocab.into());

    let tiny = pipelines.with_loss(Loss::new(Sft.into())).unwrap().binding_limit(40);
    let limit = given().error(&tiny);
    assert!(matches!(limit, Error::Limit { .. }), "{limit:?}");

    let talr = Loss::new(Builtin::from(TalrAuto::default()));
    let talr = LinearPipelines::new(gpu.device(), talr).unwrap();
    let sequences = Batch::new(&TARGETS).ignore_index(-100).sequences(&[0, 6]);
    assert_eq!(Given { batch: sequences, ..given() }.error(&talr), Error::NeedsTerms);
    let layer = LinearLoss::new(&pipelines, weight);
    submit(|encoder| {
        let (given, gradients) = (given(), Gradients::new().hidden(of_h));
        let mut backward = |stats: &[RowStats], terms: &[TokenTerm]| {
            let known = (stats, terms);
            layer.backward(encoder, given.hidden, &given.batch, known, gradients, &scratch)
        };
        let (stats, terms) = ([RowStats::EMPTY; ROWS], [TokenTerm::default(); ROWS]);
        let length = |argument| LossError::Length { argument, expected: ROWS, actual: 5 }.into();
        assert_eq!(backward(&stats[1..], &terms), Err(length(Argument::Stats)));
        assert_eq!(backward(&stats, &terms[1..]), Err(length(Argument::Terms)));
        // What is right, is recorded.
        assert_eq!(backward(&stats, &terms), Ok(()));
    });
    for buffer in [dw, db] {
        let mut values = [1.0_f32; 64];
        gpu.download(buffer, &mut values).unwrap();
        assert_eq!(values, [0.0; 64], "something was written");
    }
}

pub(crate) fn scratch_follows_from_bytes() {
    let gpu = gpu();
    let loss = Loss::new(Builtin::from(Sft));
    let pipelines = LinearPipelines::new(gpu.device(), loss).unwrap();
    let w = gpu.buffer(2 * 1001 * 30).unwrap();
    let layer = LinearLoss::new(&pipelines, Matrix::new(&w, Dtype::Bf16, 1001, 30).unwrap());
    let memory = layer.memory(600);
    assert_eq!(memory.least(), 4 * (1004 + 32));
    assert_eq!(memory.len(7).bytes(), 7 * memory.least());
    for rows in [1, 2, 77, 600] {
        let bytes = memory.len(rows).bytes();
        assert_eq!(memory.chunk_rows(bytes), rows);
        assert_eq!(memory.chunk_rows(bytes - 1), rows - 1);
    }
    assert_eq!(memory.chunk_rows(u64::MAX), 600);
    assert_eq!((memory.recommended_rows(), layer.memory(3).recommended_rows()), (512, 3));
    // A buffer holds no more.
    let most = gpu.device().limits().max_buffer_size / (4 * 1004);
    assert!(layer.memory(usize::MAX).chunk_rows(u64::MAX) as u64 <= most);
    let refused = Scratch::new(gpu.device(), memory.len(usize::MAX)).unwrap_err();
    assert!(matches!(refused, Error::Limit { .. }), "{refused:?}");
}
