//! The tests that need a device. Without an adapter they show as ignored, unless `SURPRISAL_REQUIRE_GPU=1` makes its absence a failure.

mod oracle;
mod ways;

use libtest_mimic::{Arguments, Trial};
use surprisal_gpu::Gpu;

fn main() {
    let arguments = Arguments::from_args();
    let required = std::env::var_os("SURPRISAL_REQUIRE_GPU").is_some_and(|value| value == "1");
    let adapters = Gpu::list();
    let absent = adapters.is_empty() && !required;
    match adapters.first() {
        Some(adapter) => println!("device: {} ({})", adapter.name, adapter.backend),
        None if required => println!("device: none, and SURPRISAL_REQUIRE_GPU=1 asks for one"),
        None => println!(
            "device: none; the tests are ignored (SURPRISAL_REQUIRE_GPU=1 would fail them)"
        ),
    }
    let tests: [(&str, fn()); 6] = [
        ("f32_logits", oracle::f32_logits),
        ("bf16_logits", oracle::bf16_logits),
        ("f16_logits", oracle::f16_logits),
        ("small_bindings", oracle::small_bindings),
        ("every_objective", oracle::every_objective),
        ("extras_and_ignored_rows", oracle::extras_and_ignored_rows),
    ];
    let trials = tests.map(|(name, test)| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        trial.with_ignored_flag(absent)
    });
    libtest_mimic::run(&arguments, trials.into()).exit();
}
