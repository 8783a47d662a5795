//! The papers' claims, put to the test on the records alone.

use super::Gate;
use super::claim::{Claim, Expected, Finding};
use super::figure::{Series, lines};
use super::moments::Moments;
use super::problem::{Class, STYLE_ENTROPY};
use super::record::{Point, Record};
use super::statistics::{Values, at_rate, chosen, chosen_rate, forgotten_at, of};

const STRONG: &str = "strong";

/// All of them.
pub(crate) fn test(records: &[Record], moments: &[(&'static str, Moments)]) -> Vec<Claim> {
    vec![
        forgetting(records),
        polarisation(records),
        prior(records),
        rising_nll(records),
        curriculum(records),
        importance(moments),
        reinforcement(records),
    ]
}

/// What exact matches are compared by must be there: SFT learns a part of the domain.
pub(crate) fn gate(records: &[Record]) -> Gate {
    let share = chosen(records, STRONG, "sft", |record| record.end().exact).mean();
    let what = "validation problems, strong base after SFT on clean data".to_owned();
    Gate { what, share, least: 0.2, most: 1.0 }
}

/// Differences of two methods at their own chosen learning rates, seed by seed.
fn between(
    records: &[Record],
    setting: &str,
    (method, other): (&str, &str),
    value: impl Fn(&Record) -> f64,
) -> Values {
    let (one, two) =
        (chosen(records, setting, method, &value), chosen(records, setting, other, &value));
    paired(one, two)
}

fn paired(one: Values, two: Values) -> Values {
    if one.0.len() != two.0.len() {
        return Values::default();
    }
    Values(one.0.iter().zip(&two.0).map(|(one, two)| one - two).collect())
}

/// The smallest and the largest learning rate that SFT was run with.
fn extreme_rates(records: &[Record]) -> (f64, f64) {
    let rates = of(records, STRONG, "sft").map(|record| record.key.rate);
    (rates.clone().fold(f64::NAN, f64::min), rates.fold(f64::NAN, f64::max))
}

/// Half of what SFT reaches at its chosen rate, on average: the level at which runs are compared.
fn level(records: &[Record], setting: &str) -> f64 {
    0.5 * chosen(records, setting, "sft", |record| record.end().exact).mean()
}

fn forgetting(records: &[Record]) -> Claim {
    let (small, large) = extreme_rates(records);
    let level = level(records, STRONG);
    let at = |method: &str, rate: f64| {
        at_rate(records, STRONG, method, rate, |record| forgotten_at(record, level))
    };
    let after = |method: &str, rate: f64| {
        at_rate(records, STRONG, method, rate, |record| {
            Some(record.end().general_nll - record.start().general_nll)
        })
    };
    let mut findings = vec![
        Finding::new(
            format!("SFT, at equal exact match: {large:e} − {small:e}"),
            Expected::Above,
            paired(at("sft", large), at("sft", small)),
        ),
        Finding::new(
            format!("SFT, after all steps: {large:e} − {small:e}"),
            Expected::Above,
            paired(after("sft", large), after("sft", small)),
        ),
    ];
    for method in ["talr", "talr-auto"] {
        for (rate, expected) in [(large, Expected::Below), (small, Expected::Near(0.02))] {
            findings.push(Finding::new(
                format!("{method} − SFT at {rate:e}, at equal exact match"),
                expected,
                paired(at(method, rate), at("sft", rate)),
            ));
        }
    }
    let series = ["sft", "talr", "talr-auto"]
        .iter()
        .flat_map(|method| [small, large].map(|rate| (method, rate)))
        .map(|(method, rate)| {
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
        figure: lines(
            "validation answers right (%)",
            "change of general nll (nats a byte)",
            &series.collect::<Vec<_>>(),
        ),
        note: format!("The level is {:.1} % of the validation problems.", 100.0 * level),
    }
}

/// A curve through a method's measurements, averaged over seeds.
fn path(
    records: &[Record],
    setting: &str,
    method: &str,
    rate: f64,
    at: impl Fn(&Point, &Point) -> (f64, f64),
) -> Vec<(f64, f64)> {
    let runs: Vec<&Record> =
        of(records, setting, method).filter(|record| record.key.rate == rate).collect();
    let points = runs.iter().map(|record| record.points.len()).min().unwrap_or(0);
    let mean = |index: usize| {
        let sum = runs.iter().map(|record| at(&record.points[index], record.start()));
        let (x, y) = sum.fold((0.0, 0.0), |(x, y), (dx, dy)| (x + dx, y + dy));
        (x / runs.len() as f64, y / runs.len() as f64)
    };
    (0..points).map(mean).collect()
}

/// The same at the chosen learning rate.
fn chosen_path(
    records: &[Record],
    setting: &str,
    method: &str,
    at: impl Fn(&Point, &Point) -> (f64, f64),
) -> Vec<(f64, f64)> {
    let rate = chosen_rate(records, setting, method).unwrap_or(f64::NAN);
    path(records, setting, method, rate, at)
}

fn polarisation(records: &[Record]) -> Claim {
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
        figure: lines("step", "entropy of the style (nats)", &entropy),
        note: String::new(),
    }
}

fn prior(records: &[Record]) -> Claim {
    let pair = ("dft", "sft");
    let exact = |setting| between(records, setting, pair, |record| record.test.exact);
    let constant = |record: &Record| record.test.right[Class::Constant as usize];
    let findings = vec![
        Finding::new("strong base, noisy data: exact match", Expected::Above, exact("noisy")),
        Finding::new("strong base, clean data: exact match", Expected::Near(0.05), exact(STRONG)),
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
        figure: String::new(),
        note: String::new(),
    }
}

fn rising_nll(records: &[Record]) -> Claim {
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
        figure: lines("step", "nats a byte", &series),
        note: String::new(),
    }
}

fn curriculum(records: &[Record]) -> Claim {
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
        figure: lines("step", "share of the weight (%)", &series),
        note: String::new(),
    }
}

fn importance(moments: &[(&'static str, Moments)]) -> Claim {
    let mut note = String::new();
    for (base, Moments { on_policy, on_data }) in moments {
        for (text, of) in [("its own samples", on_policy), ("data", on_data)] {
            let [over, plain, times] =
                of.map(|moment| format!("{:.3e} (variance {:.3e})", moment.mean, moment.variance));
            note += &format!("{base} base, {text}: n/p {over}, n {plain}, p·n {times}. ");
        }
    }
    note += "On fixed targets SFT has the weight 1: the 1/p is one of its rewriting as an on-policy expectation alone, and what is fitted \
             to data has no such variance.";
    Claim {
        letter: 'f',
        title: "SFT as importance sampling has weights 1/p; DFT's are bounded",
        says: "SFT's gradient is a policy gradient with an implicit weight 1/p, of unbounded variance, which DFT removes \
               (arXiv 2508.05629, section 3).",
        measured: "From the bases' logits alone: n = ‖p − e_y‖² of the answers' tokens, with y summed over the model's own distribution, and \
                   with y from the data; mean and variance of n/p, n and p·n.",
        findings: Vec::new(),
        figure: String::new(),
        note,
    }
}

fn reinforcement(records: &[Record]) -> Claim {
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
            Finding::new(what, Expected::Below, paired(at(method), at("sft")))
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
        figure: lines(
            "validation answers right (%)",
            "change of general nll (nats a byte)",
            &series,
        ),
        note: format!("The level is {:.1} % of the validation problems.", 100.0 * level),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

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
