//! Figures of steps, on their way to `train_log`.

use dataset::{Error, Result, Rows};
use schemas::{TrainLog, TrainLogColumns};

/// Rows of `train_log` that are not saved yet.
#[derive(Debug, Default)]
pub struct Log {
    rows: Vec<(u64, String, f64)>,
}

impl Log {
    /// Notes a figure. One that is not finite has no place in a table: it stops the run.
    pub fn note(&mut self, step: u64, figure: impl Into<String>, value: f64) -> Result<()> {
        let figure = figure.into();
        if !value.is_finite() {
            let what = format!("step {step}, {figure}");
            return Err(Error::setting(
                &what,
                "a finite figure",
                value,
                "lower the learning rate; the last checkpoint is good",
            ));
        }
        self.rows.push((step, figure, value));
        Ok(())
    }

    /// Mean, deviation and extremes of some values.
    pub(crate) fn spread(&mut self, step: u64, figure: &str, values: &[f64]) -> Result<()> {
        let Some((mean, deviation)) = moments(values) else { return Ok(()) };
        self.note(step, format!("{figure}.mean"), mean)?;
        self.note(step, format!("{figure}.deviation"), deviation)?;
        self.note(step, format!("{figure}.least"), values.iter().copied().fold(f64::INFINITY, f64::min))?;
        self.note(step, format!("{figure}.most"), values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    }

    /// Takes the rows, in the table's order.
    pub(crate) fn take(&mut self) -> Result<Rows<TrainLog>> {
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Rows::of(TrainLogColumns {
            step: rows.iter().map(|row| row.0 as i64).collect::<Vec<_>>().into(),
            figure: rows.iter().map(|row| Some(row.1.as_str())).collect(),
            value: rows.iter().map(|row| row.2).collect::<Vec<_>>().into(),
        })
    }
}

/// Mean and standard deviation; none of nothing.
pub(crate) fn moments(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (!values.is_empty()).then(|| (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt()))
}
