//! A bar chart with intervals, as SVG that takes its colours from the page.

use maud::{Markup, html};
use schemas::method_and_step;

use crate::tables::Measure;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 150.0;
const BAR: f64 = 16.0;
const GAP: f64 = 10.0;
const TOP: f64 = 6.0;
const AXIS: f64 = 26.0;

/// A horizontal bar per method for one metric of one slice; lists of steps with names in a paler shade.
pub(crate) fn bars(metrics: &[Measure], slice: &str, metric: &str) -> Markup {
    let rows: Vec<&Measure> = metrics.iter().filter(|m| m.slice == slice && m.metric == metric).collect();
    let largest = rows.iter().map(|m| m.high.max(m.value)).fold(0.0, f64::max);
    let (step, end) = ticks(largest);
    let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * (value / end).clamp(0.0, 1.0);
    let height = TOP + rows.len() as f64 * (BAR + GAP) + AXIS;
    let floor = height - AXIS;
    let label = format!("{metric} by method, {slice} users");
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(label) {
            @for tick in 0..=(end / step).round() as u32 {
                @let at = x(f64::from(tick) * step);
                line class="grid" x1=(n(at)) x2=(n(at)) y1="0" y2=(n(floor)) {}
                text class="tick" x=(n(at)) y=(n(floor + 16.0)) text-anchor="middle" { (short(f64::from(tick) * step)) }
            }
            @for (row, measure) in rows.iter().enumerate() {
                @let y = TOP + row as f64 * (BAR + GAP);
                @let middle = y + BAR / 2.0;
                text x=(n(LEFT - 8.0)) y=(n(middle + 4.0)) text-anchor="end" { (measure.method) }
                @let class = if method_and_step(&measure.method).1.is_some() { "bar other" } else { "bar" };
                rect class=(class) x=(n(LEFT)) y=(n(y)) width=(n((x(measure.value) - LEFT).max(0.5))) height=(n(BAR)) rx="2" {}
                line class="interval" x1=(n(x(measure.low))) x2=(n(x(measure.high))) y1=(n(middle)) y2=(n(middle)) {}
                @for end in [measure.low, measure.high] {
                    line class="interval" x1=(n(x(end))) x2=(n(x(end))) y1=(n(middle - 4.0)) y2=(n(middle + 4.0)) {}
                }
                text class="value" x=(n(x(measure.high.max(measure.value)) + 8.0)) y=(n(middle + 4.0)) {
                    (format!("{:.4}", measure.value))
                }
            }
        }
    }
}

/// A number for SVG.
fn n(value: f64) -> String {
    format!("{value:.1}")
}

fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    match text.trim_end_matches('0').trim_end_matches('.') {
        "" => "0".into(),
        trimmed => trimmed.to_owned(),
    }
}

/// The distance of ticks, 1, 2 or 5 times a power of ten, and the axis's end.
fn ticks(largest: f64) -> (f64, f64) {
    if largest <= 0.0 {
        return (1.0, 1.0);
    }
    let power = 10_f64.powf((largest / 4.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| largest / step <= 5.0);
    let step = step.unwrap_or(power);
    (step, (largest / step).ceil() * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_largest() {
        for largest in [0.0017, 0.0159, 0.2, 0.99, 1.0] {
            let (step, end) = ticks(largest);
            assert!(end >= largest && end / step <= 6.0, "{largest}: {step} {end}");
        }
        assert!((ticks(0.0159).0 - 0.005).abs() < 1e-12);
    }
}
