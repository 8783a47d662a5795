//! The Rust workers' side of the line protocol; `protocol.py` describes it and is the Python workers' side.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytemuck::Pod;
use half::bf16;

pub mod linear;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is computed from the logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Mean cross-entropy and its gradient.
    CrossEntropy,
    /// Mean of −stop(p)·ln p, and its gradient.
    Dft,
    /// Mean cross-entropy alone.
    Forward,
}

/// Logits in the type they are stored in.
#[derive(Debug)]
pub enum Logits {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

/// One problem, as the driver wrote it.
#[derive(Debug)]
pub struct Setup {
    pub task: Task,
    pub rows: usize,
    pub vocab: usize,
    pub threads: usize,
    /// Where the problem came from, and where a worker may leave files for the driver.
    pub folder: PathBuf,
    pub targets: Vec<u32>,
}

/// A library that does the work. `what` names one of the ways it can; most have one and need not look.
pub trait Worker {
    /// What a call needs and no timing should contain: drops what the last call returned.
    fn prepare(&mut self, what: &str) -> Result<()>;

    /// The measured work. Returns the loss, and keeps the gradient until the next `prepare`.
    fn call(&mut self, what: &str) -> Result<f64>;

    /// Gives back memory that it keeps between calls, so that it counts as the next call's.
    fn release(&mut self, _what: &str) {}

    /// Writes gradients of the last call, to be checked.
    fn save(&self) -> Result<()> {
        Err("has nothing to save".into())
    }

    /// The bytes that the library says that a call needs.
    fn stated(&self, _what: &str) -> Option<usize> {
        None
    }
}

/// Answers the driver until it says `quit`.
pub fn serve(make: impl Fn(&[&str]) -> Result<Box<dyn Worker>>) -> Result<()> {
    let mut worker = None;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first() == Some(&"setup") {
            worker = None; // before the next problem needs its memory
        }
        let answer = match (&words[..], &mut worker) {
            (["quit"], _) => return Ok(()),
            (["setup", arguments @ ..], _) => {
                make(arguments).map(|made| worker = Some(made)).map(|()| String::new())
            }
            (["run", what], Some(worker)) => run(worker.as_mut(), what),
            (["save"], Some(worker)) => worker.save().map(|()| String::new()),
            (["memory", what], Some(worker)) => memory(worker.as_mut(), what),
            _ => Err(format!("cannot do: {line}").into()),
        };
        let answer = match answer {
            Ok(values) => format!("ok {values}"),
            Err(error) => format!("error {error}").replace('\n', " "),
        };
        writeln!(io::stdout().lock(), "{}", answer.trim_end())?;
    }
    Ok(())
}

fn run(worker: &mut dyn Worker, what: &str) -> Result<String> {
    worker.prepare(what)?;
    let start = Instant::now();
    let loss = worker.call(what)?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    Ok(format!("{ms:.6} {loss:.17e}"))
}

/// Peak memory of a call, after everything that the last one left has gone back to the system. It should not be the first, which loads
/// code that has nothing to do with the work.
fn memory(worker: &mut dyn Worker, what: &str) -> Result<String> {
    worker.prepare(what)?;
    worker.release(what);
    trim();
    let before = status("VmRSS:")?;
    fs::write("/proc/self/clear_refs", "5")?; // resets the peak
    worker.call(what)?;
    let peak = status("VmHWM:")?;
    let stated = worker.stated(what).map_or(String::new(), |bytes| bytes.to_string());
    Ok(format!("{} {stated}", peak.saturating_sub(before)))
}

/// Makes the allocator return the memory that is free.
fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A size in bytes out of the kernel's account of this process.
fn status(field: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such field")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// Logits and targets out of the folder that the arguments name.
pub fn read_setup(arguments: &[&str]) -> Result<(Setup, Logits)> {
    let &[task, dtype, rows, vocab, threads, folder] = arguments else {
        return Err("setup takes task, dtype, rows, vocab, threads, folder".into());
    };
    let task = match task {
        "ce" => Task::CrossEntropy,
        "dft" => Task::Dft,
        "ce-forward" => Task::Forward,
        _ => return Err(format!("unknown task {task}").into()),
    };
    let (rows, vocab, threads) =
        (rows.parse::<usize>()?, vocab.parse::<usize>()?, threads.parse()?);
    let folder = PathBuf::from(folder);
    let logits = match dtype {
        "f32" => Logits::F32(read(&folder.join("logits"), rows * vocab)?),
        "bf16" => Logits::Bf16(read(&folder.join("logits"), rows * vocab)?),
        _ => return Err(format!("unknown dtype {dtype}").into()),
    };
    let targets = read(&folder.join("targets"), rows)?;
    Ok((Setup { task, rows, vocab, threads, folder, targets }, logits))
}

fn read<T: Pod>(path: &Path, len: usize) -> Result<Vec<T>> {
    let mut values = vec![T::zeroed(); len];
    File::open(path)?.read_exact(bytemuck::cast_slice_mut(&mut values))?;
    Ok(values)
}

fn write<T: Pod>(path: &Path, values: &[T]) -> Result<()> {
    Ok(fs::write(path, bytemuck::cast_slice(values))?)
}
