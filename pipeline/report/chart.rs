//! A bar chart with intervals, as SVG that takes its colours from the page; and the axes of all charts.

use maud::{Markup, html};
use schemas::method_and_step;

use crate::tables::Measure;

const WIDTH: f64 = 760.0;
const RIGHT: f64 = 150.0;
/// Room for a letter of a method's name.
const LETTER: f64 = 6.8;
const BAR: f64 = 16.0;
const GAP: f64 = 10.0;
const TOP: f64 = 6.0;
const AXIS: f64 = 26.0;

/// A horizontal bar per method for one metric of one slice; lists of steps with names in a paler shade.
pub(crate) fn bars(metrics: &[Measure], slice: &str, metric: &str) -> Markup {
    let mut rows: Vec<&Measure> = metrics.iter().filter(|m| m.slice == slice && m.metric == metric).collect();
    rows.sort_by_key(|m| by_number(&m.method));
    let largest = rows.iter().map(|m| m.high.max(m.value)).fold(0.0, f64::max);
    let axis = Axis::over(0.0, largest);
    let longest = rows.iter().map(|m| m.method.chars().count()).max().unwrap_or(0);
    let left = (longest as f64).mul_add(LETTER, 16.0).clamp(100.0, WIDTH / 2.0);
    let x = |value: f64| left + (WIDTH - left - RIGHT) * axis.place(value);
    let height = TOP + rows.len() as f64 * (BAR + GAP) + AXIS;
    let floor = height - AXIS;
    let label = format!("{metric} by method, {slice} users");
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(label) {
            @for tick in axis.ticks() {
                @let at = x(tick);
                line class="grid" x1=(n(at)) x2=(n(at)) y1="0" y2=(n(floor)) {}
                text class="tick" x=(n(at)) y=(n(floor + 16.0)) text-anchor="middle" { (short(tick)) }
            }
            @for (row, measure) in rows.iter().enumerate() {
                @let y = TOP + row as f64 * (BAR + GAP);
                @let middle = y + BAR / 2.0;
                text x=(n(left - 8.0)) y=(n(middle + 4.0)) text-anchor="end" { (measure.method) }
                @let class = if method_and_step(&measure.method).1.is_some() { "bar other" } else { "bar" };
                rect class=(class) x=(n(left)) y=(n(y)) width=(n((x(measure.value) - left).max(0.5))) height=(n(BAR)) rx="2" {}
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

/// A name and the number at its end, so that `best2` stands before `best16`.
fn by_number(name: &str) -> (&str, u64) {
    let text = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (text, name[text.len()..].parse().unwrap_or(0))
}

/// A number for SVG.
pub(crate) fn n(value: f64) -> String {
    format!("{value:.1}")
}

/// A number at a tick.
pub(crate) fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.001 {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// An axis with ticks at round numbers: 1, 2 or 5 times a power of ten.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    step: f64,
    /// Ticks in steps from zero: the first, the last.
    ends: (i64, i64),
}

impl Axis {
    /// The axis that covers a range; of a single value, the range from it to zero.
    pub(crate) fn over(low: f64, high: f64) -> Self {
        let (low, high) = match (low < high, low != 0.0) {
            (true, _) => (low, high),
            (false, true) => (low.min(0.0), low.max(0.0)),
            (false, false) => (0.0, 1.0),
        };
        let power = 10_f64.powf(((high - low) / 4.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| (high - low) / step <= 5.0);
        let step = step.unwrap_or(power);
        Axis { step, ends: ((low / step).floor() as i64, (high / step).ceil() as i64) }
    }

    /// Where the ticks are.
    pub(crate) fn ticks(self) -> impl Iterator<Item = f64> {
        (self.ends.0..=self.ends.1).map(move |tick| tick as f64 * self.step)
    }

    /// Where a value lies: 0 at the first tick, 1 at the last.
    pub(crate) fn place(self, value: f64) -> f64 {
        let (first, last) = (self.ends.0 as f64, self.ends.1 as f64);
        ((value / self.step - first) / (last - first)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        let ranges = [(0.0, 0.0017), (0.0, 0.0159), (0.19, 0.2), (-0.4, 0.99), (-3.0, -2.0), (0.7, 0.7), (0.0, 0.0)];
        for (low, high) in ranges {
            let ticks: Vec<f64> = Axis::over(low, high).ticks().collect();
            let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
            assert!((2..=7).contains(&ticks.len()) && first <= low && last >= high, "{low} to {high}: {ticks:?}");
            let axis = Axis::over(low, high);
            assert!(axis.place(first) == 0.0 && (axis.place(last) - 1.0).abs() < 1e-9, "{low} to {high}: {ticks:?}");
        }
        assert_eq!(Axis::over(0.0, 0.0159).ticks().nth(1).map(short).as_deref(), Some("0.005"));
    }

    #[test]
    fn steps_stand_by_their_numbers() {
        let mut names = ["a.best16", "b", "a.best2", "a.bm25", "a"];
        names.sort_by_key(|name| by_number(name));
        assert_eq!(names, ["a", "a.best2", "a.best16", "a.bm25", "b"]);
    }

    #[test]
    fn labels_are_short() {
        let said = [0.0, 0.25, -3.0, 120.0, 0.00002].map(short);
        assert_eq!(said, ["0", "0.25", "-3", "120", "2e-5"]);
    }
}
