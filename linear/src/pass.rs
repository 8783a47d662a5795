//! The passes over a batch, chunk by chunk: hidden states to logits, the loss of each run of rows, and back.

use core::mem::take;
use core::ops::Range;

use surprisal::objective::{Objective, TokenTerm};
use surprisal::{Batch, Error, LogitsMut, Loss, LossReport, Outputs, RowStats};

use crate::any::AnyMatrix;
use crate::chunks::{Chunk, active, chunks, only_run, runs};
use crate::gemm::Gemm;
use crate::gradients::Gradients;
use crate::matrix::{Matrix, MatrixMut};
use crate::parallel::{MOST_TASKS, TASK_ELEMENTS, each};
use crate::products::Products;
use crate::workspace::{Scratch, Workspace};

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
            pass.logits(&chunk);
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
            pass.logits(&chunk);
            let report = pass.each_run(&chunk, outputs, &|z, batch, outputs| {
                let none = surprisal::Workspace::none();
                loss.forward_backward_in_place_with(z, batch, outputs, none)
            })?;
            pass.gradients(&chunk, &mut gradients);
            Ok(report)
        })
    }

    /// All stages of an objective with a group pass: statistics of every chunk, the terms, then every chunk again.
    pub(crate) fn grouped(
        &mut self,
        gradients: Option<Gradients<'_>>,
        mut outputs: Outputs<'_>,
        workspace: Workspace<'_>,
    ) -> Result<LossReport, Error> {
        let (rows, vocab) = (self.hidden.rows(), self.products.weight.rows());
        let Workspace { stats, terms, scalars, .. } = workspace;
        let (stats, terms) = (&mut stats[..rows], &mut terms[..rows]);
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
            pass.logits(&chunk);
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
                pass.logits(&chunk);
            }
            let report = pass.each_run(&chunk, outputs, &|z, batch, _| {
                let Range { start: first, end } = batch.range();
                let local = first - start..end - start;
                loss.logits_grad_in_place(z, batch, &stats[local.clone()], &terms[local])?;
                Ok(LossReport::default())
            });
            pass.gradients(&chunk, &mut gradients);
            report
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
        F: Fn(LogitsMut<'_, f32>, &Batch<'_>, Outputs<'_>) -> Result<LossReport, Error> + Sync,
    {
        let vocab = self.products.weight.rows();
        let runs = Runs { batch: self.batch, shard: self.shard, vocab, stride: self.stride };
        let mut logits = &mut self.scratch.logits[..chunk.active * self.stride];
        let mut reports = [const { Ok(None) }; MOST_TASKS];
        let rows = TASK_ELEMENTS.div_ceil(self.stride).max(chunk.active.div_ceil(MOST_TASKS));
        let batch = self.batch.row_range(chunk.rows.clone());
        let parts = chunks(&batch, rows).zip(&mut reports).map(|(part, report)| {
            let (now, later) = take(&mut logits).split_at_mut(part.active * self.stride);
            let (asked, rest) = take(&mut outputs).split_at(part.rows.len());
            (logits, outputs) = (later, rest);
            (part.rows, now, asked, report)
        });
        each(self.products.gemm, parts, |(rows, logits, outputs, report)| {
            *report = runs.each(rows, logits, outputs, visit).map(Some);
        });
        let mut sum = LossReport::default();
        for report in reports {
            sum = report?.map_or(sum, |report| sum.merge(report));
        }
        Ok(sum)
    }

    /// The logits of a chunk's active rows.
    fn logits(&mut self, chunk: &Chunk) {
        if chunk.active == 0 {
            return;
        }
        let Scratch { panel, hidden, logits, .. } = &mut self.scratch;
        let hidden = gathered(self.products.gemm, &self.batch, chunk, self.hidden, hidden);
        let logits = &mut logits[..chunk.active * self.stride];
        self.products.logits(hidden, logits, self.stride, panel);
    }

    /// The gradients of a chunk, whose logits have become their own.
    fn gradients(&mut self, chunk: &Chunk, gradients: &mut Gradients<'_>) {
        let (products, stride, batch) = (&self.products, self.stride, &self.batch);
        let Scratch { panel, hidden: scratch, logits, .. } = &mut self.scratch;
        let dlogits = &logits[..chunk.active * stride];
        if chunk.active > 0 {
            if let Some(dweight) = &mut gradients.weight {
                // Still there if it was gathered: the loss has no use for it.
                let hidden = known(batch, chunk, self.hidden, scratch);
                products.dweight(hidden, dlogits, stride, panel, dweight);
            }
            if let Some(dbias) = &mut gradients.bias {
                products.dbias(dlogits, stride, dbias);
            }
        }
        let Some(dhidden) = &mut gradients.hidden else { return };
        let (start, d) = (batch.range().start, products.weight.cols());
        let local = |run: Range<usize>| run.start - start..run.end - start;
        for (run, _) in runs(batch, chunk.rows.clone()).filter(|(_, is_active)| !is_active) {
            dhidden.rows_mut(local(run)).clear();
        }
        if chunk.active == 0 {
            return;
        }
        if let Some(run) = only_run(batch, chunk)
            && let Some(dhidden) = dhidden.rows_mut(local(run)).as_f32()
        {
            return products.dhidden(dlogits, stride, panel, dhidden);
        }
        let scratch = &mut scratch[..chunk.active * d];
        let rows = MatrixMut::new(scratch, chunk.active, d).expect("has room for the rows");
        products.dhidden(dlogits, stride, panel, rows);
        let mut from = &*scratch;
        for (run, _) in runs(batch, chunk.rows.clone()).filter(|(_, is_active)| *is_active) {
            let (now, later) = from.split_at(run.len() * d);
            let now = Matrix::new(now, run.len(), d).expect("has the rows");
            dhidden.rows_mut(local(run)).narrow(now);
            from = later;
        }
    }
}

/// Hidden states of a chunk's active rows in f32: where they are if they are neighbours of f32, else gathered in the scratch.
fn gathered<'s>(
    threads: &dyn Gemm,
    batch: &Batch<'_>,
    chunk: &Chunk,
    hidden: AnyMatrix<'s>,
    scratch: &'s mut [f32],
) -> Matrix<'s, f32> {
    if in_place(batch, chunk, hidden).is_none() {
        let (start, d) = (batch.range().start, hidden.cols());
        let mut to = &mut scratch[..chunk.active * d];
        for (run, _) in runs(batch, chunk.rows.clone()).filter(|(_, is_active)| *is_active) {
            let (now, later) = take(&mut to).split_at_mut(run.len() * d);
            hidden.row_range(run.start - start..run.end - start).widen_rows(threads, now);
            to = later;
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
) -> Matrix<'s, f32> {
    in_place(batch, chunk, hidden).unwrap_or_else(|| {
        let d = hidden.cols();
        Matrix::new(&scratch[..chunk.active * d], chunk.active, d).expect("has room for the rows")
    })
}

/// Hidden states of a chunk's active rows that need no copy.
fn in_place<'s>(
    batch: &Batch<'_>,
    chunk: &Chunk,
    hidden: AnyMatrix<'s>,
) -> Option<Matrix<'s, f32>> {
    let (hidden, start) = (hidden.as_f32()?, batch.range().start);
    only_run(batch, chunk).map(|run| hidden.row_range(run.start - start..run.end - start))
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
    ) -> Result<LossReport, Error>
    where
        F: Fn(LogitsMut<'_, f32>, &Batch<'_>, Outputs<'_>) -> Result<LossReport, Error>,
    {
        let mut report = LossReport::default();
        for (run, is_active) in runs(&self.batch, rows) {
            let (mut asked, rest) = outputs.split_at(run.len());
            outputs = rest;
            if !is_active {
                asked.fill_ignored();
                continue;
            }
            let (now, later) = take(&mut logits).split_at_mut(run.len() * self.stride);
            logits = later;
            let mut z = LogitsMut::strided(now, run.len(), self.vocab, self.stride)?;
            if let Some((vocab_start, vocab_total)) = self.shard {
                z = z.shard(vocab_start, vocab_total)?;
            }
            report = report.merge(visit(z, &self.batch.row_range(run), asked)?);
        }
        Ok(report)
    }
}
