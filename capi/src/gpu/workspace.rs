//! Memory of a device that calls on its batches use again and again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::surprisal_gpu::Workspace;

use super::batch::count;
use super::context::{shared, surprisal_gpu};
use super::handle::{create, destroy};
use crate::detail::surprisal_error_detail;
use crate::status::{Failure, surprisal_status};

/// Memory of a device for calls on batches of up to so many rows, by any loss: made once, used again and again. Threads may share it; calls that
/// do happen on the device one after the other.
#[derive(Debug)]
pub struct surprisal_gpu_workspace {
    /// Of one call at a time.
    workspace: Mutex<Workspace>,
    /// That of the context.
    identity: Arc<()>,
}

const _: () = shared::<surprisal_gpu_workspace>();

impl surprisal_gpu_workspace {
    /// Refuses a workspace of another context.
    pub(super) fn check_of(&self, gpu: &surprisal_gpu) -> Result<(), Failure> {
        if Arc::ptr_eq(&self.identity, &gpu.identity) {
            return Ok(());
        }
        Err(Failure::option("workspace", "is one of another context"))
    }

    /// For a call, alone.
    pub(super) fn lock(&self) -> MutexGuard<'_, Workspace> {
        // What a call leaves does not matter to the next.
        self.workspace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a workspace for batches of up to `rows` rows: some 200 bytes each. `surprisal_gpu_workspace_destroy` destroys it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_workspace_create(
    gpu: *const surprisal_gpu,
    rows: usize,
    out: *mut *mut surprisal_gpu_workspace,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let make = |gpu: &surprisal_gpu| {
        let rows = count("rows", rows)?;
        let workspace = gpu.gpu.checked(|| Workspace::new(gpu.gpu.device(), rows))?;
        let (workspace, identity) = (Mutex::new(workspace), Arc::clone(&gpu.identity));
        Ok(surprisal_gpu_workspace { workspace, identity })
    };
    // SAFETY: the C caller's context, pointer and struct.
    unsafe { create(gpu, out, detail, make) }
}

/// Destroys a workspace; NULL is fine, and so is a context that is closed already, and work that is still to be done with it on the device. No call
/// may be using the workspace, and none may be given it afterwards, a second destroy among them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn surprisal_gpu_workspace_destroy(workspace: *mut surprisal_gpu_workspace) {
    // SAFETY: made by `create`, and the C caller gives it up.
    unsafe { destroy(workspace) };
}
