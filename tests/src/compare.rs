//! Comparators that can fail: NaN equals NaN only, an infinity equals itself only, everything else is within a bound.

/// A difference beyond its bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// Where it stands.
    pub index: usize,
    /// What was computed.
    pub actual: f64,
    /// What it should be.
    pub expected: f64,
    /// What the difference may be.
    pub bound: f64,
}

/// Whether a value is its expectation within an absolute bound.
pub fn close(actual: f64, expected: f64, bound: f64) -> bool {
    if expected.is_nan() || actual.is_nan() {
        return expected.is_nan() && actual.is_nan();
    }
    if expected.is_infinite() || actual.is_infinite() {
        return actual == expected;
    }
    (actual - expected).abs() <= bound
}

/// The entry whose difference is the largest against its bound, if one exceeds it.
///
/// # Panics
/// If the lengths differ.
pub fn worst(actual: &[f64], expected: &[f64], bound: impl Fn(usize) -> f64) -> Option<Mismatch> {
    assert_eq!(actual.len(), expected.len(), "lengths");
    let excess = |m: &Mismatch| {
        let ratio = (m.actual - m.expected).abs() / m.bound;
        if ratio.is_nan() { f64::INFINITY } else { ratio }
    };
    (0..actual.len())
        .map(|index| Mismatch {
            index,
            actual: actual[index],
            expected: expected[index],
            bound: bound(index),
        })
        .filter(|m| !close(m.actual, m.expected, m.bound))
        .max_by(|a, b| excess(a).total_cmp(&excess(b)))
}

/// Panics with the worst entry if one is out of its bound.
///
/// # Panics
/// See above.
pub fn assert_close(what: &str, actual: &[f64], expected: &[f64], bound: impl Fn(usize) -> f64) {
    if let Some(m) = worst(actual, expected, bound) {
        panic!(
            "{what}[{}]: {} instead of {}, off by {:.3e}, allowed {:.3e}",
            m.index,
            m.actual,
            m.expected,
            (m.actual - m.expected).abs(),
            m.bound
        );
    }
}

/// Panics where bits differ; any NaN equals any other.
///
/// # Panics
/// See above.
pub fn assert_same_bits(what: &str, a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len(), "{what}: lengths");
    for (index, (x, y)) in a.iter().zip(b).enumerate() {
        let same = x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
        assert!(same, "{what}[{index}]: {x:e} and {y:e} differ in their bits");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_fail() {
        let inf = f64::INFINITY;
        for (actual, expected) in [
            (1e30, 0.0),
            (f64::NAN, 0.0),
            (0.0, f64::NAN),
            (f64::NAN, inf),
            (inf, -inf),
            (inf, 1.0),
            (1.0, inf),
            (1.0 + 1e-9, 1.0),
        ] {
            assert!(!close(actual, expected, 1e-10), "{actual} passed for {expected}");
            assert!(worst(&[actual], &[expected], |_| 1e-10).is_some());
        }
        assert!(!close(1.0, 1.1, f64::NAN), "a NaN bound must allow nothing");
    }

    #[test]
    fn must_pass() {
        let inf = f64::INFINITY;
        for (actual, expected) in [(1.0, 1.0), (f64::NAN, f64::NAN), (inf, inf), (0.0, -0.0)] {
            assert!(close(actual, expected, 0.0), "{actual} failed for {expected}");
        }
        assert!(close(1.0 + 1e-9, 1.0, 1e-8));
    }

    #[test]
    fn worst_names_the_entry() {
        let found = worst(&[1.0, 2.5, 3.0], &[1.0, 2.0, 2.9], |_| 0.01).unwrap();
        assert_eq!((found.index, found.expected), (1, 2.0));
    }

    #[test]
    #[should_panic(expected = "differ in their bits")]
    fn signed_zeros_have_other_bits() {
        assert_same_bits("zero", &[0.0], &[-0.0]);
    }

    #[test]
    #[should_panic(expected = "off by")]
    fn assert_close_panics() {
        assert_close("value", &[1.0], &[2.0], |_| 0.5);
    }
}
