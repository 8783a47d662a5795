//! Records the stages into the caller's encoder.

use surprisal::backend::{Plan, PlanOptions};
use surprisal::objective::{Objective, TokenTerm};
use surprisal::{Argument, Batch, Error as LossError, ExtrasScale, RowStats};

use crate::binder::GROUP;
use crate::call::Call;
use crate::error::Error;
use crate::layout::Params;
use crate::matrix::Matrix;
use crate::pipelines::Pipelines;
use crate::recorder::Recorder;
use crate::rows::{Rows, narrow};
use crate::shader::Destination;

/// Workgroups that keep a large device busy; it does not tell how many it can run.
pub(crate) const BUSY: u32 = 512;
/// Columns up to which rows share a workgroup.
const SHORT_ROW: u32 = 2048;

/// Where the gradient goes.
#[derive(Clone, Copy, Debug)]
pub enum Gradient<'a> {
    /// Over the logits.
    InPlace,
    /// To another matrix of the same rows and columns, of any type. It may lie in the logits' buffer, where it shares no packet of 16 bytes with
    /// them.
    To(Matrix<'a>),
}

impl<'a> Gradient<'a> {
    /// The matrix that is written.
    pub(crate) fn of(&self, logits: Matrix<'a>) -> Matrix<'a> {
        match *self {
            Self::InPlace => logits,
            Self::To(result) => result,
        }
    }

    pub(crate) fn destination(&self, logits: &Matrix<'_>) -> Destination {
        match self {
            Self::InPlace => Destination::InPlace,
            Self::To(result) if result.buffer == logits.buffer => Destination::SameBuffer,
            Self::To(_) => Destination::Separate,
        }
    }
}

impl<O: Objective> Pipelines<'_, O> {
    /// Records statistics and loss of every row, by any objective.
    ///
    /// # Errors
    /// [`Error::Loss`] as [`Loss::forward`](surprisal::Loss::forward), [`Error::Types`], [`Error::Limit`].
    pub fn forward(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
    ) -> Result<Call, Error> {
        if self.is_grouped() {
            return self.record_uploaded(encoder, logits, batch, None);
        }
        check_whole(&logits)?;
        self.row_stats(encoder, logits, batch)
    }

    /// Records loss and gradient.
    ///
    /// # Errors
    /// As [`Pipelines::forward`], and [`Error::Buffer`] where gradient and logits overlap.
    pub fn forward_backward(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
        gradient: Gradient<'_>,
    ) -> Result<Call, Error> {
        self.check_gradient(&logits, &gradient)?;
        if self.is_grouped() {
            return self.record_uploaded(encoder, logits, batch, Some(gradient));
        }
        check_whole(&logits)?;
        let call = self.begin(logits, batch)?;
        self.record_all(&mut self.recorder(encoder), logits, &call, 0, &gradient)?;
        Ok(call)
    }

    /// Records stage 1 alone: statistics of every row, of whole rows or of a vocabulary shard. Read them with
    /// [`RowResults::row_stats`](crate::RowResults::row_stats).
    ///
    /// # Errors
    /// As [`Pipelines::forward`], but for any objective.
    pub fn row_stats(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
    ) -> Result<Call, Error> {
        let call = self.begin(logits, batch)?;
        let mut recorder = self.recorder(encoder);
        self.record_stats(&mut recorder, logits, &call, 0)?;
        self.record_terms(&mut recorder, logits.rows, &call, 0);
        drop(recorder);
        Ok(call)
    }

    /// Records stage 3 alone: the gradient of every row, of whole rows or of a shard, from (merged) statistics and terms on the host.
    ///
    /// # Errors
    /// As [`Pipelines::forward_backward`], for any objective; `stats` and `terms` have one entry a row.
    pub fn logits_grad(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
        stats: &[RowStats],
        terms: &[TokenTerm],
        gradient: Gradient<'_>,
    ) -> Result<(), Error> {
        self.check_gradient(&logits, &gradient)?;
        check_known(logits.rows as usize, stats, terms)?;
        let call = self.begin_with(logits, batch, |plan, params| {
            Rows::from_host(plan, params, stats, terms)
        })?;
        self.record_gradient(&mut self.recorder(encoder), logits, &call, 0, &gradient, false)
    }

    /// Whether the objective is a group objective.
    pub(crate) fn is_grouped(&self) -> bool {
        self.loss.objective().group_plan().is_some()
    }

    pub(crate) fn check_gradient(
        &self,
        logits: &Matrix<'_>,
        gradient: &Gradient<'_>,
    ) -> Result<(), Error> {
        let result = match gradient {
            Gradient::InPlace if self.result != self.logits => return Err(Error::Types),
            Gradient::InPlace => return Ok(()),
            Gradient::To(result) => result,
        };
        if result.dtype != self.result {
            return Err(Error::Types);
        }
        if (result.rows, result.vocab) != (logits.rows, logits.vocab) {
            return Err(LossError::Shape { argument: Argument::Dlogits }.into());
        }
        let place = (result.vocab_start, result.vocab_total);
        if result.vocab != result.vocab_total && place != (logits.vocab_start, logits.vocab_total) {
            let (vocab_start, vocab_total) = (place.0 as usize, place.1 as usize);
            let argument = Argument::Dlogits;
            return Err(LossError::OtherShard { argument, vocab_start, vocab_total }.into());
        }
        if result.overlaps(logits) {
            let message = "shares packets with the logits: use Gradient::InPlace or another place";
            return Err(Error::Buffer { name: "dlogits", message });
        }
        Ok(())
    }

    pub(crate) fn recorder<'e>(&'e self, encoder: &'e mut wgpu::CommandEncoder) -> Recorder<'e> {
        Recorder::new(&self.binder, encoder)
    }

    fn begin(&self, logits: Matrix<'_>, batch: &Batch<'_>) -> Result<Call, Error> {
        self.begin_with(logits, batch, |plan, _| Rows::from_plan(plan))
    }

    /// Checks the call and puts what it needs of every row on the device.
    fn begin_with(
        &self,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
        rows: impl FnOnce(&Plan<'_, O>, &Params) -> Rows,
    ) -> Result<Call, Error> {
        if logits.dtype != self.logits {
            return Err(Error::Types);
        }
        let (params, rows) = self.rows_of(&logits, batch, logits.rows, rows)?;
        Call::new(&self.binder, params, &rows)
    }

    /// Checks a batch of so many rows, all of which or a chunk of which have these logits, and says what the device needs of each.
    pub(crate) fn rows_of(
        &self,
        logits: &Matrix<'_>,
        batch: &Batch<'_>,
        expected: u32,
        rows: impl FnOnce(&Plan<'_, O>, &Params) -> Rows,
    ) -> Result<(Params, Rows), Error> {
        let plan = self.loss.plan(batch, logits.vocab_total as usize)?;
        let params = params(logits, &plan.options());
        let (expected, actual) = (expected as usize, batch.range().len());
        if actual != expected {
            let argument = Argument::Targets;
            return Err(LossError::Length { argument, expected, actual }.into());
        }
        let rows = rows(&plan, &params);
        Ok((params, rows))
    }
}

pub(crate) fn check_whole(logits: &Matrix<'_>) -> Result<(), Error> {
    let is_whole = logits.vocab == logits.vocab_total;
    if is_whole { Ok(()) } else { Err(LossError::NeedsWholeRows.into()) }
}

/// Checks that there are statistics and terms of so many rows.
pub(crate) fn check_known(
    rows: usize,
    stats: &[RowStats],
    terms: &[TokenTerm],
) -> Result<(), Error> {
    for (argument, actual) in [(Argument::Stats, stats.len()), (Argument::Terms, terms.len())] {
        if actual != rows {
            return Err(LossError::Length { argument, expected: rows, actual }.into());
        }
    }
    Ok(())
}

/// The uniforms of a call. Where its rows lie is told chunk by chunk.
pub(crate) fn params(logits: &Matrix<'_>, options: &PlanOptions<'_>) -> Params {
    Params {
        rows: logits.rows,
        vocab: logits.vocab,
        splits: if is_short(logits.vocab) { 1 } else { splits(logits) },
        logits_stride: logits.row_stride,
        vocab_start: logits.vocab_start,
        ..of_options(options)
    }
}

/// The options among the uniforms.
pub(crate) fn of_options(options: &PlanOptions<'_>) -> Params {
    let extras = options.extras;
    Params {
        class_weights: u32::from(options.class_weights.is_some()),
        extras_scale: u32::from(options.extras_scale == ExtrasScale::Objective),
        moments: u32::from(options.moments),
        logit_scale: options.logit_scale,
        softcap: options.softcap.unwrap_or(0.0),
        spread: if options.softcap.is_some() { 1.0 } else { options.logit_scale },
        label_smoothing: narrow(extras.label_smoothing),
        smoothing_per_class: narrow(extras.smoothing_per_class),
        class_weight_sum: narrow(extras.class_weight_sum),
        z_loss: narrow(extras.z_loss),
        ..Params::default()
    }
}

/// Whether rows share workgroups.
pub(crate) fn is_short(vocab: u32) -> bool {
    vocab <= SHORT_ROW
}

/// Workgroups that share a row, where there are too few rows to keep the device busy.
fn splits(logits: &Matrix<'_>) -> u32 {
    let packets = logits.vocab / logits.dtype.packet();
    let most = (packets / (4 * GROUP)).max(1);
    BUSY.div_ceil(logits.rows.max(1)).clamp(1, most)
}
