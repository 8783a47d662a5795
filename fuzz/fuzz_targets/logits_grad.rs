//! Loss and gradient of any objective: every way through the library against every other, and against the f64 oracle.
//!
//! That the padding of rows is left alone is checked by `surprisal_tests::run` itself.
#![no_main]

use half::{bf16, f16};
use libfuzzer_sys::fuzz_target;
use surprisal::Element;
use surprisal_fuzz::bounds::Bounds;
use surprisal_fuzz::logits::Storage;
use surprisal_fuzz::problem::Input;
use surprisal_fuzz::rounding::{BF16, F16, F32, Rounding};
use surprisal_tests::compare::assert_same_bits;
use surprisal_tests::run::{WAYS, Way, run};
use surprisal_tests::storage;

fuzz_target!(|input: Input| match input.storage {
    Storage::F32 => check::<f32>(&input, F32),
    Storage::Bf16 => check::<bf16>(&input, BF16),
    Storage::F16 => check::<f16>(&input, F16),
});

fn check<T: Element + storage::Storage>(input: &Input, rounding: Rounding) {
    let (problem, level) = (&input.problem, input.level);
    let (oracle, bounds) = (problem.oracle(), Bounds::new(problem));
    let first = run::<T>(problem, WAYS[0], level);
    bounds.check("separate", problem, &first, &oracle, rounding);
    for way in &WAYS[1..] {
        let what = format!("{way:?}");
        let other = run::<T>(problem, *way, level);
        assert_same_bits(&what, &other.nll, &first.nll);
        assert_eq!(other.report, first.report, "{what}");
        if way.is_f32() {
            bounds.check(&what, problem, &other, &oracle, F32);
        } else {
            assert_same_bits(&what, &other.dlogits, &first.dlogits);
        }
    }
    let shards = run::<T>(problem, Way::Shards(3), level);
    bounds.check("shards", problem, &shards, &oracle, rounding);
}
