//! surprisal-linear as a worker, and the yardstick: the bare matrix products of the same library, the logits whole.
//!
//! Its ways are the rows of a chunk (0: as many as the library recommends) and `products`, which are made in f32 and of the rows that are not ignored.

use std::thread::sleep;
use std::time::Duration;

use bytemuck::Pod;
use rayon::{ThreadPool, ThreadPoolBuilder};
use surprisal::{Batch, Loss, Outputs, objective::Sft};
use surprisal_linear::{
    DefaultGemm, Gemm, Gradients, LinearLoss, Matrix, MatrixMut, OwnedWorkspace, Scalar,
    WorkspaceLen,
};
use surprisal_peers::linear::{IGNORED, Operands, Setup};
use surprisal_peers::{Result, Worker, serve};

fn main() -> Result<()> {
    serve(|arguments| {
        Ok(match Setup::read(arguments)? {
            (setup, Operands::F32(hidden, weight)) => Box::new(Ours::new(setup, hidden, weight)?),
            (setup, Operands::Bf16(hidden, weight)) => Box::new(Ours::new(setup, hidden, weight)?),
        })
    })
}

struct Ours<T> {
    setup: Setup,
    hidden: Vec<T>,
    weight: Vec<T>,
    dhidden: Vec<T>,
    dweight: Vec<f32>,
    /// Empty until a call needs it.
    workspace: OwnedWorkspace,
    len: Option<WorkspaceLen>,
    /// Empty until they are asked for.
    bare: Bare,
    pool: ThreadPool,
}

/// What the bare products read and write.
#[derive(Default)]
struct Bare {
    rows: usize,
    hidden: Vec<f32>,
    weight: Vec<f32>,
    logits: Vec<f32>,
    dhidden: Vec<f32>,
}

impl<T: Scalar + Pod> Ours<T> {
    fn new(setup: Setup, hidden: Vec<T>, weight: Vec<T>) -> Result<Self> {
        let Setup { d, vocab, threads, with_weight, .. } = setup;
        let dhidden = hidden.clone();
        // Written, so that its pages are there.
        let dweight = (0..if with_weight { vocab * d } else { 0 }).map(|i| i as f32).collect();
        let (workspace, bare, pool) = (OwnedWorkspace::default(), Bare::default(), pool(threads)?);
        Ok(Self { setup, hidden, weight, dhidden, dweight, workspace, len: None, bare, pool })
    }

    fn layer(&self) -> Result<LinearLoss<'_, Sft>> {
        let Setup { d, vocab, .. } = self.setup;
        Ok(LinearLoss::new(Loss::new(Sft), Matrix::new(&self.weight, vocab, d)?))
    }

    fn len(&self, what: &str) -> Result<WorkspaceLen> {
        let memory = self.layer()?.memory(self.setup.rows);
        Ok(memory.len(match what.parse()? {
            0 => memory.recommended_rows(),
            rows => rows,
        }))
    }

    fn loss(&mut self, what: &str) -> Result<f64> {
        let len = self.len(what)?;
        if self.len != Some(len) {
            (self.workspace, self.len) = (OwnedWorkspace::new(len), Some(len));
        }
        let Self { setup: Setup { rows, d, vocab, targets, .. }, pool, .. } = self;
        let layer = LinearLoss::new(Loss::new(Sft), Matrix::new(&self.weight, *vocab, *d)?);
        let hidden = Matrix::new(&self.hidden, *rows, *d)?;
        let mut gradients = Gradients::new().hidden(MatrixMut::new(&mut self.dhidden, *rows, *d)?);
        if !self.dweight.is_empty() {
            gradients = gradients.weight(MatrixMut::new(&mut self.dweight, *vocab, *d)?);
        }
        let batch = Batch::new(&*targets).ignore_index(IGNORED);
        let workspace = self.workspace.lend();
        let call = || layer.forward_backward(hidden, &batch, gradients, Outputs::new(), workspace);
        Ok(pool.install(call)?.loss)
    }

    fn prepare_products(&mut self) {
        let Setup { d, vocab, targets, .. } = &self.setup;
        let (hidden, targets) = (self.hidden.chunks_exact(*d), targets.iter());
        let active = hidden.zip(targets).filter(|(_, target)| **target != IGNORED);
        let hidden: Vec<f32> = active.flat_map(|(row, _)| row).map(|&x| x.to_f32()).collect();
        let rows = hidden.len() / d;
        let weight = self.weight.iter().map(|&x| x.to_f32()).collect();
        let (logits, dhidden) = (vec![1.0; rows * vocab], hidden.clone());
        self.bare = Bare { rows, hidden, weight, logits, dhidden };
    }

    fn products(&mut self) -> Result<()> {
        let Setup { d, vocab, .. } = self.setup;
        let Bare { rows, hidden, weight, logits, dhidden } = &mut self.bare;
        let (hidden, weight) = (Matrix::new(hidden, *rows, d)?, Matrix::new(weight, vocab, d)?);
        let z = MatrixMut::new(logits, *rows, vocab)?;
        self.pool.install(|| DefaultGemm.product(hidden, weight.transposed(), 0.0, z));
        let dz = Matrix::new(logits, *rows, vocab)?;
        let dhidden = MatrixMut::new(dhidden, *rows, d)?;
        self.pool.install(|| DefaultGemm.product(dz, weight, 0.0, dhidden));
        if !self.dweight.is_empty() {
            let dweight = MatrixMut::new(&mut self.dweight, vocab, d)?;
            self.pool.install(|| DefaultGemm.product(dz.transposed(), hidden, 1.0, dweight));
        }
        Ok(())
    }
}

fn pool(threads: usize) -> Result<ThreadPool> {
    Ok(ThreadPoolBuilder::new().num_threads(threads).build()?)
}

impl<T: Scalar + Pod> Worker for Ours<T> {
    fn prepare(&mut self, what: &str) -> Result<()> {
        if what == "products" && self.bare.rows == 0 {
            self.prepare_products();
        }
        self.dweight.fill(0.0);
        Ok(())
    }

    fn call(&mut self, what: &str) -> Result<f64> {
        if what == "products" {
            return self.products().map(|()| f64::NAN);
        }
        self.loss(what)
    }

    /// The workspace, and what the products' library keeps in the memory of each thread: those of a pool that is dropped end a moment later.
    fn release(&mut self, _what: &str) {
        (self.workspace, self.len) = (OwnedWorkspace::default(), None);
        if let Ok(pool) = pool(self.setup.threads) {
            self.pool = pool;
        }
        sleep(Duration::from_millis(200));
    }

    fn save(&self) -> Result<()> {
        self.setup.save("dhidden", &self.dhidden)?;
        self.setup.save("dweight", &self.dweight)
    }

    fn stated(&self, what: &str) -> Option<usize> {
        self.len(what).ok().map(WorkspaceLen::bytes)
    }
}
