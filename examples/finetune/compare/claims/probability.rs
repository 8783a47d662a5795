//! Claims b and d: what becomes of probabilities.

use super::{STRONG, between, chosen_path};
use crate::compare::arena::BINS;
use crate::compare::claim::{Claim, Expected, Finding};
use crate::compare::figure::{Series, bars, lines};
use crate::compare::problem::{Class, STYLE_ENTROPY};
use crate::compare::record::{Point, Record};
use crate::compare::statistics::chosen;

/// The bins, for people.
const BIN_NAMES: [&str; 8] = ["<1e-4", "1e-3", "1e-2", "0.1", "0.5", "0.9", "0.99", "1"];

/// Claim b.
pub(super) fn polarisation(records: &[Record]) -> Claim {
    let change = |method: &str, value: &dyn Fn(&Point) -> f64| {
        chosen(records, STRONG, method, |record| value(record.end()) - value(record.start()))
    };
    let mut findings = Vec::new();
    let low: &dyn Fn(&Point) -> f64 = &|point| point.probe.low;
    let high: &dyn Fn(&Point) -> f64 = &|point| point.probe.high;
    for (method, of_low) in [("dft", Expected::Above), ("sft", Expected::Below)] {
        findings.push(Finding::new(
            format!("{method}: share p < 0.01"),
            of_low,
            change(method, low),
        ));
        findings.push(Finding::new(
            format!("{method}: share p > 0.95"),
            Expected::Above,
            change(method, high),
        ));
    }
    let entropy = |method| {
        chosen(records, STRONG, method, |record| record.end().style_entropy - STYLE_ENTROPY)
    };
    findings.push(Finding::new(
        "SFT: entropy of the style − 1.280",
        Expected::Near(0.1),
        entropy("sft"),
    ));
    findings.push(Finding::new(
        "DFT: entropy of the style − 1.280",
        Expected::Below,
        entropy("dft"),
    ));
    findings.push(Finding::new(
        "entropy of the style, DFT − SFT",
        Expected::Below,
        between(records, STRONG, ("dft", "sft"), |record| record.end().style_entropy),
    ));
    let entropy = ["sft", "dft"].map(|method| Series {
        name: method.to_owned(),
        points: chosen_path(records, STRONG, method, |point, _| {
            (point.step as f64, point.style_entropy)
        }),
    });
    Claim {
        letter: 'b',
        title: "DFT polarises probabilities",
        says: "\u{201c}On the Generalization of SFT\u{201d} (arXiv 2508.05629, figure 2): SFT lifts the improbable tokens; DFT raises the \
               mass of both the lowest and the highest probabilities.",
        measured: "Change over a run of the share of training-probe tokens with p < 0.01 and p > 0.95; entropy of the model where \
                   the style is drawn, whose own is 1.280 nats. Strong base, clean data, each method at its chosen rate.",
        findings,
        figures: vec![histogram(records), lines("step", "entropy of the style (nats)", &entropy)],
        note: String::new(),
    }
}

/// Shares of the probe's tokens by probability: at the start, and after SFT and DFT.
fn histogram(records: &[Record]) -> String {
    let series = |name: &str, method: &str, point: fn(&Record) -> &Point| Series {
        name: name.to_owned(),
        points: (0..BINS.len())
            .map(|bin| {
                let share = |record: &Record| 100.0 * point(record).probe.bins[bin];
                (bin as f64, chosen(records, STRONG, method, share).mean())
            })
            .collect(),
    };
    let series = [
        series("start", "sft", Record::start),
        series("sft", "sft", Record::end),
        series("dft", "dft", Record::end),
    ];
    bars(&BIN_NAMES, "training tokens with this p (%)", &series)
}

/// Claim d.
pub(super) fn rising_nll(records: &[Record]) -> Claim {
    let change = |value: &dyn Fn(&Point) -> f64| {
        chosen(records, STRONG, "dft", |record| value(record.end()) - value(record.start()))
    };
    let findings = vec![
        Finding::new("DFT's own loss", Expected::Below, change(&|point| point.probe.loss)),
        Finding::new(
            "nll of the style",
            Expected::Above,
            change(&|point| point.probe.nll[Class::Style as usize]),
        ),
        Finding::new(
            "nll of the constants",
            Expected::Above,
            change(&|point| point.probe.nll[Class::Constant as usize]),
        ),
    ];
    let curve = |name: &str, value: &dyn Fn(&Point) -> f64| Series {
        name: name.to_owned(),
        points: chosen_path(records, STRONG, "dft", |point, _| (point.step as f64, value(point))),
    };
    let series = [
        curve("DFT loss", &|point| point.probe.loss),
        curve("nll of the style", &|point| point.probe.nll[Class::Style as usize]),
        curve("nll of the constants", &|point| point.probe.nll[Class::Constant as usize]),
    ];
    Claim {
        letter: 'd',
        title: "DFT's loss falls while the nll rises",
        says: "The authors of DFT, asked about it (issues 28 and 29 of their repository): the plain nll may rise while the loss falls.",
        measured: "Change over a run on the fixed training probe. Strong base, clean data, chosen rate.",
        findings,
        figures: vec![lines("step", "nats a byte", &series)],
        note: String::new(),
    }
}
