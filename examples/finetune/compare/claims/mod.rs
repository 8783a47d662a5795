//! The papers' claims, put to the test on the records alone. A file holds what claims have in common.

mod curriculum;
mod forgetting;
mod importance;
mod prior;
mod probability;

use super::Gate;
use super::claim::Claim;
use super::moments::Moments;
use super::record::{Point, Record};
use super::statistics::{Values, chosen, chosen_rate, of};

const STRONG: &str = "strong";

/// All of them.
pub(crate) fn test(records: &[Record], moments: &[(&'static str, Moments)]) -> Vec<Claim> {
    vec![
        forgetting::forgetting(records),
        probability::polarisation(records),
        prior::prior(records),
        probability::rising_nll(records),
        curriculum::curriculum(records),
        importance::importance(moments),
        forgetting::reinforcement(records),
    ]
}

/// What exact matches are compared by must be there: SFT learns a part of the domain.
pub(crate) fn gate(records: &[Record]) -> Gate {
    let share = chosen(records, STRONG, "sft", |record| record.end().exact).mean();
    let what = "validation problems, strong base after SFT on clean data".to_owned();
    Gate { what, share, least: 0.2, most: 1.0, claims: "abcde" }
}

/// Differences of two methods at their own chosen learning rates, seed by seed.
fn between(
    records: &[Record],
    setting: &str,
    (method, other): (&str, &str),
    value: impl Fn(&Record) -> f64,
) -> Values {
    chosen(records, setting, method, &value).minus(&chosen(records, setting, other, &value))
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
