//! Figures as SVG that takes its ink from the page, so that it is readable in light and dark.

use super::claim::Finding;
use std::fmt::Write;

/// What a page that shows figures must have among its styles.
pub(crate) const INK: &str = include_str!("figure.css");

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
    axes(&mut svg, (x, &across), (y, &up));
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
        legend(&mut svg, index, &one.name);
    }
    svg + "</svg>\n"
}

/// A named dot a series, its first point. Names stand beside their dots, and lower where another one stands already.
pub(crate) fn scatter(x: &str, y: &str, series: &[Series]) -> String {
    let mut dots: Vec<(usize, &str, (f64, f64))> = Vec::new();
    for (index, one) in series.iter().enumerate() {
        dots.extend(one.points.first().map(|&point| (index, one.name.as_str(), point)));
    }
    if dots.is_empty() {
        return String::new();
    }
    let [left, _, top, bottom] = ROOM;
    let across = Scale::new(dots.iter().map(|dot| dot.2.0), left, WIDTH - 80.0);
    let up = Scale::new(dots.iter().map(|dot| dot.2.1), HEIGHT - bottom, top);
    let mut svg = open(WIDTH, HEIGHT);
    axes(&mut svg, (x, &across), (y, &up));
    dots.sort_by(|one, other| other.2.1.total_cmp(&one.2.1));
    let mut names: Vec<(f64, f64)> = Vec::new();
    for (index, name, (x, y)) in dots {
        let (x, y) = (across.at(x), up.at(y));
        let is_taken = |y: f64| {
            names.iter().any(|other| (other.0 - x).abs() < 75.0 && (other.1 - y).abs() < 12.0)
        };
        let mut below = y + 4.0;
        while is_taken(below) {
            below += 2.0;
        }
        names.push((x, below));
        push(
            &mut svg,
            &format!("<circle class=\"c{index}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
        );
        push(&mut svg, &text(x + 7.0, below, "start", name));
    }
    svg + "</svg>\n"
}

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

/// A figure as a file of its own, which brings its ink.
pub(crate) fn alone(svg: &str) -> String {
    let paper = "<rect width=\"100%\" height=\"100%\" fill=\"var(--paper)\"/>";
    svg.replacen('\n', &format!("\n<style>\n{INK}</style>\n{paper}\n"), 1)
}

/// Both axes with their names.
fn axes(svg: &mut String, (x, across): (&str, &Scale), up: (&str, &Scale)) {
    grid(svg, up);
    let bottom = HEIGHT - ROOM[3];
    for tick in across.ticks() {
        push(svg, &text(across.at(tick), bottom + 18.0, "middle", &short(tick)));
    }
    push(svg, &text(0.5 * (across.from + across.to), HEIGHT - 8.0, "middle", x));
}

/// The axis that goes up, its name and its lines.
fn grid(svg: &mut String, (y, up): (&str, &Scale)) {
    let [left, right, ..] = ROOM;
    for tick in up.ticks() {
        let at = up.at(tick);
        push(svg, &format!("<path class=\"grid\" d=\"M{left} {at:.1}H{}\"/>", WIDTH - right));
        push(svg, &text(left - 8.0, at + 4.0, "end", &short(tick)));
    }
    let (middle, turned) = (0.5 * (up.from + up.to), text(0.0, 0.0, "middle", y));
    push(svg, &format!("<g transform=\"translate(14 {middle:.1}) rotate(-90)\">{turned}</g>"));
}

/// The name of a series, at the right.
fn legend(svg: &mut String, index: usize, name: &str) {
    let (x, y) = (WIDTH - ROOM[1] + 12.0, ROOM[2] + 14.0 + 18.0 * index as f64);
    push(svg, &format!("<circle class=\"c{index}\" cx=\"{x}\" cy=\"{:.1}\" r=\"4\"/>", y - 4.0));
    push(svg, &text(x + 10.0, y, "start", name));
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

    #[test]
    fn names_do_not_lie_on_each_other() {
        let dot = |name: &str| Series { name: name.into(), points: vec![(1.0, 1.0)] };
        let svg = scatter("x", "y", &[dot("one"), dot("two")]);
        let height = |name: &str| -> f64 {
            let line =
                svg.lines().find(|line| line.contains(&format!(">{name}<"))).expect("a name");
            line.split("y=\"").nth(1).and_then(|y| y.split('"').next()).unwrap().parse().unwrap()
        };
        assert!((height("one") - height("two")).abs() >= 12.0);
    }
}
