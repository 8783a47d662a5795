//! The report as a page that a repository shows: the figures beside it, the claims, the main columns of the tables.

use super::Findings;
use super::page::{CLOSED, figures};
use super::pilots::{AFTERWARDS, PILOTS};
use super::plan::Setting;
use super::statistics::{chosen, chosen_rate};
use super::table::{COLUMNS, Column, cell, diverged, lost, methods_of, sentence};
use std::fmt::Write;

/// The columns that fit a page.
const SHOWN: [usize; 7] = [0, 2, 3, 4, 5, 6, 7];
const INTO_STRING: &str = "a string takes everything";

/// The whole page.
pub(crate) fn text(findings: &Findings<'_>) -> String {
    let Findings { settings, gates, claims, .. } = findings;
    let mut text = format!(
        "# Methods of fine-tuning beside each other\n\n```sh\n{}\n```\n\nwrote this page. `compare.html` has every column; `compare.json` and `compare.csv` have \
         every run. Learning rates are chosen on validation problems; figures are of test problems, mean ± half of the range over seeds.\n\n\
         ![What is gained and what is forgotten](figures/main.svg)\n\n{}: right and low is best.\n\n## Gates\n\n",
        settings.command(),
        Setting::Strong.title(),
    );
    for gate in *gates {
        writeln!(text, "* {}", gate.line()).expect(INTO_STRING);
    }
    let names: Vec<String> = figures(findings).into_iter().map(|(name, _)| name).collect();
    for claim in *claims {
        let (letter, holds) = (claim.letter, findings.holds(claim.letter));
        write!(
            text,
            "\n## {letter}. {}\n\n**The claim.** {}\n\n**Measured.** {}\n\n",
            claim.title, claim.says, claim.measured
        )
        .expect(INTO_STRING);
        for finding in &claim.findings {
            writeln!(text, "* {}", sentence(finding, holds)).expect(INTO_STRING);
        }
        if !holds {
            writeln!(text, "* {CLOSED}").expect(INTO_STRING);
        }
        write!(text, "\n{}\n", claim.note).expect(INTO_STRING);
        for name in names.iter().filter(|name| name.starts_with(letter)) {
            writeln!(text, "![Claim {letter}](figures/{name}.svg)").expect(INTO_STRING);
        }
    }
    for setting in Setting::ALL {
        table(&mut text, findings, setting);
    }
    text.push_str("\n## What pilots have shaped\n\n");
    for note in PILOTS {
        writeln!(text, "* {note}").expect(INTO_STRING);
    }
    text.push_str("\n## What was changed after the first whole run\n\n");
    for note in AFTERWARDS {
        writeln!(text, "* {note}").expect(INTO_STRING);
    }
    text
}

/// One setting, a row a method.
fn table(text: &mut String, findings: &Findings<'_>, setting: Setting) {
    let records = &findings.runs.finished;
    write!(text, "\n## {}\n\n| method | lr |", setting.title()).expect(INTO_STRING);
    SHOWN.iter().for_each(|&at| write!(text, " {} |", COLUMNS[at].title).expect(INTO_STRING));
    writeln!(text, "\n|---|---|{}", "---|".repeat(SHOWN.len())).expect(INTO_STRING);
    for method in methods_of(records, setting) {
        let rate = chosen_rate(records, setting.name(), method).unwrap_or(f64::NAN);
        write!(text, "| {method} | {rate:e} |").expect(INTO_STRING);
        for at in SHOWN {
            let Column { digits, value, .. } = COLUMNS[at];
            let values = chosen(records, setting.name(), method, value);
            write!(text, " {} |", cell(&values, digits)).expect(INTO_STRING);
        }
        text.push('\n');
    }
    let lost: Vec<String> = lost(findings.runs, setting).map(diverged).collect();
    if !lost.is_empty() {
        writeln!(text, "\n{}", lost.join("; ")).expect(INTO_STRING);
    }
}
