//! Figures as SVG that takes its ink from the page, so that it is readable in light and dark.

mod lists;
mod planes;

pub(crate) use lists::{bars, decades, forest};
pub(crate) use planes::{lines, scatter};

/// What a page that shows figures must have among its styles.
pub(crate) const INK: &str = include_str!("../figure.css");

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 360.0;
/// Room for axes: left, right, top, bottom.
const ROOM: [f64; 4] = [60.0, 116.0, 12.0, 46.0];

/// A line of a chart.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
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
