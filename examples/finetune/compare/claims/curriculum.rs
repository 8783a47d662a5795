//! Claim e: where TALR's weight goes over time.

use super::{STRONG, chosen_path};
use crate::compare::claim::{Claim, Expected, Finding};
use crate::compare::figure::{Series, lines};
use crate::compare::record::Record;
use crate::compare::statistics::chosen;

/// Claim e.
pub(super) fn curriculum(records: &[Record]) -> Claim {
    let change = |method: &str| {
        chosen(records, STRONG, method, |record| {
            record.end().probe.cohorts[0] - record.start().probe.cohorts[0]
        })
    };
    let findings = vec![
        Finding::new("talr, τ fixed: hard cohort", Expected::Above, change("talr")),
        Finding::new("talr-auto: hard cohort", Expected::Open, change("talr-auto")),
    ];
    let series = ["talr", "talr-auto"].map(|method| Series {
        name: format!("{method}: hard"),
        points: chosen_path(records, STRONG, method, |point, _| {
            (point.step as f64, 100.0 * point.probe.cohorts[0])
        }),
    });
    Claim {
        letter: 'e',
        title: "TALR is a curriculum by itself",
        says: "Easy tokens dominate at first, and weight moves to harder ones as these become probable (arXiv 2509.20758, on the \
               dynamics of the weights).",
        measured: "Share of the weight on probe tokens that the start model gave p < 0.2, end against start. Strong base, clean data.",
        findings,
        figures: vec![lines("step", "share of the weight (%)", &series)],
        note: String::new(),
    }
}
