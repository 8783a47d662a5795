//! Order statistics by radix: no allocation, no comparisons, and none of the panics of a sort.

/// The same value with a NaN that `total_cmp` puts behind everything: a row without a softmax counts as the worst.
pub(super) fn nan_last(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value }
}

const SIGN: u64 = 1 << 63;

/// A number that orders like the value does under `total_cmp`.
pub(super) fn key(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The value of a [`key`].
pub(super) fn value(key: u64) -> f64 {
    f64::from_bits(if key & SIGN == 0 { !key } else { key & !SIGN })
}

/// The key with `index` others before it, and how many of those equal it; `None` where there are not so many.
pub(super) fn select(
    keys: impl Iterator<Item = u64> + Clone,
    index: usize,
) -> Option<(u64, usize)> {
    let (mut found, mut before) = (0, index);
    // Byte by byte from the highest, among the keys that agree with those found.
    for shift in (0..u64::BITS).step_by(8).rev() {
        let mut counts = [0_usize; 256];
        for key in keys.clone().filter(|key| (key ^ found) >> shift >> 8 == 0) {
            counts[usize::from((key >> shift).to_le_bytes()[0])] += 1;
        }
        let mut byte = 0;
        for count in counts {
            if before < count {
                break;
            }
            before -= count;
            byte += 1;
        }
        if byte == counts.len() as u64 {
            return None;
        }
        found |= byte << shift;
    }
    Some((found, before))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    #[test]
    fn selects_like_a_sort() {
        let inf = f64::INFINITY;
        let mut values = Vec::from([0.5, -0.0, 0.0, -inf, 0.5, f64::NAN, -3.0, 1e300, 0.5, inf]);
        values.extend((0..500_u32).map(|i| f64::from(i.wrapping_mul(2_654_435_769) % 97) - 40.0));
        let select = |index| select(values.iter().map(|&v| key(v)), index);
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        for (index, expected) in sorted.iter().enumerate() {
            let equal = sorted[..index].iter().filter(|v| v.to_bits() == expected.to_bits());
            let (key, equals) = select(index).expect("there are as many");
            assert_eq!((value(key).to_bits(), equals), (expected.to_bits(), equal.count()));
        }
        assert_eq!(select(values.len()), None);
    }
}
