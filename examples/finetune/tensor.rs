//! The numbers of a candle tensor, for the custom ops.

use candle_core::{CpuStorage, Layout, Result, bail};

/// The numbers of a contiguous f32 tensor on the CPU.
pub(crate) fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&values[from..to]),
        _ => bail!("expected a contiguous f32 tensor"),
    }
}
