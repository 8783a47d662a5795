//! The ways through the library of this commit that `versus.py` times, behind an interface that stays: so an old and a new commit meet in one program.
//!
//! Whoever changes the library's API changes the calls here; what is `pub`, and the names of the paths, remain.

use std::error::Error;

use surprisal::objective::{Objective, Sft, TalrAuto, TokenTerm};
use surprisal::{
    Batch, Element, Level, Logits, LogitsMut, Loss, Outputs, OwnedWorkspace, RowStats, Softmax,
    Workspace, bf16, default_level, f16,
};

/// A path that is ready to be called, any number of times: over the logits, which it may overwrite, with a second matrix for the result. Gives the loss,
/// and −ln p of every row where that slice is not empty; 0 and nothing on paths without a loss.
pub type Call<'a, T> =
    Box<dyn FnMut(&mut [T], &mut [T], &mut [f32]) -> Result<f64, Failure> + Send + 'a>;

/// Whatever went wrong.
pub type Failure = Box<dyn Error + Send + Sync>;

/// What all paths work on.
type Problem<'a> = (Batch<'a>, usize, usize);

/// A storage type, with the paths over its matrices compiled here and not in the program, where old and new would share units of code.
pub trait Paths: Sized {
    /// The path of this name at the level of this name, with all memory that it needs besides the two matrices.
    ///
    /// # Errors
    /// No path, or no level, has this name.
    fn prepare<'a>(
        path: &str,
        level: &str,
        logits: &[Self],
        targets: &'a [i32],
        sequences: &'a [i32],
        threads: usize,
    ) -> Result<Call<'a, Self>, Failure>;
}

macro_rules! paths {
    ($($t:ty),*) => {$(
        impl Paths for $t {
            fn prepare<'a>(
                path: &str,
                level: &str,
                logits: &[Self],
                targets: &'a [i32],
                sequences: &'a [i32],
                threads: usize,
            ) -> Result<Call<'a, Self>, Failure> {
                let level = levels().into_iter().find(|(name, _)| *name == level);
                let (_, level) = level.ok_or("no such level here")?;
                let (rows, vocab) = (targets.len(), logits.len() / targets.len());
                let problem = (Batch::new(targets).sequences(sequences), rows, vocab);
                call(path, level, logits, problem, threads)
            }
        }
    )*};
}
paths!(f32, bf16, f16);

/// The SIMD levels of this machine that have kernels, best first.
#[must_use]
pub fn levels() -> Vec<(&'static str, Level)> {
    let best = default_level();
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let named = [
        ("avx512", best.as_avx512().map(Level::Avx512)),
        ("avx2", best.as_avx2().map(Level::Avx2)),
        ("sse2", best.as_sse2().map(Level::Sse2)),
    ];
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    let named = [("baseline", Some(best))];
    named.into_iter().filter_map(|(name, level)| Some((name, level?))).collect()
}

/// Where a gradient goes.
#[derive(Clone, Copy)]
enum Target {
    Forward,
    InPlace,
    Separate,
}

fn call<'a, T: Element>(
    path: &str,
    level: Level,
    logits: &[T],
    problem: Problem<'a>,
    threads: usize,
) -> Result<Call<'a, T>, Failure> {
    use Target::{Forward, InPlace, Separate};
    let sft = Loss::new(Sft).level(level);
    let group = Loss::new(TalrAuto::default()).level(level);
    let smoothed = sft.label_smoothing(0.1);
    let (batch, rows, vocab) = problem;
    Ok(match path {
        "forward" => composed(sft, Forward, problem, threads),
        "in-place" => composed(sft, InPlace, problem, threads),
        "separate" => composed(sft, Separate, problem, threads),
        "group/forward" => composed(group, Forward, problem, threads),
        "group/in-place" => composed(group, InPlace, problem, threads),
        "group/separate" => composed(group, Separate, problem, threads),
        "smoothing" => composed(smoothed, Separate, problem, threads),
        "softcap" => composed(sft.softcap(30.0), Separate, problem, threads),
        "row-stats" => {
            let mut stats = vec![RowStats::EMPTY; rows];
            Box::new(move |logits, _, nll| {
                sft.row_stats(Logits::new(logits, rows, vocab)?, &batch, &mut stats)?;
                for (nll, stats) in nll.iter_mut().zip(&stats) {
                    #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
                    let rounded = stats.nll() as f32;
                    *nll = rounded;
                }
                Ok(0.0)
            })
        }
        "logits-grad" => {
            let (mut stats, mut terms) =
                (vec![RowStats::EMPTY; rows], vec![TokenTerm::default(); rows]);
            sft.row_stats(Logits::new(logits, rows, vocab)?, &batch, &mut stats)?;
            sft.token_terms(&stats, &batch, vocab, &mut terms, Workspace::none())?;
            Box::new(move |logits, output, _| {
                let (logits, output) =
                    (Logits::new(logits, rows, vocab)?, LogitsMut::new(output, rows, vocab)?);
                sft.logits_grad(logits, &batch, &stats, &terms, output)?;
                Ok(0.0)
            })
        }
        "log-softmax" => Box::new(move |logits, output, _| {
            let (logits, output) =
                (Logits::new(logits, rows, vocab)?, LogitsMut::new(output, rows, vocab)?);
            Softmax::at(level).log_softmax(logits, output)?;
            Ok(0.0)
        }),
        _ => return Err("no such path".into()),
    })
}

/// All stages in one call.
fn composed<'a, T: Element, O: Objective + Send + 'a>(
    loss: Loss<'a, O>,
    target: Target,
    (batch, rows, vocab): Problem<'a>,
    threads: usize,
) -> Call<'a, T> {
    let mut workspace = OwnedWorkspace::new();
    let _ = workspace.lend(rows, vocab);
    // From the start of a cache line: where threads' rows share one by chance, the same call takes up to twice as long.
    let mut scratch = vec![0.0_f32; threads * vocab + 16];
    let start = scratch.as_ptr().align_offset(64);
    Box::new(move |logits, output, nll| {
        let outputs = if nll.is_empty() { Outputs::new() } else { Outputs::new().nll(nll) };
        let scratch = &mut scratch[start..][..threads * vocab];
        let workspace = workspace.lend(rows, vocab).scratch(scratch);
        let report = match target {
            Target::Forward => {
                let logits = Logits::new(logits, rows, vocab)?;
                loss.forward_with(logits, &batch, outputs, workspace)
            }
            Target::InPlace => {
                let logits = LogitsMut::new(logits, rows, vocab)?;
                loss.forward_backward_in_place_with(logits, &batch, outputs, workspace)
            }
            Target::Separate => {
                let logits = Logits::new(logits, rows, vocab)?;
                let output = LogitsMut::new(output, rows, vocab)?;
                loss.forward_backward_with(logits, &batch, output, outputs, workspace)
            }
        }?;
        Ok(report.loss)
    })
}
