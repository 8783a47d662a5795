//! What a claim says, what was found, and whether the two agree.

use super::statistics::{LEAST_SEEDS, Values};

/// What a paper lets one expect of a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Expected {
    Above,
    Below,
    /// Within so much of 0, or on both sides of it.
    Near(f64),
    /// The papers do not say.
    Open,
}

/// One number that a claim is about, a value a seed.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) what: String,
    pub(crate) expected: Expected,
    pub(crate) values: Values,
}

impl Finding {
    pub(crate) fn new(what: impl Into<String>, expected: Expected, values: Values) -> Self {
        Self { what: what.into(), expected, values }
    }

    /// What came out, against what was expected.
    pub(crate) fn verdict(&self) -> &'static str {
        let (low, high) = self.values.range();
        match (self.expected, self.values.sign()) {
            _ if self.values.0.len() < LEAST_SEEDS => "too few runs to say",
            (Expected::Near(bound), _) if low.abs().max(high.abs()) <= bound => "agrees",
            (Expected::Near(_), None) => "agrees: seeds differ in sign",
            (Expected::Near(_), Some(_)) => "disagrees",
            (_, None) => "seeds differ in sign: nothing is claimed",
            (Expected::Open, Some(sign)) => {
                if sign > 0.0 {
                    "above 0 for every seed"
                } else {
                    "below 0 for every seed"
                }
            }
            (Expected::Above, Some(sign)) => {
                if sign > 0.0 {
                    "agrees"
                } else {
                    "disagrees"
                }
            }
            (Expected::Below, Some(sign)) => {
                if sign < 0.0 {
                    "agrees"
                } else {
                    "disagrees"
                }
            }
        }
    }
}

/// A claim, what was found, and a figure.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) letter: char,
    pub(crate) title: &'static str,
    /// What the paper says, and where.
    pub(crate) says: &'static str,
    /// How it was measured.
    pub(crate) measured: &'static str,
    pub(crate) findings: Vec<Finding>,
    /// SVG, besides the findings'.
    pub(crate) figures: Vec<String>,
    /// Numbers without seeds.
    pub(crate) note: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(expected: Expected, values: &[f64]) -> &'static str {
        Finding::new("", expected, Values::of(values)).verdict()
    }

    #[test]
    fn verdicts_need_seeds_that_agree() {
        assert_eq!(verdict(Expected::Above, &[1.0, 2.0, 3.0]), "agrees");
        assert_eq!(verdict(Expected::Above, &[-1.0, -2.0, -3.0]), "disagrees");
        assert_eq!(verdict(Expected::Below, &[-1.0, -2.0, -3.0]), "agrees");
        assert!(verdict(Expected::Below, &[-1.0, 2.0, -3.0]).contains("nothing is claimed"));
        assert!(verdict(Expected::Above, &[1.0, 2.0]).contains("too few"));
        assert_eq!(verdict(Expected::Near(0.1), &[0.05, 0.05, 0.05]), "agrees");
        assert_eq!(verdict(Expected::Near(0.01), &[0.05, 0.05, 0.05]), "disagrees");
        assert!(verdict(Expected::Near(0.01), &[0.05, -0.05, 0.05]).starts_with("agrees"));
        assert!(verdict(Expected::Open, &[0.05, 0.05, 0.05]).contains("above"));
    }
}
