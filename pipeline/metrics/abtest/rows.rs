//! The rows that `abtest` writes: as they are made, and as columns.

use arrow::array::{Float64Array, Int64Array, StringArray};
use dataset::{Result, Rows};
use schemas::{Arms, ArmsColumns, DailyLifts, DailyLiftsColumns, Lifts, LiftsColumns};

use super::figures::Figures;
use super::gather::date;
use super::{Interval, METRICS, Pair, SEGMENTS};

/// What is asked: all by their numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) metric: usize,
    pub(super) segment: usize,
    pub(super) control: usize,
    pub(super) treatment: usize,
}

/// A variant.
#[derive(Debug)]
pub(super) struct ArmRow<'a> {
    pub(super) variant: &'a str,
    pub(super) users: f64,
    pub(super) cold: f64,
    pub(super) share: f64,
    pub(super) expected: f64,
    pub(super) p: f64,
}

/// A treatment against the control.
#[derive(Debug)]
pub(super) struct LiftRow {
    pub(super) question: Question,
    pub(super) cuped: bool,
    pub(super) pair: Pair,
    pub(super) difference: Interval,
    pub(super) lift: Option<Interval>,
    pub(super) always: Option<(Interval, f64)>,
    pub(super) p: f64,
    pub(super) p_adjusted: f64,
    pub(super) detectable: Option<f64>,
    pub(super) power: Option<f64>,
    pub(super) margin: Option<f64>,
    pub(super) worst: Option<f64>,
    pub(super) inferiority: Option<f64>,
    pub(super) false_positives: Option<f64>,
}

/// The same until a day, which is a number too.
#[derive(Debug)]
pub(super) struct DayRow {
    pub(super) question: Question,
    pub(super) day: usize,
    pub(super) users: f64,
    pub(super) lift: Interval,
    pub(super) always: Interval,
}

fn texts<'a, R>(rows: &'a [R], of: impl Fn(&'a R) -> &'a str) -> StringArray {
    StringArray::from_iter_values(rows.iter().map(of))
}

fn floats<R>(rows: &[R], of: impl Fn(&R) -> f64) -> Float64Array {
    Float64Array::from_iter_values(rows.iter().map(of))
}

fn some<R>(rows: &[R], of: impl Fn(&R) -> Option<f64>) -> Float64Array {
    rows.iter().map(of).collect()
}

fn counts<R>(rows: &[R], of: impl Fn(&R) -> f64) -> Int64Array {
    rows.iter().map(|row| of(row) as i64).collect::<Vec<_>>().into()
}

pub(super) fn lift_rows(figures: &Figures, lifts: &[LiftRow]) -> Result<Rows<Lifts>> {
    Rows::of(LiftsColumns {
        treatment: texts(lifts, |l| &figures.variants[l.question.treatment]),
        metric: texts(lifts, |l| METRICS[l.question.metric]),
        segment: texts(lifts, |l| SEGMENTS[l.question.segment]),
        cuped: lifts.iter().map(|l| Some(l.cuped)).collect(),
        control_users: counts(lifts, |l| l.pair.control.users),
        treatment_users: counts(lifts, |l| l.pair.treatment.users),
        control_value: floats(lifts, |l| l.pair.control.value),
        treatment_value: floats(lifts, |l| l.pair.treatment.value),
        difference: floats(lifts, |l| l.difference.value),
        difference_low: floats(lifts, |l| l.difference.low),
        difference_high: floats(lifts, |l| l.difference.high),
        lift: some(lifts, |l| Some(l.lift?.value)),
        lift_low: some(lifts, |l| Some(l.lift?.low)),
        lift_high: some(lifts, |l| Some(l.lift?.high)),
        always_low: some(lifts, |l| Some(l.always?.0.low)),
        always_high: some(lifts, |l| Some(l.always?.0.high)),
        p_value: floats(lifts, |l| l.p),
        p_adjusted: floats(lifts, |l| l.p_adjusted),
        always_p_value: some(lifts, |l| Some(l.always?.1)),
        detectable: some(lifts, |l| l.detectable),
        power: some(lifts, |l| l.power),
        margin: some(lifts, |l| l.margin),
        worst: some(lifts, |l| l.worst),
        inferiority_p_value: some(lifts, |l| l.inferiority),
        false_positives: some(lifts, |l| l.false_positives),
    })
}

pub(super) fn day_rows(figures: &Figures, days: &[DayRow]) -> Result<Rows<DailyLifts>> {
    Rows::of(DailyLiftsColumns {
        treatment: texts(days, |d| &figures.variants[d.question.treatment]),
        metric: texts(days, |d| METRICS[d.question.metric]),
        segment: texts(days, |d| SEGMENTS[d.question.segment]),
        day: StringArray::from_iter_values(days.iter().map(|d| date(figures.days[d.day]))),
        users: counts(days, |d| d.users),
        lift: floats(days, |d| d.lift.value),
        lift_low: floats(days, |d| d.lift.low),
        lift_high: floats(days, |d| d.lift.high),
        always_low: floats(days, |d| d.always.low),
        always_high: floats(days, |d| d.always.high),
    })
}

pub(super) fn arm_rows(arms: &[ArmRow<'_>]) -> Result<Rows<Arms>> {
    Rows::of(ArmsColumns {
        variant: texts(arms, |a| a.variant),
        users: counts(arms, |a| a.users),
        cold_users: counts(arms, |a| a.cold),
        share: floats(arms, |a| a.share),
        expected_share: floats(arms, |a| a.expected),
        ratio_p_value: floats(arms, |a| a.p),
    })
}
