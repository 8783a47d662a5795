//! Claims a and g: what is forgotten where as much is gained.

use super::{STRONG, chosen_path, path};
use crate::compare::claim::{Claim, Expected, Finding};
use crate::compare::figure::{Series, lines};
use crate::compare::record::Record;
use crate::compare::statistics::{at_rate, chosen, chosen_rate, forgotten_at, of};

/// Claim a.
pub(super) fn forgetting(records: &[Record]) -> Claim {
    let rates = rates(records);
    let level = level(records, STRONG);
    let at = |method: &str, rate: f64| {
        at_rate(records, STRONG, method, rate, |record| forgotten_at(record, level))
    };
    let after = |rate: f64| {
        at_rate(records, STRONG, "sft", rate, |record| {
            Some(record.end().general_nll - record.start().general_nll)
        })
    };
    let mut findings = Vec::new();
    // Neighbours too: at the smallest rate the level may be out of reach.
    let neighbours = rates.windows(2).map(|pair| (pair[0], pair[1]));
    let extremes = (rates.len() > 2).then(|| (rates[0], rates[rates.len() - 1]));
    for (small, large) in neighbours.chain(extremes) {
        let what = |when: &str| format!("SFT, {when}: {large:e} − {small:e}");
        let equal = at("sft", large).minus(&at("sft", small));
        findings.push(Finding::new(what("at equal exact match"), Expected::Above, equal));
        let whole = after(large).minus(&after(small));
        findings.push(Finding::new(what("after all steps"), Expected::Above, whole));
    }
    for method in ["talr", "talr-auto"] {
        for (place, &rate) in rates.iter().enumerate() {
            let expected = match place {
                0 => Expected::Near(0.02),
                last if last + 1 == rates.len() => Expected::Below,
                _ => Expected::Open,
            };
            findings.push(Finding::new(
                format!("{method} − SFT at {rate:e}, at equal exact match"),
                expected,
                at(method, rate).minus(&at("sft", rate)),
            ));
        }
    }
    let largest = rates.last().map(|&rate| [("talr", rate), ("talr-auto", rate)]);
    let shown = rates.iter().map(|&rate| ("sft", rate)).chain(largest.into_iter().flatten());
    let series = shown.map(|(method, rate)| {
        let mean = path(records, STRONG, method, rate, |point, start| {
            (100.0 * point.exact, point.general_nll - start.general_nll)
        });
        Series { name: format!("{method} {rate:e}"), points: mean }
    });
    Claim {
        letter: 'a',
        title: "A smaller learning rate, or TALR, forgets less",
        says: "\u{201c}SFT doesn't always hurt general capabilities\u{201d} (arXiv 2509.20758): a smaller learning rate keeps general \
               performance at a comparable gain in the domain, and TALR more of it where the rate is large. A later paper \
               (arXiv 2601.02151) finds no such advantage of TALR.",
        measured: "Change of general nll where a run first answers half as many validation problems as SFT does in the end; \
                   runs that never do are left out. Strong base, clean data.",
        findings,
        figures: vec![lines(
            "validation answers right (%)",
            "change of general nll (nats a byte)",
            &series.collect::<Vec<_>>(),
        )],
        note: format!("The level is {:.1} % of the validation problems.", 100.0 * level),
    }
}

/// Claim g.
pub(super) fn reinforcement(records: &[Record]) -> Claim {
    const SETTING: &str = "reward";
    let start = of(records, SETTING, "sft").map(|record| record.start().exact).fold(0.0, f64::max);
    // Half of the way from the start to where SFT arrives.
    let level = 0.5 * start + level(records, SETTING);
    let at = |method: &str| {
        let rate = chosen_rate(records, SETTING, method).unwrap_or(f64::NAN);
        at_rate(records, SETTING, method, rate, |record| forgotten_at(record, level))
    };
    let methods = ["rft", "dpo", "ppo", "grpo"];
    let findings = methods
        .map(|method| {
            let what = format!("{method} − SFT, at equal exact match");
            Finding::new(what, Expected::Below, at(method).minus(&at("sft")))
        })
        .into();
    let series = ["sft", "rft", "dpo", "ppo", "grpo"].map(|method| Series {
        name: method.to_owned(),
        points: chosen_path(records, SETTING, method, |point, start| {
            (100.0 * point.exact, point.general_nll - start.general_nll)
        }),
    });
    Claim {
        letter: 'g',
        title: "Learning from rewards forgets less than SFT",
        says: "On-policy methods keep more of what a model knew at an equal gain (\u{201c}RL's razor\u{201d}, arXiv 2509.04259, and others).",
        measured: "Change of general nll where a run first is half of the way to what SFT reaches from the same start; runs that never are \
                   are left out. Exact-match reward, four samples a problem.",
        findings,
        figures: vec![lines(
            "validation answers right (%)",
            "change of general nll (nats a byte)",
            &series,
        )],
        note: format!("The level is {:.1} % of the validation problems.", 100.0 * level),
    }
}

/// The learning rates that SFT was run with, rising.
fn rates(records: &[Record]) -> Vec<f64> {
    let mut rates: Vec<f64> = of(records, STRONG, "sft").map(|record| record.key.rate).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    rates
}

/// Half of what SFT reaches at its chosen rate, on average: the level at which runs are compared.
fn level(records: &[Record], setting: &str) -> f64 {
    0.5 * chosen(records, setting, "sft", |record| record.end().exact).mean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::record::tests::record;

    #[test]
    fn claim_a_sees_less_forgetting_at_the_same_gain_and_no_difference_where_there_is_none() {
        let mut records = Vec::new();
        for seed in 1..=3 {
            let more = seed as f64 / 100.0;
            for (method, rate, lost) in
                [("sft", 1e-4, 0.1), ("sft", 3e-3, 0.5), ("talr", 1e-4, 0.1), ("talr", 3e-3, 0.3)]
            {
                let end = (0.8 + more, 1.0 + lost);
                records.push(record(method, rate, seed, &[(0.0, 1.0), end]));
            }
        }
        let claim = forgetting(&records);
        let verdict = |what: &str| {
            let finding = claim.findings.iter().find(|finding| finding.what.contains(what));
            finding.expect("a finding").verdict()
        };
        assert_eq!(verdict("SFT, at equal"), "agrees");
        assert_eq!(verdict("talr − SFT at 3e-3"), "agrees");
        assert_eq!(verdict("talr − SFT at 1e-4"), "agrees");
        assert!(verdict("talr-auto − SFT at 3e-3").contains("too few"));
    }
}
