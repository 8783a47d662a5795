//! The command line, and what it comes to after every check that needs no data.

use crate::compare::Comparison;
use crate::failure::{Failure, Outcome};
use crate::objective::Objective;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// The objectives that are compared when none is named. (`power` is not among them: with its default
/// parameter it has the gradient of `dft`.)
const DEFAULT_OBJECTIVES: &str = "sft,dft,talr-auto,focal,infosft,iw-token,psft,flow";

/// Trains a small byte-level transformer on a general text, fine-tunes a copy of it per objective on a
/// domain text, and shows what each objective gained in the domain and lost in general.
#[derive(Debug, Parser)]
#[command(name = "finetune", version, args_conflicts_with_subcommands = true)]
struct Line {
    #[command(subcommand)]
    command: Option<Verb>,
    #[command(flatten)]
    fine_tune: Arguments,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Puts the methods of the papers beside each other, and the papers' claims to the test
    Compare(Comparison),
}

/// What the command line asks for.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// The trade-off of some objectives on some text.
    FineTune(Settings),
    /// All methods, and the claims about them.
    Compare(Comparison),
}

impl Command {
    /// Reads the command line. What clap itself refuses (or `--help`) ends the program here.
    pub(crate) fn from_command_line() -> Outcome<Self> {
        let Line { command, fine_tune } = Line::parse();
        match command {
            Some(Verb::Compare(comparison)) => Ok(Self::Compare(comparison)),
            None => Settings::check(fine_tune).map(Self::FineTune),
        }
    }
}

#[derive(Debug, Args)]
struct Arguments {
    /// General text to pre-train on: plain text, or JSON lines with "question" and "answer" [default: generated]
    #[arg(long, value_name = "FILE")]
    general: Option<PathBuf>,
    /// Domain text to fine-tune on; questions are read but not learnt [default: generated arithmetic]
    #[arg(long, value_name = "FILE")]
    domain: Option<PathBuf>,
    /// Objectives to compare, as `dft` or `talr:tau=0.7,floor=0`, or "all"
    #[arg(long, value_name = "NAME,…", default_value = DEFAULT_OBJECTIVES)]
    objective: Vec<String>,
    /// Peak learning rates of the fine-tuning; each objective is run with each
    #[arg(long, value_name = "RATE,…", value_delimiter = ',', default_value = "1e-4,3e-4,1e-3")]
    lr: Vec<f64>,
    /// Steps of each fine-tuning run
    #[arg(long, default_value_t = 80)]
    steps: usize,
    /// Rows of text in a step of the fine-tuning
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    /// Writes p, weight and entropy of single tokens of held-out domain text, before and after each run
    #[arg(long, value_name = "CSV")]
    dump: Option<PathBuf>,
    /// Steps of the pre-training
    #[arg(long, default_value_t = 800)]
    pretrain_steps: usize,
    /// Seed of the corpora, the weights and the order of the samples
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the base model, the report and the results go
    #[arg(long, value_name = "DIR", default_value = "finetune-out")]
    out: PathBuf,
}

/// What to do.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// General text; generated if there is none.
    pub(crate) general: Option<PathBuf>,
    /// Domain text; generated if there is none.
    pub(crate) domain: Option<PathBuf>,
    /// The objectives to compare, without repetition.
    pub(crate) objectives: Vec<Objective>,
    /// The learning rates, rising, without repetition.
    pub(crate) rates: Vec<f64>,
    /// Steps of each fine-tuning run.
    pub(crate) steps: usize,
    /// Rows of a fine-tuning batch.
    pub(crate) rows: usize,
    /// Where single tokens go.
    pub(crate) dump: Option<PathBuf>,
    /// Steps of the pre-training.
    pub(crate) pretrain_steps: usize,
    /// The seed of everything.
    pub(crate) seed: u64,
    /// The folder for what is written.
    pub(crate) out: PathBuf,
}

impl Settings {
    /// The command that gives the same results, for the report.
    pub(crate) fn command(&self) -> String {
        let join = |words: Vec<String>| words.join(",");
        let objectives =
            join(self.objectives.iter().map(|objective| objective.name().to_owned()).collect());
        let rates = join(self.rates.iter().map(|rate| format!("{rate:e}")).collect());
        let mut command = String::from("cargo run --release --example finetune --");
        for (option, file) in [("--general", &self.general), ("--domain", &self.domain)] {
            if let Some(file) = file {
                command += &format!(" {option} {}", quoted(&file.to_string_lossy()));
            }
        }
        let Self { steps, pretrain_steps, rows, seed, .. } = self;
        command
            + &format!(
                " \\\n  --objective {objectives} --lr {rates} \\\n  \
                 --steps {steps} --batch {rows} --pretrain-steps {pretrain_steps} --seed {seed}"
            )
    }

    /// The checks that clap cannot do.
    fn check(arguments: Arguments) -> Outcome<Self> {
        let Arguments {
            general,
            domain,
            objective,
            lr,
            steps,
            batch,
            dump,
            pretrain_steps,
            seed,
            out,
        } = arguments;
        if let Some(rate) = lr.iter().find(|rate| !(rate.is_finite() && **rate > 0.0)) {
            return Err(Failure::Usage(format!(
                "a learning rate is above 0 and finite; {rate} is not"
            )));
        }
        if steps == 0 || pretrain_steps == 0 {
            return Err(Failure::Usage("there is nothing to train in 0 steps".into()));
        }
        let mut rates = lr;
        rates.sort_by(f64::total_cmp);
        rates.dedup();
        Ok(Self {
            general,
            domain,
            objectives: objectives(&objective)?,
            rates,
            steps,
            rows: batch.into(),
            dump,
            pretrain_steps,
            seed,
            out,
        })
    }
}

/// A file name as a shell takes it.
pub(crate) fn quoted(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:".contains(letter);
    if name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', "'\\''"))
    }
}

/// The objectives of these names, each once, in the order in which they were first named.
fn objectives(names: &[String]) -> Outcome<Vec<Objective>> {
    let mut chosen: Vec<Objective> = Vec::new();
    for name in names.iter().flat_map(|names| one_by_one(names)) {
        let named = match name.as_str() {
            "all" => Objective::supported().collect(),
            name => vec![Objective::named(name).map_err(Failure::Usage)?],
        };
        for objective in named {
            if chosen.iter().all(|other| other.name() != objective.name()) {
                chosen.push(objective);
            }
        }
    }
    Ok(chosen)
}

/// The objectives of a list: a piece such as `floor=0` still belongs to the objective before it.
fn one_by_one(list: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for piece in list.split(',').map(str::trim) {
        match names.last_mut() {
            Some(last) if last.contains(':') && piece.contains('=') && !piece.contains(':') => {
                *last += &format!(",{piece}");
            }
            _ => names.push(piece.to_owned()),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::{Line, Settings};
    use clap::Parser;

    fn settings(line: &str) -> Result<Settings, String> {
        let arguments = std::iter::once("finetune").chain(line.split_whitespace());
        Settings::check(Line::parse_from(arguments).fine_tune).map_err(|failure| {
            assert_eq!(failure.exit_code(), 2);
            failure.to_string()
        })
    }

    #[test]
    fn objectives_and_rates_may_be_lists_or_repeated() {
        let settings = settings("--objective dft,sft --objective dft --lr 1e-2,1e-3 --lr 1e-2")
            .expect("valid");
        let names: Vec<&str> =
            settings.objectives.iter().map(|objective| objective.name()).collect();
        assert_eq!(names, ["dft", "sft"]);
        assert_eq!(settings.rates, [1e-3, 1e-2]);
    }

    #[test]
    fn parameters_stay_with_their_objective() {
        let settings =
            settings("--objective sft,talr:tau=0.7,floor=0,dft,talr:tau=2").expect("valid");
        let names: Vec<&str> =
            settings.objectives.iter().map(|objective| objective.name()).collect();
        assert_eq!(names, ["sft", "talr:tau=0.7,floor=0", "dft", "talr:tau=2"]);
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        assert!(settings("--objective nonsense").unwrap_err().contains("nonsense"));
        assert!(settings("--objective talr:tau=-1").unwrap_err().contains("tau"));
        assert!(settings("--lr 0").unwrap_err().contains("learning rate"));
        assert!(settings("--lr nan").unwrap_err().contains("learning rate"));
        assert!(settings("--steps 0").unwrap_err().contains("0 steps"));
    }
}
