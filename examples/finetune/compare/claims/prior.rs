//! Claim c: DFT where the base knows much, and where it knows little.

use super::{STRONG, between};
use crate::compare::claim::{Claim, Expected, Finding};
use crate::compare::figure::{Series, bars};
use crate::compare::plan::Setting;
use crate::compare::problem::Class;
use crate::compare::record::Record;
use crate::compare::statistics::chosen;

/// Claim c.
pub(super) fn prior(records: &[Record]) -> Claim {
    let pair = ("dft", "sft");
    let exact = |setting| between(records, setting, pair, |record| record.test.exact);
    let constant = |record: &Record| record.test.right[Class::Constant as usize];
    let findings = vec![
        Finding::new("strong base, noisy data: exact match", Expected::Above, exact("noisy")),
        Finding::new("strong base, clean data: exact match", Expected::Near(0.05), exact(STRONG)),
        Finding::new(
            "strong base after a little of the domain, clean data: exact match",
            Expected::Near(0.05),
            exact(Setting::Reward.name()),
        ),
        Finding::new("weak base, clean data: exact match", Expected::Below, exact("weak")),
        Finding::new(
            "strong base, clean data: constants right",
            Expected::Below,
            between(records, STRONG, pair, constant),
        ),
        Finding::new(
            "weak base, clean data: constants right",
            Expected::Below,
            between(records, "weak", pair, constant),
        ),
    ];
    Claim {
        letter: 'c',
        title: "DFT wins where the base knows, and loses where it does not",
        says: "DFT far ahead of SFT on mathematics with a mathematical base (arXiv 2508.05629, table 1); behind it on medical data with a base \
               that knows little of them (arXiv 2509.23753); on a line from strong to weak priors (arXiv 2510.00526).",
        measured: "DFT − SFT, shares of test answers and of constants right, each at its own chosen rate.",
        findings,
        figures: vec![right(records)],
        note: String::new(),
    }
}

/// Test answers right, by setting.
fn right(records: &[Record]) -> String {
    let settings = [Setting::Noisy, Setting::Strong, Setting::Reward, Setting::Weak];
    let series = ["sft", "dft"].map(|method| Series {
        name: method.to_owned(),
        points: (0u8..)
            .zip(settings)
            .map(|(at, setting)| {
                let right = |record: &Record| 100.0 * record.test.exact;
                (f64::from(at), chosen(records, setting.name(), method, right).mean())
            })
            .collect(),
    });
    bars(&["noisy", "strong", "a little", "weak"], "test answers right (%)", &series)
}
