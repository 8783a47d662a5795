//! Arithmetic with the conventions for 0·∞, ∞ − ∞ and NaN spelled out, and order statistics without memory.

/// a · b, where a 0 wins over an infinity: what has no weight costs nothing.
pub(super) fn times(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 { 0.0 } else { a * b }
}

/// a − b, where two equal infinities differ by 0: two models that agree that a token is impossible have ratio 1.
pub(super) fn difference(a: f64, b: f64) -> f64 {
    if a == b { 0.0 } else { a - b }
}

/// The smaller of a value and a limit; a NaN value stays.
pub(super) fn at_most(limit: f64, value: f64) -> f64 {
    if value > limit { limit } else { value }
}

/// The larger of a value and a limit; a NaN value stays.
pub(super) fn at_least(limit: f64, value: f64) -> f64 {
    if value < limit { limit } else { value }
}

/// A sort key: NaN counts as the largest.
pub(super) fn nan_largest(value: f64) -> f64 {
    if value.is_nan() { f64::INFINITY } else { value }
}

/// Candidates whose ranks are counted in one walk over all items.
const CANDIDATES: usize = 64;

/// The item with `rank` others before it, and its value: smaller values first, then earlier items; items without a value do not
/// take part. Counts ranks, and asks for every value once per 64 items.
pub(super) fn item_of_rank(
    items: usize,
    rank: usize,
    value: impl Fn(usize) -> Option<f64>,
) -> Option<(usize, f64)> {
    for start in (0..items).step_by(CANDIDATES) {
        let mut candidates = [None; CANDIDATES];
        for (candidate, item) in candidates.iter_mut().zip(start..items) {
            *candidate = value(item);
        }
        let mut before = [0_usize; CANDIDATES];
        for other in 0..items {
            let Some(other_value) = value(other) else { continue };
            for ((item, candidate), before) in (start..).zip(candidates).zip(&mut before) {
                let Some(candidate) = candidate else { continue };
                let tie = other_value == candidate && other < item;
                if other_value < candidate || tie {
                    *before += 1;
                }
            }
        }
        for ((item, candidate), before) in (start..).zip(candidates).zip(before) {
            if let Some(candidate) = candidate
                && before == rank
            {
                return Some((item, candidate));
            }
        }
    }
    None
}

/// The lower median of the values, NaN as the largest; `None` of none.
pub(super) fn lower_median(items: usize, value: impl Fn(usize) -> Option<f64>) -> Option<f64> {
    let count = (0..items).filter(|&item| value(item).is_some()).count();
    let middle = count.checked_sub(1)? / 2;
    let (item, _) = item_of_rank(items, middle, |item| value(item).map(nan_largest))?;
    value(item)
}
