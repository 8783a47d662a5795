//! Reports that are read when they are wanted.

use surprisal::LossReport;
use surprisal_gpu::{PendingReport, wgpu};

use crate::Error;

/// What a loss has counted, on its way from the device. One that is dropped is never read.
#[derive(Debug)]
pub struct Report {
    device: wgpu::Device,
    /// There until it is read.
    pending: Option<PendingReport>,
}

impl Report {
    pub(super) fn new(device: &wgpu::Device, pending: PendingReport) -> Self {
        Self { device: device.clone(), pending: Some(pending) }
    }

    /// Waits for the device, and returns the report.
    ///
    /// # Errors
    /// [`Error::Gpu`]: of a batch that the device refused, what it refused and where; of a device that is lost.
    pub fn read(mut self) -> Result<LossReport, Error> {
        match self.pending.take() {
            Some(pending) => Ok(pending.read(&self.device)?),
            None => unreachable!("whoever takes it takes the report"),
        }
    }

    /// Hands the report, or its error, to a function as soon as the device is done with it, on whatever thread finds that out: burn's next submission of work
    /// does, or its next read.
    pub fn then(mut self, with: impl FnOnce(Result<LossReport, Error>) + Send + 'static) {
        if let Some(pending) = self.pending.take() {
            pending.then(|report| with(report.map_err(Error::from)));
        }
    }
}

impl Drop for Report {
    /// Gives its buffer back.
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            pending.then(drop);
        }
    }
}
