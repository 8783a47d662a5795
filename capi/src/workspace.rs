//! What a caller lends to a call: one block of bytes, cut into the core's workspace here.

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr;

use surprisal::objective::{Objective, Scalars, TokenTerm};
use surprisal::{RowStats, Workspace};

use crate::detail::{finish, surprisal_error_detail};
use crate::loss::{LossInput, surprisal_loss};
use crate::memory::{Checked, Memory, Output};
use crate::status::Failure;
use crate::status::surprisal_status::{
    self, SURPRISAL_ERROR_EXTENT, SURPRISAL_ERROR_MISALIGNED, SURPRISAL_ERROR_SHAPE,
};
use crate::versioned::{Versioned, versioned};

/// Memory that a call may use: as much as `surprisal_workspace_size` says. Begin with `SURPRISAL_WORKSPACE_INIT`. What it holds, before and
/// after, means nothing. Calls at the same time need one each.
///
/// Objectives of group scope need it for the loss, between their two passes. To the others it is a row of the vocabulary in f32, so that no exponential
/// is computed twice: it makes 16-bit gradients faster (f32 ones need none) and changes no bit of a result.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_workspace {
    /// `sizeof(surprisal_workspace)`.
    pub struct_size: usize,
    /// The memory, at an address that is a multiple of 8 (that of any malloc).
    pub data: *mut c_void,
    /// Its bytes; 0 with NULL.
    pub size: usize,
}

versioned!(surprisal_workspace: "workspace", {
    struct_size: size_of::<surprisal_workspace>(),
    data: ptr::null_mut(),
    size: 0,
});

/// Fills a workspace with its initial values, as `SURPRISAL_WORKSPACE_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_workspace_init(
    workspace: *mut surprisal_workspace,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_workspace::init(workspace, struct_size) }
}

/// Writes to `size` how many bytes of workspace a call on `rows` rows of `vocab` columns takes with this loss.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_workspace_size(
    loss: *const surprisal_loss,
    rows: usize,
    vocab: usize,
    size: *mut usize,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's struct and number. The class weights are not looked at.
        let (loss, size) = unsafe {
            let loss = LossInput::read(loss, 0, &mut memory)?;
            (loss, memory.output("size", size, 1)?)
        };
        let bytes = Layout::new(&loss, rows, vocab)?.bytes;
        size.get(&memory.check()?).fill(bytes);
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// What the block holds of each row, in this order: an array of each.
#[repr(C)]
struct PerRow {
    stats: RowStats,
    terms: TokenTerm,
    scalars: Scalars,
}

// Arrays follow each other without gaps: whatever the rows, each is aligned if the block is.
const ALIGNMENT: usize = align_of::<f64>();
const _: () = assert!(
    size_of::<PerRow>() == size_of::<RowStats>() + size_of::<TokenTerm>() + size_of::<Scalars>()
        && align_of::<PerRow>() == ALIGNMENT
);

/// How a block is cut: an array of each thing of a row, then the scratch.
pub(crate) struct Layout {
    /// Rows that have statistics, terms and scalars.
    rows: usize,
    /// Entries of the scratch.
    scratch: usize,
    pub(crate) bytes: usize,
}

impl Layout {
    /// Of a call on logits.
    fn new(loss: &LossInput<'_>, rows: usize, vocab: usize) -> Result<Self, Failure> {
        let (rows, scratch) =
            if loss.objective.group_plan().is_some() { (rows, 0) } else { (0, vocab) };
        Self::of(rows, scratch)
    }

    /// Of a call over a layer, with chunks of so many rows.
    pub(crate) fn linear(
        needs: &surprisal_linear::Memory,
        chunk_rows: usize,
    ) -> Result<Self, Failure> {
        let len = needs.len(chunk_rows);
        Self::of(len.group, len.scratch)
    }

    fn of(rows: usize, scratch: usize) -> Result<Self, Failure> {
        let scratch_bytes = scratch.checked_mul(size_of::<f32>());
        let bytes = rows
            .checked_mul(size_of::<PerRow>())
            .zip(scratch_bytes)
            .and_then(|(rows, scratch)| rows.checked_add(scratch))
            .and_then(|bytes| bytes.checked_next_multiple_of(ALIGNMENT));
        let failure = Failure::new(SURPRISAL_ERROR_EXTENT, "workspace", "its size overflows");
        Ok(Self { rows, scratch, bytes: bytes.ok_or(failure)? })
    }
}

/// A caller's workspace, cut and declared.
#[derive(Default)]
pub(crate) struct WorkspaceInput<'call>(Option<Arrays<'call>>);

struct Arrays<'call> {
    stats: Output<'call, RowStats>,
    terms: Output<'call, TokenTerm>,
    scalars: Output<'call, Scalars>,
    scratch: Output<'call, f32>,
}

impl<'call> WorkspaceInput<'call> {
    /// Reads a caller's workspace and declares what a call on so many rows and columns uses of it. NULL lends nothing.
    ///
    /// # Safety
    /// As [`Memory::read_struct`], and as [`Memory::output`] for `size` bytes.
    pub(crate) unsafe fn read(
        workspace: *const surprisal_workspace,
        loss: &LossInput<'_>,
        rows: usize,
        vocab: usize,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        if workspace.is_null() {
            return Ok(Self::default());
        }
        // SAFETY: passed on.
        unsafe { Self::declare(workspace, || Layout::new(loss, rows, vocab), false, memory) }
    }

    /// Reads a caller's workspace and declares it, cut in this way; `whole`: all that is left is scratch.
    ///
    /// # Safety
    /// As [`WorkspaceInput::read`].
    pub(crate) unsafe fn declare(
        workspace: *const surprisal_workspace,
        layout: impl FnOnce() -> Result<Layout, Failure>,
        whole: bool,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        let name = surprisal_workspace::NAME;
        // SAFETY: passed on.
        let surprisal_workspace { data, size, .. } =
            unsafe { memory.read_struct(name, workspace) }?;
        if data.is_null() && size == 0 {
            return Ok(Self::default());
        }
        let layout = layout()?;
        if size < layout.bytes {
            let message = "is smaller than its size function says";
            return Err(Failure::new(SURPRISAL_ERROR_SHAPE, name, message).value(size as f64));
        }
        if !data.addr().is_multiple_of(ALIGNMENT) {
            let message = "is not aligned to 8 bytes";
            return Err(Failure::new(SURPRISAL_ERROR_MISALIGNED, name, message));
        }
        // An array starts where as many rows of the ones before it end; `bytes` holds them all, so nothing overflows that is used.
        let array = |before: usize| data.wrapping_byte_add(layout.rows.wrapping_mul(before));
        let all = (size - layout.bytes) / size_of::<f32>() + layout.scratch;
        // SAFETY: the caller has `size` ≥ `bytes` bytes there, which hold these arrays one after the other; their elements are floats.
        unsafe {
            Ok(Self(Some(Arrays {
                stats: memory.output(name, data.cast(), layout.rows)?,
                terms: memory.output(name, array(offset_of!(PerRow, terms)).cast(), layout.rows)?,
                scalars: memory.output(
                    name,
                    array(offset_of!(PerRow, scalars)).cast(),
                    layout.rows,
                )?,
                scratch: memory.output(
                    name,
                    array(size_of::<PerRow>()).cast(),
                    if whole { all } else { layout.scratch },
                )?,
            })))
        }
    }

    /// The workspace of a call on logits.
    pub(crate) fn get(self, checked: &Checked) -> Workspace<'call> {
        let Some((stats, terms, scalars, scratch)) = self.arrays(checked) else {
            return Workspace::none();
        };
        Workspace::none().stats(stats).terms(terms).scalars(scalars).scratch(scratch)
    }

    /// Statistics, terms, scalars and scratch; `None` where nothing is lent.
    #[expect(clippy::type_complexity, reason = "four slices")]
    pub(crate) fn arrays(
        self,
        checked: &Checked,
    ) -> Option<(
        &'call mut [RowStats],
        &'call mut [TokenTerm],
        &'call mut [Scalars],
        &'call mut [f32],
    )> {
        let Arrays { stats, terms, scalars, scratch } = self.0?;
        Some((stats.get(checked), terms.get(checked), scalars.get(checked), scratch.get(checked)))
    }
}
