//! The version of the library, to compare with the header's.

use core::ffi::{CStr, c_char};

/// Version of the binary interface. It changes when a program that was compiled against an older header must be compiled again.
pub const SURPRISAL_ABI_VERSION: u32 = 1;

/// A component of the version in Cargo.toml.
const fn component(digits: &str) -> u32 {
    let (mut bytes, mut value) = (digits.as_bytes(), 0);
    while let [digit, rest @ ..] = bytes {
        value = 10 * value + (*digit - b'0') as u32;
        bytes = rest;
    }
    value
}

const VERSION: u32 = component(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
    + component(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
    + component(env!("CARGO_PKG_VERSION_PATCH"));

const VERSION_STRING: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// Version of the library that is linked: `1000000 * major + 1000 * minor + patch`, as `SURPRISAL_VERSION` is of the header.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn surprisal_version() -> u32 {
    VERSION
}

/// The same as text, `"major.minor.patch"`. Static.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn surprisal_version_string() -> *const c_char {
    VERSION_STRING.as_ptr()
}

/// `SURPRISAL_ABI_VERSION` of the library that is linked.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn surprisal_abi_version() -> u32 {
    SURPRISAL_ABI_VERSION
}
