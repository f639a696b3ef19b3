//! Progress on stderr: a bar with rate and time left on a terminal, a JSON line every few seconds elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A bar on a terminal, JSON lines elsewhere.
    Auto,
    /// Nothing.
    Silent,
}

/// All bars: a judge's questions beside the partitions of which they are asked.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress of one job: steps done of all, and units (events, users, …) for the rate.
#[derive(Debug)]
pub struct Progress {
    job: String,
    unit: &'static str,
    steps: AtomicU64,
    done: AtomicU64,
    units: AtomicU64,
    started: Instant,
    bar: Option<ProgressBar>,
    last_line: Option<Mutex<Instant>>,
    said: Mutex<String>,
}

impl Progress {
    /// Starts showing `job` with that many steps.
    pub fn new(job: &str, unit: &'static str, steps: u64, style: Style) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (style == Style::Auto && terminal).then(|| {
            let bar = BARS.add(ProgressBar::new(steps));
            let template = "{prefix:>14} {wide_bar} {pos}/{len}  {msg}  {eta} left";
            bar.set_style(ProgressStyle::with_template(template).expect("a constant template"));
            bar.set_prefix(job.to_owned());
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        let last_line = (style == Style::Auto && !terminal).then(|| Mutex::new(Instant::now()));
        Progress {
            job: job.to_owned(),
            unit,
            steps: AtomicU64::new(steps),
            done: AtomicU64::new(0),
            units: AtomicU64::new(0),
            started: Instant::now(),
            bar,
            last_line,
            said: Mutex::default(),
        }
    }

    /// What else is shown from now on: how well it goes.
    pub fn say(&self, what: impl Into<String>) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = what.into();
    }

    /// One more step is done, which took so many units.
    pub fn step(&self, units: u64) {
        self.advance(1, units);
    }

    /// So many steps need not be done after all.
    pub fn skip(&self, steps: u64) {
        let less = |all: u64| Some(all.saturating_sub(steps));
        let _ = self.steps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if let Some(bar) = &self.bar {
            bar.set_length(self.steps.load(Ordering::Relaxed));
        }
    }

    /// So many more steps are done, perhaps none, which took so many units.
    pub fn advance(&self, steps: u64, units: u64) {
        let done = self.done.fetch_add(steps, Ordering::Relaxed) + steps;
        let units = self.units.fetch_add(units, Ordering::Relaxed) + units;
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let rate = units as f64 / seconds;
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(bar) = &self.bar {
            bar.set_message(format!(
                "{said}{}{} {}/s",
                if said.is_empty() { "" } else { "  " },
                short(rate),
                self.unit
            ));
            bar.set_position(done);
        }
        if let Some(last_line) = &self.last_line {
            let mut last_line = last_line.lock().unwrap_or_else(PoisonError::into_inner);
            if last_line.elapsed() >= LINE_EVERY {
                *last_line = Instant::now();
                let steps = self.steps.load(Ordering::Relaxed);
                let left = (done > 0).then(|| (seconds / done as f64 * (steps - done.min(steps)) as f64).round());
                let mut line = serde_json::json!({
                    "job": self.job,
                    "done": done,
                    "of": steps,
                    "unit": self.unit,
                    "units": units,
                    "units_per_s": rate.round(),
                    "done_per_s": (done as f64 / seconds * 1000.0).round() / 1000.0,
                    "seconds_left": left,
                });
                if !said.is_empty() {
                    line["said"] = said.into();
                }
                // Nobody reads stderr any more: nothing to tell them.
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            BARS.remove(bar);
        }
    }
}

/// `1.2k`, `3.4M`: a number for people.
fn short(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e3 => format!("{:.1}k", n / 1e3),
        n => format!("{n:.0}"),
    }
}
