//! The SIMD level of the machine, found without the standard library.
//!
//! On x86 the CPU tells its features by CPUID, and the operating system by XCR0 which registers it saves. The answer is a constant of the
//! machine, so it is kept: CPUID is slow under virtual machines. Elsewhere the level of the compile target is used.

use core::ffi::c_char;

use fearless_simd::Level;

/// The best level of this machine.
pub(crate) fn level() -> Level {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return x86::level();
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    Level::baseline()
}

/// Name of the SIMD level that the library runs at on this machine: `"avx512"`, `"avx2"`, `"sse2"`, `"neon"`, ... Static.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn surprisal_simd_level() -> *const c_char {
    let name = match level() {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Level::Avx512(_) => c"avx512",
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Level::Avx2(_) => c"avx2",
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Level::Sse2(_) => c"sse2",
        #[cfg(target_arch = "aarch64")]
        Level::Neon(_) => c"neon",
        _ => c"baseline",
    };
    name.as_ptr()
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
mod x86 {
    #[cfg(target_arch = "x86")]
    use core::arch::x86 as arch;
    #[cfg(target_arch = "x86_64")]
    use core::arch::x86_64 as arch;
    use core::sync::atomic::{AtomicU8, Ordering};

    use fearless_simd::Level;
    use fearless_simd::x86::{Avx2, Avx512};

    const UNKNOWN: u8 = 0;
    const BASELINE: u8 = 1;
    const AVX2: u8 = 2;
    const AVX512: u8 = 3;

    /// What was found; racing threads find the same.
    static FOUND: AtomicU8 = AtomicU8::new(UNKNOWN);

    pub(super) fn level() -> Level {
        let mut found = FOUND.load(Ordering::Relaxed);
        if found == UNKNOWN {
            found = detect();
            FOUND.store(found, Ordering::Relaxed);
        }
        match found {
            // SAFETY: `detect` found every feature that the token stands for.
            AVX512 => Level::Avx512(unsafe { Avx512::assume_supported() }),
            // SAFETY: as above.
            AVX2 => Level::Avx2(unsafe { Avx2::assume_supported() }),
            _ => Level::baseline(),
        }
    }

    /// Whether all these bits are set.
    fn has(register: u32, bits: &[u32]) -> bool {
        bits.iter().all(|bit| register >> bit & 1 == 1)
    }

    fn detect() -> u8 {
        let highest = cpuid(0, 0).eax;
        if highest < 7 {
            return BASELINE;
        }
        let one = cpuid(1, 0);
        // FXSR; CMPXCHG16B, SSE4.2, POPCNT; XSAVE by the CPU and by the operating system, AVX.
        if !has(one.edx, &[24]) || !has(one.ecx, &[13, 20, 23, 26, 27, 28]) {
            return BASELINE;
        }
        // SAFETY: the CPU has XSAVE and the operating system has enabled it (OSXSAVE).
        let saved = unsafe { xcr0() };
        let seven = cpuid(7, 0);
        // LZCNT is in an extended leaf.
        let lzcnt =
            cpuid(0x8000_0000, 0).eax >= 0x8000_0001 && has(cpuid(0x8000_0001, 0).ecx, &[5]);
        // SSE and AVX registers are saved; FMA, MOVBE, F16C; BMI1, AVX2, BMI2.
        let avx2 = has(saved, &[1, 2]) && has(one.ecx, &[12, 22, 29]) && has(seven.ebx, &[3, 5, 8]);
        if !avx2 || !lzcnt {
            return BASELINE;
        }
        if is_icelake(highest, saved, &one, &seven) { AVX512 } else { AVX2 }
    }

    /// AVX-512 as Ice Lake has it, and what else the level stands for.
    fn is_icelake(highest: u32, saved: u32, one: &Registers, seven: &Registers) -> bool {
        // Mask registers and both halves of the ZMM registers are saved.
        has(saved, &[5, 6, 7])
            // PCLMULQDQ, AES, RDRAND.
            && has(one.ecx, &[1, 25, 30])
            // AVX512F, DQ, RDSEED, ADX, IFMA, CD, SHA, BW, VL.
            && has(seven.ebx, &[16, 17, 18, 19, 21, 28, 29, 30, 31])
            // VBMI, VBMI2, GFNI, VAES, VPCLMULQDQ, VNNI, BITALG, VPOPCNTDQ.
            && has(seven.ecx, &[1, 6, 8, 9, 10, 11, 12, 14])
            // XSAVEOPT, XSAVEC, XSAVES.
            && highest >= 13
            && has(cpuid(13, 1).eax, &[0, 1, 3])
    }

    struct Registers {
        eax: u32,
        ebx: u32,
        ecx: u32,
        edx: u32,
    }

    fn cpuid(leaf: u32, subleaf: u32) -> Registers {
        #[allow(unused_unsafe, reason = "safe from Rust 1.94 on")]
        // SAFETY: every x86 CPU that runs SSE2, the least target of this library, has CPUID.
        let arch::CpuidResult { eax, ebx, ecx, edx } =
            unsafe { arch::__cpuid_count(leaf, subleaf) };
        Registers { eax, ebx, ecx, edx }
    }

    /// The lower half of XCR0: which registers the operating system saves.
    ///
    /// # Safety
    /// The CPU has XSAVE and the operating system has enabled it.
    #[target_feature(enable = "xsave")]
    unsafe fn xcr0() -> u32 {
        // SAFETY: promised by the caller.
        let value = unsafe { arch::_xgetbv(0) };
        #[expect(clippy::cast_possible_truncation, reason = "the bits of interest are low")]
        let low = value as u32;
        low
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    /// The standard library's own detection finds the same, of the levels that have kernels.
    #[test]
    fn level_is_that_of_the_standard_library() {
        let ours = format!("{:?}", level());
        let std = format!("{:?}", surprisal_tests::run::levels().first().unwrap());
        assert_eq!(
            ours,
            if std.contains("Sse") { format!("{:?}", Level::baseline()) } else { std }
        );
    }
}
