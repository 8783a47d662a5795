//! The report: one HTML file with everything in it.

use crate::cli::Settings;
use crate::data::Corpus;
use crate::experiment::{Results, Run, Scores};
use crate::failure::{Failure, Outcome};
use crate::model::Config;
use crate::plots::{self, Axis, colour, radius};
use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;

const STYLE: &str = include_str!("report.css");

/// The whole page.
pub(crate) fn html(
    settings: &Settings,
    model: Config,
    (domain, general): (&Corpus, &Corpus),
    results: &Results,
) -> Outcome<String> {
    let figures =
        figures(results).map_err(|why| Failure::while_doing("drawing the report", why))?;
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>What fine-tuning gains and loses</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>What fine-tuning gains and loses</h1>\n{introduction}{figures}\
         <h2>All numbers</h2>\n{table}{settings}</main>\n</body>\n</html>\n",
        introduction = introduction(domain, general, results),
        table = table(results),
        settings = settings_section(settings, model, (domain, general)),
    ))
}

/// What was done, how to read it, and what came out, in a few sentences.
fn introduction(domain: &Corpus, general: &Corpus, results: &Results) -> String {
    let mut text = format!(
        "<p class=\"lead\">A small byte-level transformer was trained on <b>{}</b> and then fine-tuned on <b>{}</b>: \
         one copy per objective and learning rate, on the same batches in the same order. Every number below is \
         measured on text that no model was trained on, unless it says otherwise.</p>\n",
        escape(file_name(&general.name)),
        escape(file_name(&domain.name))
    );
    for finding in results.findings() {
        writeln!(text, "<p class=\"finding\">{}</p>", escape(&finding)).expect(INTO_STRING);
    }
    text
}

/// The trade-off figures and the histograms, each with a word on how to read it.
fn figures(results: &Results) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let nll = plots::trade_off(
        results,
        &Axis { label: "general nll (nats per byte)", value: |scores| scores.general.nll() },
        &Axis { label: "domain nll (nats per byte)", value: |scores| scores.domain.nll() },
    )?;
    let accuracy = plots::trade_off(
        results,
        &Axis {
            label: "general bytes answered right (%)",
            value: |scores| 100.0 * scores.general.accuracy(),
        },
        &Axis {
            label: "domain bytes answered right (%)",
            value: |scores| 100.0 * scores.domain.accuracy(),
        },
    )?;
    let mut text = format!(
        "<h2>Domain against general</h2>\n\
         <p>Each line starts at the base model (the ring) and follows one objective through rising learning rates \
         (growing dots). Left: <b>down</b> is what was gained in the domain, <b>right</b> is what was forgotten, so \
         the lower left corner is best. Right: the same runs by bytes answered right, where the upper right corner is \
         best. An objective whose line runs closer to that corner forgets less for the same gain.</p>\n{legend}\
         <div class=\"pair\">\n<figure>{nll}</figure>\n<figure>{accuracy}</figure>\n</div>\n",
        legend = legend(results),
    );
    let shown = results.middle_rate();
    write!(
        text,
        "<h2>Probability of the target, before and after</h2>\n\
         <p>How probable the model finds each byte of the domain text it is trained on: grey before, colour after \
         fine-tuning at learning rate {shown:e}, as a share of all bytes on a logarithmic axis. Plain SFT pulls up the \
         improbable bytes; objectives that weigh a byte by its probability leave part of them where they are and push \
         the probable ones towards 1.</p>\n<div class=\"grid\">\n"
    )?;
    let before = results.base.trained.shares();
    for (index, runs) in results.by_objective().enumerate() {
        let Some(run) = runs.iter().find(|run| run.rate.total_cmp(&shown).is_eq()) else {
            continue;
        };
        let svg = plots::histogram(&before, &run.scores.trained.shares(), colour(index))?;
        writeln!(
            text,
            "<figure><figcaption>{}</figcaption>{svg}</figure>",
            escape(run.objective.name())
        )?;
    }
    text.push_str("</div>\n");
    Ok(text)
}

/// Names for the colours, learning rates for the sizes.
fn legend(results: &Results) -> String {
    let mut text =
        String::from("<p class=\"legend\"><span><i class=\"ring\"></i>base model</span>");
    for (index, runs) in results.by_objective().enumerate() {
        let name = escape(runs[0].objective.name());
        write!(text, "<span>{}{name}</span>", dot(index, 5)).expect(INTO_STRING);
    }
    text.push_str("<span class=\"gap\">learning rate</span>");
    for (index, run) in results.by_objective().next().unwrap_or_default().iter().enumerate() {
        let size = 2 * radius(index);
        let style = format!("background:#9ca3af;width:{size}px;height:{size}px");
        write!(text, "<span><i style=\"{style}\"></i>{:e}</span>", run.rate).expect(INTO_STRING);
    }
    text + "</p>\n"
}

/// A dot in the colour of an objective.
fn dot(index: usize, radius: i32) -> String {
    let plotters::style::RGBColor(red, green, blue) = colour(index);
    let size = 2 * radius;
    format!("<i style=\"background:rgb({red},{green},{blue});width:{size}px;height:{size}px\"></i>")
}

/// The same table as on the terminal, with bits per byte and the number of bytes measured on.
fn table(results: &Results) -> String {
    let mut text = String::from(
        "<div class=\"scroll\"><table>\n<thead><tr><th rowspan=\"2\">objective</th><th rowspan=\"2\">lr</th>\
         <th colspan=\"5\">domain, held out</th><th colspan=\"5\">general, held out</th></tr>\n<tr>",
    );
    for _ in 0..2 {
        text.push_str("<th>nll</th><th>change</th><th>bits/byte</th><th>right</th><th>hard</th>");
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    push_row(&mut text, "<i class=\"ring\"></i>base model", "", &results.base, None);
    for (index, runs) in results.by_objective().enumerate() {
        for Run { objective, rate, scores, .. } in runs {
            let name = format!("{}{}", dot(index, 5), escape(objective.name()));
            push_row(&mut text, &name, &format!("{rate:e}"), scores, Some(&results.base));
        }
    }
    let Scores { domain, general, .. } = &results.base;
    write!(
        text,
        "</tbody></table></div>\n<p class=\"note\">nll: nats per byte. right: share of bytes with the largest logit. \
         hard: share of bytes with probability below 0.1. Measured on {} bytes of the domain (questions are not \
         counted) and {} bytes of general text.</p>\n",
        domain.tokens, general.tokens
    )
    .expect(INTO_STRING);
    text
}

/// One line of the table; `name` is HTML already.
fn push_row(text: &mut String, name: &str, rate: &str, scores: &Scores, base: Option<&Scores>) {
    write!(text, "<tr><td>{name}</td><td>{rate}</td>").expect(INTO_STRING);
    for (measure, before) in [
        (&scores.domain, base.map(|base| &base.domain)),
        (&scores.general, base.map(|base| &base.general)),
    ] {
        let change =
            before.map_or(String::new(), |before| format!("{:+.3}", measure.nll() - before.nll()));
        write!(
            text,
            "<td>{:.3}</td><td>{change}</td><td>{:.3}</td><td>{:.1}%</td><td>{:.1}%</td>",
            measure.nll(),
            measure.bits_per_byte(),
            100.0 * measure.accuracy(),
            100.0 * measure.hard_share()
        )
        .expect(INTO_STRING);
    }
    text.push_str("</tr>\n");
}

/// What it takes to get the same numbers again.
fn settings_section(
    settings: &Settings,
    model: Config,
    (domain, general): (&Corpus, &Corpus),
) -> String {
    let Config { layers, heads, width, context } = model;
    format!(
        "<h2>Settings</h2>\n<p>Model: {layers} layers, {heads} heads, width {width}, context {context} bytes. \
         Training text: {} general and {} domain sequences. To repeat:</p>\n<pre>{}</pre>\n",
        general.train.len(),
        domain.train.len(),
        escape(&settings.command())
    )
}

/// The last part of a path; the folders before it stand in the command at the end of the page.
fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(OsStr::to_str).unwrap_or(path)
}

/// Text as HTML shows it.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Why writing into a string cannot fail.
const INTO_STRING: &str = "a string takes everything";

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<b a=\"1\">&amp;</b>"), "&lt;b a=&quot;1&quot;&gt;&amp;amp;&lt;/b&gt;");
    }
}
