//! How far each path is from merely moving its bytes.
//!
//! ```text
//! cargo run --release -p surprisal-benches --bin roofline
//! cargo run --release -p surprisal-benches --bin roofline -- --shape 512x32000 --dtype f32 --threads 1
//! ```
//!
//! Every result is checked against f64 before it is timed, and a call may not allocate: a wrong path ends the program with exit code 1.

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use surprisal::{Level, bf16, default_level, f16};
use surprisal_benches::allocation::Counting;
use surprisal_benches::data::{Data, Dtype};
use surprisal_benches::level::level_named;
use surprisal_benches::measure::{Rounds, Run};
use surprisal_benches::path::{Class, Path, Target};
use surprisal_benches::plot;
use surprisal_benches::shape::{QUICK, SHAPES, Shape};
use surprisal_benches::table::{HEADER, Line};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Times the library against the bytes that it must move.
#[derive(Parser, Debug)]
struct Arguments {
    /// Rows x vocabulary; repeat for more. All of the standard ones without.
    #[arg(long)]
    shape: Vec<Shape>,
    /// Storage type; repeat for more. All without.
    #[arg(long)]
    dtype: Vec<Type>,
    /// Number of threads; repeat for more. 1 and all cores without.
    #[arg(long)]
    threads: Vec<usize>,
    /// SIMD level (avx512, avx2, sse2, neon, ...); repeat for more. The machine's best without.
    #[arg(long)]
    level: Vec<String>,
    /// Rounds at the least; short calls get more.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Also writes the lines to this file.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draws the ratios into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Small odd shapes and few rounds: a check of results, its times mean nothing.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    F32,
    Bf16,
    F16,
}

impl Arguments {
    fn shapes(&self) -> Vec<Shape> {
        match (&self.shape[..], self.quick) {
            ([], true) => QUICK.to_vec(),
            ([], false) => SHAPES.to_vec(),
            (shapes, _) => shapes.to_vec(),
        }
    }

    fn dtypes(&self) -> Vec<Type> {
        if self.dtype.is_empty() { Type::value_variants().to_vec() } else { self.dtype.clone() }
    }

    fn threads(&self) -> Vec<usize> {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        match (&self.threads[..], all) {
            ([], 1) => vec![1],
            ([], all) => vec![1, all],
            (threads, _) => threads.to_vec(),
        }
    }

    fn levels(&self) -> Result<Vec<Level>, String> {
        if self.level.is_empty() {
            return Ok(vec![default_level()]);
        }
        self.level.iter().map(|name| level_named(name)).collect()
    }

    fn rounds(&self) -> Rounds {
        match self.quick {
            true => Rounds { least: 1, time: Duration::ZERO },
            false => Rounds { least: self.rounds, time: Duration::from_secs(1) },
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let (shapes, dtypes, threads) = (arguments.shapes(), arguments.dtypes(), arguments.threads());
    let paths = paths(&arguments.levels()?);
    let progress = progress(shapes.len() * dtypes.len() * threads.len());
    println!("{HEADER}");
    let mut lines = Vec::new();
    for &shape in &shapes {
        for dtype in &dtypes {
            let mut show = |line: &Line| progress.suspend(|| println!("{}", line.csv()));
            let step = Step { shape, threads: &threads, paths: &paths, rounds: arguments.rounds() };
            lines.extend(match dtype {
                Type::F32 => step.run::<f32>(&progress, &mut show),
                Type::Bf16 => step.run::<bf16>(&progress, &mut show),
                Type::F16 => step.run::<f16>(&progress, &mut show),
            }?);
        }
    }
    progress.finish_and_clear();
    if let Some(file) = &arguments.csv {
        let text: String = lines.iter().map(|line| line.csv() + "\n").collect();
        write(file, &format!("{HEADER}\n{text}"))?;
    }
    if let Some(file) = &arguments.svg {
        write(file, &plot::ratios(&lines).map_err(|error| error.to_string())?)?;
    }
    Ok(())
}

/// Classes × targets × levels.
fn paths(levels: &[Level]) -> Vec<Path> {
    let mut paths = Vec::new();
    for class in Class::ALL {
        for target in Target::ALL {
            paths.extend(levels.iter().map(|&level| Path { class, target, level }));
        }
    }
    paths
}

/// A matrix of one shape and type, on one pool after the other.
struct Step<'a> {
    shape: Shape,
    threads: &'a [usize],
    paths: &'a [Path],
    rounds: Rounds,
}

impl Step<'_> {
    fn run<T: Dtype>(
        &self,
        progress: &ProgressBar,
        show: &mut dyn FnMut(&Line),
    ) -> Result<Vec<Line>, String> {
        progress.set_message(format!("{} {}", self.shape, T::NAME));
        let data = Data::<T>::new(self.shape);
        let mut run = Run::new(&data).map_err(|error| error.to_string())?;
        let mut lines = Vec::new();
        for &threads in self.threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.map_err(|error| error.to_string())?;
            let measured = pool.install(|| run.measure(self.paths, self.rounds))?;
            measured.iter().for_each(&mut *show);
            lines.extend(measured);
            progress.inc(1);
        }
        Ok(lines)
    }
}

/// On a terminal only.
fn progress(steps: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg} ({eta} left)")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─");
    ProgressBar::new(steps as u64).with_style(style)
}

fn write(file: &std::path::Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
