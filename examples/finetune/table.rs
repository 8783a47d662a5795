//! The results as a table of text.

use crate::experiment::{Results, Run, Scores};
use std::fmt::Write;

/// The table that is printed at the end: the base model first, then each run. At most 100 columns.
pub(crate) fn table(results: &Results) -> String {
    let mut text = format!(
        "{:<16} {:>7} | {:>10} {:>7} {:>6} {:>6} | {:>11} {:>7} {:>6} {:>6}\n",
        "objective",
        "lr",
        "domain nll",
        "change",
        "right",
        "hard",
        "general nll",
        "change",
        "right",
        "hard"
    );
    text.push_str(&format!("{}\n", "-".repeat(98)));
    push_row(&mut text, "base model", "", &results.base, None);
    for Run { objective, rate, scores, .. } in &results.runs {
        push_row(&mut text, objective.name(), &format!("{rate:e}"), scores, Some(&results.base));
    }
    text.push_str("nll: nats per byte of held-out text; right: bytes answered right; hard: bytes with p < 0.1\n");
    text
}

/// One line. `base` is what the changes are counted from.
fn push_row(text: &mut String, name: &str, rate: &str, scores: &Scores, base: Option<&Scores>) {
    let Scores { domain, general, .. } = scores;
    let change = |now: f64, before: Option<f64>| {
        before.map_or(String::new(), |before| format!("{:+.3}", now - before))
    };
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    writeln!(
        text,
        "{name:<16} {rate:>7} | {:>10.3} {:>7} {:>6} {:>6} | {:>11.3} {:>7} {:>6} {:>6}",
        domain.nll(),
        change(domain.nll(), base.map(|base| base.domain.nll())),
        percent(domain.accuracy()),
        percent(domain.hard_share()),
        general.nll(),
        change(general.nll(), base.map(|base| base.general.nll())),
        percent(general.accuracy()),
        percent(general.hard_share()),
    )
    .expect("a string takes everything");
}
