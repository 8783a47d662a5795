//! Targets and side inputs in memory of a device.

use core::ptr;

use ::surprisal_gpu::{Column, DeviceBatch};

use super::buffer::surprisal_gpu_buffer;
use super::context::surprisal_gpu;
use super::handle::object;
use super::matrix::MatrixInput;
use crate::batch::IGNORE_INDEX;
use crate::memory::Memory;
use crate::status::Failure;
use crate::status::surprisal_status::{
    self, SURPRISAL_ERROR_DEVICE_LIMIT, SURPRISAL_ERROR_EXTENT, SURPRISAL_ERROR_MISALIGNED,
    SURPRISAL_ERROR_OVERLAP, SURPRISAL_ERROR_SHAPE,
};
use crate::versioned::{Versioned, versioned};

/// Entries of one kind in a buffer, one after the other. `surprisal_gpu_column_of(buffer, offset, bits)` makes one.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_gpu_column {
    /// Where they lie; NULL for an input that is not given.
    pub buffer: *mut surprisal_gpu_buffer,
    /// First byte of the first entry, a multiple of 4.
    pub offset: usize,
    /// Bits of an entry: 32, or 64 for integers of `targets` and `cu_seqlens`.
    pub bits: i32,
    /// Zero.
    pub reserved: i32,
}

impl surprisal_gpu_column {
    const NONE: Self = Self { buffer: ptr::null_mut(), offset: 0, bits: 0, reserved: 0 };
}

/// Targets and side inputs of a whole batch in buffers, one entry a row unless said otherwise; what each means is told by `surprisal_batch`. Begin
/// with `SURPRISAL_GPU_BATCH_INIT`.
///
/// The host knows nothing of the entries. The device checks those that the CPU would have checked: where one is refused it writes no gradient, and
/// the report is the error that names it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_gpu_batch {
    /// `sizeof(surprisal_gpu_batch)`.
    pub struct_size: usize,
    /// Rows of the batch, those of the logits.
    pub rows: usize,
    /// Target ids, int32_t or int64_t.
    pub targets: surprisal_gpu_column,
    /// The target id that marks a row to skip, -100 by default.
    pub ignore_index: i64,
    /// Weight of each token, float.
    pub token_weights: surprisal_gpu_column,
    /// ln p of each target under a frozen reference model, float.
    pub ref_log_probs: surprisal_gpu_column,
    /// ln p of each target under the policy that sampled it, float.
    pub old_log_probs: surprisal_gpu_column,
    /// Advantage of each token, float.
    pub advantages: surprisal_gpu_column,
    /// Group id of each token, uint32_t.
    pub groups: surprisal_gpu_column,
    /// Number of sequences.
    pub sequence_count: usize,
    /// Cumulative row offsets of the sequences, `sequence_count + 1` entries, int32_t or int64_t.
    pub cu_seqlens: surprisal_gpu_column,
    /// Number of preference pairs.
    pub pair_count: usize,
    /// Preference pairs, two uint32_t each: the chosen sequence and the rejected one.
    pub pairs: surprisal_gpu_column,
    /// 1 for each sequence to keep, 0 for the others, uint32_t; one entry a sequence.
    pub keep: surprisal_gpu_column,
}

versioned!(surprisal_gpu_batch: "batch", {
    struct_size: size_of::<surprisal_gpu_batch>(),
    rows: 0,
    targets: surprisal_gpu_column::NONE,
    ignore_index: IGNORE_INDEX,
    token_weights: surprisal_gpu_column::NONE,
    ref_log_probs: surprisal_gpu_column::NONE,
    old_log_probs: surprisal_gpu_column::NONE,
    advantages: surprisal_gpu_column::NONE,
    groups: surprisal_gpu_column::NONE,
    sequence_count: 0,
    cu_seqlens: surprisal_gpu_column::NONE,
    pair_count: 0,
    pairs: surprisal_gpu_column::NONE,
    keep: surprisal_gpu_column::NONE,
});

/// Fills a batch with its initial values, as `SURPRISAL_GPU_BATCH_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_batch_init(
    batch: *mut surprisal_gpu_batch,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_gpu_batch::init(batch, struct_size) }
}

/// A number that the device counts in 32 bits.
pub(super) fn count(argument: &'static str, value: usize) -> Result<u32, Failure> {
    let limit = Failure::new(SURPRISAL_ERROR_DEVICE_LIMIT, argument, "is beyond 32 bits");
    u32::try_from(value).map_err(|_| limit.value(value as f64))
}

/// Widths that a column may have.
const NARROW: &[i32] = &[32];
const IDS: &[i32] = &[32, 64];

/// The bytes of a column.
struct Region<'call> {
    buffer: &'call surprisal_gpu_buffer,
    start: usize,
    end: usize,
}

/// A caller's batch whose columns lie inside their buffers.
pub(super) struct BatchInput<'call> {
    pub(super) batch: DeviceBatch<'call>,
    regions: Vec<Region<'call>>,
}

impl<'call> BatchInput<'call> {
    /// Reads a caller's struct.
    ///
    /// # Safety
    /// As [`Memory::read_struct`], and the buffers as [`object`].
    pub(super) unsafe fn read(
        batch: *const surprisal_gpu_batch,
        logits: &MatrixInput<'_>,
        gpu: &surprisal_gpu,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        let b = unsafe { memory.read_struct(surprisal_gpu_batch::NAME, batch) }?;
        logits.place().check_batch(b.rows)?;
        let rows = count("rows", b.rows)?;
        let mut regions = Vec::new();
        let mut column = |argument, column: &surprisal_gpu_column, widths, entries| {
            // SAFETY: passed on.
            let read = unsafe { read_column(argument, column, widths, entries, gpu) }?;
            Ok::<_, Failure>(read.map(|(column, region)| {
                regions.push(region);
                column
            }))
        };
        let targets = column("targets", &b.targets, IDS, Some(b.rows))?;
        let mut batch = DeviceBatch::new(targets.ok_or(Failure::missing("targets"))?, rows)
            .ignore_index(b.ignore_index);
        if let Some(weights) = column("token_weights", &b.token_weights, NARROW, Some(b.rows))? {
            batch = batch.token_weights(weights);
        }
        if let Some(log_probs) = column("ref_log_probs", &b.ref_log_probs, NARROW, Some(b.rows))? {
            batch = batch.ref_log_probs(log_probs);
        }
        if let Some(log_probs) = column("old_log_probs", &b.old_log_probs, NARROW, Some(b.rows))? {
            batch = batch.old_log_probs(log_probs);
        }
        if let Some(advantages) = column("advantages", &b.advantages, NARROW, Some(b.rows))? {
            batch = batch.advantages(advantages);
        }
        if let Some(groups) = column("groups", &b.groups, NARROW, Some(b.rows))? {
            batch = batch.groups(groups);
        }
        match column("cu_seqlens", &b.cu_seqlens, IDS, b.sequence_count.checked_add(1))? {
            Some(offsets) => {
                batch = batch.sequences(offsets, count("sequence_count", b.sequence_count)?);
            }
            None if b.sequence_count > 0 => return Err(Failure::missing("cu_seqlens")),
            None => {}
        }
        match column("pairs", &b.pairs, NARROW, b.pair_count.checked_mul(2))? {
            Some(pairs) => batch = batch.pairs(pairs, count("pair_count", b.pair_count)?),
            None if b.pair_count > 0 => return Err(Failure::missing("pairs")),
            None => {}
        }
        if let Some(keep) = column("keep", &b.keep, NARROW, Some(b.sequence_count))? {
            batch = batch.keep(keep);
        }
        Ok(Self { batch, regions })
    }

    /// Refuses a gradient that would be written over a column.
    pub(super) fn check_apart(&self, dlogits: &MatrixInput<'_>) -> Result<(), Failure> {
        let meets = |region: &Region<'_>| dlogits.meets(region.buffer, region.start, region.end);
        if self.regions.iter().any(meets) {
            let message = "overlaps a column of the batch";
            return Err(Failure::new(SURPRISAL_ERROR_OVERLAP, "dlogits", message));
        }
        Ok(())
    }
}

/// A caller's column of so many entries; `None` where it is not given. Without a number of entries they are too many.
///
/// # Safety
/// The buffer as [`object`].
unsafe fn read_column<'call>(
    argument: &'static str,
    column: &surprisal_gpu_column,
    widths: &[i32],
    entries: Option<usize>,
    gpu: &surprisal_gpu,
) -> Result<Option<(Column<'call>, Region<'call>)>, Failure> {
    let surprisal_gpu_column { buffer, offset, bits, reserved } = *column;
    if buffer.is_null() {
        return Ok(None);
    }
    // SAFETY: passed on.
    let buffer = unsafe { object(argument, buffer) }?;
    buffer.check_of(gpu, argument)?;
    if reserved != 0 {
        return Err(Failure::option(argument, "reserved is not 0"));
    }
    if !widths.contains(&bits) {
        let failure = Failure::option(argument, "has no entries of so many bits");
        return Err(failure.value(f64::from(bits)));
    }
    if !offset.is_multiple_of(4) {
        let message = "offset is not a multiple of 4";
        return Err(Failure::new(SURPRISAL_ERROR_MISALIGNED, argument, message));
    }
    let wide = bits == 64;
    let bytes = entries.and_then(|entries| entries.checked_mul(if wide { 8 } else { 4 }));
    let Some(end) = bytes.and_then(|bytes| bytes.checked_add(offset)) else {
        return Err(Failure::new(SURPRISAL_ERROR_EXTENT, argument, "its size overflows"));
    };
    if end > buffer.bytes {
        let message = "does not lie inside its buffer";
        return Err(Failure::new(SURPRISAL_ERROR_SHAPE, argument, message));
    }
    let of = if wide { Column::of_i64 } else { Column::new };
    let column = of(&buffer.buffer, offset as u64);
    Ok(Some((column, Region { buffer, start: offset, end })))
}
