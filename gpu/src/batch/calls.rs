//! The calls on device batches: the stages, with what checks and counts the batch before them and what adds up the report after them.

use surprisal::objective::{Objective, Token};
use surprisal::{Batch, Error as LossError};

use crate::batch::DeviceBatch;
use crate::batch::prepare::{Preparation, params_of};
use crate::batch::report::{DeviceCall, Reading};
use crate::batch::upload::Upload;
use crate::batch::workspace::Workspace;
use crate::call::Call;
use crate::error::Error;
use crate::matrix::Matrix;
use crate::pipelines::Pipelines;
use crate::record::{Gradient, check_whole, params};
use crate::recorder::Recorder;

impl<O: Objective> Pipelines<'_, O> {
    /// Records statistics and loss of every row, by any objective, of a batch in buffers of the device. The host waits for nothing.
    ///
    /// # Errors
    /// [`Error::Loss`] as [`Loss::forward`](surprisal::Loss::forward) of what the host knows, [`Error::Buffer`] where a column is too short or the
    /// workspace too small, [`Error::Types`], [`Error::Limit`]. What the device refuses, [`PendingReport`](crate::PendingReport) tells.
    pub fn forward_with(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        batch: &DeviceBatch<'_>,
        workspace: &Workspace,
    ) -> Result<DeviceCall, Error> {
        self.record_with(encoder, logits, batch, None, workspace)
    }

    /// Records loss and gradient, as [`Pipelines::forward_with`].
    ///
    /// # Errors
    /// As [`Pipelines::forward_with`] and [`Pipelines::forward_backward`].
    pub fn forward_backward_with(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        batch: &DeviceBatch<'_>,
        gradient: Gradient<'_>,
        workspace: &Workspace,
    ) -> Result<DeviceCall, Error> {
        self.check_gradient(&logits, &gradient)?;
        self.record_with(encoder, logits, batch, Some(gradient), workspace)
    }

    /// Records a call on a batch of the host, of which it brings to the device what a plan wants to know.
    pub(crate) fn record_uploaded(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
        gradient: Option<Gradient<'_>>,
    ) -> Result<Call, Error> {
        let plan = self.loss.plan(batch, logits.vocab_total as usize)?;
        if batch.range().len() != batch.rows() {
            return Err(LossError::NeedsWholeBatch.into());
        }
        let upload = Upload::new(&self.binder, &plan, self.loss.objective().inputs());
        let (device, batch) = (&self.binder.device, upload.batch());
        let workspace = Workspace::with_kernels(device, logits.rows, self.prepare())?;
        Ok(self.record_with(encoder, logits, &batch, gradient, &workspace)?.call)
    }

    fn record_with(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        batch: &DeviceBatch<'_>,
        gradient: Option<Gradient<'_>>,
        workspace: &Workspace,
    ) -> Result<DeviceCall, Error> {
        self.check_device_batch(&logits, batch, workspace)?;
        let (empty, objective) = (batch.empty(), self.loss.objective());
        let loss_plan = self.loss.plan(&empty, logits.vocab_total as usize)?;
        let (options, plan) = (loss_plan.options(), objective.group_plan());
        // Refuses a matrix whose rows no binding holds, before anything is recorded.
        self.binder.parts(&[&logits])?;
        let selection = plan.map(|plan| plan.selection());
        let preparation = Preparation {
            workspace,
            batch,
            class_weights: &self.class_weights,
            inputs: objective.inputs(),
            params: params_of(batch, &options, selection, logits.vocab),
        };
        let call = Call::of_workspace(params(&logits, &options), workspace);
        let finds_tau = plan.is_some() && objective.temperature(&Token::new(0.0_f64)).is_some();
        let extra = batch.extra.iter().flatten().map(|(name, _)| *name).next();
        let reading = Reading { reduction: options.reduction, finds_tau, extra };
        encoder.clear_buffer(&workspace.totals, 0, None);
        if plan.is_some() {
            encoder.clear_buffer(&workspace.heads, 0, None);
        }
        let recorder = &mut Recorder::of_workspace(&self.binder, encoder, workspace);
        preparation.fill(recorder);
        match plan {
            None => {
                preparation.divide(recorder);
                match &gradient {
                    Some(gradient) => self.record_all(recorder, logits, &call, 0, gradient)?,
                    None => {
                        self.record_stats(recorder, logits, &call, 0)?;
                        self.record_terms(recorder, logits.rows, &call, 0);
                    }
                }
            }
            Some(plan) => {
                self.record_stats(recorder, logits, &call, 0)?;
                self.record_plan(recorder, plan, (&call, batch, workspace));
                preparation.select(recorder, plan.selection());
                preparation.divide(recorder);
                self.record_group_terms(recorder, &call, workspace);
                if let Some(gradient) = &gradient {
                    self.record_gradient(recorder, logits, &call, 0, gradient, false)?;
                }
            }
        }
        preparation.report(recorder);
        Ok(DeviceCall::new(call, workspace, reading))
    }

    fn check_device_batch(
        &self,
        logits: &Matrix<'_>,
        batch: &DeviceBatch<'_>,
        workspace: &Workspace,
    ) -> Result<(), Error> {
        if logits.dtype != self.logits {
            return Err(Error::Types);
        }
        check_whole(logits)?;
        if batch.rows != logits.rows {
            let argument = surprisal::Argument::Targets;
            let (expected, actual) = (logits.rows as usize, batch.rows as usize);
            return Err(LossError::Length { argument, expected, actual }.into());
        }
        if workspace.rows < batch.rows {
            let message = "has room for fewer rows than the batch has";
            return Err(Error::Buffer { name: "workspace", message });
        }
        batch.check()
    }
}
