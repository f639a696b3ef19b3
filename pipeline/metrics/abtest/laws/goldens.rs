//! Every number beside tea-tasting, spotify-confidence, gbstats, statsmodels and scipy: `fixtures/abtest/make.py`.

use serde_json::Value;

use super::super::figures::belongs;
use super::super::{Interval, Moments, Pair, StudentT, chi_squared_tail, normal_quantile};
use crate::significance::{benjamini_hochberg, holm};

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../../fixtures/abtest/golden.json")).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

#[track_caller]
fn same(what: &str, got: f64, expected: &Value, relative: f64) {
    let expected = number(expected);
    assert!((got - expected).abs() <= relative * expected.abs(), "{what}: expected {expected}, got {got}");
}

/// An arm's moments of a metric over a segment.
fn moments(golden: &Value, metric: &str, segment: &str, variant: &str) -> Moments {
    let users = &golden["users"];
    let [active, impressions, clicks, pre_active, pre_impressions, pre_clicks] =
        ["active", "impressions", "clicks", "pre_active", "pre_impressions", "pre_clicks"]
            .map(|name| numbers(&users[name]));
    let mut moments = Moments::default();
    for at in 0..active.len() {
        if users["variant"][at] == variant && belongs(segment, users["cold"][at] == true) {
            moments.add(match metric {
                "dau" => [active[at], 1.0, pre_active[at], 1.0],
                _ => [clicks[at], impressions[at], pre_clicks[at], pre_impressions[at]],
            });
        }
    }
    moments
}

#[test]
fn lifts_are_those_of_other_tools() {
    let golden = golden();
    let (mut always, mut guarded) = (0, 0);
    let rows = golden["lifts"].as_array().unwrap();
    for row in rows {
        let (metric, segment) = (row["metric"].as_str().unwrap(), row["segment"].as_str().unwrap());
        let [control, treatment] = ["control", "treatment"].map(|arm| moments(&golden, metric, segment, arm));
        let scale = if metric == "dau" { 1.0 / number(&golden["days"]) } else { 1.0 };
        let cuped = row["cuped"] == true;
        let pair = match cuped {
            true => Pair::cuped(&control, &treatment, scale).unwrap(),
            false => Pair::plain(&control, &treatment, scale),
        };
        let what = |name: &str| format!("{metric}, {segment}, CUPED {cuped}: {name}");
        let interval = |name: &str, got: Interval| {
            same(&what(name), got.value, &row[name], 1e-9);
            same(&what(name), got.low, &row[format!("{name}_ci_lower")], 1e-9);
            same(&what(name), got.high, &row[format!("{name}_ci_upper")], 1e-9);
        };
        same(&what("control"), pair.control.value, &row["control"], 1e-12);
        same(&what("treatment"), pair.treatment.value, &row["treatment"], 1e-12);
        interval("effect_size", pair.difference());
        interval("rel_effect_size", pair.lift());
        same(&what("p"), pair.p_value(), &row["pvalue"], 1e-9);
        same(&what("detectable"), pair.detectable().unwrap(), &row["power"]["detectable"], 1e-8);
        same(&what("power"), pair.power(number(&row["power"]["effect"])), &row["power"]["power"], 1e-8);
        for expected in row["always"].as_array().into_iter().flatten().filter(|expected| expected["relative"] == true) {
            let (got, p) = pair.always_valid(number(&expected["tuning"]));
            same(&what("always low"), got.low, &expected["low"], 1e-9);
            same(&what("always high"), got.high, &expected["high"], 1e-9);
            same(&what("always p"), p, &expected["p_value"], 1e-9);
            always += 1;
        }
        if let Some(margin) = row["non_inferiority"]["margin"].as_f64() {
            let (worst, p) = pair.non_inferiority(margin);
            same(&what("worst"), worst, &row["non_inferiority"]["low"], 1e-9);
            same(&what("inferiority"), p, &row["non_inferiority"]["p_value"], 1e-9);
            guarded += 1;
        }
    }
    assert_eq!((rows.len(), always, guarded), (12, 12, 3));
}

#[test]
fn sample_ratios_are_those_of_other_tools() {
    let golden = golden();
    let users = |variant| moments(&golden, "dau", "all", variant).users;
    let (control, treatment) = (users("control"), users("treatment"));
    for expected in golden["sample_ratio"].as_array().unwrap() {
        let part = |name: &str, users: f64| {
            let planned = (control + treatment) * number(&expected["shares"][name]);
            (users - planned) * (users - planned) / planned
        };
        let p = chi_squared_tail(part("control", control) + part("treatment", treatment), 1);
        same("tea-tasting", p, &expected["tea_tasting"], 1e-9);
        // spotify-confidence subtracts from 1, which leaves 16 digits after the point.
        assert!((p - number(&expected["p_value"])).abs() < 1e-14, "{p} {expected}");
    }
}

#[test]
fn adjusted_p_values_are_those_of_statsmodels() {
    let golden = golden();
    let raw = numbers(&golden["p_values"]["raw"]);
    for (name, adjusted) in [("holm", holm(&raw)), ("bh", benjamini_hochberg(&raw))] {
        for (at, got) in adjusted.into_iter().enumerate() {
            same(name, got, &golden["p_values"][name][at], 1e-12);
        }
    }
}

#[test]
fn tails_and_quantiles_are_those_of_scipy() {
    let golden = golden();
    let rows = |name: &str| golden["distributions"][name].as_array().unwrap().clone();
    for row in rows("normal_quantiles") {
        let got = normal_quantile(number(&row[0]));
        assert!((got - number(&row[1])).abs() < 1e-9, "normal {row}: {got}");
    }
    for row in rows("t_quantiles") {
        let (p, freedom) = (number(&row[0]), number(&row[1]));
        let got = StudentT::new(freedom).quantile(p);
        assert!((got - number(&row[2])).abs() <= 1e-9 * number(&row[2]).abs().max(1.0), "t {row}: {got}");
    }
    for row in rows("t_tails") {
        same(&format!("t {row}"), StudentT::new(number(&row[1])).tail(number(&row[0])), &row[2], 1e-9);
    }
    for row in rows("chi_squared_tails") {
        same(&format!("χ² {row}"), chi_squared_tail(number(&row[0]), number(&row[1]) as u32), &row[2], 1e-12);
    }
    for row in rows("noncentral_t") {
        let got = StudentT::new(number(&row[1])).noncentral_below(number(&row[0]), number(&row[2]));
        assert!((got - number(&row[3])).abs() < 1e-10, "noncentral t {row}: {got}");
    }
}
