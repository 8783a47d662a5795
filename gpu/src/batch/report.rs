//! What a call on a device batch leaves: its rows, its loss where it lies, and its report, which is read when it is there.

use core::mem::offset_of;
use std::sync::PoisonError;

use surprisal::{Argument, LossReport, Reduction};

use crate::batch::prepare::ARGUMENTS;
use crate::batch::workspace::{Staging, Workspace};
use crate::call::Call;
use crate::error::Error;
use crate::layout::{SLOTS, Totals};
use crate::results::RowResults;

/// What is needed to read totals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) reduction: Reduction,
    pub(crate) finds_tau: bool,
    /// The rule that extra inputs break has no name of its own on the device.
    pub(crate) extra: Option<&'static str>,
}

/// A call on a device batch that has been recorded.
#[derive(Debug)]
pub struct DeviceCall {
    pub(crate) call: Call,
    pub(crate) totals: wgpu::Buffer,
    pub(crate) staging: Staging,
    pub(crate) reading: Reading,
}

impl DeviceCall {
    pub(crate) fn new(call: Call, workspace: &Workspace, reading: Reading) -> Self {
        let (totals, staging) = (workspace.totals.clone(), Staging::clone(&workspace.staging));
        Self { call, totals, staging, reading }
    }

    /// Where the reduced loss is, as an f32, once the encoder's commands have run: the buffer and the byte. NaN or infinite losses, and those of a
    /// refused batch, are told by the report alone.
    #[must_use]
    pub fn loss(&self) -> (&wgpu::Buffer, u64) {
        (&self.totals, offset_of!(Totals, loss) as u64)
    }

    /// Where the device says whether it has refused the batch, as a u32 that is not 0, once the encoder's commands have run: the buffer and the byte. No
    /// gradient was written then.
    #[must_use]
    pub fn refused(&self) -> (&wgpu::Buffer, u64) {
        (&self.totals, offset_of!(Totals, refused) as u64)
    }

    /// Records the copy of the report to where the host can read it; a few words, and only where it is called.
    #[must_use]
    pub fn report(
        &self,
        device: &wgpu::Device,
        encoder: &mut wgpu::CommandEncoder,
    ) -> PendingReport {
        let kept = self.staging.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let buffer = kept.unwrap_or_else(|| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("surprisal report"),
                size: size_of::<Totals>() as u64,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        });
        encoder.copy_buffer_to_buffer(&self.totals, 0, &buffer, 0, buffer.size());
        PendingReport { buffer, staging: Staging::clone(&self.staging), reading: self.reading }
    }

    /// Waits for the device and reads what the call left of every row, as [`Call::read`].
    ///
    /// # Errors
    /// [`Error::Readback`].
    pub fn rows(&self, device: &wgpu::Device, queue: &wgpu::Queue) -> Result<RowResults, Error> {
        self.call.read(device, queue)
    }
}

/// A report on its way to the host.
#[derive(Debug)]
pub struct PendingReport {
    buffer: wgpu::Buffer,
    staging: Staging,
    reading: Reading,
}

impl PendingReport {
    /// Hands the report to a function as soon as the device is done with it, which some later `poll` of the device finds out. The encoder must have
    /// been submitted.
    pub fn then(self, with: impl FnOnce(Result<LossReport, Error>) + Send + 'static) {
        let Self { buffer, staging, reading } = self;
        let mapped = buffer.clone();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            with(result.map_err(|why| Error::Readback(why.to_string())).and_then(|()| {
                let bytes = mapped.slice(..).get_mapped_range();
                let bytes = bytes.map_err(|why| Error::Readback(why.to_string()))?.to_vec();
                mapped.unmap();
                staging.lock().unwrap_or_else(PoisonError::into_inner).push(mapped);
                reading.report(&bytemuck::pod_read_unaligned(&bytes))
            }));
        });
    }

    /// Waits for the device, and returns the report.
    ///
    /// # Errors
    /// [`Error::Refused`] where the batch was, [`Error::Readback`].
    pub fn read(self, device: &wgpu::Device) -> Result<LossReport, Error> {
        let (sender, receiver) = std::sync::mpsc::channel();
        self.then(move |report| {
            // Whoever waits is still there.
            let _ = sender.send(report);
        });
        let failed = |why: String| Error::Readback(why);
        device.poll(wgpu::PollType::wait_indefinitely()).map_err(|why| failed(why.to_string()))?;
        receiver.recv().map_err(|why| failed(why.to_string()))?
    }
}

/// The first row of a maximum over rows that are negated bit by bit.
fn first(negated: u32) -> Option<usize> {
    (negated != 0).then_some(!negated as usize)
}

fn sum_of([sum, lost]: [f32; 2]) -> f64 {
    f64::from(sum) + f64::from(lost)
}

impl Reading {
    fn report(self, totals: &Totals) -> Result<LossReport, Error> {
        if let Some((argument, index)) = self.refused(&totals.bad) {
            return Err(Error::Refused { argument, index });
        }
        let infinite = |sum: f64, bit: u32| {
            let is = totals.infinite & bit != 0;
            if is { sum + f64::INFINITY } else { sum }
        };
        let invalid = if totals.invalid != 0 { f64::NAN } else { 0.0 };
        let unknown = if totals.infinite & 8 != 0 { f64::NAN } else { 0.0 };
        let of_losses = |sum: [f32; 2]| {
            let negative = if totals.infinite & 2 != 0 { f64::NEG_INFINITY } else { 0.0 };
            infinite(sum_of(sum), 1) + negative + invalid + unknown
        };
        let loss_sum = of_losses(totals.loss_sum);
        let divisor = match self.reduction {
            Reduction::Sum => 1.0,
            Reduction::By(x) => x,
            Reduction::MeanTokens => f64::from(totals.tokens),
            Reduction::MeanWeights => sum_of(totals.weight_sum),
            _ => f64::from(totals.divisor),
        };
        let mut report = LossReport::default();
        report.loss = match self.reduction {
            Reduction::MeanSequences => {
                let mean = of_losses(totals.scaled) / divisor;
                if divisor > 0.0 { mean } else { 0.0 }
            }
            _ if divisor > 0.0 => loss_sum / divisor,
            _ => 0.0,
        };
        report.loss_sum = loss_sum;
        report.nll_sum = infinite(sum_of(totals.nll_sum), 4) + invalid;
        report.weight_sum = sum_of(totals.weight_sum);
        report.tokens = totals.tokens as usize;
        report.correct = totals.correct as usize;
        report.invalid_row = first(totals.invalid);
        report.tau = (self.finds_tau && totals.tokens > 0).then_some(f64::from(totals.tau));
        Ok(report)
    }

    /// The first argument of which an entry was refused, and its index.
    fn refused(self, bad: &[u32; SLOTS]) -> Option<(Argument, usize)> {
        let extra = Argument::Extra(self.extra.unwrap_or_default());
        let mut named = ARGUMENTS.into_iter().map(Some).chain(std::iter::repeat(None)).zip(bad);
        named.find_map(|(argument, &bad)| Some((argument.unwrap_or(extra), first(bad)?)))
    }
}
