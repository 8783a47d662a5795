//! The other way in: host slices in, host slices out, on a device that is picked here. For tests and small tools; a trainer embeds [`Pipelines`].

use bytemuck::Pod;
use surprisal::objective::{Objective, TokenTerm};
use surprisal::{Batch, Loss, LossReport, RowStats, bf16, f16};

use crate::call::Call;
use crate::device::Gpu;
use crate::error::Error;
use crate::matrix::{Dtype, Matrix};
use crate::pipelines::Pipelines;
use crate::record::Gradient;
use crate::results::RowResults;

/// An element type of host slices.
pub trait HostElement: surprisal::Element + Pod {
    /// Its type on the device.
    const DTYPE: Dtype;
}

impl HostElement for f32 {
    const DTYPE: Dtype = Dtype::F32;
}
impl HostElement for bf16 {
    const DTYPE: Dtype = Dtype::Bf16;
}
impl HostElement for f16 {
    const DTYPE: Dtype = Dtype::F16;
}

/// What a call on host slices gives.
#[derive(Clone, Debug)]
pub struct HostOutcome {
    /// The report.
    pub report: LossReport,
    /// −ln p of every row's target.
    pub nll: Vec<f32>,
}

/// What a call on matrices of a device gives: what is known of every row, on the host.
#[derive(Clone, Debug)]
pub struct DeviceOutcome {
    /// The report.
    pub report: LossReport,
    /// Statistics of every row, as [`RowResults::row_stats`].
    pub stats: Vec<RowStats>,
    /// Terms of every row.
    pub terms: Vec<TokenTerm>,
    /// The rest.
    pub rows: RowResults,
}

impl Gpu {
    /// Loss, and its gradient where `dlogits` is given, of contiguous logits `[rows × vocab]`, by any objective.
    ///
    /// # Errors
    /// Those of [`Pipelines`].
    pub fn forward_backward<T: HostElement, G: HostElement, O: Objective + Clone>(
        &self,
        loss: &Loss<'_, O>,
        logits: &[T],
        rows: usize,
        vocab: usize,
        batch: &Batch<'_>,
        dlogits: Option<&mut [G]>,
    ) -> Result<HostOutcome, Error> {
        for len in [Some(logits.len()), dlogits.as_ref().map(|d| d.len())].into_iter().flatten() {
            if Some(len) != rows.checked_mul(vocab) {
                let argument = surprisal::Argument::Logits;
                let expected = rows.saturating_mul(vocab);
                return Err(surprisal::Error::Length { argument, expected, actual: len }.into());
            }
        }
        let pipelines = Pipelines::with_types(self.device(), loss.clone(), T::DTYPE, G::DTYPE)?;
        let z = self.upload(logits)?;
        let dz = self.buffer((rows * vocab) as u64 * G::DTYPE.size())?;
        let logits = Matrix::new(&z, T::DTYPE, rows, vocab)?;
        let gradient = Gradient::To(Matrix::new(&dz, G::DTYPE, rows, vocab)?);
        let outcome = self.forward_backward_on(&pipelines, logits, batch, gradient)?;
        if let Some(dlogits) = dlogits {
            self.download(&dz, dlogits)?;
        }
        Ok(HostOutcome { report: outcome.report, nll: outcome.rows.nll() })
    }

    /// Loss of whole rows on the device, by any objective. Waits for the results.
    ///
    /// # Errors
    /// Those of [`Pipelines`], and [`Error::Device`].
    pub fn forward_on<O: Objective>(
        &self,
        pipelines: &Pipelines<'_, O>,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
    ) -> Result<DeviceOutcome, Error> {
        let record = |encoder: &mut _| pipelines.forward(encoder, logits, batch);
        self.run(pipelines, logits, batch, record)
    }

    /// Loss of whole rows on the device and its gradient there, by any objective. Waits for the results, but not for the gradient.
    ///
    /// # Errors
    /// Those of [`Pipelines`], and [`Error::Device`].
    pub fn forward_backward_on<O: Objective>(
        &self,
        pipelines: &Pipelines<'_, O>,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
        gradient: Gradient<'_>,
    ) -> Result<DeviceOutcome, Error> {
        let record = |encoder: &mut _| pipelines.forward_backward(encoder, logits, batch, gradient);
        self.run(pipelines, logits, batch, record)
    }

    /// Runs what a function records, and reads what it left of every row.
    fn run<O: Objective>(
        &self,
        pipelines: &Pipelines<'_, O>,
        logits: Matrix<'_>,
        batch: &Batch<'_>,
        record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<Call, Error>,
    ) -> Result<DeviceOutcome, Error> {
        self.checked(|| {
            let mut encoder = self.encoder();
            let call = record(&mut encoder)?;
            self.queue().submit([encoder.finish()]);
            let rows = call.read(self.device(), self.queue())?;
            let report = rows.report(pipelines, batch, logits.vocab_total as usize)?;
            Ok(DeviceOutcome { report, stats: rows.row_stats(), terms: rows.terms(), rows })
        })
    }
}
