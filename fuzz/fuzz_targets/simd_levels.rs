//! The same problem at every SIMD level of the machine: the same bits where there is FMA, within the oracle's bounds where not.
#![no_main]

use half::{bf16, f16};
use libfuzzer_sys::fuzz_target;
use surprisal::Element;
use surprisal_fuzz::logits::Storage;
use surprisal_fuzz::problem::Input;
use surprisal_tests::bounds::Bounds;
use surprisal_tests::compare::assert_same_bits;
use surprisal_tests::run::{Way, is_fused, levels, run};
use surprisal_tests::storage;
use surprisal_tests::tolerance::{BF16, F16, F32, Rounding};

fuzz_target!(|input: Input| match input.storage {
    Storage::F32 => check::<f32>(&input, F32),
    Storage::Bf16 => check::<bf16>(&input, BF16),
    Storage::F16 => check::<f16>(&input, F16),
});

fn check<T: Element + storage::Storage>(input: &Input, rounding: Rounding) {
    let problem = &input.problem;
    let (oracle, bounds) = (problem.oracle(), Bounds::new(problem));
    for way in [Way::Separate, Way::InPlace, Way::Shards(3)] {
        let mut fused = None;
        for level in levels() {
            let what = format!("{way:?} {level:?}");
            let actual = run::<T>(problem, way, level);
            bounds.check(&what, problem, &actual, &oracle, rounding);
            if !is_fused(level) {
                continue;
            }
            let first = fused.get_or_insert_with(|| actual.clone());
            assert_same_bits(&what, &actual.dlogits, &first.dlogits);
            assert_same_bits(&what, &actual.nll, &first.nll);
            assert_eq!(actual.report, first.report, "{what}");
        }
    }
}
