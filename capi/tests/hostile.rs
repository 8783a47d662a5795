//! Random batches made of corners through the C ABI, against the oracle through the C ABI and against the same calls in Rust: what is not finite must be
//! so exactly, the rest within the contract, and between the languages no bit may differ.

use std::ffi::{CString, c_void};
use std::ptr;

use surprisal::objective::Builtin;
use surprisal::{Element, ExtrasScale, LossReport, bf16, f16};
use surprisal_capi::*;
use surprisal_tests::bounds::Bounds;
use surprisal_tests::compare::assert_same_bits;
use surprisal_tests::hostile::{self, Dice};
use surprisal_tests::problem::{Outcome, Problem};
use surprisal_tests::rng::Rng;
use surprisal_tests::run::{WAYS, levels, run};
use surprisal_tests::storage::Storage;
use surprisal_tests::tolerance::{BF16, F16, F32, Rounding};

/// A problem as a C caller has it. The structs point into the vectors.
struct Caller {
    loss: surprisal_loss,
    batch: surprisal_batch,
    _pairs: Vec<surprisal_pair>,
    _keep: Vec<u8>,
}

fn pointer<T>(values: Option<&Vec<T>>) -> *const T {
    values.map_or(ptr::null(), |values| values.as_ptr())
}

/// `K3Corrected` as `k3-corrected`.
fn name_of(variant: &str) -> String {
    let dash = |c: char| {
        [if c.is_uppercase() { "-" } else { "" }.to_owned(), c.to_lowercase().to_string()]
    };
    variant.chars().flat_map(dash).collect::<String>().trim_start_matches('-').to_owned()
}

impl Caller {
    fn new(problem: &Problem) -> Self {
        let pairs = problem.pairs.iter().flatten();
        let pairs: Vec<_> = pairs
            .map(|pair| surprisal_pair { chosen: pair.chosen, rejected: pair.rejected })
            .collect();
        let keep: Vec<_> = problem.keep.iter().flatten().map(|&keep| u8::from(keep)).collect();
        Self {
            loss: loss_of(problem),
            batch: batch_of(problem, &pairs, &keep),
            _pairs: pairs,
            _keep: keep,
        }
    }
}

fn set(loss: &mut surprisal_loss, name: &str, value: f64) {
    let name = CString::new(name).unwrap();
    // SAFETY: a loss and a text of this function's own.
    let status = unsafe { surprisal_loss_set(loss, name.as_ptr(), value, ptr::null_mut()) };
    assert_eq!(status, surprisal_status::SURPRISAL_OK, "{name:?} {value}");
}

fn choose(loss: &mut surprisal_loss, name: &str, choice: &str) {
    let (name, text) = (CString::new(name).unwrap(), CString::new(choice).unwrap());
    // SAFETY: as above.
    let status =
        unsafe { surprisal_loss_set_choice(loss, name.as_ptr(), text.as_ptr(), ptr::null_mut()) };
    assert_eq!(status, surprisal_status::SURPRISAL_OK, "{name:?} {choice}");
}

/// The objective's parameters by their names, from its debug form: `Ppo(Ppo { clip_low: 0.2, clip_high: 0.2, dual_clip: Some(3.0) })`.
fn set_parameters(loss: &mut surprisal_loss, objective: &Builtin) {
    let text = format!("{objective:?}");
    let fields = text.split_once('{').map_or("", |(_, fields)| fields);
    for (name, value) in fields.split(',').filter_map(|field| field.split_once(':')) {
        let value = value.trim().trim_start_matches("Some(").trim_end_matches([')', '}', ' ']);
        match value.parse() {
            Ok(number) => set(loss, name.trim(), number),
            // Not given, or its default.
            Err(_) if value == "None" => {}
            Err(_) => choose(loss, name.trim(), &name_of(value)),
        }
    }
}

fn loss_of(problem: &Problem) -> surprisal_loss {
    let mut loss = std::mem::MaybeUninit::<surprisal_loss>::uninit();
    // SAFETY: as many bytes as are told; a success has filled them.
    let mut loss = unsafe {
        let status = surprisal_loss_init(loss.as_mut_ptr(), size_of::<surprisal_loss>());
        assert_eq!(status, surprisal_status::SURPRISAL_OK);
        loss.assume_init()
    };
    choose(&mut loss, "objective", problem.objective.name());
    set_parameters(&mut loss, &problem.objective);
    let reduction = format!("{:?}", problem.reduction);
    let (reduction, by) = reduction.split_once('(').unwrap_or((&reduction, ""));
    choose(&mut loss, "reduction", &name_of(reduction));
    if let Ok(by) = by.trim_end_matches(')').parse() {
        set(&mut loss, "reduction_by", by);
    }
    let extras = &problem.extras;
    loss.label_smoothing = extras.label_smoothing;
    loss.z_loss = extras.z_loss;
    loss.logit_scale = extras.logit_scale;
    loss.softcap = extras.softcap.unwrap_or(0.0);
    loss.grad_scale = extras.grad_scale;
    loss.class_weights = pointer(extras.class_weights.as_ref());
    let scale = if extras.scale == ExtrasScale::One { "one" } else { "objective" };
    choose(&mut loss, "extras_scale", scale);
    loss
}

fn batch_of(problem: &Problem, pairs: &[surprisal_pair], keep: &[u8]) -> surprisal_batch {
    let mut batch = std::mem::MaybeUninit::<surprisal_batch>::uninit();
    // SAFETY: as many bytes as are told; a success has filled them.
    let mut batch = unsafe {
        let status = surprisal_batch_init(batch.as_mut_ptr(), size_of::<surprisal_batch>());
        assert_eq!(status, surprisal_status::SURPRISAL_OK);
        batch.assume_init()
    };
    batch.rows = problem.rows;
    batch.targets_i64 = problem.targets.as_ptr();
    // No target is that small.
    batch.ignore_index = problem.ignore_index.unwrap_or(i64::MIN);
    batch.token_weights = pointer(problem.token_weights.as_ref());
    batch.ref_log_probs = pointer(problem.ref_log_probs.as_ref());
    batch.old_log_probs = pointer(problem.old_log_probs.as_ref());
    batch.advantages = pointer(problem.advantages.as_ref());
    batch.groups = pointer(problem.groups.as_ref());
    batch.cu_seqlens_i64 = pointer(problem.cu_seqlens.as_ref());
    batch.sequence_count = problem.cu_seqlens.as_ref().map_or(0, |offsets| offsets.len() - 1);
    if problem.pairs.is_some() {
        (batch.pairs, batch.pair_count) = (pairs.as_ptr(), pairs.len());
    }
    batch.keep = if problem.keep.is_some() { keep.as_ptr() } else { ptr::null() };
    batch
}

fn report_of(report: &surprisal_report) -> LossReport {
    let mut same = LossReport::default();
    (same.loss, same.loss_sum, same.nll_sum) = (report.loss, report.loss_sum, report.nll_sum);
    (same.weight_sum, same.tokens, same.correct) =
        (report.weight_sum, report.tokens, report.correct);
    same.invalid_row = usize::try_from(report.invalid_row).ok();
    same.tau = (report.tau != 0.0).then_some(report.tau);
    same
}

fn report() -> surprisal_report {
    let mut report = std::mem::MaybeUninit::<surprisal_report>::uninit();
    // SAFETY: a success has filled it.
    unsafe {
        let status = surprisal_report_init(report.as_mut_ptr(), ptr::null_mut());
        assert_eq!(status, surprisal_status::SURPRISAL_OK);
        report.assume_init()
    }
}

fn matrix<M>(init: unsafe extern "C" fn(*mut M, usize) -> surprisal_status) -> M {
    let mut matrix = std::mem::MaybeUninit::<M>::uninit();
    // SAFETY: as many bytes as are told; a success has filled them.
    unsafe {
        assert_eq!(init(matrix.as_mut_ptr(), size_of::<M>()), surprisal_status::SURPRISAL_OK);
        matrix.assume_init()
    }
}

/// The fast path by C: of logits that are rounded to the element type already.
fn by_c<T: Element + Storage>(
    problem: &Problem,
    caller: &Caller,
    dtype: surprisal_dtype,
) -> Outcome {
    let z: Vec<T> = problem.logits.iter().map(|&z| T::round(z)).collect();
    let mut dz: Vec<T> = z.iter().map(|_| T::round(f32::NAN)).collect();
    let mut nll = vec![f32::NAN; problem.rows];
    let mut logits = matrix(surprisal_logits_init);
    (logits.data, logits.rows, logits.vocab) =
        (z.as_ptr().cast::<c_void>(), problem.rows, problem.vocab);
    logits.dtype = dtype as i32;
    let mut dlogits = matrix(surprisal_logits_mut_init);
    (dlogits.data, dlogits.rows) = (dz.as_mut_ptr().cast::<c_void>(), problem.rows);
    (dlogits.vocab, dlogits.dtype) = (problem.vocab, dtype as i32);
    let mut outputs = matrix(surprisal_outputs_init);
    outputs.nll = nll.as_mut_ptr();
    let mut workspace = matrix(surprisal_workspace_init);
    let mut report = report();
    let mut memory: Vec<f64> = Vec::new();
    // SAFETY: structs and arrays of this function's own, of the lengths that are told.
    let status = unsafe {
        let (rows, vocab) = (problem.rows, problem.vocab);
        let size = &raw mut workspace.size;
        let status = surprisal_workspace_size(&caller.loss, rows, vocab, size, ptr::null_mut());
        assert_eq!(status, surprisal_status::SURPRISAL_OK);
        memory.resize(workspace.size / 8, f64::NAN);
        workspace.data =
            if memory.is_empty() { ptr::null_mut() } else { memory.as_mut_ptr().cast() };
        surprisal_forward_backward(
            &caller.loss,
            &caller.batch,
            &logits,
            &dlogits,
            &outputs,
            &workspace,
            &mut report,
            ptr::null_mut(),
        )
    };
    assert_eq!(status, surprisal_status::SURPRISAL_OK, "{}", problem.name);
    Outcome {
        report: report_of(&report),
        nll: nll.into_iter().map(f64::from).collect(),
        dlogits: dz.into_iter().map(|entry| f64::from(entry.widen())).collect(),
    }
}

/// The oracle by C. It has no −ln p of rows: those are the oracle's in Rust.
fn oracle_by_c(problem: &Problem, caller: &Caller) -> Outcome {
    let z: Vec<f64> = problem.logits.iter().map(|&z| f64::from(z)).collect();
    let mut dlogits = vec![f64::NAN; z.len()];
    let mut report = report();
    // SAFETY: structs and arrays of this function's own, of the lengths that are told.
    let status = unsafe {
        surprisal_reference_forward_backward(
            &caller.loss,
            &caller.batch,
            z.as_ptr(),
            problem.vocab,
            dlogits.as_mut_ptr(),
            &mut report,
            ptr::null_mut(),
        )
    };
    assert_eq!(status, surprisal_status::SURPRISAL_OK, "{}", problem.name);
    Outcome { report: report_of(&report), nll: problem.oracle().nll, dlogits }
}

fn check<T: Element + Storage>(problem: Problem, dtype: surprisal_dtype, rounding: Rounding) {
    let problem = problem.rounded::<T>();
    let (caller, bounds) = (Caller::new(&problem), Bounds::new(&problem));
    let found = by_c::<T>(&problem, &caller, dtype);
    bounds.check("C", &problem, &found, &oracle_by_c(&problem, &caller), rounding);
    let in_rust = run::<T>(&problem, WAYS[0], levels()[0]);
    assert_same_bits(&problem.name, &found.dlogits, &in_rust.dlogits);
    assert_same_bits(&problem.name, &found.nll, &in_rust.nll);
    assert_eq!(format!("{:?}", found.report), format!("{:?}", in_rust.report), "{}", problem.name);
}

/// One batch, from its number alone.
fn check_seed(seed: u64) {
    let mut rng = Rng::new(seed);
    let storage = Dice::below(&mut rng, 3);
    let problem = hostile::problem(&mut rng);
    match storage {
        0 => check::<f32>(problem, surprisal_dtype::SURPRISAL_DTYPE_F32, F32),
        1 => check::<bf16>(problem, surprisal_dtype::SURPRISAL_DTYPE_BF16, BF16),
        _ => check::<f16>(problem, surprisal_dtype::SURPRISAL_DTYPE_F16, F16),
    }
}

#[test]
fn corners_together() {
    (0..2000).for_each(check_seed);
}

/// `SEEDS=0..300000 cargo test -p surprisal-capi --release --test hostile -- --ignored`
#[test]
#[ignore = "minutes"]
fn corners_together_at_length() {
    let seeds = std::env::var("SEEDS").unwrap_or("0..300000".into());
    let (start, end) = seeds.split_once("..").expect("SEEDS is a range");
    (start.parse().unwrap()..end.parse().unwrap()).for_each(check_seed);
}
