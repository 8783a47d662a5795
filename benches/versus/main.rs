//! Times an old and a new build of the library in turns, in one program and over the same buffers.
//!
//! `versus.py` builds it, starts it with the least number of rounds and of seconds, and writes steps to its stdin, one a line:
//! `path dtype ROWSxVOCAB threads level`. A CSV line each comes back. Where the sides' results differ it ends with exit code 1.

mod data;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use half::{bf16, f16};
use new::{Call, Failure};

use data::{Data, Dtype};

const HEADER: &str = "path,dtype,rows,vocab,threads,level,old_ns_row,new_ns_row,ratio,best";
const OLD: usize = 0;
const NEW: usize = 1;
/// One round: both sides follow themselves and each other equally often, and a drift of the clock hits them alike.
const ROUND: [usize; 4] = [OLD, NEW, NEW, OLD];

/// What one line measures.
#[derive(Clone, Debug)]
struct Step {
    path: String,
    dtype: String,
    rows: usize,
    vocab: usize,
    threads: usize,
    level: String,
}

impl FromStr for Step {
    type Err = Failure;

    fn from_str(line: &str) -> Result<Self, Failure> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [path, dtype, shape, threads, level] = words[..] else {
            return Err(format!("no step: {line:?}").into());
        };
        let (rows, vocab) = shape.split_once('x').ok_or("no shape")?;
        let level = if level == "best" { new::levels()[0].0 } else { level };
        Ok(Self {
            path: path.into(),
            dtype: dtype.into(),
            rows: rows.parse()?,
            vocab: vocab.parse()?,
            threads: threads.parse()?,
            level: level.into(),
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, dtype, rows, vocab, threads, level } = self;
        write!(f, "{path},{dtype},{rows},{vocab},{threads},{level}")
    }
}

/// Rounds at the least, and seconds at the least.
#[derive(Clone, Copy, Debug)]
struct Rounds(usize, Duration);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: versus ROUNDS SECONDS < STEPS");
    let rounds = Rounds(next()?.parse()?, Duration::try_from_secs_f64(next()?.parse()?)?);
    let lines = io::read_to_string(io::stdin())?;
    let steps = lines.lines().map(str::parse).collect::<Result<Vec<Step>, _>>()?;
    println!("{HEADER}");
    // Steps over the same matrix share it.
    let matrix = |step: &Step| (step.dtype.clone(), step.rows, step.vocab);
    for steps in steps.chunk_by(|a, b| matrix(a) == matrix(b)) {
        match &*steps[0].dtype {
            "f32" => measure_all::<f32>(steps, rounds),
            "bf16" => measure_all::<bf16>(steps, rounds),
            "f16" => measure_all::<f16>(steps, rounds),
            other => Err(format!("no dtype {other}").into()),
        }?;
    }
    Ok(())
}

fn measure_all<T: Dtype>(steps: &[Step], rounds: Rounds) -> Result<(), Failure> {
    let data = Data::<T>::new(steps[0].rows, steps[0].vocab);
    let mut results = [(); 2].map(|()| Buffers::new(&data));
    for step in steps {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(step.threads).build()?;
        let line = pool.install(|| measure(step, &data, &mut results, rounds));
        writeln!(io::stdout(), "{}", line.map_err(|error| format!("{step}: {error}"))?)?;
    }
    Ok(())
}

/// What a call writes.
struct Buffers<T> {
    logits: Vec<T>,
    output: Vec<T>,
    nll: Vec<f32>,
}

impl<T: Dtype> Buffers<T> {
    fn new(data: &Data<T>) -> Self {
        Self {
            logits: data.logits.clone(),
            output: data.logits.clone(),
            nll: vec![0.0; data.targets.len()],
        }
    }
}

fn measure<T: Dtype>(
    step: &Step,
    data: &Data<T>,
    results: &mut [Buffers<T>; 2],
    rounds: Rounds,
) -> Result<String, Failure> {
    let Step { path, level, threads, .. } = step;
    let (logits, targets, sequences) = (&data.logits, &data.targets, &data.sequences);
    let mut calls: [Call<'_, T>; 2] = [
        <T as old::Paths>::prepare(path, level, logits, targets, sequences, *threads)?,
        <T as new::Paths>::prepare(path, level, logits, targets, sequences, *threads)?,
    ];
    check(data, &mut calls, results)?;
    let times = time(data, &mut calls, &mut results[NEW], rounds)?;
    let ratios = times[NEW].chunks(2).zip(times[OLD].chunks(2));
    let ratio = median(ratios.map(|(new, old)| new.iter().sum::<f64>() / old.iter().sum::<f64>()));
    let [old, new] = times.each_ref().map(|times| median(times.iter().copied()) / step.rows as f64);
    let [old_best, new_best] = times.map(|times| times.into_iter().fold(f64::INFINITY, f64::min));
    let best = new_best / old_best;
    Ok(format!("{step},{old:.1},{new:.1},{ratio:.3},{best:.3}"))
}

/// Calls both sides once. They must agree in the loss, in −ln p of every row, and in every entry of both matrices.
fn check<T: Dtype>(
    data: &Data<T>,
    calls: &mut [Call<'_, T>; 2],
    results: &mut [Buffers<T>; 2],
) -> Result<(), Failure> {
    let mut losses = [0.0; 2];
    for ((call, buffers), loss) in calls.iter_mut().zip(&mut *results).zip(&mut losses) {
        let Buffers { logits, output, nll } = buffers;
        logits.copy_from_slice(&data.logits);
        output.fill(T::round(-7.0));
        nll.fill(-7.0);
        *loss = call(logits, output, nll)?;
    }
    let fail = |what: &str, how: String| Err(format!("old and new differ: {what}{how}").into());
    if let Some(how) = difference([&losses[..1], &losses[1..]], 1e-5, 0.0) {
        return fail("the loss", how);
    }
    let [old, new] = results;
    for row in 0..data.targets.len() {
        let nll = [&old.nll, &new.nll].map(|nll| &nll[row..][..1]);
        if let Some(how) = difference(nll, 1e-5, 0.0) {
            return fail(&format!("−ln p of row {row}"), how);
        }
        let logits = [&old.logits, &new.logits].map(|matrix| data.row(matrix, row));
        let output = [&old.output, &new.output].map(|matrix| data.row(matrix, row));
        for (name, rows) in [("logits", logits), ("output", output)] {
            if let Some(how) = difference(rows, T::TOLERANCE, T::TINY) {
                return fail(&format!("{name}, row {row}"), how);
            }
        }
    }
    Ok(())
}

/// The first entries that are further apart than so much of the largest one, in words.
fn difference<T: Copy + Into<f64>>(
    [old, new]: [&[T]; 2],
    tolerance: f64,
    tiny: f64,
) -> Option<String> {
    let largest = old.iter().fold(0.0, |largest: f64, &value| largest.max(value.into().abs()));
    let allowed = (tolerance * largest).max(tiny);
    let pairs = old.iter().zip(new).map(|(&old, &new)| (old.into(), new.into()));
    // A NaN is within no distance.
    let within = |(old, new): (f64, f64)| (old - new).abs() <= allowed;
    let (entry, (old, new)) = pairs.enumerate().find(|&(_, pair)| !within(pair))?;
    Some(format!(", entry {entry}: {old:e} and {new:e}"))
}

/// Nanoseconds of every call, of both sides.
fn time<T: Dtype>(
    data: &Data<T>,
    calls: &mut [Call<'_, T>; 2],
    Buffers { logits, output, .. }: &mut Buffers<T>,
    Rounds(least, seconds): Rounds,
) -> Result<[Vec<f64>; 2], Failure> {
    let mut times = [Vec::new(), Vec::new()];
    let begin = Instant::now();
    while times[OLD].len() < 2 * least || begin.elapsed() < seconds {
        for side in ROUND {
            // Before every path, so that all find the caches alike.
            logits.copy_from_slice(&data.logits);
            let begin = Instant::now();
            calls[side](logits, output, &mut [])?;
            times[side].push(begin.elapsed().as_secs_f64() * 1e9);
        }
    }
    Ok(times)
}

/// The middle; the upper one of two.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
