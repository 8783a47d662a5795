//! Losses side by side, in time and in peak memory: what the adapters' benchmarks share.

use std::process::Command;
use std::time::Instant;
use std::{env, fs};

/// Logits of the benchmark.
pub(crate) const ROWS: usize = 512;
pub(crate) const VOCAB: usize = 32_000;

const ROUNDS: usize = 5;

/// Prepares what is not measured, and returns what is.
pub(crate) type Prepare = Box<dyn Fn() -> Box<dyn FnOnce()>>;

/// A contestant: its name, and a call.
pub(crate) type Contestant = (&'static str, Prepare);

/// Normal logits enough: a sum of uniform numbers.
pub(crate) fn logits() -> impl Iterator<Item = f32> {
    let mut state = 1_u64;
    let mut uniform = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u32 << 24) as f32
    };
    (0..ROWS * VOCAB).map(move |_| 2.0 * (uniform() + uniform() + uniform()) - 3.0)
}

pub(crate) fn targets() -> Vec<i64> {
    (0..ROWS).map(|row| (row * 7919 % VOCAB) as i64).collect()
}

/// Prints a table, of which the first contestant is the unit. `contestants` makes those of a type, `f32` or `bf16`, around logits of its own.
pub(crate) fn main(framework: &str, contestants: impl Fn(&str) -> Vec<Contestant>) {
    let arguments: Vec<String> = env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--peak") {
        let (_, prepare) =
            &contestants(&arguments[at + 1])[arguments[at + 2].parse::<usize>().unwrap()];
        let call = prepare();
        return println!("{}", peak(call));
    }
    for (dtype, size) in [("f32", 4), ("bf16", 2)] {
        let of = contestants(dtype);
        let mut times = vec![Vec::new(); of.len()];
        for round in 0..=ROUNDS {
            for ((_, prepare), times) in of.iter().zip(&mut times) {
                let call = prepare();
                let start = Instant::now();
                call();
                // The first round warms up.
                if round > 0 {
                    times.push(start.elapsed().as_secs_f64());
                }
            }
        }
        let matrix = (ROWS * VOCAB * size) as f64;
        for (index, (name, _)) in of.iter().enumerate() {
            let mut ratios: Vec<f64> =
                times[index].iter().zip(&times[0]).map(|(a, b)| a / b).collect();
            ratios.sort_by(f64::total_cmp);
            let peak = Command::new(env::current_exe().unwrap())
                .args(["--peak", dtype, &index.to_string()])
                .output()
                .unwrap();
            let peak = String::from_utf8(peak.stdout).unwrap().trim().parse::<f64>().unwrap();
            println!("{framework},{dtype},{name},{:.2},{:.2}", ratios[ROUNDS / 2], peak / matrix);
        }
    }
}

/// Bytes that a call takes beyond what there is before it.
fn peak(call: Box<dyn FnOnce()>) -> f64 {
    fs::write("/proc/self/clear_refs", "5").expect("Linux, whose kernel counts");
    let before = status("VmRSS:");
    call();
    status("VmHWM:") - before
}

fn status(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}
