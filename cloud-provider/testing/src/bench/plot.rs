//! Curves over the number of nodes, as SVG.

use anyhow::anyhow;
use plotters::prelude::*;

use super::figures::{Figures, Measured};
use super::table::{calls, seconds};

const SIZE: (u32, u32) = (720, 420);

/// The curves by name.
pub(super) fn curves(figures: &Figures) -> anyhow::Result<Vec<(&'static str, String)>> {
    type Value = fn(&Measured) -> Option<f64>;
    let wanted: [(&str, &str, Value); 4] = [
        ("initialise-seconds", "Seconds to initialise all nodes", |cell| seconds(cell, "initialise")?.whole()),
        ("initialise-calls", "Cloud calls to initialise all nodes", |cell| calls(cell, "initialise")?.whole()),
        ("idle-calls", "Cloud calls in three idle periods", |cell| calls(cell, "idle")?.whole()),
        ("memory", "Memory at rest, MiB", |cell| Some(cell.phases.get("idle")?.resident_mib)),
    ];
    let mut drawn = Vec::new();
    for (name, title, value) in wanted {
        let points = |controller: &str| -> Vec<(f64, f64)> {
            let of = figures.cells.iter().filter(|cell| cell.controller == controller);
            of.filter_map(|cell| Some((cell.nodes as f64, value(cell)?))).collect()
        };
        let lines: Vec<(&str, Vec<(f64, f64)>)> =
            ["ours", "upstream", "upstream-tuned"].map(|name| (name, points(name))).into();
        // A curve needs two points.
        if lines.iter().any(|(_, points)| points.len() > 1) {
            drawn.push((name, draw(title, &lines).map_err(|error| anyhow!("draw {name}: {error}"))?));
        }
    }
    Ok(drawn)
}

/// Both axes are logarithmic; nothing is drawn as a tenth.
fn draw(title: &str, lines: &[(&str, Vec<(f64, f64)>)]) -> Result<String, Box<dyn std::error::Error>> {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let range = |of: fn(&(f64, f64)) -> f64| {
        let values = all().map(of).map(|value| value.max(0.1));
        values.fold((f64::MAX, 0.1_f64), |(low, high), value| (low.min(value), high.max(value)))
    };
    let ((left, right), (low, high)) = (range(|point| point.0), range(|point| point.1));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(60)
            .build_cartesian_2d((left..right * 1.1).log_scale(), (low * 0.8..high * 1.2).log_scale())?;
        chart.configure_mesh().x_desc("nodes").max_light_lines(1).draw()?;
        for ((name, points), color) in lines.iter().zip([BLUE, RED, BLACK]) {
            let points = || points.iter().map(|(x, y)| (*x, y.max(0.1)));
            chart
                .draw_series(LineSeries::new(points(), color.stroke_width(2)))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color));
            chart.draw_series(points().map(|point| Circle::new(point, 3, color.filled())))?;
        }
        chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_drawn_where_there_are_two_sizes() {
        let mut figures = crate::bench::table::tests::figures();
        let drawn = curves(&figures).unwrap();
        assert_eq!(drawn.iter().map(|(name, _)| *name).collect::<Vec<_>>().len(), 4);
        assert!(drawn[0].1.contains("<svg") && drawn[0].1.contains("upstream"), "{}", drawn[0].1);
        figures.cells.truncate(2);
        assert!(curves(&figures).unwrap().is_empty());
    }
}
