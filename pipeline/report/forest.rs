//! A forest plot: lifts with two intervals each, as SVG that takes its colours from the page.

use maud::{Markup, html};

use crate::chart::{Axis, n, short};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 80.0;
const ROW: f64 = 24.0;
const TOP: f64 = 6.0;
const AXIS: f64 = 26.0;

/// A lift.
#[derive(Debug)]
pub(crate) struct Branch {
    /// What it is of.
    pub(crate) name: String,
    /// Drawn in a paler shade.
    pub(crate) pale: bool,
    /// The lift; its interval; its always-valid interval.
    pub(crate) lift: [f64; 5],
}

/// A row per lift, in percent, around a line at 0.
pub(crate) fn forest(branches: &[Branch], label: &str) -> Markup {
    let ends = || branches.iter().flat_map(|branch| branch.lift).map(|share| 100.0 * share);
    let axis = Axis::over(ends().fold(0.0, f64::min), ends().fold(0.0, f64::max));
    let x = |share: f64| LEFT + (WIDTH - LEFT - RIGHT) * axis.place(100.0 * share);
    let height = TOP + branches.len() as f64 * ROW + AXIS;
    let floor = height - AXIS;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(label) {
            @for tick in axis.ticks() {
                @let at = x(tick / 100.0);
                line class=(if tick == 0.0 { "zero" } else { "grid" }) x1=(n(at)) x2=(n(at)) y1="0" y2=(n(floor)) {}
                text class="tick" x=(n(at)) y=(n(floor + 16.0)) text-anchor="middle" { (short(tick)) }
            }
            @for (row, branch) in branches.iter().enumerate() {
                @let [value, low, high, always_low, always_high] = branch.lift;
                @let y = TOP + (row as f64 + 0.5) * ROW;
                text x=(n(LEFT - 8.0)) y=(n(y + 4.0)) text-anchor="end" { (branch.name) }
                line class="always" x1=(n(x(always_low))) x2=(n(x(always_high))) y1=(n(y)) y2=(n(y)) {}
                line class="interval" x1=(n(x(low))) x2=(n(x(high))) y1=(n(y)) y2=(n(y)) {}
                circle class=(if branch.pale { "point other" } else { "point" }) cx=(n(x(value))) cy=(n(y)) r="4" {}
                text class="value" x=(n(WIDTH - RIGHT + 12.0)) y=(n(y + 4.0)) { (format!("{:+.2}%", 100.0 * value)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_lie_around_their_lift_and_zero_is_marked() {
        let branches = [
            Branch { name: "DAU & more".into(), pale: false, lift: [0.01, 0.005, 0.015, -0.002, 0.022] },
            Branch { name: "CTR".into(), pale: true, lift: [0.0, -0.01, 0.01, -0.02, 0.02] },
        ];
        let svg = forest(&branches, "a").into_string();
        let numbers = |class: &str, name: &str| -> Vec<f64> {
            let lines = svg.split('<').filter(|part| part.contains(&format!("class=\"{class}\"")));
            let number = |part: &str| part.split(&format!("{name}=\"")).nth(1)?.split('"').next()?.parse().ok();
            lines.filter_map(number).collect()
        };
        let (zero, point) = (numbers("zero", "x1")[0], numbers("point", "cx")[0]);
        let (low, high) = (numbers("interval", "x1")[0], numbers("interval", "x2")[0]);
        let (always_low, always_high) = (numbers("always", "x1")[0], numbers("always", "x2")[0]);
        let order = [LEFT, always_low, zero, low, point, high, always_high, WIDTH - RIGHT];
        assert!(order.is_sorted(), "{order:?}: {svg}");
        assert!((numbers("point other", "cx")[0] - zero).abs() < 1e-9, "{svg}");
        assert!(svg.contains("DAU &amp; more") && svg.contains("+1.00%"), "{svg}");
    }
}
