//! A line chart over the steps of a training, as SVG that takes its colours from the page.

use maud::{Markup, html};

use crate::chart::{Axis, n, short};

const LEFT: f64 = 46.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 24.0;

/// What a chart shows of one figure: points are steps and values.
#[derive(Debug, Default)]
pub(crate) struct Curve {
    /// Users that are learnt from.
    pub(crate) train: Vec<(f64, f64)>,
    /// The lower and the upper end of a band around them, at the same steps; or nothing.
    pub(crate) band: Vec<[f64; 2]>,
    /// Users of the split `valid`.
    pub(crate) valid: Vec<(f64, f64)>,
    /// The step whose checkpoint was chosen.
    pub(crate) chosen: Option<u64>,
    /// The last step.
    pub(crate) last: u64,
}

impl Curve {
    /// The chart, `width` by `height` units large.
    pub(crate) fn svg(&self, label: &str, width: f64, height: f64) -> Markup {
        let band = self.outline();
        let values = || self.train.iter().chain(&self.valid).chain(&band).map(|(_, value)| *value);
        let axis = Axis::over(values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        let last = self.last.max(1) as f64;
        let floor = height - BOTTOM;
        let x = |step: f64| LEFT + (width - LEFT - RIGHT) * (step / last);
        let y = |value: f64| floor - (floor - TOP) * axis.place(value);
        let path = |points: &[(f64, f64)]| {
            points.iter().map(|(step, value)| format!("{},{}", n(x(*step)), n(y(*value)))).collect::<Vec<_>>().join(" ")
        };
        // Updates are whole.
        let steps = Axis::over(0.0, last).ticks().filter(|step| step.fract() == 0.0 && *step <= last);
        html! {
            svg viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(label) {
                @for tick in axis.ticks() {
                    line class="grid" x1=(n(LEFT)) x2=(n(width - RIGHT)) y1=(n(y(tick))) y2=(n(y(tick))) {}
                    text class="tick" x=(n(LEFT - 6.0)) y=(n(y(tick) + 4.0)) text-anchor="end" { (short(tick)) }
                }
                @for step in steps {
                    text class="tick" x=(n(x(step))) y=(n(floor + 16.0)) text-anchor="middle" { (short(step)) }
                }
                @if let Some(chosen) = self.chosen {
                    @let at = n(x(chosen as f64));
                    line class="chosen" x1=(at) x2=(at) y1=(n(TOP)) y2=(n(floor)) {}
                }
                @if !band.is_empty() { polygon class="band" points=(path(&band)) {} }
                @if !self.train.is_empty() { polyline class="line train" points=(path(&self.train)) {} }
                @if !self.valid.is_empty() { polyline class="line" points=(path(&self.valid)) {} }
                @for (step, value) in &self.valid {
                    circle class="point" cx=(n(x(*step))) cy=(n(y(*value))) r="2.6" {
                        title { "step " (short(*step)) ": " (short(*value)) }
                    }
                }
            }
        }
    }

    /// The outline of the band: its upper side, then its lower side backwards.
    fn outline(&self) -> Vec<(f64, f64)> {
        let side = |end: usize| self.train.iter().zip(&self.band).map(move |((step, _), ends)| (*step, ends[end]));
        side(1).chain(side(0).rev()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_drawn_lies_within_the_axes() {
        let curve = Curve {
            train: vec![(1.0, 0.25), (2.0, 0.5), (4.0, -0.5)],
            band: vec![[0.15, 0.35], [0.3, 0.7], [-0.8, -0.2]],
            valid: vec![(0.0, 0.1), (4.0, 0.9)],
            chosen: Some(4),
            last: 4,
        };
        let svg = curve.svg("a <figure>", 300.0, 150.0).into_string();
        assert!(svg.contains("aria-label=\"a &lt;figure&gt;\""), "{svg}");
        let mut points = 0;
        for outline in svg.split("points=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            for point in outline.split(' ') {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((LEFT..=300.0 - RIGHT).contains(&x) && (TOP..=150.0 - BOTTOM).contains(&y), "{point}: {svg}");
                points += 1;
            }
        }
        assert_eq!(points, 6 + 3 + 2, "band, training, valid: {svg}");
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("step 4: 0.9") && svg.contains("class=\"chosen\" x1=\"286.0\""), "{svg}");
        // The range of values is from -0.8, the band's lower side, to 0.9.
        assert!(svg.contains(">-1</text>") && svg.contains(">1</text>"), "{svg}");
    }
}
