//! The papers' comparisons in miniature: every method beside every other, and each claim put to the test.
//!
//! The plan, a concept a file: `problem` and `texts` (what is read: two bases, a domain whose answers' bytes have known
//! classes, its noisy copy), `method` (the methods: an objective of the library and what is done beside it), `plan`
//! (presets: settings, learning rates, seeds), `arena` (what the runs of one setting and seed share), `fit` (one run)
//! with `lora` and `policy` (samples and rewards), `measure` (what is measured), `moments` (claim f, of a base alone),
//! `record` (what is kept of a run, and an interrupted comparison goes on from), `race` (all runs, side by side), `statistics`
//! (paired differences), `claim` and `claims` (a to g, from records alone), and what comes out: `table` (text and CSV, JSON), `page`
//! (HTML) and `markdown` with `figure`.
//!
//! Design, gates and analysis are fixed here before a first whole run; `pilots` says what came before it.

mod arena;
mod claim;
mod claims;
mod figure;
mod fit;
mod lora;
mod markdown;
mod measure;
mod method;
mod moments;
mod options;
mod page;
mod pilots;
mod plan;
mod policy;
mod problem;
mod race;
mod record;
mod statistics;
mod table;
mod texts;

use crate::failure::{Failure, Outcome};
use crate::progress::Progress;
use claim::Claim;
use race::Start;
use record::Runs;
use std::fs;
use std::path::Path;

pub(crate) use options::Comparison;

/// All that the report tells.
pub(crate) struct Findings<'a> {
    pub(crate) settings: &'a Comparison,
    pub(crate) gates: &'a [Gate],
    pub(crate) runs: &'a Runs,
    pub(crate) claims: &'a [Claim],
}

impl Findings<'_> {
    /// Whether anything may be concluded of a claim.
    pub(crate) fn holds(&self, claim: char) -> bool {
        self.gates.iter().filter(|gate| gate.claims.contains(claim)).all(Gate::holds)
    }
}

/// Something that must hold before anything is concluded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gate {
    pub(crate) what: String,
    /// A share of right answers, and the bounds that it must keep.
    pub(crate) share: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// Letters of the claims that are not to be concluded upon without it.
    pub(crate) claims: &'static str,
}

impl Gate {
    /// Whether it holds.
    pub(crate) fn holds(&self) -> bool {
        (self.least..=self.most).contains(&self.share)
    }

    /// A line about it.
    pub(crate) fn line(&self) -> String {
        let Self { what, share, least, most, claims } = self;
        let percent = |share: &f64| format!("{:.0} %", 100.0 * share);
        let verdict = if self.holds() { "holds" } else { "DOES NOT HOLD" };
        format!(
            "gate {verdict}: {what}: {:.1} % right ({} to {} wanted; of claims {claims})",
            100.0 * share,
            percent(least),
            percent(most)
        )
    }
}

/// The whole comparison.
pub(crate) fn run(settings: &Comparison) -> Outcome<()> {
    let out = &settings.out;
    fs::create_dir_all(out)
        .map_err(|why| Failure::Usage(format!("cannot write to {}: {why}", out.display())))?;
    let progress = Progress::new();
    let plan = plan::Plan::of(settings);
    let starts: Vec<Start> = race::starts(&plan, settings, &progress)?;
    let mut gates: Vec<Gate> = starts.iter().flat_map(|start| start.gates.clone()).collect();
    gates.iter().for_each(|gate| progress.say(&gate.line()));
    let runs = race::run(&plan, &starts, settings, &progress)?;
    gates.push(claims::gate(&runs.finished));
    let claims = claims::test(&runs.finished, &race::moments(&starts, &plan)?);

    let findings = Findings { settings, gates: &gates, runs: &runs, claims: &claims };
    println!("\n{}", table::text(&findings));
    let figures = page::figures(&findings);
    let folder = out.join("figures");
    fs::create_dir_all(&folder).map_err(|why| Failure::while_doing("writing figures", why))?;
    for (name, svg) in &figures {
        write(&folder.join(format!("{name}.svg")), &figure::alone(svg))?;
    }
    for (name, text) in [
        ("compare.json", table::json(&findings)),
        ("compare.csv", table::csv(&runs)),
        ("compare.html", page::html(&findings)),
        ("README.md", markdown::text(&findings)),
    ] {
        let path = out.join(name);
        write(&path, &text)?;
        println!("{}", path.display());
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    fs::write(path, text)
        .map_err(|why| Failure::while_doing(&format!("writing {}", path.display()), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_fails_closes_its_own_claims_alone() {
        let settings = options::tests::comparison("").expect("all by default");
        let gate =
            |share, claims| Gate { what: String::new(), share, least: 0.6, most: 1.0, claims };
        let gates = [gate(0.9, "abc"), gate(0.1, "cg"), gate(f64::NAN, "d")];
        let findings =
            Findings { settings: &settings, gates: &gates, runs: &Runs::default(), claims: &[] };
        assert_eq!(
            ['a', 'c', 'd', 'f', 'g'].map(|it| findings.holds(it)),
            [true, false, false, true, false]
        );
    }
}
