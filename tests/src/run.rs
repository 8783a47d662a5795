//! Ways through the CPU library to the same loss and gradient. Every run pads its rows and checks that the padding is left alone.

use surprisal::{
    Element, Level, Logits, LogitsMut, LossReport, Outputs, OwnedWorkspace, RowStats,
    objective::TokenTerm,
};

use crate::problem::{Outcome, Problem};
use crate::storage::Storage;

/// A way to compute a loss with its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `forward_backward` into a matrix of the logits' type.
    Separate,
    /// `forward_backward` into f32.
    SeparateF32,
    /// `forward_backward_in_place`.
    InPlace,
    /// The three stages one by one.
    Staged,
    /// The three stages, the last one in place.
    StagedInPlace,
    /// The three stages over this many vocabulary shards.
    Shards(usize),
}

/// Ways that agree in their bits wherever the output type is the same.
pub const WAYS: [Way; 5] =
    [Way::Separate, Way::SeparateF32, Way::InPlace, Way::Staged, Way::StagedInPlace];

impl Way {
    /// Whether the gradient is f32 whatever the logits are.
    pub fn is_f32(self) -> bool {
        self == Self::SeparateF32
    }
}

/// Every SIMD level of this machine, the best first; with feature `fallback` the scalar one last.
pub fn levels() -> Vec<Level> {
    let best = surprisal::default_level();
    let mut levels = vec![best];
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        let lower = [best.as_avx2().map(Level::Avx2), best.as_sse2().map(Level::Sse2)];
        let name = |level: &Level| std::mem::discriminant(level);
        levels.extend(lower.into_iter().flatten().filter(|level| name(level) != name(&best)));
    }
    #[cfg(feature = "fallback")]
    levels.push(Level::fallback());
    levels
}

/// Whether a level multiplies and adds with one rounding: those agree in their bits.
pub fn is_fused(level: Level) -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return level.as_avx2().is_some();
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    return !level.is_fallback();
}

/// Padding after each row.
const PADDING: usize = 5;
/// What stands in the padding before and after.
const CANARY: f32 = 1536.0;

/// A padded matrix of one storage type.
struct Padded<T> {
    data: Vec<T>,
    rows: usize,
    vocab: usize,
    stride: usize,
}

impl<T: Element + Storage> Padded<T> {
    /// The columns of a row-major matrix from `start` on.
    fn new(values: &[f32], rows: usize, all: usize, start: usize, vocab: usize) -> Self {
        let stride = vocab + PADDING;
        let mut data: Vec<T> = (0..rows * stride).map(|_| T::round(CANARY)).collect();
        for row in 0..rows {
            for column in 0..vocab {
                data[row * stride + column] = T::round(values[row * all + start + column]);
            }
        }
        Self { data, rows, vocab, stride }
    }

    fn view(&self) -> Logits<'_, T> {
        Logits::strided(&self.data, self.rows, self.vocab, self.stride).unwrap()
    }

    fn view_mut(&mut self) -> LogitsMut<'_, T> {
        LogitsMut::strided(&mut self.data, self.rows, self.vocab, self.stride).unwrap()
    }

    /// The values without padding, which must be as it was.
    fn values(&self) -> Vec<f64> {
        let mut values = Vec::with_capacity(self.rows * self.vocab);
        for row in self.data.chunks(self.stride) {
            values.extend(row[..self.vocab].iter().map(|v| f64::from(v.widen())));
            assert!(row[self.vocab..].iter().all(|v| v.widen() == CANARY), "padding was written");
        }
        values
    }
}

/// Computes a problem one way, in one element type, at one SIMD level.
///
/// # Panics
/// Where the library returns an error.
pub fn run<T: Element + Storage>(problem: &Problem, way: Way, level: Level) -> Outcome {
    let whole = || Padded::<T>::new(&problem.logits, problem.rows, problem.vocab, 0, problem.vocab);
    let blank = vec![f32::NAN; problem.logits.len()];
    let (loss, batch) = (problem.loss().level(level), problem.batch());
    let mut nll = vec![f32::NAN; problem.rows];
    let outputs = Outputs::new().nll(&mut nll);
    let mut workspace = OwnedWorkspace::new();
    let workspace = workspace.lend(problem.rows, 0);
    let logits = whole();
    let result = match way {
        Way::Separate => {
            let mut out = Padded::<T>::new(&blank, problem.rows, problem.vocab, 0, problem.vocab);
            loss.forward_backward_with(logits.view(), &batch, out.view_mut(), outputs, workspace)
                .map(|report| (report, out.values()))
        }
        Way::SeparateF32 => {
            let mut out = Padded::<f32>::new(&blank, problem.rows, problem.vocab, 0, problem.vocab);
            loss.forward_backward_with(logits.view(), &batch, out.view_mut(), outputs, workspace)
                .map(|report| (report, out.values()))
        }
        Way::InPlace => {
            let mut logits = whole();
            loss.forward_backward_in_place_with(logits.view_mut(), &batch, outputs, workspace)
                .map(|report| (report, logits.values()))
        }
        Way::Staged => Ok(sharded::<T>(problem, 1, level, false, &mut nll)),
        Way::StagedInPlace => Ok(sharded::<T>(problem, 1, level, true, &mut nll)),
        Way::Shards(shards) => Ok(sharded::<T>(problem, shards, level, false, &mut nll)),
    };
    let (report, dlogits) = result.unwrap_or_else(|error| panic!("{}: {error}", problem.name));
    Outcome { report, nll: nll.into_iter().map(f64::from).collect(), dlogits }
}

/// The three stages over vocabulary shards.
fn sharded<T: Element + Storage>(
    problem: &Problem,
    shards: usize,
    level: Level,
    in_place: bool,
    nll: &mut [f32],
) -> (LossReport, Vec<f64>) {
    let (rows, vocab) = (problem.rows, problem.vocab);
    let (loss, batch) = (problem.loss().level(level), problem.batch());
    let shards: Vec<_> = (0..shards.min(vocab))
        .map(|i| (i * vocab / shards.min(vocab), (i + 1) * vocab / shards.min(vocab)))
        .collect();
    let matrix = |(start, end): (usize, usize)| {
        Padded::<T>::new(&problem.logits, rows, vocab, start, end - start)
    };
    let mut merged = vec![RowStats::EMPTY; rows];
    for &(start, end) in &shards {
        let mut stats = vec![RowStats::EMPTY; rows];
        let shard = matrix((start, end));
        let view = shard.view().shard(start, vocab).unwrap();
        loss.row_stats(view, &batch, &mut stats).unwrap();
        for (all, part) in merged.iter_mut().zip(stats) {
            *all = all.merge(part);
        }
    }
    let mut terms = vec![TokenTerm::default(); rows];
    let mut workspace = OwnedWorkspace::new();
    let workspace = workspace.lend(rows, 0);
    let report = loss.token_terms(&merged, &batch, vocab, &mut terms, workspace).unwrap();
    for (row, nll) in nll.iter_mut().enumerate() {
        *nll = batch.target(row).map_or(0.0, |_| merged[row].nll() as f32);
    }
    let mut dlogits = vec![0.0; rows * vocab];
    for &(start, end) in &shards {
        let mut shard = matrix((start, end));
        let part = if in_place {
            let view = shard.view_mut().shard(start, vocab).unwrap();
            loss.logits_grad_in_place(view, &batch, &merged, &terms).unwrap();
            shard.values()
        } else {
            let mut out = matrix((start, end));
            let view = shard.view().shard(start, vocab).unwrap();
            loss.logits_grad(view, &batch, &merged, &terms, out.view_mut()).unwrap();
            out.values()
        };
        for row in 0..rows {
            let width = end - start;
            dlogits[row * vocab + start..row * vocab + end]
                .copy_from_slice(&part[row * width..][..width]);
        }
    }
    (report, dlogits)
}
