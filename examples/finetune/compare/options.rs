//! The comparison's part of the command line.

use super::method::Method;
use crate::cli::quoted;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How much of the comparison is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// A few steps of a few methods: to see that it works, not to learn from.
    Smoke,
    /// Learning rates are chosen by one seed; claims have three. Minutes.
    Small,
    /// Every learning rate with five seeds. Hours.
    Full,
}

/// What to compare.
#[derive(Debug, Clone, Args)]
pub(crate) struct Comparison {
    /// How much of it is run
    #[arg(long, value_enum, default_value_t = Preset::Small)]
    pub(crate) preset: Preset,
    /// Seed of the general texts and of the base models
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Problems in a step of the fine-tuning
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=400))]
    pub(crate) batch: u16,
    /// General text that both bases read, line by line, in place of generated tasks and sentences
    #[arg(long, value_name = "FILE")]
    pub(crate) general: Option<PathBuf>,
    /// Methods to run [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = Method::known)]
    pub(crate) methods: Vec<String>,
    /// Where base models, finished runs and the report go; what is there already is not run again
    #[arg(long, value_name = "DIR", default_value = "compare-out")]
    pub(crate) out: PathBuf,
}

impl Comparison {
    /// The command that gives the same results, for the report.
    pub(crate) fn command(&self) -> String {
        let Self { preset, seed, batch, general, methods, out: _ } = self;
        let preset = format!("{preset:?}").to_lowercase();
        let mut command = format!(
            "cargo run --release --example finetune -- compare --preset {preset} --seed {seed} --batch {batch}"
        );
        if let Some(file) = general {
            command += &format!(" --general {}", quoted(&file.to_string_lossy()));
        }
        if !methods.is_empty() {
            command += &format!(" --methods {}", methods.join(","));
        }
        command
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Comparison;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        comparison: Comparison,
    }

    /// A comparison with these options.
    pub(crate) fn comparison(options: &str) -> Result<Comparison, clap::Error> {
        let words = std::iter::once("compare").chain(options.split_whitespace());
        Line::try_parse_from(words).map(|line| line.comparison)
    }

    #[test]
    fn a_comparison_s_command_says_what_it_was_asked_for() {
        let options = "--preset smoke --methods sft,dft --general a.txt";
        let command = comparison(options).expect("valid").command();
        let expected =
            "-- compare --preset smoke --seed 1 --batch 4 --general a.txt --methods sft,dft";
        assert!(command.ends_with(expected), "{command}");
        assert!(comparison("--methods sft,nonsense").is_err());
    }
}
