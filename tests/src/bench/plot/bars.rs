//! A chart of horizontal bars, pingu's in colour, each with its figure.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::bench::goal::figure;

/// All that is drawn.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    /// What the figures are.
    pub(super) axis: &'static str,
    /// Whether lengths are logarithms.
    pub(super) logarithmic: bool,
    pub(super) bars: Vec<Bar>,
}

/// A bar.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    /// From the least to the greatest, drawn as a line.
    pub(super) range: Option<[f64; 2]>,
    pub(super) is_own: bool,
}

const WIDTH: u32 = 860;
const BAR_HEIGHT: u32 = 26;
const MARGINS: u32 = 96;
const LABELS: u32 = 250;
const OWN: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const OTHER: RGBColor = RGBColor(0xb0, 0xb7, 0xbf);
const FONT: &str = "sans-serif";
/// Room to the right of the longest bar, for its figure.
const HEADROOM: f64 = 1.15;

/// The chart as SVG.
pub(super) fn draw(chart: &Chart) -> Result<String> {
    let mut text = String::new();
    let height = MARGINS + BAR_HEIGHT * chart.bars.len() as u32;
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        draw_on(&area, chart).map_err(|error| anyhow!("{}: {error}", chart.title))?;
        area.present()
            .map_err(|error| anyhow!("{}: {error}", chart.title))?;
    }
    Ok(text + "\n")
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_on(area: &Area<'_>, chart: &Chart) -> Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    let (low, high) = span(chart);
    let scaled = |value: f64| scale(chart, value.clamp(low, high), low);
    let end = scale(chart, high, low);
    let count = chart.bars.len();
    let mut context = ChartBuilder::on(area)
        .caption(&chart.title, (FONT, 18))
        .margin(12)
        .x_label_area_size(34)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(0.0..end, 0.0..count as f64)?;
    context
        .configure_mesh()
        .disable_mesh()
        .disable_y_axis()
        .x_labels(0)
        .x_desc(chart.axis)
        .axis_desc_style((FONT, 14))
        .draw()?;
    for (place, bar) in chart.bars.iter().enumerate() {
        let top = (count - place) as f64 - 0.14;
        let bottom = (count - place) as f64 - 0.86;
        let colour = if bar.is_own { OWN } else { OTHER };
        let corners = [(0.0, bottom), (scaled(bar.value), top)];
        context.draw_series([Rectangle::new(corners, colour.filled())])?;
        let mut right = scaled(bar.value);
        if let Some([least, most]) = bar.range {
            let middle = (top + bottom) / 2.0;
            let line = [(scaled(least), middle), (scaled(most), middle)];
            context.draw_series([PathElement::new(line, BLACK.stroke_width(2))])?;
            right = right.max(scaled(most));
        }
        let at = context.backend_coord(&(right, (top + bottom) / 2.0));
        let value = figure(bar.value);
        area.draw(&Text::new(value, (at.0 + 6, at.1 - 7), (FONT, 14)))?;
        let at = context.backend_coord(&(0.0, (top + bottom) / 2.0));
        let style =
            TextStyle::from((FONT, 14).into_font()).pos(plotters::style::text_anchor::Pos::new(
                plotters::style::text_anchor::HPos::Right,
                plotters::style::text_anchor::VPos::Center,
            ));
        area.draw(&Text::new(bar.label.clone(), (at.0 - 8, at.1), style))?;
    }
    Ok(())
}

/// The least and the greatest value that has to be shown.
fn span(chart: &Chart) -> (f64, f64) {
    let values = || {
        chart
            .bars
            .iter()
            .flat_map(|bar| [Some(bar.value), bar.range.map(|[_, most]| most)])
            .flatten()
            .filter(|value| value.is_finite() && *value > 0.0)
    };
    let high = values().fold(0.0, f64::max);
    let least = values().fold(high, f64::min);
    // A logarithmic bar begins well below the least value, so that this one is seen as well.
    let low = if chart.logarithmic { least / 2.0 } else { 0.0 };
    let high = if chart.logarithmic {
        high * (high / low).powf(HEADROOM - 1.0)
    } else {
        high * HEADROOM
    };
    (low, high)
}

fn scale(chart: &Chart, value: f64, low: f64) -> f64 {
    if chart.logarithmic {
        (value / low).log10()
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: f64) -> Bar {
        Bar {
            label: label.to_owned(),
            value,
            range: None,
            is_own: label == "pingu",
        }
    }

    #[test]
    fn every_bar_is_drawn_with_its_name_and_its_figure() {
        let chart = Chart {
            title: "a title".to_owned(),
            axis: "milliseconds",
            logarithmic: true,
            bars: vec![bar("pingu", 1.5), bar("another", 1500.0)],
        };
        let text = draw(&chart).unwrap();
        for part in ["<svg", "a title", "pingu", "another", "1.50", "1500"] {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
    }

    #[test]
    fn a_logarithmic_bar_of_the_least_value_has_a_length() {
        let chart = Chart {
            title: String::new(),
            axis: "",
            logarithmic: true,
            bars: vec![bar("a", 0.2), bar("b", 400.0)],
        };
        let (low, high) = span(&chart);
        assert!(scale(&chart, 0.2, low) > 0.0);
        assert!(high > 400.0);
    }
}
