//! One interleaved run: yardsticks and paths in turn, round after round, so that whatever disturbs the machine disturbs all alike.

use std::time::{Duration, Instant};

use surprisal::{Level, default_level};

use crate::allocation;
use crate::data::{Data, Dtype};
use crate::oracle::{Expected, Oracle};
use crate::path::{Class, Path, Target, Workspace};
use crate::table::{Line, median};
use crate::yardstick::Yardstick;

/// How many rounds.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// At least so many.
    pub least: usize,
    /// More, until a run has taken so long.
    pub time: Duration,
}

/// Rounds that are enough for any median.
const MOST: usize = 101;

/// One matrix, measured on the current rayon pool.
#[derive(Debug)]
pub struct Run<'a, T> {
    data: &'a Data<T>,
    expected: [Expected; 2],
    /// What a call reads and may overwrite, made anew before each.
    logits: Vec<T>,
    output: Vec<T>,
    workspace: Workspace,
    /// The yardsticks' buffers, of as many bytes.
    bytes: [Vec<f32>; 2],
}

impl<'a, T: Dtype> Run<'a, T> {
    /// Allocates, and computes what must come out.
    ///
    /// # Errors
    /// Of the oracle: none, for sound data.
    pub fn new(data: &'a Data<T>) -> Result<Self, surprisal::Error> {
        let oracle = Oracle::new(data);
        let words = data.logits.len() * size_of::<T>() / size_of::<f32>();
        Ok(Self {
            data,
            expected: [oracle.expect(Class::Token, data)?, oracle.expect(Class::Batch, data)?],
            logits: data.logits.clone(),
            // Not zeros of the system's, whose pages come at the first touch.
            output: data.logits.clone(),
            workspace: Workspace::new(data.shape, rayon::current_num_threads()),
            bytes: [vec![1.0; words], vec![2.0; words]],
        })
    }

    /// Measures these paths; a line for each yardstick and each path.
    ///
    /// # Errors
    /// A wrong result, or memory that a call asked for, in words.
    pub fn measure(&mut self, paths: &[Path], rounds: Rounds) -> Result<Vec<Line>, String> {
        self.workspace = Workspace::new(self.data.shape, rayon::current_num_threads());
        for path in paths {
            self.check(path)?;
        }
        let mut yardsticks = Yardstick::ALL.map(|_| Vec::new());
        let mut times = vec![Vec::new(); paths.len()];
        let begin = Instant::now();
        while times[0].len() < rounds.least
            || (begin.elapsed() < rounds.time && times[0].len() < MOST)
        {
            for (yardstick, times) in Yardstick::ALL.iter().zip(&mut yardsticks) {
                times.push(self.time_yardstick(*yardstick));
            }
            for (path, times) in paths.iter().zip(&mut times) {
                times.push(self.time(path)?);
            }
        }
        let yardsticks = yardsticks.map(median);
        let of = |yardstick: &Yardstick| yardsticks[*yardstick as usize];
        let mut lines: Vec<Line> = Yardstick::ALL
            .iter()
            .map(|yardstick| self.line(yardstick.name().into(), of(yardstick), of(yardstick)))
            .collect();
        for (path, times) in paths.iter().zip(times) {
            let limit = path.yardsticks().iter().map(of).sum();
            lines.push(self.line(named(path), median(times), limit));
        }
        Ok(lines)
    }

    fn line(&self, what: String, median_ms: f64, yardstick_ms: f64) -> Line {
        let threads = rayon::current_num_threads();
        Line { what, dtype: T::NAME, shape: self.data.shape, threads, median_ms, yardstick_ms }
    }

    fn time_yardstick(&mut self, yardstick: Yardstick) -> f64 {
        let [buffer, output] = &mut self.bytes;
        // The same state of the caches as before a path.
        buffer.copy_from_slice(output);
        milliseconds(|| yardstick.run(default_level(), buffer, output)).1
    }

    fn time(&mut self, path: &Path) -> Result<f64, String> {
        self.logits.copy_from_slice(&self.data.logits);
        let Self { data, logits, output, workspace, .. } = self;
        let (report, time) = milliseconds(|| path.run(data, logits, output, workspace));
        report.map_err(|error| format!("{}: {error}", named(path)))?;
        Ok(time)
    }

    /// One call with a look at what it returned, wrote and allocated.
    fn check(&mut self, path: &Path) -> Result<(), String> {
        let context =
            |error: String| format!("{} {} {}: {error}", named(path), T::NAME, self.data.shape);
        self.logits.copy_from_slice(&self.data.logits);
        // What is not overwritten is found.
        self.output.fill(T::round(-7.0));
        let Self { data, logits, output, workspace, expected, .. } = self;
        // The first call wakes the pool's threads.
        rayon::join(|| (), || ());
        let (report, bytes) = allocation::during(|| path.run(data, logits, output, workspace));
        let report = report.map_err(|error| context(error.to_string()))?;
        let gradient = match path.target {
            Target::Forward => None,
            Target::InPlace => Some(&logits[..]),
            Target::Separate => Some(&output[..]),
        };
        expected[path.class as usize].check(data, &report, gradient).map_err(context)?;
        let survives = path.target == Target::InPlace || logits == &data.logits;
        if !survives {
            return Err(context("the logits were overwritten".into()));
        }
        // A pool's queue may grow by a block.
        let allowed = if rayon::current_num_threads() == 1 { 0 } else { 16 << 10 };
        if bytes > allowed {
            return Err(context(format!("a call allocated {bytes} bytes")));
        }
        Ok(())
    }
}

/// The path's name, with its SIMD level if that is not the best.
fn named(path: &Path) -> String {
    let level = level_name(path.level);
    if level == level_name(default_level()) {
        path.name()
    } else {
        format!("{}@{level}", path.name())
    }
}

/// A level as `--level` takes it.
#[must_use]
pub fn level_name(level: Level) -> String {
    let debug = format!("{level:?}").to_lowercase();
    debug.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()
}

fn milliseconds<R>(call: impl FnOnce() -> R) -> (R, f64) {
    let begin = Instant::now();
    let result = call();
    (result, begin.elapsed().as_secs_f64() * 1e3)
}
