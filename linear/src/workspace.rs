//! Memory that calls are lent: how much they want, and what a budget buys.

use surprisal::RowStats;
use surprisal::objective::{Scalars, TokenTerm};

use crate::error::{Error, check_room};
use crate::slices::next_mut;

/// Elements of a panel of weights that are converted to f32 at once (4 MiB): enough that a product over it is efficient.
const PANEL_ELEMENTS: usize = 1 << 20;

/// Rows of a chunk from which on more rows gain little: each chunk walks over the weights, for a product, as often as all rows at once would.
const EFFICIENT_ROWS: usize = 512;

/// f32 entries of a cache line.
const LINE: usize = 16;

/// What calls of one shape want of memory, from [`LinearLoss::memory`](crate::LinearLoss::memory); in bytes, where nothing else is said.
///
/// # Formula
/// For chunks of `c` rows: `4·(c·(V' + d) + panel)` bytes, where V' is the vocabulary rounded up to an odd number of cache lines, so that columns
/// do not share their place in the cache, and `panel` is 0 for f32 weights, for 16-bit ones at most 2^20 or one class of d. Objectives with a group
/// pass want statistics, terms and scalars of every row of the batch besides.
///
/// ```
/// use surprisal::{Loss, objective::Sft};
/// use surprisal_linear::{LinearLoss, Matrix, OwnedWorkspace};
///
/// let w = [0.0_f32; 1000 * 64];
/// let layer = LinearLoss::new(Loss::new(Sft), Matrix::new(&w, 1000, 64)?);
/// let memory = layer.memory(8192);
/// assert_eq!(memory.chunk_rows(memory.recommended()), 512);
/// assert_eq!(memory.chunk_rows(memory.least() - 1), 0);
/// let workspace = OwnedWorkspace::new(memory.len(64)); // less memory, more chunks
/// # let _ = workspace;
/// # Ok::<(), surprisal_linear::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Rows of a call.
    rows: usize,
    pub(crate) logits_stride: usize,
    d: usize,
    panel: usize,
    grouped: bool,
}

/// How much a [`Workspace`] wants, in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkspaceLen {
    /// Of [`Workspace::new`], in f32.
    pub scratch: usize,
    /// Of each part of [`Workspace::group`].
    pub group: usize,
}

impl WorkspaceLen {
    /// The same in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.scratch.saturating_mul(size_of::<f32>()).saturating_add(group_bytes(self.group))
    }
}

const fn group_bytes(rows: usize) -> usize {
    let row = size_of::<RowStats>() + size_of::<TokenTerm>() + size_of::<Scalars>();
    rows.saturating_mul(row)
}

impl Memory {
    /// Of calls on so many rows over a layer `[vocab × d]`, by themselves: whether its weights are of 16 bits, and whether the objective has a group
    /// pass.
    #[must_use]
    pub fn new(rows: usize, (vocab, d): (usize, usize), is_16_bit: bool, grouped: bool) -> Self {
        let lines = vocab.div_ceil(LINE) | 1;
        let classes = (PANEL_ELEMENTS / d.max(1)).clamp(1, vocab.max(1));
        let panel = if is_16_bit { classes.saturating_mul(d) } else { 0 };
        Self { rows, logits_stride: lines.saturating_mul(LINE), d, panel, grouped }
    }

    /// Entries of a workspace for chunks of so many rows, at least one.
    #[must_use]
    pub fn len(&self, chunk_rows: usize) -> WorkspaceLen {
        let chunk = chunk_rows.max(1).saturating_mul(self.row_len());
        WorkspaceLen {
            scratch: chunk.saturating_add(self.panel),
            group: if self.grouped { self.rows } else { 0 },
        }
    }

    /// Bytes below which no call is possible: chunks of one row.
    #[must_use]
    pub fn least(&self) -> usize {
        self.len(1).bytes()
    }

    /// Bytes beyond which a call gains little: chunks of 512 rows, or all rows of a shorter call.
    ///
    /// With [`DefaultGemm`](crate::DefaultGemm) on two cores, 1024 rows of d = 1024 and 16 000 classes took 1.06 times as long as the bare products in
    /// chunks of 512 rows, 1.09 in chunks of 256, 1.2 of 128 and 2 of 64.
    /// (`cargo bench -p surprisal-linear --features rayon -- --rounds 4 --chunk ROWS 1024x1024x16000`.)
    #[must_use]
    pub fn recommended(&self) -> usize {
        self.len(self.recommended_rows()).bytes()
    }

    /// The rows of a chunk in [`Memory::recommended`] bytes.
    #[must_use]
    pub fn recommended_rows(&self) -> usize {
        self.rows.clamp(1, EFFICIENT_ROWS)
    }

    /// Rows of a chunk that so many bytes give, at most those of the call; 0 below [`Memory::least`].
    #[must_use]
    pub fn chunk_rows(&self, bytes: usize) -> usize {
        let group = group_bytes(if self.grouped { self.rows } else { 0 });
        let scratch = bytes.checked_sub(group).map_or(0, |bytes| bytes / size_of::<f32>());
        self.rows_in(scratch).min(self.rows.max(1))
    }

    /// f32 entries that a row of a chunk takes: its logits, and its hidden state or the gradient of it.
    fn row_len(&self) -> usize {
        self.logits_stride.saturating_add(self.d)
    }

    fn rows_in(&self, scratch: usize) -> usize {
        scratch.saturating_sub(self.panel) / self.row_len().max(1)
    }
}

/// Memory that a call may use; what it holds afterwards means nothing. Rows of a chunk follow from its size ([`Memory`]).
#[derive(Debug, Default)]
pub struct Workspace<'a> {
    scratch: &'a mut [f32],
    pub(crate) stats: &'a mut [RowStats],
    pub(crate) terms: &'a mut [TokenTerm],
    pub(crate) scalars: &'a mut [Scalars],
}

/// The parts of a scratch.
#[derive(Debug)]
pub(crate) struct Scratch<'a> {
    /// Weights in f32.
    pub(crate) panel: &'a mut [f32],
    /// Hidden states of a chunk in f32, then their gradient.
    pub(crate) hidden: &'a mut [f32],
    pub(crate) logits: &'a mut [f32],
    /// Rows that there is room for.
    pub(crate) rows: usize,
}

impl<'a> Workspace<'a> {
    /// This scratch, which is enough for per-token objectives.
    #[must_use]
    pub fn new(scratch: &'a mut [f32]) -> Self {
        Self { scratch, ..Self::default() }
    }

    /// An entry a row of the batch, which group objectives need.
    #[must_use]
    pub fn group(
        mut self,
        stats: &'a mut [RowStats],
        terms: &'a mut [TokenTerm],
        scalars: &'a mut [Scalars],
    ) -> Self {
        (self.stats, self.terms, self.scalars) = (stats, terms, scalars);
        self
    }

    /// Checks that there is enough of everything.
    pub(crate) fn check(&self, memory: &Memory, grouped: bool) -> Result<(), Error> {
        let least = memory.len(1);
        check_room("scratch", self.scratch.len(), least.scratch)?;
        let rows = if grouped { least.group } else { 0 };
        check_room("stats", self.stats.len(), rows)?;
        check_room("terms", self.terms.len(), rows)?;
        check_room("scalars", self.scalars.len(), rows)
    }

    /// The parts of the scratch, which has been checked, and the rest of the workspace.
    pub(crate) fn cut(self, memory: &Memory) -> (Scratch<'a>, Self) {
        let rows = memory.rows_in(self.scratch.len());
        let mut rest = self.scratch;
        let logits = next_mut(&mut rest, rows * memory.logits_stride);
        let hidden = next_mut(&mut rest, rows * memory.d);
        let panel = next_mut(&mut rest, memory.panel);
        (Scratch { panel, hidden, logits, rows }, Self { scratch: &mut [], ..self })
    }
}
