//! Trains a small byte-level transformer on a *general* text, fine-tunes a copy of it per objective on
//! a *domain* text, and shows what each objective gained in the domain and lost in general.
//!
//! ```text
//! cargo run --release --example finetune
//! cargo run --release --example finetune -- --general shakespeare.txt --domain gsm8k.jsonl --objective sft,dft
//! ```
//!
//! The files, in the order in which a run passes through them: `cli` (what to do), `corpus` with
//! `arithmetic`, and `data` (text), `pack` (batches), `model` with `attention`, `objective` and `loss` (this
//! library, through `surprisal-candle`), `train`, `base` (the cached pre-training),
//! `evaluate`, `experiment` (all runs, over `cores`), and what comes out: `progress`, `table`, `results`, `report` with
//! `plots`, and `dump`. `compare` is the larger experiment, of all methods, over the same parts.

mod arithmetic;
mod attention;
mod base;
mod cli;
mod compare;
mod cores;
mod corpus;
mod data;
mod dump;
mod evaluate;
mod experiment;
mod failure;
mod loss;
mod model;
mod objective;
mod pack;
mod plots;
mod progress;
mod report;
mod results;
mod rng;
mod table;
mod train;

use crate::base::Recipe;
use crate::cli::{Command, Settings};
use crate::data::{Corpus, Sample};
use crate::failure::{Failure, Outcome};
use crate::model::Config;
use crate::progress::Progress;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Candle allocates afresh for every intermediate tensor; with the system allocator two runs side by
/// side spend half of their time on giving pages back and getting them again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The sizes of the model: as large as the default run can afford within its three minutes.
const MODEL: Config = Config { layers: 2, heads: 4, width: 96, context: 128 };

/// Runs the program and turns a failure into one line and an exit code.
fn main() -> ExitCode {
    one_thread_per_run();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Keeps candle to one thread per tensor operation. Whole runs go in parallel here; candle's own
/// threads wait by spinning and would only take the cores away from them.
fn one_thread_per_run() {
    if std::env::var_os("RAYON_NUM_THREADS").is_none() {
        // SAFETY: this is the first thing that `main` does, so no other thread reads the environment.
        unsafe { std::env::set_var("RAYON_NUM_THREADS", "1") };
    }
}

/// The whole program.
fn run() -> Outcome<()> {
    match Command::from_command_line()? {
        Command::FineTune(settings) => fine_tune(&settings),
        Command::Compare(settings) => compare::run(&settings),
    }
}

/// Fine-tunes one base model on one domain, per objective and learning rate.
fn fine_tune(settings: &Settings) -> Outcome<()> {
    let general = corpus(settings.general.as_deref(), "generated general tasks", || {
        corpus::general(settings.seed)
    })?;
    let domain = corpus(settings.domain.as_deref(), "generated arithmetic", || {
        corpus::domain(settings.seed)
    })?;
    fs::create_dir_all(&settings.out).map_err(|why| {
        Failure::Usage(format!("cannot write to {}: {why}", settings.out.display()))
    })?;

    let progress = Progress::new();
    let recipe = Recipe {
        config: MODEL,
        rows: 8,
        steps: settings.pretrain_steps,
        seed: settings.seed,
        folder: &settings.out,
    };
    let base = base::load_or_train(recipe, &general, &progress)?;
    let results = experiment::run(&base, MODEL, settings, (&domain, &general), &progress)?;

    if let Some(path) = &settings.dump {
        let lines = results.runs.iter().map(|run| run.tokens.as_str());
        let text: String = std::iter::once(dump::HEADER).chain(lines).collect();
        fs::write(path, text)
            .map_err(|why| Failure::Usage(format!("cannot write to {}: {why}", path.display())))?;
    }
    println!("\n{}", table::table(&results));
    results.findings().iter().for_each(|finding| println!("{finding}"));
    for (name, text) in [
        ("results.json", results::json(settings, &results)),
        ("report.html", report::html(settings, MODEL, (&domain, &general), &results)?),
    ] {
        let path = settings.out.join(name);
        fs::write(&path, text)
            .map_err(|why| Failure::while_doing(&format!("writing {}", path.display()), why))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// The corpus of a file, or a generated one where there is no file.
fn corpus(
    file: Option<&Path>,
    generated: &str,
    generate: impl Fn() -> Vec<Sample>,
) -> Outcome<Corpus> {
    match file {
        Some(path) => Corpus::new(path.display().to_string(), &data::read(path)?, MODEL.context),
        None => Corpus::new(generated.to_owned(), &generate(), MODEL.context),
    }
}
