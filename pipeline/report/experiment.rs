//! An A/B test for people: its arms, its lifts, and how these looked day by day.

use arrow::array::{Array, Float64Array};
use dataset::account::grouped;
use dataset::{Result, Store};
use maud::{Markup, html};
use schemas::{Arms, DailyLifts, Lifts};

use crate::forest::{Branch, forest};
use crate::found::Found;
use crate::line::Curve;

/// Below this p-value of the sample-ratio check, users were not assigned as planned.
const MISMATCH: f64 = 0.001;
const SMALL: (f64, f64) = (340.0, 190.0);

/// What `abtest` wrote.
#[derive(Debug, Clone, Default)]
pub struct Experiment {
    /// The variants, the control first.
    pub arms: Vec<Arm>,
    /// Each treatment against the control.
    pub lifts: Vec<Lift>,
    /// The lifts until each day.
    pub days: Vec<DailyLift>,
}

/// A variant.
#[derive(Debug, Clone, Default)]
pub struct Arm {
    /// Its name.
    pub variant: String,
    /// Its users.
    pub users: u64,
    /// Users who were cold on their first day.
    pub cold_users: u64,
    /// Its share of all users.
    pub share: f64,
    /// The share that it should have.
    pub expected_share: f64,
    /// Of the sample-ratio check over all variants.
    pub ratio_p_value: f64,
}

/// A treatment against the control.
#[derive(Debug, Clone, Default)]
pub struct Lift {
    /// The treatment.
    pub treatment: String,
    /// dau or ctr.
    pub metric: String,
    /// all, cold or warm.
    pub segment: String,
    /// Adjusted by the time before.
    pub cuped: bool,
    /// The metric of the control and of the treatment.
    pub values: (f64, f64),
    /// The lift with its 95% interval and its always-valid one: value, low, high, low, high. None where the control's value is 0.
    pub lift: Option<[f64; 5]>,
    /// Two-sided, as it is and adjusted for several tests.
    pub p: (f64, f64),
    /// However often one looks.
    pub always_p: Option<f64>,
    /// The lift that is found with a probability of 80%.
    pub detectable: Option<f64>,
    /// Of guardrails: the margin, and the p-value of a larger loss.
    pub guardrail: Option<(f64, f64)>,
    /// Share of random assignments in which a difference is found.
    pub false_positives: Option<f64>,
}

/// A lift until a day.
#[derive(Debug, Clone, Default)]
pub struct DailyLift {
    /// The treatment.
    pub treatment: String,
    /// dau or ctr.
    pub metric: String,
    /// all, cold or warm.
    pub segment: String,
    /// YYYY-MM-DD.
    pub day: String,
    /// The lift.
    pub lift: f64,
    /// Half the width of its always-valid interval.
    pub half: f64,
}

/// The experiment there is.
pub fn experiment(store: &Store) -> Result<Experiment> {
    Found::open(store, &["arms", "lifts", "daily_lifts"])?.experiment()
}

impl Found {
    pub(crate) fn experiment(&self) -> Result<Experiment> {
        let mut experiment = Experiment::default();
        for rows in self.all::<Arms>("arms")? {
            experiment.arms.extend((0..rows.users.len()).map(|at| Arm {
                variant: rows.variant.value(at).into(),
                users: rows.users.value(at) as u64,
                cold_users: rows.cold_users.value(at) as u64,
                share: rows.share.value(at),
                expected_share: rows.expected_share.value(at),
                ratio_p_value: rows.ratio_p_value.value(at),
            }));
        }
        for rows in self.all::<Lifts>("lifts")? {
            let some = |column: &Float64Array, at: usize| column.is_valid(at).then(|| column.value(at));
            experiment.lifts.extend((0..rows.p_value.len()).map(|at| Lift {
                treatment: rows.treatment.value(at).into(),
                metric: rows.metric.value(at).into(),
                segment: rows.segment.value(at).into(),
                cuped: rows.cuped.value(at),
                values: (rows.control_value.value(at), rows.treatment_value.value(at)),
                lift: rows.lift.is_valid(at).then(|| {
                    [&rows.lift, &rows.lift_low, &rows.lift_high, &rows.always_low, &rows.always_high]
                        .map(|column| column.value(at))
                }),
                p: (rows.p_value.value(at), rows.p_adjusted.value(at)),
                always_p: some(&rows.always_p_value, at),
                detectable: some(&rows.detectable, at),
                guardrail: some(&rows.margin, at).zip(some(&rows.inferiority_p_value, at)),
                false_positives: some(&rows.false_positives, at),
            }));
        }
        for rows in self.all::<DailyLifts>("daily_lifts")? {
            experiment.days.extend((0..rows.lift.len()).map(|at| DailyLift {
                treatment: rows.treatment.value(at).into(),
                metric: rows.metric.value(at).into(),
                segment: rows.segment.value(at).into(),
                day: rows.day.value(at).into(),
                lift: rows.lift.value(at),
                half: (rows.always_high.value(at) - rows.always_low.value(at)) / 2.0,
            }));
        }
        Ok(experiment)
    }
}

impl Experiment {
    /// What should make a reader doubt all of it.
    pub fn warning(&self) -> Option<String> {
        let first = self.arms.first().filter(|arm| arm.ratio_p_value < MISMATCH)?;
        let shares = self.arms.iter().map(|arm| {
            format!("{} {:.2}% of users, expected {:.2}%", arm.variant, 100.0 * arm.share, 100.0 * arm.expected_share)
        });
        let shares: Vec<String> = shares.collect();
        Some(format!(
            "sample ratio mismatch (p {}): {}; users are missing or were not assigned at random, so lifts may be wrong",
            p_value(first.ratio_p_value),
            shares.join("; ")
        ))
    }
}

impl Lift {
    /// What is measured, of whom, and how.
    pub fn name(&self) -> String {
        format!("{}{}", question(&self.metric, &self.segment), if self.cuped { ", CUPED" } else { "" })
    }

    /// The cells of its row in tables: values, lift, p-values, and what is found with a probability of 80%.
    pub fn cells(&self) -> [String; HEADINGS.len()] {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".into());
        [
            format!("{:.4}", self.values.0),
            format!("{:.4}", self.values.1),
            or_none(self.lift.map(|[value, ..]| percent(value))),
            or_none(self.lift.map(|[_, low, high, ..]| format!("{} to {}", percent(low), percent(high)))),
            or_none(self.lift.map(|[.., low, high]| format!("{} to {}", percent(low), percent(high)))),
            p_value(self.p.0),
            p_value(self.p.1),
            or_none(self.always_p.map(p_value)),
            or_none(self.detectable.map(|lift| format!("{:.2}%", 100.0 * lift))),
        ]
    }

    /// The p-value of its guardrail, and how often random assignments find a difference, as cells of a table.
    pub fn checks(&self) -> [String; 2] {
        let rate = |rate: f64| format!("{:.1}%", 100.0 * rate);
        [
            self.guardrail.map_or_else(String::new, |(_, p)| p_value(p)),
            self.false_positives.map_or_else(String::new, rate),
        ]
    }
}

/// The headings of [`Lift::cells`].
pub const HEADINGS: [&str; 9] =
    ["control", "treatment", "lift", "95%", "always valid", "p", "p adjusted", "p always", "detectable"];

fn question(metric: &str, segment: &str) -> String {
    let metric = match metric {
        "dau" => "DAU",
        "ctr" => "CTR",
        other => other,
    };
    format!("{metric}, {segment} users")
}

fn percent(share: f64) -> String {
    format!("{:+.2}%", 100.0 * share)
}

/// A p-value for people.
pub(crate) fn p_value(p: f64) -> String {
    if p < 0.001 { "< 0.001".into() } else { format!("{p:.3}") }
}

/// The page's section; nothing without an experiment.
pub(crate) fn section(experiment: &Experiment) -> Markup {
    let control = experiment.arms.first().map_or("", |arm| &arm.variant);
    html! {
        @if !experiment.lifts.is_empty() {
            h2 { "The experiment" }
            p.soft {
                "Users were assigned to variants; the user is the unit. DAU: active users, averaged over days and divided by all users. "
                "CTR: clicks per impression. Users are cold as they were on their first day. CUPED: adjusted by what users did before. "
                "Black: 95% intervals for one look at the end. Pale: always-valid ones, which hold however often one looks."
            }
            @if let Some(warning) = experiment.warning() { p { strong { "Warning: " } (warning) "." } }
            (arms(&experiment.arms))
            @for treatment in treatments(experiment) {
                h3 { (treatment) " against " (control) }
                (against(experiment, treatment))
            }
        }
    }
}

fn treatments(experiment: &Experiment) -> Vec<&str> {
    let mut names: Vec<&str> = experiment.lifts.iter().map(|lift| lift.treatment.as_str()).collect();
    names.dedup();
    names
}

fn arms(arms: &[Arm]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "variant" } th.number { "users" } th.number { "cold" } th.number { "share" } th.number { "expected" } } }
            @for arm in arms { tr {
                td { (arm.variant) } td.number { (grouped(arm.users)) } td.number { (grouped(arm.cold_users)) }
                td.number { (format!("{:.2}%", 100.0 * arm.share)) } td.number { (format!("{:.2}%", 100.0 * arm.expected_share)) }
            } }
        } }
        @if let Some(arm) = arms.first() {
            p.soft { "Sample-ratio check (chi-squared): p " (p_value(arm.ratio_p_value)) "." }
        }
    }
}

fn against(experiment: &Experiment, treatment: &str) -> Markup {
    let lifts: Vec<&Lift> = experiment.lifts.iter().filter(|lift| lift.treatment == treatment).collect();
    let branches =
        lifts.iter().filter_map(|lift| Some(Branch { name: lift.name(), pale: lift.cuped, lift: lift.lift? }));
    let branches: Vec<Branch> = branches.collect();
    html! {
        @if !branches.is_empty() {
            figure {
                figcaption { "Lift over the control, %" }
                (forest(&branches, &format!("lifts of {treatment}")))
            }
        }
        (table(&lifts))
        div.charts { @for chart in daily(experiment, treatment) { (chart) } }
    }
}

/// A row per metric, segment and estimator; intervals and adjusted p-values below what they are of.
fn table(lifts: &[&Lift]) -> Markup {
    let guarded = lifts.iter().any(|lift| lift.guardrail.is_some());
    let assigned = lifts.iter().any(|lift| lift.false_positives.is_some());
    html! {
        div.scroll { table {
            thead { tr {
                th { "metric" } th.number { "control" } th.number { "treatment" } th.number { "lift, 95%" } th.number { "always valid" }
                th.number { "p, adjusted" } th.number { "p always" } th.number { "detectable" }
                @if guarded { th.number { "guardrail" } }
                @if assigned { th.number { "A/A" } }
            } }
            @for lift in lifts {
                @let [control, treatment, value, interval, always, p, adjusted, always_p, detectable] = lift.cells();
                @let [guardrail, rate] = lift.checks();
                tr {
                    th { (lift.name()) } td.number { (control) } td.number { (treatment) }
                    td.number { (value) br; span.soft { (interval) } } td.number { (always) }
                    td.number { (p) br; span.soft { (adjusted) } } td.number { (always_p) } td.number { (detectable) }
                    @if guarded { td.number { (guardrail) @if let Some((margin, _)) = lift.guardrail {
                        br; span.soft { "loss below " (format!("{:.1}%", 100.0 * margin)) }
                    } } }
                    @if assigned { td.number { (rate) } }
                }
            }
        } }
        p.soft {
            "p: two-sided; adjusted for all rows of one estimator. p always: at every look. Detectable: the lift that is found with a "
            "probability of 80%."
            @if guarded { " Guardrail: a small p says that less than the margin is lost." }
            @if assigned { " A/A: how often random assignments of the same users find p < 0.05, which should be 5%." }
        }
    }
}

/// A chart per metric and segment: the lift until each day within its always-valid band, %.
fn daily(experiment: &Experiment, treatment: &str) -> Vec<Markup> {
    let of = |day: &&DailyLift| day.treatment == treatment;
    let days: Vec<&DailyLift> = experiment.days.iter().filter(of).collect();
    let charts = days.chunk_by(|a, b| a.metric == b.metric && a.segment == b.segment);
    let all: std::collections::BTreeSet<&str> = days.iter().map(|day| day.day.as_str()).collect();
    let number = |day: &str| all.iter().position(|other| *other == day).map_or(0.0, |at| (at + 1) as f64);
    charts
        .map(|days| {
            let curve = Curve {
                train: days.iter().map(|day| (number(&day.day), 100.0 * day.lift)).collect(),
                band: days.iter().map(|day| [-1.0, 1.0].map(|sign| 100.0 * (day.lift + sign * day.half))).collect(),
                last: all.len() as u64,
                ..Curve::default()
            };
            let name = question(&days[0].metric, &days[0].segment);
            html! { figure {
                figcaption { (name) " " span.soft { "(lift until each day, %)" } }
                (curve.svg(&format!("lift by day: {name}, {treatment}"), SMALL.0, SMALL.1))
            } }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toy() -> Experiment {
        let arm = |variant: &str, users| Arm {
            variant: variant.into(),
            users,
            share: 0.5,
            expected_share: 0.5,
            ratio_p_value: 0.4,
            ..Arm::default()
        };
        let lift = |metric: &str, cuped: bool| Lift {
            treatment: "new<b>".into(),
            metric: metric.into(),
            segment: "all".into(),
            cuped,
            values: (0.2, 0.21),
            lift: Some([0.05, 0.02, 0.08, -0.01, 0.11]),
            p: (0.0004, 0.04),
            always_p: Some(0.2),
            detectable: Some(0.015),
            ..Lift::default()
        };
        let day = |number: u32, metric: &str| DailyLift {
            treatment: "new<b>".into(),
            metric: metric.into(),
            segment: "all".into(),
            day: format!("2025-12-0{number}"),
            lift: 0.05,
            half: 0.06 / f64::from(number),
        };
        Experiment {
            arms: vec![arm("old", 1000), arm("new<b>", 1010)],
            lifts: vec![lift("dau", false), lift("dau", true), lift("ctr", false)],
            days: vec![day(1, "dau"), day(2, "dau"), day(1, "ctr"), day(2, "ctr")],
        }
    }

    #[test]
    fn a_forest_a_table_and_a_chart_per_metric() {
        let page = section(&toy()).into_string();
        assert_eq!(page.matches("<svg").count(), 3, "{page}");
        assert_eq!(page.matches("<polygon").count(), 2, "a band per metric: {page}");
        for text in ["new&lt;b&gt; against old", "DAU, all users, CUPED", "+5.00%", "&lt; 0.001", "1.50%", "p 0.400"] {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert!(!page.contains("new<b>") && !page.contains("Warning") && !page.contains("A/A"), "{page}");
        assert!(section(&Experiment::default()).into_string().is_empty());
    }

    #[test]
    fn a_mismatch_warns_and_guardrails_and_assignments_have_columns() {
        let mut experiment = toy();
        experiment.arms.iter_mut().for_each(|arm| arm.ratio_p_value = 1e-5);
        (experiment.lifts[0].guardrail, experiment.lifts[0].false_positives) = (Some((0.01, 0.03)), Some(0.049));
        experiment.lifts[2].lift = None;
        let page = section(&experiment).into_string();
        for text in
            ["sample ratio mismatch (p &lt; 0.001)", "0.030<br><span class=\"soft\">loss below 1.0%", "4.9%", "–"]
        {
            assert!(page.contains(text), "{text}: {page}");
        }
    }
}
