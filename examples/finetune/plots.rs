//! The figures, as SVG text.

use crate::evaluate::BINS;
use crate::experiment::{Results, Scores};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::ops::Range;

/// Colours that stay apart from each other on white, also for most colour-blind readers.
const PALETTE: [RGBColor; 10] = [
    RGBColor(31, 41, 55),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(178, 140, 0),
    RGBColor(86, 180, 233),
    RGBColor(122, 80, 190),
    RGBColor(150, 60, 40),
    RGBColor(110, 160, 40),
];
/// The colour of the base model.
const GREY: RGBColor = RGBColor(165, 172, 182);
/// The colour of axes and their text.
const INK: RGBColor = RGBColor(75, 85, 99);
/// Shares below this are not drawn in a histogram: its axis is logarithmic and begins here.
const LEAST_SHARE: f64 = 1e-3;

/// What a drawing may fail with. It is drawn into a string, so only a mistake in this file can cause it.
type Drawn<T = String> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The colour of the objective at this place in the list.
pub(crate) fn colour(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// Radius of the marker of a learning rate, by its place among the rising rates.
pub(crate) fn radius(index: usize) -> i32 {
    3 + 2 * i32::try_from(index.min(8)).unwrap_or(8)
}

/// One quantity of a trade-off figure.
pub(crate) struct Axis<'a> {
    /// What is written along the axis.
    pub(crate) label: &'a str,
    /// Where the number comes from.
    pub(crate) value: fn(&Scores) -> f64,
}

/// Domain against general: a line per objective through its learning rates, and the base model.
pub(crate) fn trade_off(results: &Results, x: &Axis<'_>, y: &Axis<'_>) -> Drawn {
    let point = |scores: &Scores| ((x.value)(scores), (y.value)(scores));
    let finite = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite();
    let base = point(&results.base);
    let lines: Vec<Vec<(usize, (f64, f64))>> = results
        .by_objective()
        .map(|runs| {
            runs.iter()
                .map(|run| point(&run.scores))
                .enumerate()
                .filter(|(_, at)| finite(at))
                .collect()
        })
        .collect();
    let all: Vec<(f64, f64)> =
        lines.iter().flatten().map(|&(_, at)| at).chain([base]).filter(finite).collect();
    draw((560, 420), |area| {
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(48)
            .y_label_area_size(62)
            .build_cartesian_2d(
                around(all.iter().map(|at| at.0)),
                around(all.iter().map(|at| at.1)),
            )?;
        chart
            .configure_mesh()
            .x_desc(x.label)
            .y_desc(y.label)
            .axis_desc_style(text(15))
            .label_style(text(13))
            .axis_style(INK)
            .bold_line_style(BLACK.mix(0.09))
            .light_line_style(TRANSPARENT)
            .x_labels(7)
            .y_labels(7)
            .draw()?;
        for (index, line) in lines.iter().enumerate() {
            let colour = colour(index);
            let path = [base].into_iter().filter(finite).chain(line.iter().map(|&(_, at)| at));
            chart.draw_series(LineSeries::new(path, colour.mix(0.45).stroke_width(2)))?;
            let marker = |&(rate, at): &(usize, (f64, f64))| {
                Circle::new(at, radius(rate), colour.mix(0.85).filled())
            };
            chart.draw_series(line.iter().map(marker))?;
        }
        if finite(&base) {
            chart.draw_series([
                Circle::new(base, 8, WHITE.filled()),
                Circle::new(base, 8, INK.stroke_width(3)),
            ])?;
        }
        Ok(())
    })
}

/// The share of tokens in each bin of probability: the base model in grey, the fine-tuned one beside it.
pub(crate) fn histogram(before: &[f64; BINS], after: &[f64; BINS], colour: RGBColor) -> Drawn {
    draw((290, 200), |area| {
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(46)
            .build_cartesian_2d(0.0..1.0, (LEAST_SHARE..1.0).log_scale())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc("probability of the target")
            .axis_desc_style(text(13))
            .label_style(text(12))
            .axis_style(INK)
            .bold_line_style(BLACK.mix(0.12))
            .light_line_style(TRANSPARENT)
            .x_labels(6)
            .y_labels(4)
            .y_label_formatter(&|share| format!("{}%", 100.0 * share))
            .draw()?;
        chart.draw_series(bars(before, 0.08..0.48, GREY))?;
        chart.draw_series(bars(after, 0.52..0.92, colour))?;
        Ok(())
    })
}

/// One bar per bin, over a part of the bin's width.
fn bars(
    shares: &[f64; BINS],
    part: Range<f64>,
    colour: RGBColor,
) -> impl Iterator<Item = Rectangle<(f64, f64)>> {
    let left = move |bin: usize, part: f64| (bin as f64 + part) / BINS as f64;
    shares.iter().enumerate().filter(|(_, share)| **share > LEAST_SHARE).map(
        move |(bin, &share)| {
            Rectangle::new(
                [(left(bin, part.start), LEAST_SHARE), (left(bin, part.end), share)],
                colour.filled(),
            )
        },
    )
}

/// Draws on a white sheet and gives the SVG.
fn draw(
    size: (u32, u32),
    paint: impl FnOnce(DrawingArea<SVGBackend<'_>, Shift>) -> Drawn<()>,
) -> Drawn {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        paint(area)?;
    }
    Ok(svg)
}

/// Text of the figures.
fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// A range with some room around the numbers.
fn around(numbers: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let low = numbers.clone().fold(f64::INFINITY, f64::min);
    let high = numbers.fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return 0.0..1.0;
    }
    let room = (0.07 * (high - low)).max(1e-3);
    low - room..high + room
}

#[cfg(test)]
mod tests {
    use super::{around, bars};
    use crate::evaluate::BINS;
    use plotters::style::RED;

    #[test]
    fn a_range_holds_its_numbers_even_when_there_is_one_or_none() {
        let range = around([2.0, 1.0, 4.0].into_iter());
        assert!(range.start < 1.0 && range.end > 4.0);
        assert!(!around([3.0].into_iter()).is_empty());
        assert!(!around(std::iter::empty()).is_empty());
    }

    #[test]
    fn empty_bins_have_no_bar() {
        let mut shares = [0.0; BINS];
        shares[3] = 1.0;
        assert_eq!(bars(&shares, 0.0..0.5, RED).count(), 1);
    }
}
