//! Points with intervals over a number, as SVG that takes its colours from the page.

use maud::{Markup, html};

use crate::chart::{Axis, n, short};

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 24.0;

/// A value and its interval.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// Where it lies; above 0.
    pub(crate) x: f64,
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Points in the order of `x`, joined; each doubling of `x` is as wide as any other.
pub(crate) fn points(points: &[Point], label: &str) -> Markup {
    let mut points = points.to_vec();
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else { return html! {} };
    let axis = Axis::over(
        points.iter().map(|p| p.low).fold(f64::INFINITY, f64::min),
        points.iter().map(|p| p.high).fold(f64::NEG_INFINITY, f64::max),
    );
    let floor = HEIGHT - BOTTOM;
    let span = (last.x / first.x).log2().max(f64::MIN_POSITIVE);
    let x = |at: f64| LEFT + 12.0 + (WIDTH - LEFT - RIGHT - 12.0) * (at / first.x).log2() / span;
    let y = |value: f64| floor - (floor - TOP) * axis.place(value);
    let path: Vec<String> = points.iter().map(|p| format!("{},{}", n(x(p.x)), n(y(p.value)))).collect();
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(label) {
            @for tick in axis.ticks() {
                line class="grid" x1=(n(LEFT)) x2=(n(WIDTH - RIGHT)) y1=(n(y(tick))) y2=(n(y(tick))) {}
                text class="tick" x=(n(LEFT - 6.0)) y=(n(y(tick) + 4.0)) text-anchor="end" { (short(tick)) }
            }
            polyline class="line" points=(path.join(" ")) {}
            @for point in &points {
                @let at = n(x(point.x));
                text class="tick" x=(at) y=(n(floor + 16.0)) text-anchor="middle" { (short(point.x)) }
                line class="interval" x1=(at) x2=(at) y1=(n(y(point.low))) y2=(n(y(point.high))) {}
                circle class="point" cx=(at) cy=(n(y(point.value))) r="3" {
                    title { (short(point.x)) ": " (format!("{:.4}", point.value)) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doublings_are_equally_wide_and_larger_is_higher() {
        let point = |x: f64, value: f64| Point { x, value, low: value - 0.01, high: value + 0.01 };
        let svg = points(&[point(4.0, 0.3), point(1.0, 0.1), point(2.0, 0.2)], "a").into_string();
        let numbers = |name: &str| -> Vec<f64> {
            let circles = svg.split('<').filter(|part| part.starts_with("circle"));
            circles
                .filter_map(|part| part.split(&format!("{name}=\"")).nth(1)?.split('"').next()?.parse().ok())
                .collect()
        };
        let (x, y) = (numbers("cx"), numbers("cy"));
        assert!((x[1] - x[0] - (x[2] - x[1])).abs() < 0.2 && x[0] < x[1], "{svg}");
        assert!(y[0] > y[1] && y[1] > y[2], "{svg}");
        assert!(points(&[], "a").into_string().is_empty());
        assert!(!points(&[point(2.0, 0.2)], "a").into_string().contains("NaN"));
    }
}
