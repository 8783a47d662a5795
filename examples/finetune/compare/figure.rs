//! Figures as SVG that takes its ink from the page, so that it is readable in light and dark.

use super::claim::Finding;
use std::fmt::Write;

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 360.0;
/// Room for axes: left, right, top, bottom.
const ROOM: [f64; 4] = [60.0, 116.0, 12.0, 46.0];
/// Height of a line of a forest plot.
const LINE: f64 = 26.0;
/// Where its labels end.
const LABELS: f64 = 290.0;

/// A line of a chart.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lines with dots, and names at the right. Nothing where there are no points.
pub(crate) fn lines(x: &str, y: &str, series: &[Series]) -> String {
    let all = || series.iter().flat_map(|one| &one.points);
    if all().next().is_none() {
        return String::new();
    }
    let [left, right, top, bottom] = ROOM;
    let across = Scale::new(all().map(|point| point.0), left, WIDTH - right);
    let up = Scale::new(all().map(|point| point.1), HEIGHT - bottom, top);
    let mut svg = open(WIDTH, HEIGHT);
    for tick in up.ticks() {
        let at = up.at(tick);
        push(&mut svg, &format!("<path class=\"grid\" d=\"M{left} {at:.1}H{}\"/>", WIDTH - right));
        push(&mut svg, &text(left - 8.0, at + 4.0, "end", &short(tick)));
    }
    for tick in across.ticks() {
        push(&mut svg, &text(across.at(tick), HEIGHT - bottom + 18.0, "middle", &short(tick)));
    }
    push(&mut svg, &text((left + WIDTH - right) / 2.0, HEIGHT - 8.0, "middle", x));
    let middle = (top + HEIGHT - bottom) / 2.0;
    let turned = text(0.0, 0.0, "middle", y);
    push(&mut svg, &format!("<g transform=\"translate(14 {middle:.1}) rotate(-90)\">{turned}</g>"));
    for (index, one) in series.iter().filter(|one| !one.points.is_empty()).enumerate() {
        let mut path = String::new();
        for (place, &(x, y)) in one.points.iter().enumerate() {
            let (x, y) = (across.at(x), up.at(y));
            write!(path, "{}{x:.1} {y:.1}", if place == 0 { 'M' } else { 'L' }).expect(INTO_STRING);
            push(
                &mut svg,
                &format!("<circle class=\"c{index}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"),
            );
        }
        push(&mut svg, &format!("<path class=\"line c{index}\" d=\"{path}\"/>"));
        let (x, y) = (WIDTH - right + 12.0, top + 14.0 + 18.0 * index as f64);
        push(
            &mut svg,
            &format!("<circle class=\"c{index}\" cx=\"{x}\" cy=\"{:.1}\" r=\"4\"/>", y - 4.0),
        );
        push(&mut svg, &text(x + 10.0, y, "start", &one.name));
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
    let all = shown.iter().flat_map(|one| one.values.0.iter().copied()).chain([0.0]);
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

/// Text as HTML shows it.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// From numbers to places.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(numbers: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let finite = numbers.filter(|number| number.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), number| {
            (low.min(number), high.max(number))
        });
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        // One number alone is given room as well.
        let room = if high > low { 0.05 * (high - low) } else { 0.5 * low.abs().max(0.2) };
        Self { low: low - room, high: high + room, from, to }
    }

    fn at(&self, number: f64) -> f64 {
        self.from + (number - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Round numbers, four to nine of them.
    fn ticks(&self) -> Vec<f64> {
        let raw = (self.high - self.low) / 5.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|&n| n >= raw);
        let step = step.unwrap_or(raw);
        let first = (self.low / step).ceil();
        (0..20)
            .map(|n| (first + f64::from(n)) * step)
            .take_while(|&tick| tick <= self.high)
            .collect()
    }
}

/// A number as an axis needs it.
fn short(number: f64) -> String {
    let rounded = format!("{number:.3}");
    let trimmed = rounded.trim_end_matches('0').trim_end_matches('.');
    if trimmed == "-0" { "0".to_owned() } else { trimmed.to_owned() }
}

fn open(width: f64, height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">\n"
    )
}

fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text))
}

fn push(svg: &mut String, line: &str) {
    svg.push_str(line);
    svg.push('\n');
}

const INTO_STRING: &str = "a string takes everything";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        for (low, high) in [(0.0, 1.0), (-3.2, 117.0), (0.001, 0.0012), (5.0, 5.0)] {
            let scale = Scale::new([low, high].into_iter(), 0.0, 100.0);
            let ticks = scale.ticks();
            assert!((2..=12).contains(&ticks.len()), "{low} {high}: {ticks:?}");
            assert!(ticks.iter().all(|&tick| (0.0..=100.0).contains(&scale.at(tick))));
        }
        assert_eq!(
            (short(0.5), short(-0.0001), short(100.0)),
            ("0.5".into(), "0".into(), "100".into())
        );
    }

    #[test]
    fn markup_in_names_is_text() {
        let series = Series { name: "<b>".into(), points: vec![(0.0, 1.0)] };
        assert!(lines("x", "y", &[series]).contains("&lt;b&gt;"));
        assert!(lines("x", "y", &[]).is_empty());
    }
}
