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

/// A named dot a series, its first point. The names stand at the right, as high as their dots where there is room.
pub(crate) fn scatter(x: &str, y: &str, series: &[Series]) -> String {
    let mut dots: Vec<(usize, &str, (f64, f64))> = Vec::new();
    for (index, one) in series.iter().enumerate() {
        dots.extend(one.points.first().map(|&point| (index, one.name.as_str(), point)));
    }
    if dots.is_empty() {
        return String::new();
    }
    let [left, right, top, bottom] = ROOM;
    let across = Scale::new(dots.iter().map(|dot| dot.2.0), left, WIDTH - right);
    let up = Scale::new(dots.iter().map(|dot| dot.2.1), HEIGHT - bottom, top);
    let mut svg = open(WIDTH, HEIGHT);
    axes(&mut svg, (x, &across), (y, &up));
    dots.sort_by(|one, other| other.2.1.total_cmp(&one.2.1));
    let wanted: Vec<f64> = dots.iter().map(|dot| up.at(dot.2.1)).collect();
    let names = WIDTH - right + 16.0;
    for ((index, name, (x, y)), height) in dots.into_iter().zip(apart(&wanted, HEIGHT - 10.0)) {
        let (x, y) = (across.at(x), up.at(y));
        push(
            &mut svg,
            &format!("<path class=\"grid\" d=\"M{x:.1} {y:.1}L{:.1} {height:.1}\"/>", names - 3.0),
        );
        push(
            &mut svg,
            &format!("<circle class=\"c{index}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
        );
        push(&mut svg, &text(names, height + 4.0, "start", name));
    }
    svg + "</svg>\n"
}

/// Heights of names, from the top down: where they are wanted, but a line apart and none below the last.
fn apart(wanted: &[f64], last: f64) -> Vec<f64> {
    const LINE: f64 = 15.0;
    let mut heights = wanted.to_vec();
    for at in 1..heights.len() {
        heights[at] = heights[at].max(heights[at - 1] + LINE);
    }
    let mut most = last;
    for height in heights.iter_mut().rev() {
        *height = height.min(most);
        most = *height - LINE;
    }
    heights
}

const INTO_STRING: &str = "a string takes everything";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_lie_on_each_other() {
        assert_eq!(apart(&[10.0, 100.0], 350.0), [10.0, 100.0]);
        assert_eq!(apart(&[10.0, 10.0, 12.0], 350.0), [10.0, 25.0, 40.0]);
        assert_eq!(apart(&[340.0, 345.0], 350.0), [335.0, 350.0]);
    }
}
