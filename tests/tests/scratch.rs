//! Scratch changes no bit of a result.

use std::any::type_name;

use surprisal::objective::{Dft, Objective as _, Scalars, TokenTerm};
use surprisal::{
    Batch, Element, Error, ExtrasScale, Level, Logits, LogitsMut, LossReport, Outputs, RowStats,
    Workspace, bf16, f16,
};
use surprisal_tests::cases::objectives;
use surprisal_tests::compare::assert_same_bits;
use surprisal_tests::problem::Problem;
use surprisal_tests::run::levels;
use surprisal_tests::storage::Storage;

/// What stands around a result and its rows, and in the scratch, before; no exponential has this value.
const CANARY: f32 = 1536.0;
/// Elements after a result.
const GUARD: usize = 40;

/// Where a call writes.
#[derive(Clone, Copy, Debug)]
struct Setup {
    level: Level,
    /// Elements in front of the result's first row, and in front of the scratch.
    offset: usize,
    /// Elements after each row of the result.
    padding: usize,
    /// Entries of scratch; 0 for none.
    scratch: usize,
}

/// What a call has written.
#[derive(Debug)]
struct Written<G> {
    dlogits: Vec<G>,
    /// Report and per-token outputs.
    others: Vec<f64>,
    /// Whether the scratch was used.
    used: bool,
}

/// A matrix among canaries.
struct Guarded<G> {
    data: Vec<G>,
    rows: usize,
    vocab: usize,
    setup: Setup,
}

impl<G: Element + Storage> Guarded<G> {
    fn new(problem: &Problem, setup: Setup) -> Self {
        let (rows, vocab) = (problem.rows, problem.vocab);
        let len = setup.offset + rows * (vocab + setup.padding) + GUARD;
        Self { data: vec![G::round(CANARY); len], rows, vocab, setup }
    }

    fn filled(problem: &Problem, setup: Setup) -> Self {
        let mut matrix = Self::new(problem, setup);
        let rows = matrix.data[setup.offset..].chunks_mut(problem.vocab + setup.padding);
        for (to, from) in rows.zip(problem.logits.chunks(problem.vocab)) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = G::round(*from));
        }
        matrix
    }

    fn view(&mut self) -> LogitsMut<'_, G> {
        let (stride, offset) = (self.vocab + self.setup.padding, self.setup.offset);
        let data = &mut self.data[offset..][..self.rows * stride];
        LogitsMut::strided(data, self.rows, self.vocab, stride).unwrap()
    }

    /// The entries; everything around them must be as it was.
    fn entries(self) -> Vec<G> {
        let Self { data, rows, vocab, setup } = self;
        let untouched = |part: &[G]| part.iter().all(|v| v.widen() == CANARY);
        let (before, rest) = data.split_at(setup.offset);
        let (inside, behind) = rest.split_at(rows * (vocab + setup.padding));
        assert!(untouched(before) && untouched(behind), "{setup:?}: written outside the result");
        let mut entries = Vec::with_capacity(rows * vocab);
        for row in inside.chunks(vocab + setup.padding) {
            entries.extend_from_slice(&row[..vocab]);
            assert!(untouched(&row[vocab..]), "{setup:?}: padding was written");
        }
        entries
    }
}

/// Makes a call with scratch and all outputs, and tells what it wrote besides the gradient, and whether it used the scratch.
fn with_outputs(
    problem: &Problem,
    setup: Setup,
    call: impl FnOnce(&Batch<'_>, Outputs<'_>, Workspace<'_>) -> Result<LossReport, Error>,
) -> (Vec<f64>, bool) {
    let rows = problem.rows;
    let mut stats = vec![RowStats::EMPTY; rows];
    let mut terms = vec![TokenTerm::default(); rows];
    let mut floats = [(); 5].map(|()| vec![CANARY; rows]);
    let (mut argmax, mut correct) = (vec![7; rows], vec![7; rows]);
    let mut scratch = vec![CANARY; setup.offset + setup.scratch + GUARD];
    let [nll, log_probs, losses, entropy, weights] = &mut floats;
    let outputs = Outputs::new()
        .stats(&mut stats)
        .terms(&mut terms)
        .nll(nll)
        .log_probs(log_probs)
        .losses(losses)
        .entropy(entropy)
        .weights(weights)
        .argmax(&mut argmax)
        .correct(&mut correct);
    let mut room = vec![RowStats::EMPTY; rows];
    let (mut terms_room, mut scalars) =
        (vec![TokenTerm::default(); rows], vec![Scalars::DROPPED; rows]);
    let workspace = Workspace::none()
        .stats(&mut room)
        .terms(&mut terms_room)
        .scalars(&mut scalars)
        .scratch(&mut scratch[setup.offset..][..setup.scratch]);
    let report = call(&problem.batch(), outputs, workspace);
    let r = report.unwrap_or_else(|error| panic!("{} {setup:?}: {error}", problem.name));
    let touched = |part: &[f32]| part.iter().any(|&v| v != CANARY);
    let (before, rest) = scratch.split_at(setup.offset);
    let (inside, behind) = rest.split_at(setup.scratch);
    assert!(!touched(before) && !touched(behind), "{setup:?}: written outside the scratch");

    let invalid = r.invalid_row.map_or(-1.0, |row| row as f64);
    let mut others = vec![r.loss, r.loss_sum, r.nll_sum, r.weight_sum, invalid];
    others.extend([r.tokens as f64, r.correct as f64]);
    for s in &stats {
        others.extend([s.max, s.others, s.target_logit, s.sum_logits, s.sum_exp_logits]);
    }
    others.extend(terms.iter().flat_map(|t| [t.loss, t.coef, t.dense]));
    others.extend(floats.iter().flatten().copied().map(f64::from));
    others.extend(argmax.into_iter().map(f64::from));
    others.extend(correct.into_iter().map(f64::from));
    (others, touched(inside))
}

fn separate<T: Element + Storage, G: Element + Storage>(
    problem: &Problem,
    setup: Setup,
) -> Written<G> {
    let logits: Vec<T> = problem.logits.iter().map(|&z| T::round(z)).collect();
    let logits = Logits::new(&logits, problem.rows, problem.vocab).unwrap();
    let mut result = Guarded::new(problem, setup);
    let (others, used) = with_outputs(problem, setup, |batch, outputs, workspace| {
        let loss = problem.loss().level(setup.level);
        loss.forward_backward_with(logits, batch, result.view(), outputs, workspace)
    });
    Written { dlogits: result.entries(), others, used }
}

fn in_place<T: Element + Storage>(problem: &Problem, setup: Setup) -> Written<T> {
    let mut logits = Guarded::filled(problem, setup);
    let (others, used) = with_outputs(problem, setup, |batch, outputs, workspace| {
        let loss = problem.loss().level(setup.level);
        loss.forward_backward_in_place_with(logits.view(), batch, outputs, workspace)
    });
    Written { dlogits: logits.entries(), others, used }
}

/// Panics where bits differ; any NaN equals any other.
fn assert_same<G: Copy + Storage>(what: &str, actual: &[G], expected: &[G]) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    let differs = |(a, e): (&G, &G)| {
        let (a, e) = (a.widen(), e.widen());
        a.to_bits() != e.to_bits() && !(a.is_nan() && e.is_nan())
    };
    if let Some(at) = actual.iter().zip(expected).position(differs) {
        let (a, e) = (actual[at].widen(), expected[at].widen());
        panic!("{what}: dlogits[{at}] is {a:e} ({:x}), not {e:e} ({:x})", a.to_bits(), e.to_bits());
    }
}

fn assert_all_same<G: Copy + Storage>(what: &str, actual: &Written<G>, expected: &Written<G>) {
    assert_same(what, &actual.dlogits, &expected.dlogits);
    assert_same_bits(&format!("{what} report or outputs"), &actual.others, &expected.others);
}

/// One row, rows and a half, several rows, more than any thread could want.
fn lengths(vocab: usize) -> [usize; 4] {
    [vocab, 2 * vocab + vocab / 2, 3 * vocab, 70 * vocab + 5]
}

/// The same call without scratch, and with scratch of every length.
fn same_bits<G: Copy + Storage>(
    problem: &Problem,
    compute: impl Fn(&Problem, Setup) -> Written<G>,
    is_of_use: bool,
) {
    for level in levels() {
        let setup = Setup { level, offset: 3, padding: 5, scratch: 0 };
        let expected = compute(problem, setup);
        for scratch in lengths(problem.vocab) {
            let setup = Setup { scratch, ..setup };
            let actual = compute(problem, setup);
            let what = format!("{} {} {setup:?}", problem.name, type_name::<G>());
            assert_all_same(&what, &actual, &expected);
            assert!(actual.used || !is_of_use, "{what}: the scratch is not used");
        }
    }
}

/// Every type of logits and result, in place and separate.
fn all_types(problem: &Problem) {
    let linear = problem.extras.softcap.is_none();
    // Shorter rows have room on the stack.
    let is_of_use = linear && problem.objective.group_plan().is_none() && problem.vocab > 4096;
    same_bits(problem, separate::<f32, f32>, false);
    same_bits(problem, in_place::<f32>, false);
    same_bits(problem, separate::<f32, bf16>, is_of_use);
    same_bits(problem, separate::<f32, f16>, is_of_use);
    same_bits(problem, separate::<bf16, bf16>, is_of_use);
    same_bits(problem, separate::<bf16, f32>, false);
    same_bits(problem, in_place::<bf16>, is_of_use);
    same_bits(problem, separate::<f16, f16>, is_of_use);
    same_bits(problem, separate::<f16, f32>, false);
    same_bits(problem, in_place::<f16>, is_of_use);
}

/// Rows with NaN or an infinity at their ends or inside, without any finite logit, with an impossible target.
fn with_special_rows(mut problem: Problem) -> Problem {
    let vocab = problem.vocab;
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for (row, column, value) in
        [(1, 0, nan), (2, vocab / 2, nan), (4, vocab - 1, nan), (5, 0, inf), (6, vocab - 1, inf)]
    {
        problem.logits[row * vocab + column] = value;
    }
    problem.logits[8 * vocab..9 * vocab].fill(-inf);
    let target = usize::try_from(problem.targets[9]).unwrap();
    problem.logits[9 * vocab + target] = -inf;
    problem.logits[10 * vocab..11 * vocab].fill(f32::MAX);
    problem.name += " special";
    problem
}

/// A problem with each of the extras, and with all of them.
fn dressed(problem: &Problem) -> Vec<Problem> {
    let with = |name: &str, change: &dyn Fn(&mut Problem)| {
        let mut problem = problem.clone();
        problem.name = format!("{} {name}", problem.name);
        change(&mut problem);
        problem
    };
    let weights: Vec<f32> = (0..problem.vocab).map(|j| (j % 7) as f32 * 0.25).collect();
    let smoothed = with("smoothed", &|p| p.extras.label_smoothing = 0.1);
    let weighted = with("classes, smoothed", &|p| {
        p.extras.class_weights = Some(weights.clone());
        p.extras.label_smoothing = 0.1;
    });
    vec![
        with("plain", &|_| ()),
        with("z-loss", &|p| p.extras.z_loss = 1e-3),
        with("classes", &|p| p.extras.class_weights = Some(weights.clone())),
        with("scaled", &|p| p.extras.logit_scale = 0.75),
        with("capped", &|p| p.extras.softcap = Some(8.0)),
        problem.clone().with_ignored_rows().with_token_weights(),
        problem.clone().with_extras(ExtrasScale::One).with_ignored_rows(),
        with_special_rows(problem.clone()),
        with_special_rows(weighted.clone()),
        smoothed,
        weighted,
    ]
}

#[test]
fn scratch_changes_no_bit() {
    for vocab in [1, 7, 15, 16, 17, 63, 64, 65, 1000, 4099] {
        let problem = Problem::random(17, vocab, vocab as u64).objective(Dft.into());
        dressed(&problem).iter().for_each(all_types);
    }
}

#[test]
fn scratch_changes_no_bit_of_any_objective() {
    for objective in objectives() {
        for vocab in [17, 4100] {
            all_types(&Problem::random(13, vocab, 29).objective(objective).with_token_weights());
        }
    }
}

/// As many scratch rows as there are threads, fewer and more: a thread without one writes its part of the same result another way.
#[cfg(feature = "rayon")]
#[test]
fn threads_share_scratch() {
    fn check<G: Copy + Storage + Send>(
        problem: &Problem,
        compute: impl Fn(&Problem, Setup) -> Written<G> + Sync,
    ) {
        let setup = Setup { level: levels()[0], offset: 1, padding: 3, scratch: 0 };
        let in_pool = |threads: usize, setup: Setup| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| compute(problem, setup))
        };
        let expected = in_pool(1, setup);
        for threads in [1, 2, 5] {
            for rows in [0, 1, 2, 5, 9] {
                let setup = Setup { scratch: rows * problem.vocab, ..setup };
                let actual = in_pool(threads, setup);
                let what = format!("{} {threads} threads {setup:?}", problem.name);
                assert_all_same(&what, &actual, &expected);
            }
        }
    }
    let problem = Problem::random(203, 4099, 11).objective(Dft.into()).with_token_weights();
    let problem = with_special_rows(problem).with_ignored_rows();
    check(&problem, separate::<f32, f32>);
    check(&problem, separate::<bf16, bf16>);
    check(&problem, separate::<f16, f32>);
    check(&problem, in_place::<f32>);
    check(&problem, in_place::<bf16>);
    check(&problem, in_place::<f16>);
}
