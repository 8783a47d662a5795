//! The papers' comparisons in miniature: every method beside every other, and each claim put to the test.
//!
//! The plan, a concept a file: `problem` and `texts` (what is read: two bases, a domain whose answers' bytes have known
//! classes, its noisy copy), `method` (the methods: an objective of the library and what is done beside it), `plan`
//! (presets: settings, learning rates, seeds), `arena` (what the runs of one setting and seed share), `fit` (one run)
//! with `lora` and `policy` (samples and rewards), `measure` (what is measured), `moments` (claim f, of a base alone),
//! `record` (what is kept of a run, and an interrupted comparison goes on from), `race` (all runs, side by side), `statistics`
//! (paired differences), `claim` and `claims` (a to g, from records alone), and what comes out: `table` (text and CSV) and `page` with
//! `figure` (HTML).
//!
//! Design, gates and analysis are to be fixed here before a first whole run; `docs/report/` is to say what was changed after one.
//! Nothing has been concluded yet. So far pilots have shaped the text alone, by what bases learnt of it: the layout of the domain is
//! known in general text (notes), half of the problems need no constant, a result is written as a sum.

mod arena;
mod claim;
mod claims;
mod figure;
mod fit;
mod lora;
mod measure;
mod method;
mod moments;
mod page;
mod plan;
mod policy;
mod problem;
mod race;
mod record;
mod statistics;
mod table;
mod texts;

use crate::cli::Comparison;
use crate::failure::{Failure, Outcome};
use crate::progress::Progress;
use claim::Claim;
use race::Start;
use record::Record;
use std::fs;

/// All that the report tells.
pub(crate) struct Findings<'a> {
    pub(crate) settings: &'a Comparison,
    pub(crate) gates: &'a [Gate],
    pub(crate) records: &'a [Record],
    pub(crate) claims: &'a [Claim],
}

impl Findings<'_> {
    /// Whether anything may be concluded.
    pub(crate) fn holds(&self) -> bool {
        self.gates.iter().all(Gate::holds)
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
}

impl Gate {
    /// Whether it holds.
    pub(crate) fn holds(&self) -> bool {
        (self.least..=self.most).contains(&self.share)
    }

    /// A line about it.
    pub(crate) fn line(&self) -> String {
        let Self { what, share, least, most } = self;
        let percent = |share: &f64| format!("{:.0} %", 100.0 * share);
        let verdict = if self.holds() { "holds" } else { "DOES NOT HOLD" };
        format!(
            "gate {verdict}: {what}: {:.1} % right ({} to {} wanted)",
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
    let records = race::run(&plan, &starts, settings, &progress)?;
    gates.push(claims::gate(&records));
    let claims = claims::test(&records, &race::moments(&starts, &plan)?);

    let findings = Findings { settings, gates: &gates, records: &records, claims: &claims };
    println!("\n{}", table::text(&findings));
    for (name, text) in [
        ("compare.json", table::json(&findings)),
        ("compare.csv", table::csv(&records)),
        ("compare.html", page::html(&findings)),
    ] {
        let path = out.join(name);
        fs::write(&path, text)
            .map_err(|why| Failure::while_doing(&format!("writing {}", path.display()), why))?;
        println!("{}", path.display());
    }
    Ok(())
}
