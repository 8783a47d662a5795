//! The passes over a batch, chunk by chunk: hidden states to logits, the loss of each run of rows, and back.

use core::mem::take;
use core::ops::Range;

use surprisal::objective::{Objective, TokenTerm};
use surprisal::{Batch, LogitsMut, Loss, LossReport, Outputs, RowStats};

use crate::any::AnyMatrix;
use crate::chunks::{Chunk, active, chunks, only_run, runs};
use crate::error::Error;
use crate::gradients::Gradients;
use crate::matrix::{Matrix, MatrixMut};
use crate::parallel::{MOST_TASKS, Machine, TASK_ELEMENTS, each};
use crate::products::Products;
use crate::slices::{first, first_mut, next_mut};
use crate::workspace::{Scratch, Workspace};

/// What a loss returns.
type LossResult = Result<LossReport, surprisal::Error>;

/// A call that has been checked.
pub(crate) struct Pass<'c, 'a, 'b, O> {
    pub(crate) loss: &'c Loss<'a, O>,
    /// First class, and classes of the whole vocabulary, where the weights are a shard.
    pub(crate) shard: Option<(usize, usize)>,
    pub(crate) products: Products<'c>,
    pub(crate) hidden: AnyMatrix<'c>,
    pub(crate) batch: Batch<'b>,
    /// Entries from a row of a chunk's logits to the next.
    pub(crate) stride: usize,
    pub(crate) scratch: Scratch<'c>,
}

impl<O: Objective> Pass<'_, '_, '_, O> {
    /// The loss alone, of a per-token objective.
    pub(crate) fn forward(&mut self, outputs: Outputs<'_>) -> Result<LossReport, Error> {
        let loss = self.loss;
        self.each_chunk(outputs, |pass, chunk, outputs| {
            pass.logits(&chunk)?;
            pass.each_run(&chunk, outputs, &|z, batch, outputs| {
                loss.forward_with(z.as_logits(), batch, outputs, surprisal::Workspace::none())
            })
        })
    }

    /// Loss and gradients of a per-token objective.
    pub(crate) fn fused(
        &mut self,
        mut gradients: Gradients<'_>,
        outputs: Outputs<'_>,
    ) -> Result<LossReport, Error> {
        let loss = self.loss;
        self.each_chunk(outputs, |pass, chunk, outputs| {
            pass.logits(&chunk)?;
            let report = pass.each_run(&chunk, outputs, &|z, batch, outputs| {
                let none = surprisal::Workspace::none();
                loss.forward_backward_in_place_with(z, batch, outputs, none)
            })?;
            pass.gradients(&chunk, &mut gradients)?;
            Ok(report)
        })
    }

    /// All stages of a group objective: statistics of every chunk, the terms, then every chunk again.
    pub(crate) fn grouped(
        &mut self,
        gradients: Option<Gradients<'_>>,
        mut outputs: Outputs<'_>,
        workspace: Workspace<'_>,
    ) -> Result<LossReport, Error> {
        let (rows, vocab) = (self.hidden.rows(), self.products.weight.rows());
        let Workspace { stats, terms, scalars, .. } = workspace;
        let (stats, terms) = (first_mut(stats, rows), first_mut(terms, rows));
        self.stats(outputs.reborrow().stats(stats))?;
        let scalars = surprisal::Workspace::none().scalars(scalars);
        let loss = self.loss;
        let report = loss.token_terms_with(stats, &self.batch, vocab, terms, outputs, scalars)?;
        if let Some(gradients) = gradients {
            let still_there = active(&self.batch, self.batch.range()) <= self.scratch.rows;
            self.grad(stats, terms, gradients, still_there)?;
        }
        Ok(report)
    }

    /// Stage 1.
    pub(crate) fn stats(&mut self, outputs: Outputs<'_>) -> Result<(), Error> {
        let loss = self.loss;
        self.each_chunk(outputs, |pass, chunk, outputs| {
            pass.logits(&chunk)?;
            pass.each_run(&chunk, outputs, &|z, batch, outputs| {
                loss.row_stats_with(z.as_logits(), batch, outputs)?;
                Ok(LossReport::default())
            })
        })?;
        Ok(())
    }

    /// Stage 3. `still_there`: the logits of the only chunk are still in the scratch.
    pub(crate) fn grad(
        &mut self,
        stats: &[RowStats],
        terms: &[TokenTerm],
        mut gradients: Gradients<'_>,
        still_there: bool,
    ) -> Result<(), Error> {
        let (loss, start) = (self.loss, self.batch.range().start);
        self.each_chunk(Outputs::new(), |pass, chunk, outputs| {
            if !still_there {
                pass.logits(&chunk)?;
            }
            let report = pass.each_run(&chunk, outputs, &|z, batch, _| {
                let rows = from_start(batch.range(), start);
                let known = stats.get(rows.clone()).zip(terms.get(rows)).unwrap_or_default();
                loss.logits_grad_in_place(z, batch, known.0, known.1)?;
                Ok(LossReport::default())
            })?;
            pass.gradients(&chunk, &mut gradients)?;
            Ok(report)
        })?;
        Ok(())
    }

    /// Visits the chunks in order, each with its outputs; the sum of their reports.
    fn each_chunk(
        &mut self,
        mut outputs: Outputs<'_>,
        mut visit: impl FnMut(&mut Self, Chunk, Outputs<'_>) -> Result<LossReport, Error>,
    ) -> Result<LossReport, Error> {
        let (batch, mut report) = (self.batch, LossReport::default());
        for chunk in chunks(&batch, self.scratch.rows) {
            let (now, later) = outputs.split_at(chunk.rows.len());
            outputs = later;
            report = report.merge(visit(self, chunk, now)?);
        }
        Ok(report)
    }

    /// Hands every run of active rows its logits, its part of the batch and its outputs, parts of the chunk at the same time; the sum of their
    /// reports.
    fn each_run<F>(
        &mut self,
        chunk: &Chunk,
        mut outputs: Outputs<'_>,
        visit: &F,
    ) -> Result<LossReport, Error>
    where
        F: Fn(LogitsMut<'_, f32>, &Batch<'_>, Outputs<'_>) -> LossResult + Sync,
    {
        let vocab = self.products.weight.rows();
        let runs = Runs { batch: self.batch, shard: self.shard, vocab, stride: self.stride };
        let mut logits = first_mut(self.scratch.logits, chunk.active * self.stride);
        let mut reports = [const { Ok(None) }; MOST_TASKS];
        let rows =
            TASK_ELEMENTS.div_ceil(self.stride.max(1)).max(chunk.active.div_ceil(MOST_TASKS));
        let batch = self.batch.row_range(chunk.rows.clone());
        let parts = chunks(&batch, rows).zip(&mut reports).map(|(part, report)| {
            let (asked, rest) = take(&mut outputs).split_at(part.rows.len());
            outputs = rest;
            (part.rows, next_mut(&mut logits, part.active * self.stride), asked, report)
        });
        each(self.products.machine.gemm, parts, |(rows, logits, outputs, report)| {
            *report = runs.each(rows, logits, outputs, visit).map(Some);
        });
        let mut sum = LossReport::default();
        for report in reports {
            sum = report?.map_or(sum, |report| sum.merge(report));
        }
        Ok(sum)
    }

    /// The logits of a chunk's active rows.
    fn logits(&mut self, chunk: &Chunk) -> Result<(), Error> {
        if chunk.active == 0 {
            return Ok(());
        }
        let Scratch { panel, hidden, logits, .. } = &mut self.scratch;
        let hidden = gathered(self.products.machine, &self.batch, chunk, self.hidden, hidden)?;
        let logits = first_mut(logits, chunk.active * self.stride);
        self.products.logits(hidden, logits, self.stride, panel)
    }

    /// The gradients of a chunk, whose logits have become their own.
    fn gradients(&mut self, chunk: &Chunk, gradients: &mut Gradients<'_>) -> Result<(), Error> {
        let (products, stride, batch) = (&self.products, self.stride, &self.batch);
        let Scratch { panel, hidden: scratch, logits, .. } = &mut self.scratch;
        let dlogits = first(logits, chunk.active * stride);
        if chunk.active > 0 {
            if let Some(dweight) = &mut gradients.weight {
                // Still there if it was gathered: the loss has no use for it.
                let hidden = known(batch, chunk, self.hidden, scratch)?;
                products.dweight(hidden, dlogits, stride, panel, dweight)?;
            }
            if let Some(dbias) = &mut gradients.bias {
                products.dbias(dlogits, stride, dbias);
            }
        }
        let Some(dhidden) = &mut gradients.hidden else { return Ok(()) };
        let (start, d) = (batch.range().start, products.weight.cols());
        for (run, _) in runs(batch, chunk.rows.clone()).filter(|(_, is_active)| !is_active) {
            dhidden.rows_mut(from_start(run, start)).clear();
        }
        if chunk.active == 0 {
            return Ok(());
        }
        if let Some(run) = only_run(batch, chunk)
            && let Some(dhidden) = dhidden.rows_mut(from_start(run, start)).as_f32()
        {
            return products.dhidden(dlogits, stride, panel, dhidden);
        }
        let mut from = first_mut(scratch, chunk.active * d);
        let rows = MatrixMut::new(&mut *from, chunk.active, d)?;
        products.dhidden(dlogits, stride, panel, rows)?;
        for (run, _) in runs(batch, chunk.rows.clone()).filter(|(_, is_active)| *is_active) {
            let rows = Matrix::new(next_mut(&mut from, run.len() * d), run.len(), d)?;
            dhidden.rows_mut(from_start(run, start)).narrow(products.machine.level, rows);
        }
        Ok(())
    }
}

/// Rows of a batch as those of a range that starts there.
fn from_start(rows: Range<usize>, start: usize) -> Range<usize> {
    rows.start - start..rows.end - start
}

/// Hidden states of a chunk's active rows in f32: where they are if they are neighbours of f32, else gathered in the scratch.
fn gathered<'s>(
    machine: Machine<'_>,
    batch: &Batch<'_>,
    chunk: &Chunk,
    hidden: AnyMatrix<'s>,
    scratch: &'s mut [f32],
) -> Result<Matrix<'s, f32>, Error> {
    if in_place(batch, chunk, hidden).is_none() {
        let (start, d) = (batch.range().start, hidden.cols());
        let mut to = first_mut(scratch, chunk.active * d);
        for (run, _) in runs(batch, chunk.rows.clone()).filter(|(_, is_active)| *is_active) {
            let to = next_mut(&mut to, run.len() * d);
            hidden.row_range(from_start(run, start)).widen_rows(machine, to);
        }
    }
    known(batch, chunk, hidden, scratch)
}

/// What [`gathered`] has returned for the same chunk.
fn known<'s>(
    batch: &Batch<'_>,
    chunk: &Chunk,
    hidden: AnyMatrix<'s>,
    scratch: &'s [f32],
) -> Result<Matrix<'s, f32>, Error> {
    let d = hidden.cols();
    let gathered = || Matrix::new(first(scratch, chunk.active * d), chunk.active, d);
    in_place(batch, chunk, hidden).map_or_else(gathered, Ok)
}

/// Hidden states of a chunk's active rows that need no copy.
fn in_place<'s>(
    batch: &Batch<'_>,
    chunk: &Chunk,
    hidden: AnyMatrix<'s>,
) -> Option<Matrix<'s, f32>> {
    let (hidden, start) = (hidden.as_f32()?, batch.range().start);
    only_run(batch, chunk).map(|run| hidden.row_range(from_start(run, start)))
}

/// How the logits of a chunk are handed out.
#[derive(Clone, Copy, Debug)]
struct Runs<'b> {
    batch: Batch<'b>,
    shard: Option<(usize, usize)>,
    vocab: usize,
    stride: usize,
}

impl Runs<'_> {
    /// The runs among these rows, one after the other. `logits` are those of the active rows.
    fn each<F>(
        &self,
        rows: Range<usize>,
        mut logits: &mut [f32],
        mut outputs: Outputs<'_>,
        visit: &F,
    ) -> LossResult
    where
        F: Fn(LogitsMut<'_, f32>, &Batch<'_>, Outputs<'_>) -> LossResult,
    {
        let mut report = LossReport::default();
        for (run, is_active) in runs(&self.batch, rows) {
            let (mut asked, rest) = outputs.split_at(run.len());
            outputs = rest;
            if !is_active {
                asked.fill_ignored();
                continue;
            }
            let z = next_mut(&mut logits, run.len() * self.stride);
            let mut z = LogitsMut::strided(z, run.len(), self.vocab, self.stride)?;
            if let Some((vocab_start, vocab_total)) = self.shard {
                z = z.shard(vocab_start, vocab_total)?;
            }
            report = report.merge(visit(z, &self.batch.row_range(run), asked)?);
        }
        Ok(report)
    }
}
