//! The report as one HTML page that needs nothing else.

use super::Findings;
use super::claim::Claim;
use super::figure::{INK, Series, escape, forest, scatter};
use super::pilots::{AFTERWARDS, PILOTS};
use super::plan::Setting;
use super::record::{Record, Runs};
use super::statistics::{chosen, chosen_rate};
use super::table::{COLUMNS, Column, cell, diverged, lost, methods_of, sentence};
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");
const INTO_STRING: &str = "a string takes everything";

/// What stands beside a claim whose gate fails.
pub(crate) const CLOSED: &str = "A gate of this claim does not hold: nothing is concluded.";

/// The whole page.
pub(crate) fn html(findings: &Findings<'_>) -> String {
    let Findings { settings, gates, runs, claims } = findings;
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Methods of fine-tuning beside each other</title>\n\
         <style>\n{INK}{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Methods of fine-tuning beside each other</h1>\n\
         <p>A byte-level transformer learns small problems of arithmetic in a style of their own, by every method of <code>surprisal</code>, \
         from a base that can add and from one that cannot. Learning rates are chosen on validation problems; figures are of test \
         problems, mean ± half of the range over seeds. An effect is claimed where all seeds agree in its sign.</p>\n"
    );
    for gate in *gates {
        let class = if gate.holds() { "gate" } else { "gate failed" };
        writeln!(text, "<p class=\"{class}\">{}</p>", escape(&gate.line())).expect(INTO_STRING);
    }
    writeln!(
        text,
        "<h2>{}</h2>\n<figure>{}</figure>\n<p class=\"note\">Right and low is best.</p>",
        Setting::Strong.title(),
        main_figure(&runs.finished)
    )
    .expect(INTO_STRING);
    for claim in *claims {
        section(&mut text, claim, findings.holds(claim.letter));
    }
    text += "<h2>All methods</h2>\n";
    for setting in Setting::ALL {
        table(&mut text, runs, setting);
    }
    write!(
        text,
        "<h2>Settings</h2>\n<p>An answer is right where every byte but the style's is the most probable one given the right bytes before it, which \
         is the same as greedy generation after the style. Right bytes of general text are those of held-out tasks with one answer. KL is \
         from the start model, a byte. Effective sample size and second moment are of the objective's weights on the training \
         probe.</p>\n<pre>{}</pre>\n<h2>What pilots have shaped</h2>\n<ul>\n",
        escape(&settings.command())
    )
    .expect(INTO_STRING);
    for note in PILOTS {
        writeln!(text, "<li>{}</li>", escape(note)).expect(INTO_STRING);
    }
    text += "</ul>\n<h2>What was changed after the first whole run</h2>\n<ul>\n";
    for note in AFTERWARDS {
        writeln!(text, "<li>{}</li>", escape(note)).expect(INTO_STRING);
    }
    text + "</ul>\n</main>\n</body>\n</html>\n"
}

/// All figures, by name.
pub(crate) fn figures(findings: &Findings<'_>) -> Vec<(String, String)> {
    let mut figures = vec![("main".to_owned(), main_figure(&findings.runs.finished))];
    for Claim { letter, findings, figures: own, .. } in findings.claims {
        let numbered = (1..).zip(own).map(|(n, svg)| (format!("{letter}{n}"), svg.clone()));
        figures.push((format!("{letter}-seeds"), forest(findings)));
        figures.extend(numbered);
    }
    figures.retain(|(_, svg)| !svg.is_empty());
    figures
}

/// What was gained and what was forgotten, a dot a method.
fn main_figure(records: &[Record]) -> String {
    let setting = Setting::Strong;
    let dot = |method: &&'static str| {
        let of = |value: fn(&Record) -> f64| chosen(records, setting.name(), method, value).mean();
        let points = vec![(of(COLUMNS[0].value), of(COLUMNS[6].value))];
        Series { name: (*method).to_owned(), points }
    };
    let series: Vec<Series> = methods_of(records, setting).iter().map(dot).collect();
    scatter("test answers right (%)", "change of general nll (nats a byte)", &series)
}

/// A claim: what the paper says, what was found, the figures.
fn section(text: &mut String, claim: &Claim, gates_hold: bool) {
    let Claim { letter, title, says, measured, findings, figures, note } = claim;
    write!(
        text,
        "<h2>{letter}. {}</h2>\n<p><b>The claim.</b> {}</p>\n<p><b>Measured.</b> {}</p>\n<ul>\n",
        escape(title),
        escape(says),
        escape(measured)
    )
    .expect(INTO_STRING);
    for finding in findings {
        writeln!(text, "<li>{}</li>", escape(&sentence(finding, gates_hold))).expect(INTO_STRING);
    }
    text.push_str("</ul>\n");
    if !gates_hold {
        writeln!(text, "<p class=\"gate failed\">{CLOSED}</p>").expect(INTO_STRING);
    }
    for figure in std::iter::once(&forest(findings)).chain(figures) {
        writeln!(text, "<figure>{figure}</figure>").expect(INTO_STRING);
    }
    if !note.is_empty() {
        writeln!(text, "<p class=\"note\">{}</p>", escape(note)).expect(INTO_STRING);
    }
}

/// One setting, a row a method.
fn table(text: &mut String, runs: &Runs, setting: Setting) {
    let records = &runs.finished;
    write!(
        text,
        "<h3>{}</h3>\n<div class=\"scroll\"><table>\n<thead><tr><th>method</th><th>lr</th>",
        setting.title()
    )
    .expect(INTO_STRING);
    for Column { title, .. } in &COLUMNS {
        write!(text, "<th>{}</th>", escape(title)).expect(INTO_STRING);
    }
    text.push_str("<th>ms a step</th></tr></thead>\n<tbody>\n");
    for method in methods_of(records, setting) {
        let rate = chosen_rate(records, setting.name(), method).unwrap_or(f64::NAN);
        write!(text, "<tr><td>{method}</td><td>{rate:e}</td>").expect(INTO_STRING);
        for Column { digits, value, .. } in COLUMNS {
            let values = chosen(records, setting.name(), method, value);
            write!(text, "<td>{}</td>", cell(&values, digits)).expect(INTO_STRING);
        }
        let seconds = chosen(records, setting.name(), method, |run| 1000.0 * run.seconds_per_step);
        writeln!(text, "<td>{:.0}</td></tr>", seconds.mean()).expect(INTO_STRING);
    }
    for key in lost(runs, setting) {
        let columns = COLUMNS.len() + 3;
        writeln!(text, "<tr><td colspan=\"{columns}\">{}</td></tr>", escape(&diverged(key)))
            .expect(INTO_STRING);
    }
    text.push_str("</tbody></table></div>\n");
}
