//! Figures of one axis, with a list of things beside it.

use super::{HEIGHT, ROOM, Scale, Series, WIDTH, grid, legend, open, push, short, text};
use crate::compare::claim::Finding;

/// Height of a line of a list.
const LINE: f64 = 26.0;
/// Where its labels end.
const LABELS: f64 = 290.0;

/// Bars side by side: a group for each label, in it a bar a series. The points of a series are values of groups.
pub(crate) fn bars(labels: &[&str], y: &str, series: &[Series]) -> String {
    let all = || series.iter().flat_map(|one| &one.points);
    if all().next().is_none() {
        return String::new();
    }
    let [left, right, top, bottom] = ROOM;
    let across =
        Scale { low: -0.5, high: labels.len() as f64 - 0.5, from: left, to: WIDTH - right };
    let up = Scale::new(all().map(|point| point.1).chain([0.0]), HEIGHT - bottom, top);
    let mut svg = open(WIDTH, HEIGHT);
    grid(&mut svg, (y, &up));
    for (index, label) in labels.iter().enumerate() {
        let at = across.at(index as f64);
        push(&mut svg, &text(at, HEIGHT - bottom + 18.0, "middle", label));
    }
    let wide = 0.8 * (across.at(1.0) - across.at(0.0)) / series.len() as f64;
    let zero = up.at(0.0);
    for (index, one) in series.iter().enumerate() {
        for &(group, value) in one.points.iter().filter(|point| point.1.is_finite()) {
            let x = across.at(group) + wide * (index as f64 - 0.5 * series.len() as f64);
            let (top, tall) = (up.at(value).min(zero), (up.at(value) - zero).abs());
            push(
                &mut svg,
                &format!(
                    "<rect class=\"bar c{index}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\"/>"
                ),
            );
        }
        legend(&mut svg, index, &one.name);
    }
    push(&mut svg, &format!("<path class=\"axis\" d=\"M{left} {zero:.1}H{}\"/>", WIDTH - right));
    svg + "</svg>\n"
}

/// Positive numbers on a logarithmic axis: a line each, with a dot a series.
pub(crate) fn decades(labels: &[String], series: &[Series]) -> String {
    let log = |value: f64| value.max(f64::MIN_POSITIVE).log10();
    let all = || series.iter().flat_map(|one| &one.points);
    if all().next().is_none() {
        return String::new();
    }
    let height = LINE * labels.len() as f64 + 34.0;
    let right = WIDTH - ROOM[1];
    let across = Scale::new(all().map(|point| log(point.1)), 190.0, right);
    let mut svg = open(WIDTH, height);
    for tick in across.ticks().into_iter().filter(|tick| tick.fract() == 0.0) {
        let at = across.at(tick);
        push(&mut svg, &format!("<path class=\"grid\" d=\"M{at:.1} 4V{:.1}\"/>", height - 26.0));
        push(&mut svg, &text(at, height - 10.0, "middle", &format!("1e{tick}")));
    }
    let at = |line: f64| LINE * (line + 0.5) + 4.0;
    for (index, label) in labels.iter().enumerate() {
        push(&mut svg, &text(180.0, at(index as f64) + 4.0, "end", label));
    }
    for (index, one) in series.iter().enumerate() {
        for &(line, value) in &one.points {
            let (x, y) = (across.at(log(value)), at(line));
            push(
                &mut svg,
                &format!("<circle class=\"c{index}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>"),
            );
        }
        legend(&mut svg, index, &one.name);
    }
    svg + "</svg>\n"
}

/// Mean and range over the seeds of each finding, beside 0.
pub(crate) fn forest(findings: &[Finding]) -> String {
    let shown: Vec<&Finding> = findings.iter().filter(|one| !one.values.0.is_empty()).collect();
    if shown.is_empty() {
        return String::new();
    }
    let height = LINE * shown.len() as f64 + 34.0;
    let all = shown.iter().flat_map(|one| one.values.0.values().copied()).chain([0.0]);
    let across = Scale::new(all, LABELS + 10.0, WIDTH - 16.0);
    let mut svg = open(WIDTH, height);
    for tick in across.ticks() {
        let at = across.at(tick);
        push(&mut svg, &text(at, height - 10.0, "middle", &short(tick)));
    }
    let zero = across.at(0.0);
    push(&mut svg, &format!("<path class=\"axis\" d=\"M{zero:.1} 4V{:.1}\"/>", height - 26.0));
    for (index, one) in shown.iter().enumerate() {
        let y = LINE * (index as f64 + 0.5) + 4.0;
        let (low, high) = one.values.range();
        let (low, high) = (across.at(low), across.at(high));
        push(&mut svg, &text(LABELS, y + 4.0, "end", &one.what));
        push(&mut svg, &format!("<path class=\"line c0\" d=\"M{low:.1} {y:.1}H{high:.1}\"/>"));
        let mean = across.at(one.values.mean());
        push(&mut svg, &format!("<circle class=\"c0\" cx=\"{mean:.1}\" cy=\"{y:.1}\" r=\"5\"/>"));
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_reach_from_nothing_to_their_value() {
        let series = |values: [f64; 2]| Series {
            name: "a".into(),
            points: values.into_iter().enumerate().map(|(at, value)| (at as f64, value)).collect(),
        };
        let heights = |series: &[Series]| -> Vec<f64> {
            let svg = bars(&["one", "two"], "y", series);
            let of = |bar: &str| bar.split('"').next().and_then(|tall| tall.parse().ok());
            svg.split("height=\"").skip(1).filter_map(of).collect()
        };
        let tall = heights(&[series([0.5, 1.0])]);
        assert!(tall.len() == 2 && (tall[1] / tall[0] - 2.0).abs() < 0.01, "{tall:?}");
        assert_eq!(heights(&[series([0.5, 1.0]), series([f64::NAN, -1.0])]).len(), 3);
    }
}
