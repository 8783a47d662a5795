//! Loss and gradient of any objective, of moderate problems and of such as are made of corners: every way through the library against every
//! other, and against the f64 oracle.
//!
//! That the padding of rows is left alone is checked by `surprisal_tests::run` itself.
#![no_main]

use half::{bf16, f16};
use libfuzzer_sys::fuzz_target;
use surprisal_fuzz::hostile::Either;
use surprisal_fuzz::logits::Storage;
use surprisal_fuzz::problem::Input;
use surprisal_tests::bounds::check_ways;
use surprisal_tests::tolerance::{BF16, F16, F32};

fuzz_target!(|input: Either| {
    let Either(Input { problem, storage, level }) = input;
    match storage {
        Storage::F32 => check_ways::<f32>(&problem, F32, level),
        Storage::Bf16 => check_ways::<bf16>(&problem, BF16, level),
        Storage::F16 => check_ways::<f16>(&problem, F16, level),
    }
});
