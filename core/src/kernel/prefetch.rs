//! Asks for memory that a loop will need soon.
#![allow(unsafe_code, reason = "prefetch is an intrinsic that takes an address")]

use super::walk::BLOCK;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for the block that a loop reaches when it has come so many bytes further, wherever that is.
#[inline(always)]
pub(super) fn ahead_of<T>(block: *const T, distance: usize) {
    let ahead = block.wrapping_byte_add(distance);
    for line in 0..BLOCK * size_of::<T>() / LINE {
        prefetch(ahead.wrapping_byte_add(line * LINE));
    }
}

/// Brings the cache line at `address` into the second-level cache, where the target has such an instruction. Any address is allowed.
#[inline(always)]
fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse"))]
    // SAFETY: a prefetch is a hint that reads nothing and never faults, whatever the address; SSE is part of the target (checked by cfg).
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse")))]
    let _ = address;
}
