//! Asks for memory that the next row will need. The only `unsafe` of the crate.
#![allow(unsafe_code, reason = "prefetch is an intrinsic that takes an address")]

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
