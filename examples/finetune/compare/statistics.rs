//! Paired differences between runs, and what may be said of them.

use super::record::Record;
use std::collections::BTreeMap;

/// Seeds that an effect is claimed by, at least.
pub(crate) const LEAST_SEEDS: usize = 3;

/// One number a seed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Values(pub(crate) BTreeMap<u64, f64>);

impl Values {
    /// Those of the seeds 1, 2, …
    #[cfg(test)]
    pub(crate) fn of(values: &[f64]) -> Self {
        Self((1..).zip(values.iter().copied()).collect())
    }

    /// Differences by the seeds that both have.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let both = self.0.iter().filter_map(|(seed, one)| Some((*seed, one - other.0.get(seed)?)));
        Self(both.collect())
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.values().sum::<f64>() / self.0.len() as f64
    }

    /// The smallest and the largest.
    pub(crate) fn range(&self) -> (f64, f64) {
        let fold = |f: fn(f64, f64) -> f64, from| self.0.values().copied().fold(from, f);
        (fold(f64::min, f64::INFINITY), fold(f64::max, f64::NEG_INFINITY))
    }

    /// The sign that all seeds agree in, if there are enough and they do.
    pub(crate) fn sign(&self) -> Option<f64> {
        let (low, high) = self.range();
        let enough = self.0.len() >= LEAST_SEEDS;
        if enough && low > 0.0 {
            Some(1.0)
        } else if enough && high < 0.0 {
            Some(-1.0)
        } else {
            None
        }
    }
}

/// Runs of a method in a setting.
pub(crate) fn of<'a>(
    records: &'a [Record],
    setting: &'a str,
    method: &'a str,
) -> impl Iterator<Item = &'a Record> + Clone {
    records
        .iter()
        .filter(move |record| record.key.setting == setting && record.key.method == method)
}

/// The learning rate with the most right validation answers, by the seeds that were run with every rate. Among equals the one with the
/// lower nll, then the smaller.
pub(crate) fn chosen_rate(records: &[Record], setting: &str, method: &str) -> Option<f64> {
    let runs = || of(records, setting, method);
    let mut rates: Vec<f64> = runs().map(|record| record.key.rate).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let has = |seed: u64, rate: f64| {
        runs().any(|record| record.key.seed == seed && record.key.rate == rate)
    };
    let score = |rate: f64| {
        let runs: Vec<&Record> = runs()
            .filter(|record| record.key.rate == rate)
            .filter(|record| rates.iter().all(|&rate| has(record.key.seed, rate)))
            .collect();
        let exact: f64 = runs.iter().map(|record| record.end().exact).sum();
        // Style is no merit.
        let nll: f64 = runs.iter().flat_map(|record| &record.end().nll[..3]).sum();
        (exact, -nll)
    };
    let better = |best: Option<f64>, rate: f64| match best {
        Some(best) if score(rate) <= score(best) => Some(best),
        _ => Some(rate),
    };
    rates.iter().copied().fold(None, better)
}

/// A number of each run at a method's chosen learning rate, seeds rising.
pub(crate) fn chosen(
    records: &[Record],
    setting: &str,
    method: &str,
    value: impl Fn(&Record) -> f64,
) -> Values {
    let rate = chosen_rate(records, setting, method);
    at_rate(records, setting, method, rate.unwrap_or(f64::NAN), |record| Some(value(record)))
}

/// A number of each run at a learning rate, seeds rising; runs that have none are left out.
pub(crate) fn at_rate(
    records: &[Record],
    setting: &str,
    method: &str,
    rate: f64,
    value: impl Fn(&Record) -> Option<f64>,
) -> Values {
    let runs = of(records, setting, method).filter(|record| record.key.rate == rate);
    Values(runs.filter_map(|record| Some((record.key.seed, value(record)?))).collect())
}

/// What a run has forgotten (general nll, against its start) when it first answers this share of the validation problems, on the straight
/// line between two measurements; nothing where it never does.
pub(crate) fn forgotten_at(record: &Record, exact: f64) -> Option<f64> {
    let start = record.start().general_nll;
    let mut before = record.start();
    for point in &record.points {
        if point.exact >= exact {
            let step = point.exact - before.exact;
            let part = if step > 0.0 { (exact - before.exact) / step } else { 0.0 };
            let part = part.clamp(0.0, 1.0);
            return Some(
                before.general_nll + part * (point.general_nll - before.general_nll) - start,
            );
        }
        before = point;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    #[test]
    fn a_sign_takes_three_seeds_that_agree() {
        let sign = |values: &[f64]| Values::of(values).sign();
        assert_eq!(sign(&[0.1, 0.2, 0.3]), Some(1.0));
        assert_eq!(sign(&[-0.1, -0.2, -0.3]), Some(-1.0));
        assert_eq!((sign(&[0.1, -0.2, 0.3]), sign(&[0.1, 0.2]), sign(&[])), (None, None, None));
        assert_eq!(sign(&[0.1, 0.0, 0.3]), None, "nothing is no sign");
        assert_eq!(Values::of(&[1.0, 3.0, 2.0]).range(), (1.0, 3.0));
        assert!((Values::of(&[1.0, 3.0, 2.0]).mean() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn differences_are_those_of_the_same_seed() {
        let other = Values([(1, 1.0), (3, 5.0), (4, 9.0)].into());
        assert_eq!(Values::of(&[3.0, 4.0, 6.0]).minus(&other), Values([(1, 2.0), (3, 1.0)].into()));
    }

    #[test]
    fn the_rate_is_chosen_by_seeds_that_have_them_all() {
        let run = |rate, seed, exact| record("sft", rate, seed, &[(0.0, 0.0), (exact, 0.0)]);
        let mut runs = vec![run(1e-4, 1, 0.2), run(1e-3, 1, 0.6)];
        assert_eq!(chosen_rate(&runs, "strong", "sft"), Some(1e-3));
        // A seed with one rate does not move the choice.
        runs.push(run(1e-4, 2, 0.9));
        assert_eq!(chosen_rate(&runs, "strong", "sft"), Some(1e-3));
        runs.push(run(1e-3, 2, 0.1));
        assert_eq!(chosen_rate(&runs, "strong", "sft"), Some(1e-4));
        assert_eq!(chosen_rate(&runs, "weak", "sft"), None);
        let values = chosen(&runs, "strong", "sft", |run| run.test.exact);
        assert_eq!(values, Values::of(&[0.2, 0.9]));
        let mut equal = vec![run(1e-4, 1, 0.5), run(1e-3, 1, 0.5)];
        assert_eq!(chosen_rate(&equal, "strong", "sft"), Some(1e-4), "the smaller");
        equal[0].points[1].nll[1] = 2.0;
        assert_eq!(chosen_rate(&equal, "strong", "sft"), Some(1e-3), "the surer");
        equal[1].points[1].nll[3] = 9.0;
        assert_eq!(chosen_rate(&equal, "strong", "sft"), Some(1e-3), "whatever the style");
    }

    #[test]
    fn forgetting_is_read_where_the_level_is_first_reached() {
        let run = record("sft", 1e-3, 1, &[(0.0, 1.0), (0.4, 1.2), (0.8, 2.2), (0.5, 9.0)]);
        let close = |exact, expected: f64| {
            assert!((forgotten_at(&run, exact).expect("reached") - expected).abs() < 1e-12);
        };
        close(0.4, 0.2);
        close(0.2, 0.1);
        close(0.6, 0.7);
        close(0.0, 0.0);
        assert_eq!(forgotten_at(&run, 0.9), None);
    }
}
