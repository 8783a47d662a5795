//! What is refused, and that nothing has been written then.

mod common;

use common::{Asked, bits};
use surprisal::objective::{Builtin, Sft};
use surprisal::{Argument, Batch, Loss, Outputs};
use surprisal_linear::{
    Error, Gradients, LinearLoss, Matrix, MatrixMut, OwnedWorkspace, Workspace,
};

const ROWS: usize = 6;
const D: usize = 3;
const VOCAB: usize = 5;
const TARGETS: [i32; ROWS] = [0, 4, -100, 2, 3, 1];

/// What a call is given, each of it right until a test changes it.
struct Call<'a> {
    batch: Batch<'a>,
    objective: Builtin,
    hidden: (usize, usize),
    dh: (usize, usize),
    dw: (usize, usize),
    dbias: usize,
    bias: usize,
    outputs: usize,
    shard: Option<(usize, usize)>,
    smoothing: f32,
    workspace: OwnedWorkspace,
}

fn call() -> Call<'static> {
    let w = [0.0_f32; VOCAB * D];
    let weight = Matrix::new(&w, VOCAB, D).unwrap();
    let loss = Loss::new(Builtin::from_name("dft-sequence").unwrap());
    let len = LinearLoss::new(loss, weight).memory(ROWS).len(2);
    Call {
        batch: Batch::new(&TARGETS).ignore_index(-100),
        objective: Sft.into(),
        hidden: (ROWS, D),
        dh: (ROWS, D),
        dw: (VOCAB, D),
        dbias: VOCAB,
        bias: VOCAB,
        outputs: ROWS,
        shard: None,
        smoothing: 0.0,
        workspace: OwnedWorkspace::new(len),
    }
}

impl Call<'_> {
    /// The error of a call, which has written nothing; of all ways to call.
    fn error(mut self) -> Error {
        let zeros = [0.5_f32; 64];
        let weight = Matrix::new(&zeros[..VOCAB * D], VOCAB, D).unwrap();
        let loss = Loss::new(self.objective).label_smoothing(self.smoothing);
        let mut layer = LinearLoss::new(loss, weight).bias(&zeros[..self.bias]);
        if let Some((start, total)) = self.shard {
            layer = layer.shard(start, total);
        }
        let (rows, cols) = self.hidden;
        let hidden = Matrix::new(&zeros[..rows * cols], rows, cols).unwrap();
        let (mut dh, mut dw, mut dbias) = ([7.0_f32; 64], [7.0_f32; 64], [7.0_f32; 64]);
        let mut outputs = Asked::new(self.outputs);
        let before = bits(&outputs);
        let gradients = Gradients::new()
            .hidden(MatrixMut::new(&mut dh[..self.dh.0 * self.dh.1], self.dh.0, self.dh.1).unwrap())
            .weight(MatrixMut::new(&mut dw[..self.dw.0 * self.dw.1], self.dw.0, self.dw.1).unwrap())
            .bias(&mut dbias[..self.dbias]);
        let error = layer
            .forward_backward(hidden, &self.batch, gradients, outputs.ask(), self.workspace.lend())
            .expect_err("is refused");
        assert!(
            [dh, dw, dbias].iter().flatten().all(|&v| v == 7.0),
            "{error}: a gradient was written"
        );
        assert_eq!(before, bits(&outputs), "{error}: an output was written");
        assert!(!error.to_string().is_empty());
        error
    }
}

fn shape(error: Error) -> &'static str {
    if let Error::Shape { argument, .. } = error { argument } else { panic!("{error}") }
}

#[test]
fn shapes() {
    assert_eq!(shape(Call { hidden: (ROWS, D + 1), ..call() }.error()), "hidden");
    assert_eq!(shape(Call { dh: (ROWS, D + 1), ..call() }.error()), "dhidden");
    assert_eq!(shape(Call { dh: (ROWS - 1, D), ..call() }.error()), "dhidden");
    assert_eq!(shape(Call { dw: (D, VOCAB), ..call() }.error()), "dweight");
    assert_eq!(shape(Call { dbias: VOCAB - 1, ..call() }.error()), "dbias");
    assert_eq!(shape(Call { bias: VOCAB + 1, ..call() }.error()), "bias");
}

#[test]
fn what_the_loss_refuses() {
    let loss = |call: Call<'_>| match call.error() {
        Error::Loss(error) => error,
        error => panic!("{error}"),
    };
    let length = |error| matches!(error, surprisal::Error::Length { .. });
    assert!(length(loss(Call {
        hidden: (ROWS - 1, D),
        dh: (ROWS - 1, D),
        outputs: ROWS - 1,
        ..call()
    })));
    assert!(length(loss(Call { outputs: ROWS + 1, ..call() })));
    // The last row is wrong: it is looked at before the first chunk.
    let batch = Batch::new(&[0_i32, 4, -100, 2, 3, 5]).ignore_index(-100);
    let error = loss(Call { batch, ..call() });
    assert_eq!(error, surprisal::Error::Target { row: 5, target: 5 });
    let nan = [1.0, 1.0, f32::NAN, 1.0, 1.0, f32::NAN];
    let batch = Batch::new(&TARGETS).ignore_index(-100).token_weights(&nan);
    assert!(matches!(loss(Call { batch, ..call() }), surprisal::Error::Value { index: 5, .. }));
    let ppo = Builtin::from_name("ppo").unwrap();
    assert!(matches!(loss(Call { objective: ppo, ..call() }), surprisal::Error::Missing(_)));
    assert!(matches!(loss(Call { smoothing: 2.0, ..call() }), surprisal::Error::Parameter { .. }));
    assert_eq!(loss(Call { shard: Some((0, 9)), ..call() }), surprisal::Error::NeedsWholeRows);
    let part = Batch::new(&TARGETS).ignore_index(-100).row_range(0..6);
    assert!(matches!(
        loss(Call { batch: part.row_range(1..9), ..call() }),
        surprisal::Error::RowRange { .. }
    ));
    let range =
        Call { batch: part.row_range(1..3), hidden: (2, D), dh: (2, D), outputs: 2, ..call() };
    assert_eq!(loss(range), surprisal::Error::Missing(Argument::Denominator));
    let sequences = Batch::new(&TARGETS).ignore_index(-100).sequences(&[0_i32, 6]).row_range(1..3);
    let objective = Builtin::from_name("dft-sequence").unwrap();
    let grouped =
        Call { batch: sequences, objective, hidden: (2, D), dh: (2, D), outputs: 2, ..call() };
    assert_eq!(loss(grouped), surprisal::Error::NeedsWholeBatch);
}

#[test]
fn workspace_is_as_large_as_stated() {
    let zeros = [0.5_f32; 64];
    for objective in ["sft", "dft-sequence"] {
        let objective = Builtin::from_name(objective).unwrap();
        let weight = Matrix::new(&zeros[..VOCAB * D], VOCAB, D).unwrap();
        let layer = LinearLoss::new(Loss::new(objective), weight);
        let hidden = Matrix::new(&zeros[..ROWS * D], ROWS, D).unwrap();
        let batch = Batch::new(&TARGETS).ignore_index(-100).sequences(&[0_i32, 4, 6]);
        let memory = layer.memory(ROWS);
        for rows in 1..=ROWS {
            let bytes = memory.len(rows).bytes();
            assert_eq!(memory.chunk_rows(bytes), rows);
            assert_eq!(memory.chunk_rows(bytes - 1), rows - 1);
        }
        assert_eq!((memory.least(), memory.chunk_rows(usize::MAX)), (memory.len(1).bytes(), ROWS));
        assert_eq!(memory.recommended(), memory.len(ROWS).bytes());

        let len = memory.len(1);
        let mut scratch = vec![0.0; len.scratch];
        let mut owned = surprisal_parts(len.group);
        let mut attempt = |scratch: &mut [f32], less: [usize; 3]| {
            let (stats, terms, scalars) = &mut owned;
            let lens = [stats.len() - less[0], terms.len() - less[1], scalars.len() - less[2]];
            let workspace = Workspace::new(scratch).group(
                &mut stats[..lens[0]],
                &mut terms[..lens[1]],
                &mut scalars[..lens[2]],
            );
            layer.forward(hidden, &batch, Outputs::new(), workspace)
        };
        assert!(attempt(&mut scratch, [0; 3]).is_ok());
        let part = |result| match result {
            Err(Error::Workspace { part, least, actual }) => {
                assert_eq!(actual, least - 1);
                part
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(part(attempt(&mut scratch[1..], [0; 3])), "scratch");
        if len.group > 0 {
            assert_eq!(part(attempt(&mut scratch, [1, 0, 0])), "stats");
            assert_eq!(part(attempt(&mut scratch, [0, 1, 0])), "terms");
            assert_eq!(part(attempt(&mut scratch, [0, 0, 1])), "scalars");
        }
    }
}

type Parts = (
    Vec<surprisal::RowStats>,
    Vec<surprisal::objective::TokenTerm>,
    Vec<surprisal::objective::Scalars>,
);

fn surprisal_parts(rows: usize) -> Parts {
    use surprisal::objective::{Scalars, TokenTerm};
    let terms = vec![TokenTerm::default(); rows];
    (vec![surprisal::RowStats::EMPTY; rows], terms, vec![Scalars::DROPPED; rows])
}

#[test]
fn stages() {
    let zeros = [0.5_f32; 64];
    let weight = Matrix::new(&zeros[..VOCAB * D], VOCAB, D).unwrap();
    let layer = LinearLoss::new(Loss::new(Sft), weight);
    let hidden = Matrix::new(&zeros[..ROWS * D], ROWS, D).unwrap();
    let batch = Batch::new(&TARGETS).ignore_index(-100);
    let mut workspace = OwnedWorkspace::new(layer.memory(ROWS).len(2));
    let (stats, terms, _) = surprisal_parts(ROWS);
    for (stats, terms) in [(&stats[1..], &terms[..]), (&stats[..], &terms[1..])] {
        let mut dh = [7.0_f32; ROWS * D];
        let gradients = Gradients::new().hidden(MatrixMut::new(&mut dh, ROWS, D).unwrap());
        let result = layer.backward(hidden, &batch, (stats, terms), gradients, workspace.lend());
        assert!(matches!(result, Err(Error::Loss(surprisal::Error::Length { .. }))));
        assert_eq!(dh, [7.0; ROWS * D]);
    }
    let empty = LinearLoss::new(Loss::new(Sft), Matrix::new(&zeros[..0], VOCAB, 0).unwrap());
    let nothing = Matrix::new(&zeros[..0], ROWS, 0).unwrap();
    let result = empty.forward(nothing, &batch, Outputs::new(), workspace.lend());
    assert_eq!(result, Err(Error::EmptyHidden));
    let empty = LinearLoss::new(Loss::new(Sft), Matrix::new(&zeros[..0], 0, D).unwrap());
    let result = empty.forward(hidden, &batch, Outputs::new(), workspace.lend());
    assert_eq!(result, Err(Error::Loss(surprisal::Error::EmptyVocab)));
    let shard = layer.shard(3, 7);
    let result = shard.row_stats(hidden, &batch, Outputs::new(), workspace.lend());
    assert!(matches!(result, Err(Error::Loss(surprisal::Error::Shard { .. }))));
}

#[test]
fn matrices() {
    let data = [0.0_f32; 12];
    assert_eq!(Matrix::new(&data, 3, 5).unwrap_err(), Error::Length { expected: 15, actual: 12 });
    assert_eq!(Matrix::new(&data, usize::MAX, 2).unwrap_err(), Error::Extent);
    assert_eq!(Matrix::strided(&data, 3, 2, usize::MAX, 1).unwrap_err(), Error::Extent);
    let strided =
        |row_stride, col_stride| Matrix::strided(&data, 3, 4, row_stride, col_stride).err();
    assert_eq!((strided(4, 1), strided(1, 3)), (None, None));
    for (row_stride, col_stride) in [(0, 1), (4, 0), (3, 1), (1, 2), (1, 1), (2, 2)] {
        assert_eq!(
            strided(row_stride, col_stride),
            Some(Error::Strides { row_stride, col_stride })
        );
    }
    assert!(matches!(strided(5, 1), Some(Error::Length { expected: 14, .. })));
    assert!(Matrix::strided(&data, 1, 4, 0, 1).is_ok());
    let mut data = data;
    assert!(MatrixMut::strided(&mut data, 3, 4, 3, 1).is_err());
}
