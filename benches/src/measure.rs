//! One interleaved run: yardsticks and paths in turn, round after round, so that whatever disturbs the machine disturbs all alike.

use std::time::{Duration, Instant};

use surprisal::default_level;

use crate::allocation;
use crate::data::{Data, Dtype};
use crate::level::level_name;
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
    /// Of each class.
    expected: Vec<Expected>,
    /// What a call reads and may overwrite, made anew before each.
    logits: Vec<T>,
    output: Vec<T>,
    workspace: Workspace,
    /// The same three matrices for the yardsticks, of as many bytes: so they find the caches as the paths do.
    bytes: [Vec<f32>; 3],
}

impl<'a, T: Dtype> Run<'a, T> {
    /// Allocates, and computes what must come out.
    ///
    /// # Errors
    /// Of the oracle: none, for sound data.
    pub fn new(data: &'a Data<T>) -> Result<Self, surprisal::Error> {
        let oracle = Oracle::new(data);
        let expected = Class::ALL.into_iter().map(|class| oracle.expect(class, data));
        let words = data.logits.len() * size_of::<T>() / size_of::<f32>();
        Ok(Self {
            data,
            expected: expected.collect::<Result<_, _>>()?,
            logits: data.logits.clone(),
            // Not zeros of the system's, whose pages come at the first touch.
            output: data.logits.clone(),
            workspace: Workspace::new(data.shape, rayon::current_num_threads()),
            bytes: [1.0, 2.0, 3.0].map(|word| vec![word; words]),
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
        let done =
            |round| round >= rounds.least && (round >= MOST || begin.elapsed() >= rounds.time);
        for _ in (0..).take_while(|&round| !done(round)) {
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
        let [data, buffer, output] = &mut self.bytes;
        // As before a path. A copy of `output` would leave it in the caches, and no path finds it there.
        buffer.copy_from_slice(data);
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
        if path.target != Target::InPlace && logits != &data.logits {
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

fn milliseconds<R>(call: impl FnOnce() -> R) -> (R, f64) {
    let begin = Instant::now();
    let result = call();
    (result, begin.elapsed().as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use surprisal::bf16;

    use super::*;
    use crate::shape::Shape;

    #[test]
    fn a_run_has_a_line_for_each_yardstick_and_path() -> Result<(), String> {
        let data = Data::<bf16>::new(Shape { rows: 5, vocab: 77 });
        let mut run = Run::new(&data).map_err(|error| error.to_string())?;
        let path = |class, target| Path { class, target, level: default_level() };
        let paths = [path(Class::Token, Target::InPlace), path(Class::Batch, Target::Separate)];
        let lines = run.measure(&paths, Rounds { least: 3, time: Duration::ZERO })?;
        let names: Vec<&str> = lines.iter().map(|line| line.what.as_str()).collect();
        assert_eq!(names, ["read", "rmw", "memcpy", "sft/in-place", "talr-auto/separate"]);
        let limits: Vec<f64> = lines.iter().map(|line| line.yardstick_ms).collect();
        assert_eq!((limits[3], limits[4]), (limits[1], limits[0] + limits[2]));
        assert_eq!(run.measure(&[], Rounds { least: 1, time: Duration::ZERO })?.len(), 3);
        Ok(())
    }
}
