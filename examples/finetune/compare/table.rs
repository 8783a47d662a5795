//! The results as text, JSON and CSV.

use super::Findings;
use super::claim::{Claim, Finding};
use super::method::Method;
use super::pilots::{AFTERWARDS, PILOTS};
use super::plan::Setting;
use super::problem::Class;
use super::record::{Key, Record, Runs};
use super::statistics::{Values, chosen, chosen_rate};
use serde_json::{Value, json};
use std::fmt::Write;

/// What a table shows of a method: heading, factor, digits, and where the number comes from.
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) digits: usize,
    pub(crate) value: fn(&Record) -> f64,
}

/// The columns of every table. Figures are of the test problems where it is not said otherwise.
pub(crate) const COLUMNS: [Column; 14] = [
    Column { title: "right %", digits: 1, value: |run| 100.0 * run.test.exact },
    Column { title: "format nll", digits: 3, value: |run| run.test.nll[Class::Format as usize] },
    Column {
        title: "reasoning nll",
        digits: 3,
        value: |run| run.test.nll[Class::Reasoning as usize],
    },
    Column {
        title: "constants nll",
        digits: 3,
        value: |run| run.test.nll[Class::Constant as usize],
    },
    Column { title: "style nll", digits: 3, value: |run| run.test.nll[Class::Style as usize] },
    Column { title: "style entropy", digits: 3, value: |run| run.end().style_entropy },
    Column {
        title: "general Δnll",
        digits: 3,
        value: |run| run.end().general_nll - run.start().general_nll,
    },
    Column {
        title: "general Δright %",
        digits: 1,
        value: |run| 100.0 * (run.end().general_exact - run.start().general_exact),
    },
    Column { title: "KL general", digits: 3, value: |run| run.end().general_kl },
    Column { title: "KL domain", digits: 3, value: |run| run.end().domain_kl },
    Column { title: "p<.01 %", digits: 1, value: |run| 100.0 * run.end().probe.low },
    Column { title: "p>.95 %", digits: 1, value: |run| 100.0 * run.end().probe.high },
    Column { title: "eff. sample %", digits: 1, value: |run| 100.0 * run.end().probe.effective },
    Column { title: "mean w²", digits: 3, value: |run| run.end().probe.second_moment },
];

/// The methods of a setting that were run, in their order.
pub(crate) fn methods_of(records: &[Record], setting: Setting) -> Vec<&'static str> {
    let methods =
        if setting == Setting::Reward { Method::reinforced() } else { Method::supervised(1.0) };
    let was_run = |name: &str| chosen_rate(records, setting.name(), name).is_some();
    methods.iter().map(|method| method.name).filter(|name| was_run(name)).collect()
}

/// The mean over seeds, and half of the range.
pub(crate) fn cell(values: &Values, digits: usize) -> String {
    let (low, high) = values.range();
    format!("{:.digits$} ± {:.digits$}", values.mean(), 0.5 * (high - low))
}

/// What is printed at the end.
pub(crate) fn text(findings: &Findings<'_>) -> String {
    let Findings { gates, runs, claims, .. } = findings;
    let records = &runs.finished;
    let mut text = String::new();
    for setting in Setting::ALL {
        writeln!(text, "{}", setting.title()).expect(INTO_STRING);
        write!(text, "{:13}{:>6}", "method", "lr").expect(INTO_STRING);
        let shown = [0, 2, 3, 6];
        shown.iter().for_each(|&at| write!(text, "{:>17}", COLUMNS[at].title).expect(INTO_STRING));
        text.push('\n');
        for method in methods_of(records, setting) {
            let rate = chosen_rate(records, setting.name(), method).unwrap_or(f64::NAN);
            write!(text, "{method:13}{:>6}", format!("{rate:e}")).expect(INTO_STRING);
            for at in shown {
                let Column { digits, value, .. } = COLUMNS[at];
                let values = chosen(records, setting.name(), method, value);
                write!(text, "{:>17}", cell(&values, digits)).expect(INTO_STRING);
            }
            text.push('\n');
        }
        for key in lost(runs, setting) {
            writeln!(text, "{}", diverged(key)).expect(INTO_STRING);
        }
        text.push('\n');
    }
    gates.iter().for_each(|gate| writeln!(text, "{}", gate.line()).expect(INTO_STRING));
    for claim in *claims {
        writeln!(text, "{}. {}", claim.letter, claim.title).expect(INTO_STRING);
        for finding in &claim.findings {
            writeln!(text, "   {}", sentence(finding, findings.holds(claim.letter)))
                .expect(INTO_STRING);
        }
    }
    text
}

/// The runs of a setting that have diverged.
pub(crate) fn lost(runs: &Runs, setting: Setting) -> impl Iterator<Item = &Key> {
    runs.diverged.iter().filter(move |key| key.setting == setting.name())
}

/// A line about one of them.
pub(crate) fn diverged(Key { method, rate, seed, .. }: &Key) -> String {
    format!(
        "{method} at {rate:e}, seed {seed}: diverged (weights that are no numbers), not measured"
    )
}

/// A finding as a sentence.
pub(crate) fn sentence(finding: &Finding, gates_hold: bool) -> String {
    let Finding { what, values, .. } = finding;
    if values.0.is_empty() {
        return format!("{what}: not measured (no run, or the level was not reached).");
    }
    let (low, high) = values.range();
    let verdict =
        if gates_hold { finding.verdict() } else { "a gate does not hold: nothing is concluded" };
    format!(
        "{what}: {:+.3} [{low:+.3}, {high:+.3}] over {} seeds: {verdict}.",
        values.mean(),
        values.0.len()
    )
}

/// One line a run, its end: all numbers but the time, so that one seed gives one file. A run that has diverged has no numbers.
pub(crate) fn csv(runs: &Runs) -> String {
    let mut text = String::from("setting,method,lr,seed,end");
    COLUMNS.iter().for_each(|column| write!(text, ",{}", column.title).expect(INTO_STRING));
    text.push('\n');
    let mut line = |key: &Key, end: &str, run: Option<&Record>| {
        write!(text, "{},{},{:e},{},{end}", key.setting, key.method, key.rate, key.seed)
            .expect(INTO_STRING);
        for Column { value, .. } in &COLUMNS {
            let number = run.map_or(String::new(), |run| value(run).to_string());
            write!(text, ",{number}").expect(INTO_STRING);
        }
        text.push('\n');
    };
    runs.finished.iter().for_each(|run| line(&run.key, "finished", Some(run)));
    runs.diverged.iter().for_each(|key| line(key, "diverged", None));
    text
}

/// Everything, trajectories and times too.
pub(crate) fn json(findings: &Findings<'_>) -> String {
    let Findings { settings, gates, runs, claims } = findings;
    let gates: Vec<Value> = gates
        .iter()
        .map(|gate| json!({ "what": gate.what, "share": gate.share, "holds": gate.holds() }))
        .collect();
    let claim = |claim: &Claim| {
        let of = |finding: &Finding| {
            json!({
                "what": finding.what,
                "values": finding.values.0,
                "sentence": sentence(finding, findings.holds(claim.letter)),
            })
        };
        let found: Vec<Value> = claim.findings.iter().map(of).collect();
        json!({ "claim": claim.letter.to_string(), "title": claim.title, "findings": found, "note": claim.note })
    };
    let value = json!({
        "command": settings.command(),
        "pilots": PILOTS,
        "afterwards": AFTERWARDS,
        "gates": gates,
        "claims": claims.iter().map(claim).collect::<Vec<_>>(),
        "runs": runs.finished,
        "diverged": runs.diverged,
    });
    format!("{}\n", rounded(value))
}

/// Numbers to six digits: a report is no checkpoint.
fn rounded(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            json!(format!("{number:.5e}").parse::<f64>().unwrap_or(number))
        }
        Value::Array(values) => values.into_iter().map(rounded).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, rounded(value))).collect()
        }
        other => other,
    }
}

const INTO_STRING: &str = "a string takes everything";

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    #[test]
    fn the_csv_has_a_line_a_run_and_a_field_a_column() {
        let runs = [record("sft", 1e-3, 1, &[(0.0, 1.0), (0.5, 1.25)])];
        let diverged = vec![Key { seed: 2, ..runs[0].key.clone() }];
        let csv = csv(&Runs { finished: runs.into(), diverged });
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.split(',').count() == 5 + COLUMNS.len()));
        assert!(lines[1].starts_with("strong,sft,1e-3,1,finished,50,"), "{}", lines[1]);
        assert!(lines[2].starts_with("strong,sft,1e-3,2,diverged,,"), "{}", lines[2]);
        assert!(lines[1].contains(",0.25,"), "what was forgotten");
    }

    #[test]
    fn a_cell_is_the_mean_and_half_the_range() {
        assert_eq!(cell(&Values::of(&[1.0, 2.0, 6.0]), 1), "3.0 ± 2.5");
    }

    #[test]
    fn json_has_six_digits() {
        let value = json!({ "a": [0.123_456_789, 3, "x"], "b": -1.5e-9 });
        assert_eq!(rounded(value), json!({ "a": [0.123_457, 3, "x"], "b": -1.5e-9 }));
    }
}
