//! How far each path on a device is from merely moving its bytes there.
//!
//! ```text
//! cargo run --release -p surprisal-benches-gpu
//! cargo run --release -p surprisal-benches-gpu -- --shape 4096x32000 --dtype bf16
//! ```

mod device;
mod path;
mod run;
mod yardstick;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use surprisal::{bf16, f16};

use crate::device::{Device, Failure};
use crate::run::{HEADER, Shape, run};
use crate::yardstick::Yardsticks;

/// Times the library on a device against the device's own copy.
#[derive(Parser, Debug)]
struct Arguments {
    /// Rows x vocabulary; repeat for more. All of the standard ones without.
    #[arg(long)]
    shape: Vec<Shape>,
    /// Storage type of the logits; repeat for more. f32 and bf16 without.
    #[arg(long)]
    dtype: Vec<Type>,
    /// Adapter, GPUs first.
    #[arg(long, default_value_t = 0)]
    adapter: usize,
    /// Rounds.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Small odd shapes and few rounds, whose gradients are all checked: its times mean nothing.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Type {
    F32,
    Bf16,
    F16,
}

/// Long rows that fit on chip, long ones that do not, short ones, few.
const SHAPES: [Shape; 5] = [
    Shape { rows: 4096, vocab: 32_000 },
    Shape { rows: 4096, vocab: 151_936 },
    Shape { rows: 8192, vocab: 256 },
    Shape { rows: 16, vocab: 151_936 },
    Shape { rows: 4096, vocab: 50_257 },
];
const QUICK: [Shape; 3] = [
    Shape { rows: 37, vocab: 5003 },
    Shape { rows: 2, vocab: 70_001 },
    Shape { rows: 301, vocab: 256 },
];

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<(), Failure> {
    let device = Device::open(arguments.adapter)?;
    let clock = if device.has_timestamps() { "its timestamps" } else { "the host's clock" };
    eprintln!("{}, times by {clock}", device.name);
    let shapes = match (&arguments.shape[..], arguments.quick) {
        ([], true) => &QUICK[..],
        ([], false) => &SHAPES,
        (shapes, _) => shapes,
    };
    let dtypes = match &arguments.dtype[..] {
        [] => &[Type::F32, Type::Bf16],
        dtypes => dtypes,
    };
    let rounds = if arguments.quick { 2 } else { arguments.rounds };
    let yardsticks = Yardsticks::new(&device.device);
    println!("{HEADER}");
    for &shape in shapes {
        for dtype in dtypes {
            match dtype {
                Type::F32 => run::<f32>(&device, &yardsticks, shape, rounds)?,
                Type::Bf16 => run::<bf16>(&device, &yardsticks, shape, rounds)?,
                Type::F16 => run::<f16>(&device, &yardsticks, shape, rounds)?,
            }
        }
    }
    Ok(())
}
