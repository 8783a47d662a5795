//! Bad input: the right error, naming the argument or the row, and nothing written.

use surprisal::objective::*;
use surprisal::{
    Argument, Batch, Element, Error, Logits, LogitsMut, Loss, Outputs, OwnedWorkspace, Pair,
    Reduction, RowStats, Workspace, bf16, f16, log_softmax, log_sum_exp,
};
use surprisal_tests::storage::Storage;

const ROWS: usize = 4;
const VOCAB: usize = 6;
const NINES: TokenTerm = TokenTerm { loss: 9.0, coef: 9.0, dense: 9.0 };

/// Runs every entry point over canaries and returns their common error.
fn refused<O: Objective + Copy>(loss: &Loss<'_, O>, batch: &Batch<'_>) -> Error {
    let z = [0.5_f32; ROWS * VOCAB];
    let logits = || Logits::new(&z, ROWS, VOCAB).unwrap();
    let mut dz = [9.0_f32; ROWS * VOCAB];
    let mut stats = [RowStats { max: 9.0, ..RowStats::EMPTY }; ROWS];
    let mut terms = [NINES; ROWS];
    let mut workspace = OwnedWorkspace::new();
    let mut nll = [9.0_f32; ROWS];
    let before = (dz, stats, terms, nll);
    let errors = [
        loss.forward(logits(), batch).map(|_| ()),
        loss.forward_with(
            logits(),
            batch,
            Outputs::new().stats(&mut stats).terms(&mut terms).nll(&mut nll),
            workspace.lend(ROWS, VOCAB),
        )
        .map(|_| ()),
        loss.forward_backward_with(
            logits(),
            batch,
            LogitsMut::new(&mut dz, ROWS, VOCAB).unwrap(),
            Outputs::new().stats(&mut stats).terms(&mut terms).nll(&mut nll),
            workspace.lend(ROWS, VOCAB),
        )
        .map(|_| ()),
        loss.forward_backward_in_place(LogitsMut::new(&mut dz, ROWS, VOCAB).unwrap(), batch)
            .map(|_| ()),
        loss.row_stats(logits(), batch, &mut stats),
        loss.token_terms(
            &[RowStats::EMPTY; ROWS],
            batch,
            VOCAB,
            &mut terms,
            workspace.lend(ROWS, VOCAB),
        )
        .map(|_| ()),
        loss.logits_grad(
            logits(),
            batch,
            &[RowStats::EMPTY; ROWS],
            &[TokenTerm::default(); ROWS],
            LogitsMut::new(&mut dz, ROWS, VOCAB).unwrap(),
        ),
    ];
    assert_eq!((dz, stats, terms, nll), before, "something was written");
    let first = errors[0].unwrap_err();
    for (index, error) in errors.into_iter().enumerate() {
        if let (5, Err(Error::Length { argument: Argument::Stats, .. })) = (index, error) {
            // Stage 2 has statistics where the others have logits: it says that those do not fit the targets.
            assert!(matches!(first, Error::Length { argument: Argument::Targets, .. }));
            continue;
        }
        // By their text: a NaN value is not equal to itself.
        assert_eq!(format!("{error:?}"), format!("{:?}", Err::<(), _>(first)));
    }
    assert!(!first.to_string().is_empty());
    first
}

fn refused_batch(batch: &Batch<'_>) -> Error {
    refused(&Loss::new(Sft), batch)
}

fn refused_loss<O: Objective + Copy>(loss: &Loss<'_, O>) -> Error {
    refused(loss, &full(&Batch::new(&[0, 1, 2, 3])))
}

/// A batch with every side input.
fn full<'a>(batch: &Batch<'a>) -> Batch<'a> {
    batch
        .ref_log_probs(&[-1.0; ROWS])
        .old_log_probs(&[-1.0; ROWS])
        .advantages(&[1.0; ROWS])
        .groups(&[0; ROWS])
        .sequences(&[0, 2, 4])
        .pairs(&[Pair { chosen: 0, rejected: 1 }])
        .keep(&[true, false])
}

fn parameter(error: Error) -> &'static str {
    match error {
        Error::Parameter { name, .. } => name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn shapes() {
    let z = [0.0_f32; 24];
    let length = |expected, actual| Error::Length { argument: Argument::Logits, expected, actual };
    assert_eq!(Logits::new(&z, 4, 0).unwrap_err(), Error::EmptyVocab);
    assert_eq!(Logits::new(&z, 5, 6).unwrap_err(), length(30, 24));
    assert_eq!(Logits::new(&z, 3, 6).unwrap_err(), length(18, 24));
    assert_eq!(Logits::strided(&z, 5, 5, 6).unwrap_err(), length(29, 24));
    let nothing =
        Loss::new(Sft).token_terms(&[], &Batch::new(&[0_i32; 0]), 0, &mut [], Workspace::none());
    assert_eq!(nothing.unwrap_err(), Error::EmptyVocab);
    assert_eq!(
        Logits::strided(&z, 4, 6, 5).unwrap_err(),
        Error::Stride { argument: Argument::Logits, row_stride: 5, vocab: 6 }
    );
    for rows in [usize::MAX, usize::MAX / 6 + 1] {
        let error = Logits::new(&z, rows, 6).unwrap_err();
        assert_eq!(error, Error::Extent { argument: Argument::Logits });
    }
    assert_eq!(
        Logits::new(&z, 4, 6).unwrap().shard(5, 10).unwrap_err(),
        Error::Shard { vocab_start: 5, vocab: 6, vocab_total: 10 }
    );
    assert!(Logits::new(&z, 4, 6).unwrap().shard(usize::MAX, usize::MAX).is_err());
    // The padding of the last row may be missing.
    assert!(Logits::strided(&z[..23], 4, 5, 6).is_ok());
}

#[test]
fn matrices_that_differ() {
    let z = [0.0_f32; 24];
    let mut out = [9.0_f32; 24];
    let batch = Batch::new(&[0, 1, 2, 3]);
    let error = Error::Shape { argument: Argument::Dlogits };
    let logits = Logits::new(&z, 4, 6).unwrap();
    let other = LogitsMut::new(&mut out, 6, 4).unwrap();
    assert_eq!(Loss::new(Sft).forward_backward(logits, &batch, other).unwrap_err(), error);
    let other = LogitsMut::new(&mut out, 6, 4).unwrap();
    let error = Error::Shape { argument: Argument::Output };
    assert_eq!(log_softmax(logits, other).unwrap_err(), error);
    let error = log_sum_exp(logits, &mut [0.0; 3]).unwrap_err();
    assert_eq!(error, Error::Length { argument: Argument::Output, expected: 4, actual: 3 });
    assert_eq!(out, [9.0; 24]);
}

#[test]
fn shards_cannot_be_composed() {
    let z = [0.0_f32; 24];
    let shard = Logits::new(&z, 4, 6).unwrap().shard(6, 12).unwrap();
    let batch = Batch::new(&[0, 1, 2, 3]);
    assert_eq!(Loss::new(Sft).forward(shard, &batch).unwrap_err(), Error::NeedsWholeRows);
    assert_eq!(log_sum_exp(shard, &mut [0.0; 4]).unwrap_err(), Error::NeedsWholeRows);
}

#[test]
fn targets() {
    for target in [-1_i64, -100, 6, i64::MAX, i64::MIN] {
        let targets = [0, 1, target, 3];
        let error = Error::Target { row: 2, target };
        assert_eq!(refused_batch(&Batch::new(&targets)), error);
        // Another id is ignored: this one stays wrong.
        assert_eq!(refused_batch(&Batch::new(&targets).ignore_index(-7)), error);
    }
    assert_eq!(
        refused_batch(&Batch::new(&[0_u32, 1, u32::MAX, 3])),
        Error::Target { row: 2, target: i64::from(u32::MAX) }
    );
    assert_eq!(
        refused_batch(&Batch::new(&[0, 1, 2])),
        Error::Length { argument: Argument::Targets, expected: 4, actual: 3 }
    );
}

#[test]
fn row_ranges() {
    let batch = Batch::new(&[0, 1, 2, 3, 4, 5]);
    let outside = |start, end| Error::RowRange { start, end, rows: 6 };
    assert_eq!(refused_batch(&batch.row_range(3..7)), outside(3, 7));
    #[expect(clippy::reversed_empty_ranges, reason = "the mistake")]
    let reversed = 5..1;
    assert_eq!(refused_batch(&batch.row_range(reversed)), outside(5, 1));
    // The logits have four rows.
    assert_eq!(
        refused_batch(&batch.row_range(0..3)),
        Error::Length { argument: Argument::Targets, expected: 4, actual: 3 }
    );
}

#[test]
fn parameters_by_name() {
    let mut talr = Builtin::from_name("talr-auto").unwrap();
    assert_eq!(talr.set("gamma", 2.0), Err(Error::UnknownParameter { objective: "talr-auto" }));
    let refused = |set: Result<(), Error>, parameter: &str| {
        assert!(matches!(set, Err(Error::Parameter { name, .. }) if name == parameter), "{set:?}");
    };
    refused(talr.set("floor", "high"), "floor");
    refused(talr.set("normalize", 1.0), "normalize");
    refused(talr.set("normalize", "sum"), "normalize");
    assert_eq!(talr, TalrAuto::default().into());
    talr.set("normalize", "mean1-batch").unwrap();
    talr.set("floor", 0.25).unwrap();
    let expected = TalrAuto { normalize: Normalize::Mean1Batch, floor: 0.25, ..Default::default() };
    assert_eq!(talr, expected.into());
}

/// Case and the kind of dash do not matter, in names of objectives, of parameters and of values.
#[test]
fn names_are_spelled_freely() {
    let mut talr = Builtin::from_name("TALR_Auto").unwrap();
    talr.set("Tau-From", "TOKEN_MEDIAN").unwrap();
    talr.set("FLOOR", 0.5).unwrap();
    let expected = TalrAuto { tau_from: TauFrom::TokenMedian, floor: 0.5, ..TalrAuto::default() };
    assert_eq!(talr, expected.into());
    for wrong in ["talr auto", "talrauto", "talr-", "talr-auto-", ""] {
        assert_eq!(Builtin::from_name(wrong), None, "{wrong}");
    }
    // The Kelvin sign is no K.
    assert!(Builtin::from_name("grpo").unwrap().set("kl", "\u{212a}1").is_err());
    // Every parameter takes a number or a variant, in either spelling.
    for objective in Builtin::all() {
        for parameter in objective.parameters() {
            let (dashed, mut changed) = (parameter.replace('_', "-").to_uppercase(), objective);
            let names = ["k1", "token-median", "sum1-batch", "product"].map(Value::from);
            let values = names.into_iter().chain([Value::Number(0.75)]);
            let taken = values.filter(|value| changed.set(&dashed, *value).is_ok());
            assert_eq!(taken.count(), 1, "{objective:?} {parameter}");
            assert_ne!(changed, objective, "{parameter}");
        }
    }
    assert_eq!(Builtin::from_name("deft").unwrap().parameters(), &[""; 0]);
    assert_eq!(talr.parameters(), ["floor", "p_min", "tau_from", "normalize"]);
}

#[test]
fn side_inputs() {
    let nan = f32::NAN;
    let targets = [0, 1, -1, 3];
    let batch = Batch::new(&targets).ignore_index(-1);
    let bad = |values: &'static [f32; 4]| {
        [
            (Argument::TokenWeights, batch.token_weights(values)),
            (Argument::RefLogProbs, batch.ref_log_probs(values)),
            (Argument::OldLogProbs, batch.old_log_probs(values)),
            (Argument::Advantages, batch.advantages(values)),
        ]
    };
    for (argument, batch) in bad(&[-0.0, f32::NAN, -0.0, -0.0]) {
        match refused_batch(&batch) {
            Error::Value { argument: found, index: 1, value } => {
                assert!(found == argument && value.is_nan());
            }
            other => panic!("{other:?}"),
        }
    }
    // What stands on an ignored row is nobody's business.
    for (_, batch) in bad(&[-0.0, -0.0, f32::NAN, -0.0]) {
        let z = [0.5_f32; ROWS * VOCAB];
        let logits = Logits::new(&z, ROWS, VOCAB).unwrap();
        assert!(Loss::new(Sft).forward(logits, &batch).unwrap().loss.is_finite());
    }
    let value = |argument, index, value| Error::Value { argument, index, value };
    assert_eq!(
        refused_batch(&batch.token_weights(&[1.0, 1.0, nan, -0.5])),
        value(Argument::TokenWeights, 3, -0.5)
    );
    assert_eq!(
        refused_batch(&batch.token_weights(&[f32::INFINITY, 1.0, 1.0, 1.0])),
        value(Argument::TokenWeights, 0, f64::INFINITY)
    );
    assert_eq!(
        refused_batch(&batch.ref_log_probs(&[-1.0, 1.5, 0.0, 0.0])),
        value(Argument::RefLogProbs, 1, 1.5)
    );
    assert_eq!(refused_batch(&batch.groups(&[0, 4, 0, 0])), value(Argument::Groups, 1, 4.0));
    for (argument, batch) in [
        (Argument::TokenWeights, batch.token_weights(&[1.0; 3])),
        (Argument::RefLogProbs, batch.ref_log_probs(&[-1.0; 5])),
        (Argument::OldLogProbs, batch.old_log_probs(&[])),
        (Argument::Advantages, batch.advantages(&[1.0; 3])),
        (Argument::Groups, batch.groups(&[0; 3])),
    ] {
        match refused_batch(&batch) {
            Error::Length { argument: found, expected: 4, .. } => assert_eq!(found, argument),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn sequences_pairs_keep() {
    let batch = Batch::new(&[0, 1, 2, 3]);
    let offsets = |index, offset| Error::Sequences { index, offset };
    assert_eq!(refused_batch(&batch.sequences(&[0, 3, 2, 4])), offsets(2, 2));
    assert_eq!(refused_batch(&batch.sequences(&[0, 2, 3])), offsets(2, 3));
    assert_eq!(refused_batch(&batch.sequences(&[0, 2, 5])), offsets(2, 5));
    assert_eq!(refused_batch(&batch.sequences(&[1, 2, 4])), offsets(0, 1));
    assert_eq!(refused_batch(&batch.sequences(&[0, -2, 4])), offsets(1, -2));
    assert_eq!(refused_batch(&batch.sequences(&[0])), offsets(0, 0));
    let none: [i64; 0] = [];
    assert!(matches!(refused_batch(&batch.sequences(&none)), Error::Length { .. }));

    let packed = batch.sequences(&[0, 2, 4]);
    for pair in [
        Pair { chosen: 0, rejected: 2 },
        Pair { chosen: 2, rejected: 0 },
        Pair { chosen: 1, rejected: 1 },
    ] {
        let pairs = [Pair { chosen: 0, rejected: 1 }, pair];
        assert_eq!(refused_batch(&packed.pairs(&pairs)), Error::Pair { index: 1 });
    }
    assert_eq!(
        refused_batch(&packed.keep(&[true; 3])),
        Error::Length { argument: Argument::Keep, expected: 2, actual: 3 }
    );
    assert_eq!(refused_batch(&batch.keep(&[true])), Error::Missing(Argument::Sequences));
    assert_eq!(refused_batch(&batch.pairs(&[])), Error::Missing(Argument::Sequences));
}

#[test]
fn missing_inputs_are_named() {
    let targets = [0, 1, 2, 3];
    for objective in Builtin::all() {
        let computed = [Input::Entropy, Input::SumSquares];
        for &input in objective.inputs().iter().filter(|input| !computed.contains(input)) {
            let without = |input: Input| {
                let mut batch = Batch::new(&targets);
                let given = |other: Input| other != input;
                if given(Input::RefLogProbs) {
                    batch = batch.ref_log_probs(&[-1.0; 4]);
                }
                if given(Input::OldLogProbs) {
                    batch = batch.old_log_probs(&[-1.0; 4]);
                }
                if given(Input::Advantages) {
                    batch = batch.advantages(&[1.0; 4]);
                }
                if given(Input::Groups) {
                    batch = batch.groups(&[0; 4]);
                }
                if given(Input::Sequences) {
                    batch = batch.sequences(&[0, 2, 4]);
                }
                if given(Input::Pairs) && given(Input::Sequences) {
                    batch = batch.pairs(&[Pair { chosen: 0, rejected: 1 }]);
                }
                if given(Input::Keep) && given(Input::Sequences) {
                    batch = batch.keep(&[true, false]);
                }
                batch
            };
            let loss = Loss::new(objective).reduction(Reduction::Sum);
            let Error::Missing(argument) = refused(&loss, &without(input)) else {
                panic!("{objective:?}: {input:?}");
            };
            assert_eq!(argument.name(), input.name(), "{objective:?}");
        }
    }
    let loss = Loss::new(Sft).reduction(Reduction::MeanSequences);
    assert_eq!(refused(&loss, &Batch::new(&targets)), Error::Missing(Argument::Sequences));
}

#[test]
fn missing_workspace_is_named() {
    let z = [0.5_f32; ROWS * VOCAB];
    let mut dz = [9.0_f32; ROWS * VOCAB];
    let batch = full(&Batch::new(&[0, 1, 2, 3]));
    for objective in Builtin::all().filter(|o| o.group_plan().is_some()) {
        let loss = Loss::new(objective).reduction(Reduction::Sum);
        let mut terms = [NINES; ROWS];
        let mut call = |workspace: Workspace<'_>| {
            let logits = Logits::new(&z, ROWS, VOCAB).unwrap();
            let out = LogitsMut::new(&mut dz, ROWS, VOCAB).unwrap();
            let outputs = Outputs::new();
            loss.forward_backward_with(logits, &batch, out, outputs, workspace).unwrap_err()
        };
        let missing = Error::Missing(Argument::Workspace);
        assert_eq!(call(Workspace::none()), missing);
        let argument = Argument::Workspace;
        let short = Error::Length { argument, expected: ROWS, actual: 0 };
        assert_eq!(call(Workspace::none().terms(&mut terms)), short);
        assert_eq!(terms, [NINES; ROWS]);
        let stats = [RowStats::EMPTY; ROWS];
        let none = Workspace::none();
        assert_eq!(loss.token_terms(&stats, &batch, VOCAB, &mut terms, none), Err(missing));
        assert_eq!(terms, [NINES; ROWS]);
    }
    assert_eq!(dz, [9.0; ROWS * VOCAB]);
}

#[test]
fn outputs_of_another_length() {
    let z = [0.5_f32; ROWS * VOCAB];
    let batch = Batch::new(&[0, 1, 2, 3]);
    let logits = Logits::new(&z, ROWS, VOCAB).unwrap();
    let (mut nll, mut entropy) = ([9.0; ROWS], [9.0; ROWS + 1]);
    let outputs = Outputs::new().nll(&mut nll).entropy(&mut entropy);
    let none = Workspace::none();
    let error = Loss::new(Sft).forward_with(logits, &batch, outputs, none).unwrap_err();
    assert_eq!(error, Error::Length { argument: Argument::Entropy, expected: 4, actual: 5 });
    assert_eq!(nll, [9.0; ROWS]);
}

/// Scratch that is not a row is refused whatever is computed, also where it would not be used.
#[test]
fn scratch_below_a_row() {
    fn check<T: Element + Storage>(objective: impl Objective) {
        let loss = Loss::new(objective);
        let batch = full(&Batch::new(&[0, 1, 2, 3]));
        let z = [(); ROWS * VOCAB].map(|()| T::round(0.5));
        let logits = Logits::new(&z, ROWS, VOCAB).unwrap();
        for len in [1, VOCAB - 1] {
            let (mut same, mut wide, mut place) = (z, [9.0; ROWS * VOCAB], z);
            let mut stats = [RowStats { max: 9.0, ..RowStats::EMPTY }; ROWS];
            let mut terms = [NINES; ROWS];
            let (mut nll, mut scratch) = ([9.0; ROWS], [9.0; VOCAB]);
            let before = (wide, stats, terms, nll, scratch);
            macro_rules! outputs {
                () => {
                    Outputs::new().stats(&mut stats).terms(&mut terms).nll(&mut nll)
                };
            }
            macro_rules! lent {
                () => {
                    Workspace::none().scratch(&mut scratch[..len])
                };
            }
            let out = LogitsMut::new(&mut same, ROWS, VOCAB).unwrap();
            let wide_out = LogitsMut::new(&mut wide, ROWS, VOCAB).unwrap();
            let over = LogitsMut::new(&mut place, ROWS, VOCAB).unwrap();
            let errors = [
                loss.forward_with(logits, &batch, outputs!(), lent!()),
                loss.forward_backward_with(logits, &batch, out, outputs!(), lent!()),
                loss.forward_backward_with(logits, &batch, wide_out, outputs!(), lent!()),
                loss.forward_backward_in_place_with(over, &batch, outputs!(), lent!()),
            ];
            let argument = Argument::Scratch;
            let error = Error::Length { argument, expected: VOCAB, actual: len };
            assert_eq!(errors, [Err(error); 4]);
            assert_eq!((wide, stats, terms, nll, scratch), before, "something was written");
            for matrix in [same, place] {
                assert!(
                    matrix.map(Storage::widen) == z.map(Storage::widen),
                    "a matrix was written"
                );
            }
        }
    }
    check::<f32>(Sft);
    check::<bf16>(Dft);
    check::<f16>(TalrAuto::default());
}

#[test]
fn parameters_of_objectives() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    for tau in [0.0, -1.0, nan] {
        assert_eq!(
            parameter(refused_loss(&Loss::new(Talr { tau, floor: 0.0, ..Talr::default() }))),
            "tau"
        );
        assert_eq!(parameter(refused_loss(&Loss::new(Flow { tau: Some(tau) }))), "tau");
    }
    for floor in [-0.1, 1.1, nan] {
        assert_eq!(
            parameter(refused_loss(&Loss::new(Talr { tau: 1.0, floor, ..Talr::default() }))),
            "floor"
        );
        let auto = TalrAuto { floor, ..TalrAuto::default() };
        assert_eq!(parameter(refused_loss(&Loss::new(auto))), "floor");
    }
    for gamma in [-0.1, nan, inf] {
        assert_eq!(parameter(refused_loss(&Loss::new(Focal { gamma }))), "gamma");
        assert_eq!(parameter(refused_loss(&Loss::new(FocalDetached { gamma }))), "gamma");
    }
    for alpha in [0.0, -1.0, nan, inf] {
        assert_eq!(parameter(refused_loss(&Loss::new(Power { alpha }))), "alpha");
    }
    for p_max in [0.5, 1.0, nan] {
        assert_eq!(parameter(refused_loss(&Loss::new(InfoSft { p_max }))), "p_max");
    }
    for beta in [0.0, -0.1, nan, inf] {
        let dpo = Loss::new(Dpo { beta }).reduction(Reduction::Sum);
        assert_eq!(parameter(refused_loss(&dpo)), "beta");
    }
    for keep in [0.0, 1.1, nan] {
        assert_eq!(parameter(refused_loss(&Loss::new(Rho1 { keep }))), "keep");
    }
    for worst_weight in [-0.1, 1.1, nan] {
        assert_eq!(parameter(refused_loss(&Loss::new(SftGo { worst_weight }))), "worst_weight");
    }
    for clip_high in [-0.1, nan] {
        assert_eq!(parameter(refused_loss(&Loss::new(Psft { clip_high }))), "clip_high");
        assert_eq!(parameter(refused_loss(&Loss::new(Cispo { clip_high }))), "clip_high");
        let ppo = Ppo { clip_high, ..Ppo::default() };
        assert_eq!(parameter(refused_loss(&Loss::new(ppo))), "clip_high");
        let dapo = Dapo { clip_high, ..Dapo::default() };
        assert_eq!(parameter(refused_loss(&Loss::new(dapo))), "clip_high");
        let gspo = Gspo { clip_high, ..Gspo::default() };
        assert_eq!(parameter(refused_loss(&Loss::new(gspo))), "clip_high");
    }
    for clip_low in [-0.1, 1.1, nan] {
        let grpo = Grpo { clip_low, ..Grpo::default() };
        assert_eq!(parameter(refused_loss(&Loss::new(grpo))), "clip_low");
    }
    let grpo = Grpo { beta: -1.0, ..Grpo::default() };
    assert_eq!(parameter(refused_loss(&Loss::new(grpo))), "beta");
    let ppo = Ppo { dual_clip: Some(1.0), ..Ppo::default() };
    assert_eq!(parameter(refused_loss(&Loss::new(ppo))), "dual_clip");
    let iw = IwToken::default();
    for (name, iw) in [
        ("temperature", IwToken { temperature: -1.0, ..iw }),
        ("low", IwToken { low: -0.1, ..iw }),
        ("high", IwToken { high: 0.1, ..iw }),
    ] {
        assert_eq!(parameter(refused_loss(&Loss::new(iw))), name);
    }
    let iw = IwSequence { max: 0.0, ..IwSequence::default() };
    assert_eq!(parameter(refused_loss(&Loss::new(iw))), "max");
}

#[test]
fn options_of_the_loss() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let loss = Loss::new(Sft);
    for epsilon in [-0.1, 1.1, nan] {
        assert_eq!(parameter(refused_loss(&loss.label_smoothing(epsilon))), "label_smoothing");
    }
    for c in [-0.1, nan, inf] {
        assert_eq!(parameter(refused_loss(&loss.z_loss(c))), "z_loss");
    }
    for scale in [0.0, -1.0, nan, inf] {
        assert_eq!(parameter(refused_loss(&loss.logit_scale(scale))), "logit_scale");
        assert_eq!(parameter(refused_loss(&loss.softcap(scale))), "softcap");
    }
    for by in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = refused_loss(&loss.reduction(Reduction::By(by)));
        assert_eq!(parameter(error), "reduction");
    }
    assert_eq!(
        refused_loss(&loss.class_weights(&[1.0; 5])),
        Error::Length { argument: Argument::ClassWeights, expected: 6, actual: 5 }
    );
    assert_eq!(
        refused_loss(&loss.class_weights(&[1.0, 1.0, -1.0, 1.0, 1.0, 1.0])),
        Error::Value { argument: Argument::ClassWeights, index: 2, value: -1.0 }
    );
}

#[test]
fn reductions_without_meaning() {
    let pairs = Loss::new(Dpo::default());
    for reduction in [Reduction::MeanTokens, Reduction::MeanSequences, Reduction::MeanWeights] {
        assert!(matches!(refused_loss(&pairs.reduction(reduction)), Error::Reduction { .. }));
    }
    let tokens = Loss::new(Sft).reduction(Reduction::MeanPairs);
    assert!(matches!(refused_loss(&tokens), Error::Reduction { .. }));
    let error = refused(&tokens, &Batch::new(&[0, 1, 2, 3]));
    assert_eq!(error, Error::Missing(Argument::Pairs));
}
