//! The problems of the output layer, as the driver wrote them; `linear_data.py` is the Python workers' side.

use std::path::PathBuf;

use bytemuck::Pod;
use half::bf16;

use crate::{Result, read, write};

/// What the driver writes for targets of ignored rows.
pub const IGNORED: i64 = -100;

/// One problem without its matrices.
#[derive(Debug)]
pub struct Setup {
    /// dW is wanted too, not dH alone.
    pub with_weight: bool,
    pub rows: usize,
    pub d: usize,
    pub vocab: usize,
    pub threads: usize,
    pub targets: Vec<i64>,
    folder: PathBuf,
}

/// Hidden states `[rows × d]` and weights `[vocab × d]`.
#[derive(Debug)]
pub enum Operands {
    F32(Vec<f32>, Vec<f32>),
    Bf16(Vec<bf16>, Vec<bf16>),
}

impl Setup {
    /// The problem that the arguments name.
    pub fn read(arguments: &[&str]) -> Result<(Self, Operands)> {
        let &[task, dtype, rows, d, vocab, threads, folder] = arguments else {
            return Err("setup takes task, dtype, rows, d, vocab, threads, folder".into());
        };
        let with_weight = match task {
            "both" => true,
            "hidden" => false,
            _ => return Err(format!("unknown task {task}").into()),
        };
        let [rows, d, vocab, threads] = [rows, d, vocab, threads].map(str::parse::<usize>);
        let (rows, d, vocab, threads) = (rows?, d?, vocab?, threads?);
        let folder = PathBuf::from(folder);
        let (hidden, weight) = (folder.join("hidden"), folder.join("weight"));
        let operands = match dtype {
            "f32" => Operands::F32(read(&hidden, rows * d)?, read(&weight, vocab * d)?),
            "bf16" => Operands::Bf16(read(&hidden, rows * d)?, read(&weight, vocab * d)?),
            _ => return Err(format!("unknown dtype {dtype}").into()),
        };
        let targets = read(&folder.join("targets"), rows)?;
        Ok((Self { with_weight, rows, d, vocab, threads, targets, folder }, operands))
    }

    /// Leaves a gradient for the driver: `dhidden` or `dweight`.
    pub fn save<T: Pod>(&self, name: &str, gradient: &[T]) -> Result<()> {
        write(&self.folder.join(name), gradient)
    }
}
