//! Curves in a terminal.

/// A line of a plot: the character that marks its points, and these as (x, y).
pub(crate) type Line<'a> = (char, &'a [(f64, f64)]);

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A curve in one line: a bar per value, from the least to the largest.
pub(crate) fn sparkline(values: &[f64]) -> String {
    let Some((low, high)) = ends(values.iter().copied()) else { return String::new() };
    let bar = |value: &f64| BARS[place(*value, low, high, BARS.len())];
    values.iter().map(bar).collect()
}

/// Lines in one plot of so many characters, with the ends of both axes beside it; later lines lie over earlier ones. Nothing without points.
pub(crate) fn plot(lines: &[Line<'_>], width: usize, height: usize) -> Vec<String> {
    let points = || lines.iter().flat_map(|(_, points)| points.iter().copied());
    let (Some((left, right)), Some((low, high))) = (ends(points().map(|p| p.0)), ends(points().map(|p| p.1))) else {
        return Vec::new();
    };
    let mut cells = vec![vec![' '; width]; height];
    for (mark, points) in lines {
        for (x, y) in points.iter() {
            cells[height - 1 - place(*y, low, high, height)][place(*x, left, right, width)] = *mark;
        }
    }
    let (top, bottom) = (number(high), number(low));
    let margin = top.len().max(bottom.len());
    let mut rows = Vec::new();
    for (row, cells) in cells.iter().enumerate() {
        let label = match row {
            0 => top.as_str(),
            row if row + 1 == height => bottom.as_str(),
            _ => "",
        };
        let cells: String = cells.iter().collect();
        rows.push(format!("{label:>margin$} │{}", cells.trim_end()));
    }
    rows.push(format!("{:margin$} └{}", "", "─".repeat(width)));
    let (left, right) = (number(left), number(right));
    rows.push(format!("{:margin$}  {left}{right:>rest$}", "", rest = width.saturating_sub(left.len())));
    rows
}

/// A number with about four digits that say something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || (size < 1e9 && value.fract() == 0.0) => format!("{value:.0}"),
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.3}"),
        size if size >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |ends, value| match ends {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// Which of some equal parts of a range a value is in; in the middle one, where the range is a point.
fn place(value: f64, low: f64, high: f64, parts: usize) -> usize {
    match high > low {
        true => ((value - low) / (high - low) * (parts - 1) as f64).round() as usize,
        false => parts / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_goes_from_the_least_to_the_largest() {
        assert_eq!(sparkline(&[0.0, 7.0, 3.0, 1.0]), "▁█▄▂");
        assert_eq!(sparkline(&[-2.0, -2.0]), "▅▅");
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn a_plot_has_its_lines_and_the_ends_of_its_axes() {
        let train: Vec<(f64, f64)> = (0..5).map(|x| (f64::from(x), f64::from(x) / 8.0)).collect();
        let rows = plot(&[('·', &train), ('●', &[(0.0, 0.25), (4.0, 0.5)])], 9, 3);
        assert_eq!(
            rows,
            ["0.5000 │      · ●", "       │● · ·", "     0 │·", "       └─────────", "        0       4",]
        );
        assert!(plot(&[('·', &[])], 9, 3).is_empty());
    }

    #[test]
    fn numbers_are_short() {
        let said: Vec<String> = [0.0, 12.0, -3.5, 0.25, 31.23, 12345.6, 0.00002].into_iter().map(number).collect();
        assert_eq!(said, ["0", "12", "-3.500", "0.2500", "31.2", "12346", "2.0e-5"]);
    }
}
