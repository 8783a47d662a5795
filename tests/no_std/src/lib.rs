//! The library in a program without a standard library, an allocator or an operating system's C library: `check.sh` links this
//! with `main.c` and nothing else, so that whatever `surprisal` needed besides would be an undefined symbol, and whatever can panic a
//! symbol of `core::panicking`.
#![no_std]

#[cfg(feature = "control-alloc")]
extern crate alloc;

mod calls;

use core::panic::PanicInfo;

unsafe extern "C" {
    /// Ends the program; `main.c` has it.
    safe fn fail() -> !;
    /// Is nowhere: the link must fail.
    #[cfg(feature = "control-libc")]
    safe fn puts(text: *const core::ffi::c_char) -> core::ffi::c_int;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    fail()
}

/// Calls everything on uniform logits over 8 classes and returns their loss, ln 8; NaN where a call disagrees or is refused.
#[unsafe(no_mangle)]
pub extern "C" fn surprisal_no_std_loss() -> f64 {
    #[cfg(feature = "control-alloc")]
    core::hint::black_box(alloc::vec![0_u8; core::hint::black_box(3)]);
    #[cfg(feature = "control-libc")]
    puts(c"".as_ptr());
    #[cfg(feature = "control-panic")]
    core::hint::black_box([0_u8; 3][core::hint::black_box(3)]);
    calls::all().unwrap_or(f64::NAN)
}
