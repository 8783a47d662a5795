//! What the loops tell the caches: fetch this ahead, do not keep that. The only `unsafe` of the crate.
#![allow(unsafe_code, reason = "prefetches and streaming stores are intrinsics that take an address")]

use super::lanes::{LANES, Lanes};

/// Brings the cache line at `address` into the second-level cache, where the target has such an instruction. Any address is allowed.
#[inline(always)]
pub(super) fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse"))]
    // SAFETY: a prefetch is a hint that reads nothing and never faults, whatever the address; SSE is part of the target (checked by cfg).
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse")))]
    let _ = address;
}

/// Bytes that a streaming store writes at once, and must be aligned to.
const PIECE: usize = 16;

/// Entries in front of the first place that [`stream`] can write past the caches.
#[inline(always)]
pub(super) fn misaligned<T>(target: &[T]) -> usize {
    // A whole line, so that none is written in two halves.
    target.as_ptr().align_offset(4 * PIECE).min(target.len())
}

/// Writes what `lanes` gives for each chunk, past the caches where the target can: memory that is only written then need not be read.
#[inline(always)]
pub(super) fn stream<T: Lanes>(
    chunks: &mut [[T; LANES]],
    mut lanes: impl FnMut(usize) -> [T; LANES],
) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    if chunks.as_ptr().cast::<[u8; PIECE]>().align_offset(PIECE) == 0 {
        use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
        for (i, chunk) in chunks.iter_mut().enumerate() {
            let lanes = lanes(i);
            let (source, target) = ((&raw const lanes).cast::<__m128i>(), chunk.as_mut_ptr());
            for piece in 0..size_of_val(&lanes) / PIECE {
                // SAFETY: both arrays have `size_of_val(&lanes)` bytes and no padding (`Lanes` is sealed: f32, bf16, f16), of which this is a
                // piece; the first chunk is aligned (checked above), hence all pieces of all chunks, whose size is a multiple of `PIECE`.
                // SSE2 is part of the target (checked by cfg).
                unsafe {
                    let value = _mm_loadu_si128(source.add(piece));
                    _mm_stream_si128(target.cast::<__m128i>().add(piece), value);
                }
            }
        }
        // Streaming stores are not ordered with others: nobody may see the borrow end before they are done.
        // SAFETY: a fence has no precondition but SSE, as above.
        unsafe { _mm_sfence() };
        return;
    }
    for (i, chunk) in chunks.iter_mut().enumerate() {
        *chunk = lanes(i);
    }
}
