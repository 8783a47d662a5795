//! The ways through the library that are measured: an objective, and where its gradient goes.

use surprisal::objective::{Builtin, Sft, TalrAuto};
use surprisal::{Batch, Level, Logits, LogitsMut, Loss, LossReport, Outputs, OwnedWorkspace};

use crate::data::{Data, Dtype};
use crate::shape::Shape;
use crate::yardstick::Yardstick;

/// Objectives of one class take the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Plain SFT: everything in one pass while a row is in cache.
    Token,
    /// TALR with automatic temperature: statistics of the whole batch first, then the gradient.
    Batch,
}

/// Where the gradient goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere: loss only.
    Forward,
    /// Over the logits.
    InPlace,
    /// Into another buffer of the same type.
    Separate,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Forward, Self::InPlace, Self::Separate];
}

/// One way through the library.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// The objective's class.
    pub class: Class,
    /// Where the gradient goes.
    pub target: Target,
    /// SIMD level.
    pub level: Level,
}

/// What the caller owns besides the logits, allocated before the first call.
#[derive(Debug)]
pub struct Workspace {
    owned: OwnedWorkspace,
    threads: usize,
}

impl Workspace {
    /// For this matrix and this many threads.
    #[must_use]
    pub fn new(Shape { rows, vocab }: Shape, threads: usize) -> Self {
        let mut owned = OwnedWorkspace::new();
        let _ = owned.lend_to(threads, rows, vocab);
        Self { owned, threads }
    }
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Token, Self::Batch];

    /// The objective that stands for the class.
    #[must_use]
    pub fn objective(self) -> Builtin {
        match self {
            Self::Token => Sft.into(),
            Self::Batch => TalrAuto::default().into(),
        }
    }
}

impl Path {
    /// Its name in the tables.
    #[must_use]
    pub fn name(&self) -> String {
        let target = match self.target {
            Target::Forward => "forward",
            Target::InPlace => "in-place",
            Target::Separate => "separate",
        };
        format!("{}/{target}", self.class.objective().name())
    }

    /// What moves the same bytes: a batch-wide objective with a gradient reads the logits once more.
    #[must_use]
    pub fn yardsticks(&self) -> &'static [Yardstick] {
        match (self.target, self.class) {
            (Target::Forward, _) => &[Yardstick::Read],
            (Target::InPlace, Class::Token) => &[Yardstick::Rmw],
            (Target::InPlace, Class::Batch) => &[Yardstick::Read, Yardstick::Rmw],
            (Target::Separate, Class::Token) => &[Yardstick::Memcpy],
            (Target::Separate, Class::Batch) => &[Yardstick::Read, Yardstick::Memcpy],
        }
    }

    /// Loss, and gradient where the path has one, of `logits` (the data's, or a copy that may be overwritten).
    ///
    /// # Errors
    /// None, for sound data.
    pub fn run<T: Dtype>(
        &self,
        data: &Data<T>,
        logits: &mut [T],
        output: &mut [T],
        workspace: &mut Workspace,
    ) -> Result<LossReport, surprisal::Error> {
        let (rows, vocab) = (data.shape.rows, data.shape.vocab);
        let loss = Loss::new(self.class.objective()).level(self.level);
        let batch = Batch::new(&data.targets).sequences(&data.sequences);
        let (outputs, Workspace { owned, threads }) = (Outputs::new(), workspace);
        let workspace = owned.lend_to(*threads, rows, vocab);
        match self.target {
            Target::Forward => {
                let logits = Logits::new(logits, rows, vocab)?;
                loss.forward_with(logits, &batch, outputs, workspace)
            }
            Target::InPlace => {
                let logits = LogitsMut::new(logits, rows, vocab)?;
                loss.forward_backward_in_place_with(logits, &batch, outputs, workspace)
            }
            Target::Separate => {
                let logits = Logits::new(logits, rows, vocab)?;
                let output = LogitsMut::new(output, rows, vocab)?;
                loss.forward_backward_with(logits, &batch, output, outputs, workspace)
            }
        }
    }
}
