//! The axis of ratios: a logarithmic range that holds the limit, and round numbers along it.

use std::ops::Range;

/// A range that holds 1 and all ratios, and what is written along it.
pub(crate) fn scale(ratios: impl Iterator<Item = f64> + Clone) -> (Range<f64>, Vec<f64>) {
    let low = ratios.clone().fold(1.0, f64::min) / 1.12;
    let high = ratios.fold(1.7, f64::max) * 1.15;
    let steps: &[f64] = match high / low {
        span if span < 5.0 => &[1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
        span if span < 30.0 => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
        span if span < 1000.0 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let powers = (-3..12).map(|power| 10.0_f64.powi(power));
    let ticks = powers.flat_map(|power| steps.iter().map(move |step| step * power));
    // 1.2 times a tenth has a long tail.
    let rounded = ticks.map(|tick| (tick * 1e6).round() / 1e6);
    (low..high, rounded.filter(|tick| (low..=high).contains(tick)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_holds_the_limit_and_all_ratios() {
        for ratios in [&[][..], &[1.0], &[0.7, 3.0], &[4.0, 27.0], &[4.0, 217.0], &[1e-3, 1e6]] {
            let (range, ticks) = scale(ratios.iter().copied());
            assert!(ratios.iter().chain(&[1.0]).all(|ratio| range.contains(ratio)), "{range:?}");
            assert!(ticks.contains(&1.0), "{ratios:?} {ticks:?}");
            assert!((2..=12).contains(&ticks.len()), "{ratios:?} {ticks:?}");
        }
    }
}
