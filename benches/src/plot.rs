//! The ratios of a run as one SVG: a panel for each storage type and number of threads, the same scale in all of them.

use std::error::Error;

use plotters::coord::Shift;
use plotters::element::PointCollection;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::scale::scale;
use crate::shape::Shape;
use crate::table::Line;
use crate::yardstick::Yardstick;

/// Colours that stay apart from each other on white, also for most colour-blind readers.
const PALETTE: [RGBColor; 6] = [
    RGBColor(86, 180, 233),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(178, 140, 0),
];
/// The colour of axes and their text.
const INK: RGBColor = RGBColor(75, 85, 99);

const TITLE: &str = "Time of a call over the time to move the same bytes";
const SUBTITLE: &str =
    "1 is the limit: the bytes alone, without arithmetic. Lower is better. Logarithmic.";

/// Sizes in pixels. Letters and digits are not wider than this at the sizes of the labels and of the legend.
const LETTER: usize = 8;
const TITLE_HEIGHT: usize = 64;
const LEGEND_LINE: usize = 22;
const PANEL_HEIGHT: usize = 260;
const Y_LABELS: usize = 56;
const MARGIN: usize = 12;
const LEAST_WIDTH: usize = 640;
/// From one path's mark to the next one's.
const MARK: usize = 8;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What a drawing may fail with. It is drawn into a string, so only a mistake in this file can cause it.
pub type Drawn<T = String> = Result<T, Box<dyn Error + Send + Sync>>;

/// Draws the ratio of every path; the yardsticks are the line at 1.
///
/// # Errors
/// None but a mistake in this function.
pub fn ratios(lines: &[Line]) -> Drawn {
    let figure = Figure::new(lines);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, figure.size()).into_drawing_area();
        area.fill(&WHITE)?;
        figure.draw(&area)?;
    }
    Ok(svg)
}

/// How a path is drawn: its colour says which path, its mark at which SIMD level.
struct Series<'a> {
    name: &'a str,
    colour: RGBColor,
    mark: usize,
}

/// The lines, sorted out.
struct Figure<'a> {
    lines: Vec<&'a Line>,
    series: Vec<Series<'a>>,
    shapes: Vec<Shape>,
    dtypes: Vec<&'static str>,
    threads: Vec<usize>,
}

impl<'a> Figure<'a> {
    fn new(lines: &'a [Line]) -> Self {
        let is_path = |line: &&Line| Yardstick::ALL.iter().all(|yard| yard.name() != line.what);
        // A call may be too short for the clock.
        let is_drawn = |line: &&Line| line.ratio().is_finite() && line.ratio() > 0.0;
        let lines: Vec<&Line> = lines.iter().filter(is_path).filter(is_drawn).collect();
        let split = |name: &'a str| name.split_once('@').unwrap_or((name, ""));
        let names = distinct(lines.iter().map(|line| line.what.as_str()));
        let paths = distinct(names.iter().map(|name| split(name).0));
        let levels = distinct(names.iter().map(|name| split(name).1));
        let series = names.iter().map(|name| {
            let (path, level) = split(name);
            let colour = PALETTE[place(&paths, &path) % PALETTE.len()];
            Series { name, colour, mark: place(&levels, &level) }
        });
        Self {
            series: series.collect(),
            shapes: distinct(lines.iter().map(|line| line.shape)),
            dtypes: distinct(lines.iter().map(|line| line.dtype)),
            threads: distinct(lines.iter().map(|line| line.threads)),
            lines,
        }
    }

    /// Wide enough for the shapes' names and for all marks side by side.
    fn width(&self) -> usize {
        let longest = self.shapes.iter().map(|shape| shape.to_string().len()).max().unwrap_or(0);
        let shape = (LETTER * longest + 14).max(MARK * (self.series.len() + 2));
        let panel = Y_LABELS + self.shapes.len() * shape + 2 * MARGIN;
        LEAST_WIDTH.max(self.threads.len() * panel)
    }

    /// Names in a line of the legend, and their width.
    fn legend(&self) -> (usize, usize) {
        let longest = self.series.iter().map(|series| series.name.len()).max().unwrap_or(0);
        let width = LETTER * longest + 34;
        (((self.width() - 2 * MARGIN) / width).max(1), width)
    }

    fn head(&self) -> usize {
        TITLE_HEIGHT + LEGEND_LINE * self.series.len().div_ceil(self.legend().0)
    }

    fn size(&self) -> (u32, u32) {
        let height = self.head() + PANEL_HEIGHT * self.dtypes.len().max(1);
        (pixels(self.width()).unsigned_abs(), pixels(height).unsigned_abs())
    }

    fn draw(&self, area: &Area<'_>) -> Drawn<()> {
        let (head, panels) = area.split_vertically(pixels(self.head()));
        let left = pixels(MARGIN);
        head.draw(&Text::new(TITLE, (left, 12), text(18)))?;
        head.draw(&Text::new(SUBTITLE, (left, 36), text(13)))?;
        let (columns, width) = self.legend();
        for (index, series) in self.series.iter().enumerate() {
            let x = pixels(MARGIN + index % columns * width);
            let y = pixels(TITLE_HEIGHT + index / columns * LEGEND_LINE + LEGEND_LINE / 2);
            mark(&head, (x + 6, y), series)?;
            head.draw(&Text::new(series.name, (x + 18, y - 6), text(13)))?;
        }
        let places =
            self.dtypes.iter().flat_map(|dtype| self.threads.iter().map(move |n| (*dtype, *n)));
        let panels = panels.split_evenly((self.dtypes.len().max(1), self.threads.len().max(1)));
        for (panel, (dtype, threads)) in panels.iter().zip(places) {
            self.panel(panel, dtype, threads)?;
        }
        Ok(())
    }

    fn panel(&self, area: &Area<'_>, dtype: &str, threads: usize) -> Drawn<()> {
        let (range, ticks) = scale(self.lines.iter().map(|line| line.ratio()));
        let right = self.shapes.len() as f64;
        let plural = if threads == 1 { "" } else { "s" };
        let mut chart = ChartBuilder::on(area)
            .margin(pixels(MARGIN))
            .caption(format!("{dtype}, {threads} thread{plural}"), text(15))
            .x_label_area_size(28)
            .y_label_area_size(pixels(Y_LABELS - MARGIN))
            .build_cartesian_2d(0.0..right, range.clone().log_scale().with_key_points(ticks))?;
        for (index, shape) in self.shapes.iter().enumerate() {
            let left = index as f64;
            // Every other shape stands on a band.
            if index % 2 == 1 {
                let corners = [(left, range.start), (left + 1.0, range.end)];
                chart.draw_series([Rectangle::new(corners, BLACK.mix(0.035).filled())])?;
            }
            let style = text(12).pos(Pos::new(HPos::Center, VPos::Top));
            let below = EmptyElement::at((left + 0.5, range.start));
            chart.draw_series([below + Text::new(shape.to_string(), (0, 8), style)])?;
        }
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .label_style(text(12))
            .axis_style(INK)
            .bold_line_style(BLACK.mix(0.09))
            .light_line_style(TRANSPARENT)
            .y_label_formatter(&f64::to_string)
            .draw()?;
        let limit = PathElement::new([(0.0, 1.0), (right, 1.0)], INK.stroke_width(2));
        chart.draw_series([limit])?;
        for line in self.lines.iter().filter(|l| l.dtype == dtype && l.threads == threads) {
            let index = self.series.iter().position(|s| s.name == line.what).unwrap_or(0);
            let series = &self.series[index];
            let count = self.series.len() as f64;
            // A mark's room at both ends of a shape stays free.
            let x = place(&self.shapes, &line.shape) as f64 + (index as f64 + 1.5) / (count + 2.0);
            let stem = [(x, 1.0), (x, line.ratio())];
            let area = chart.plotting_area();
            area.draw(&PathElement::new(stem, series.colour.mix(0.45).stroke_width(2)))?;
            mark(area, (x, line.ratio()), series)?;
        }
        Ok(())
    }
}

/// A series' mark, in a panel or in the legend.
fn mark<C: CoordTranslate>(
    area: &DrawingArea<SVGBackend<'_>, C>,
    at: C::From,
    series: &Series<'_>,
) -> Drawn<()>
where
    for<'e> &'e Circle<C::From, i32>: PointCollection<'e, C::From>,
    for<'e> &'e Cross<C::From, i32>: PointCollection<'e, C::From>,
    for<'e> &'e TriangleMarker<C::From, i32>: PointCollection<'e, C::From>,
{
    let colour = series.colour;
    match series.mark % 4 {
        0 => area.draw(&Circle::new(at, 4, colour.filled()))?,
        1 => area.draw(&TriangleMarker::new(at, 5, colour.filled()))?,
        2 => area.draw(&Cross::new(at, 4, colour.stroke_width(2)))?,
        _ => area.draw(&Circle::new(at, 4, colour.stroke_width(2)))?,
    }
    Ok(())
}

/// Text of the figure.
fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

fn pixels(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

/// Each once, in the order of their first appearance.
fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for item in items {
        if !found.contains(&item) {
            found.push(item);
        }
    }
    found
}

fn place<T: PartialEq>(items: &[T], item: &T) -> usize {
    items.iter().position(|other| other == item).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(what: &str, dtype: &'static str, threads: usize, ratio: f64) -> Line {
        let (what, shape) = (what.to_owned(), Shape { rows: 16, vocab: 262_144 });
        Line { what, dtype, shape, threads, median_ms: 2.0 * ratio, yardstick_ms: 2.0 }
    }

    #[test]
    fn a_figure_names_all_that_it_shows_and_has_a_mark_for_every_line() -> Drawn<()> {
        let lines = [
            line("memcpy", "f32", 1, 1.0),
            line("sft/separate", "f32", 1, 1.5),
            line("sft/separate", "bf16", 2, 2.5),
            line("sft/separate", "f16", 2, f64::NAN),
        ];
        let svg = ratios(&lines)?;
        for shown in [TITLE, "sft/separate", "16x262144", "f32, 1 thread", "bf16, 2 threads"] {
            assert!(svg.contains(shown), "{shown}");
        }
        assert!(!svg.contains("memcpy") && !svg.contains("\nf16,"));
        // One of them in the legend.
        assert_eq!(svg.matches("<circle").count(), 3);
        Ok(())
    }

    #[test]
    fn levels_of_a_path_share_its_colour_and_not_its_mark() {
        let names = ["sft/forward", "sft/forward@avx2", "sft/in-place"];
        let lines = names.map(|name| line(name, "f32", 1, 2.0));
        let figure = Figure::new(&lines);
        let [best, other, path] = &figure.series[..] else { panic!("three series") };
        assert!(best.colour == other.colour && best.mark != other.mark);
        assert!(best.colour != path.colour && best.mark == path.mark);
    }

    #[test]
    fn no_line_is_no_panic() -> Drawn<()> {
        assert!(ratios(&[])?.contains(TITLE));
        Ok(())
    }
}
