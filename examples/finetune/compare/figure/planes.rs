//! Figures of two axes.

use super::{HEIGHT, ROOM, Scale, Series, WIDTH, axes, legend, open, push, text};
use std::fmt::Write;

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

const INTO_STRING: &str = "a string takes everything";

#[cfg(test)]
mod tests {
    use super::*;

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
