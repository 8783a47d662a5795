//! The table of `benches/accuracy/torch_errors.py`, for this library.
//!
//! ```text
//! cargo run --release -p surprisal-benches --bin accuracy
//! cargo run --release -p surprisal-benches --bin accuracy -- --level sse2
//! ```

use std::process::ExitCode;

use clap::Parser;
use surprisal::default_level;
use surprisal_benches::accuracy::{Errors, Family};
use surprisal_benches::level::level_named;

/// How far the f32 loss and its gradient are from the exact ones.
#[derive(Parser, Debug)]
struct Arguments {
    /// SIMD level (avx512, avx2, sse2, neon, ...). The machine's best without.
    #[arg(long)]
    level: Option<String>,
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
    let level = arguments.level.as_deref().map_or(Ok(default_level()), level_named)?;
    println!("family,nll,target,others,row_sum");
    for family in Family::ALL {
        let errors = Errors::of(family, level).map_err(|error| error.to_string())?;
        println!("{},{}", family.name(), errors.csv());
    }
    Ok(())
}
