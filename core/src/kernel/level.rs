//! The SIMD levels that loops are compiled for: AVX-512, AVX2 and SSE2 on x86, whatever the target has elsewhere.

use fearless_simd::Level;

/// Runs an expression with the token of a level, inlined into a function that has its instructions.
///
/// Not the macro of the same name in `fearless_simd`, which compiles every loop for SSE4.2 as well: a quarter more code for machines that
/// are a decade old.
macro_rules! dispatch {
    ($level:expr, $simd:ident => $op:expr) => {{
        let level: fearless_simd::Level = $level;
        #[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), target_feature = "sse2"))]
        {
            use fearless_simd::Simd as _;
            if let Some($simd) = level.as_avx512() {
                $simd.vectorize(
                    #[inline(always)]
                    || $op,
                )
            } else if let Some($simd) = level.as_avx2() {
                $simd.vectorize(
                    #[inline(always)]
                    || $op,
                )
            } else if let Some($simd) = level.as_sse2() {
                $simd.vectorize(
                    #[inline(always)]
                    || $op,
                )
            } else {
                $crate::kernel::level::fallback!(level, $simd => $op)
            }
        }
        #[cfg(not(all(any(target_arch = "x86", target_arch = "x86_64"), target_feature = "sse2")))]
        {
            fearless_simd::dispatch!(level, $simd => $op)
        }
    }};
}
pub(crate) use dispatch;

/// The scalar level, where it exists beside SSE2.
#[cfg(feature = "fallback")]
macro_rules! fallback {
    ($level:ident, $simd:ident => $op:expr) => {
        match $level {
            fearless_simd::Level::Fallback($simd) => $op,
            _ => unreachable!(),
        }
    };
}
#[cfg(not(feature = "fallback"))]
#[allow(unused_macros, reason = "for targets with SSE2")]
macro_rules! fallback {
    ($level:ident, $simd:ident => $op:expr) => {
        unreachable!()
    };
}
#[allow(unused_imports, reason = "for targets with SSE2")]
pub(crate) use fallback;

/// Whether a level multiplies and adds with one rounding.
#[inline(always)]
pub(crate) fn is_fused(level: Level) -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return level.as_avx2().is_some();
    #[cfg(target_arch = "aarch64")]
    return level.as_neon().is_some();
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = level;
        false
    }
}
