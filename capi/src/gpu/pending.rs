//! Reports that are on their way to the host.

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Mutex, PoisonError};

use ::surprisal_gpu::wgpu::{Device, PollError, PollType, SubmissionIndex};
use ::surprisal_gpu::{Error, PendingReport};
use surprisal::LossReport;

use super::context::shared;
use super::failure::finish;
use super::handle::{destroy, object};
use crate::detail::surprisal_error_detail;
use crate::memory::Memory;
use crate::report::surprisal_report;
use crate::status::surprisal_status;

type Report = Result<LossReport, Error>;

/// A report that is on its way from the device. Threads may share it.
#[derive(Debug)]
pub struct surprisal_gpu_pending {
    device: Device,
    submission: SubmissionIndex,
    arrival: Mutex<Arrival>,
}

const _: () = shared::<surprisal_gpu_pending>();

#[derive(Debug)]
struct Arrival {
    receiver: Receiver<Report>,
    /// What has been received.
    report: Option<Report>,
}

impl Arrival {
    fn is_here(&mut self) -> bool {
        if self.report.is_none() {
            self.report = match self.receiver.try_recv() {
                Ok(report) => Some(report),
                Err(TryRecvError::Disconnected) => Some(lost()),
                Err(TryRecvError::Empty) => None,
            };
        }
        self.report.is_some()
    }

    fn wait(&mut self) -> Report {
        let receive = || self.receiver.recv().unwrap_or_else(|_| lost());
        self.report.get_or_insert_with(receive).clone()
    }
}

fn lost() -> Report {
    Err(Error::Readback("the device gave the report up".to_owned()))
}

impl surprisal_gpu_pending {
    /// The report of work that has been submitted.
    pub(super) fn new(device: &Device, submission: SubmissionIndex, report: PendingReport) -> Self {
        let (sender, receiver) = channel();
        report.then(move |report| {
            // Nobody receives it once this is destroyed.
            let _ = sender.send(report);
        });
        let arrival = Mutex::new(Arrival { receiver, report: None });
        Self { device: device.clone(), submission, arrival }
    }

    fn is_here(&self) -> Result<bool, Error> {
        self.ask(PollType::Poll)?;
        // Whoever holds it is waiting for the report.
        Ok(self.arrival.try_lock().is_ok_and(|mut arrival| arrival.is_here()))
    }

    fn wait(&self) -> Report {
        let submission_index = Some(self.submission.clone());
        self.ask(PollType::Wait { submission_index, timeout: None })?;
        // Another thread that asked the device may still be handing it over.
        self.arrival.lock().unwrap_or_else(PoisonError::into_inner).wait()
    }

    fn ask(&self, poll: PollType) -> Result<(), Error> {
        let failed = |why: PollError| Error::Readback(why.to_string());
        self.device.poll(poll).map(|_| ()).map_err(failed)
    }
}

/// Whether a report has come: `ready` is 1 then, and `surprisal_gpu_pending_wait` waits no more; else 0. Waits for nothing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_pending_poll(
    pending: *const surprisal_gpu_pending,
    ready: *mut i32,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's object and number.
        let (pending, ready) =
            unsafe { (object("pending", pending)?, memory.output("ready", ready, 1)?) };
        let checked = memory.check()?;
        ready.get(&checked).fill(i32::from(pending.is_here()?));
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Waits until a report has come, and no longer. It can be asked for again, and is the same.
///
/// Where the device has refused an entry of the batch, the status is the one that the same call on the CPU would return, `detail` names the argument
/// and the entry's index (its value is not known here: NaN), and no gradient was written.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_pending_wait(
    pending: *const surprisal_gpu_pending,
    report: *mut surprisal_report,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's object and struct.
        let (pending, report) =
            unsafe { (object("pending", pending)?, memory.output("report", report, 1)?) };
        let checked = memory.check()?;
        report.get(&checked).fill(pending.wait()?.into());
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Destroys a pending report, also one that has not come; NULL is fine, and so are a context that is closed and a workspace that is destroyed
/// already. No call may be using it, and none may be given it afterwards, a second destroy among them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn surprisal_gpu_pending_destroy(pending: *mut surprisal_gpu_pending) {
    // SAFETY: made by a call, and the C caller gives it up.
    unsafe { destroy(pending) };
}
