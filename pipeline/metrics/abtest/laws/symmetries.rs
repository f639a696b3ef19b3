//! Laws of lifts: arms that are swapped, values that are scaled, users in another order or in other parts.

use proptest::prelude::*;

use super::super::{Moments, Pair};

/// Users as n, d, p, q.
type Users = Vec<[f64; 4]>;

/// Users who come or not, are shown something and click on some of it, before and after.
fn users() -> impl Strategy<Value = Users> {
    let user = (0..40_u32, 0..30_u32, 0..=100_u32, 0..=100_u32).prop_map(|(shown, before, likes, liked)| {
        let of = |shown: u32, share: u32| f64::from(shown * share / 100);
        [of(shown, likes), f64::from(shown), of(before, liked), f64::from(before)]
    });
    // Two users who differ, so that nothing is 0.
    prop::collection::vec(user, 3..40).prop_map(|mut users| {
        users.extend([[1.0, 9.0, 2.0, 7.0], [5.0, 8.0, 1.0, 9.0]]);
        users
    })
}

fn moments(users: &[[f64; 4]]) -> Moments {
    let mut moments = Moments::default();
    users.iter().for_each(|user| moments.add(*user));
    moments
}

fn pairs(control: &Moments, treatment: &Moments) -> Vec<Pair> {
    let pairs = [Some(Pair::plain(control, treatment, 1.0)), Pair::cuped(control, treatment, 1.0)];
    pairs.into_iter().flatten().filter(Pair::has_lift).collect()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn swapped_arms_mirror_the_lift(a in users(), b in users()) {
        let (a, b) = (moments(&a), moments(&b));
        let (there, back) = (pairs(&a, &b), pairs(&b, &a));
        prop_assert_eq!(there.len(), back.len());
        for (there, back) in there.iter().zip(&back) {
            let (d, e) = (there.difference(), back.difference());
            prop_assert!(near(d.value, -e.value) && near(d.low, -e.high) && near(d.high, -e.low), "{d:?} {e:?}");
            let (l, m) = (there.lift(), back.lift());
            prop_assert!(near((1.0 + l.value) * (1.0 + m.value), 1.0), "{l:?} {m:?}");
            prop_assert!(near((1.0 + l.low) * (1.0 + m.high), 1.0) && near((1.0 + l.high) * (1.0 + m.low), 1.0));
            prop_assert!(near(there.p_value(), back.p_value()));
        }
    }

    #[test]
    fn intervals_hold_their_estimates_and_agree_with_p(a in users(), b in users()) {
        for pair in pairs(&moments(&a), &moments(&b)) {
            let (difference, lift, (always, p)) = (pair.difference(), pair.lift(), pair.always_valid(5000.0));
            for interval in [difference, lift, always] {
                prop_assert!(interval.low <= interval.value && interval.value <= interval.high, "{interval:?}");
            }
            let excludes = difference.low > 0.0 || difference.high < 0.0;
            prop_assert_eq!(excludes, pair.p_value() < 0.05, "{:?} {}", difference, pair.p_value());
            let excludes = always.low > 0.0 || always.high < 0.0;
            prop_assert_eq!(excludes, p < 0.05, "{:?} {}", always, p);
        }
    }

    #[test]
    fn scaled_values_scale_differences_and_leave_lifts(a in users(), b in users(), scale in 0.01..100.0) {
        let scaled = |users: &Users| moments(&users.iter().map(|[n, d, p, q]| [scale * n, *d, *p, *q]).collect::<Vec<_>>());
        let (plain, scaled) = (pairs(&moments(&a), &moments(&b)), pairs(&scaled(&a), &scaled(&b)));
        prop_assert_eq!(plain.len(), scaled.len());
        for (plain, scaled) in plain.iter().zip(&scaled) {
            prop_assert!(near(scale * plain.difference().low, scaled.difference().low));
            prop_assert!(near(plain.lift().low, scaled.lift().low) && near(plain.p_value(), scaled.p_value()));
            prop_assert!(near(plain.always_valid(5000.0).1, scaled.always_valid(5000.0).1));
        }
    }

    #[test]
    fn moments_know_neither_order_nor_parts(users in users(), cut in 0..40_usize) {
        let (head, tail) = users.split_at(cut.min(users.len()));
        let mut other = moments(tail);
        head.iter().rev().for_each(|user| other.add(*user));
        prop_assert_eq!(moments(&users), other);
        prop_assert_eq!(moments(head).plus(&moments(tail)), moments(&users));
        prop_assert_eq!(moments(&users).minus(&moments(head)), moments(tail));
    }

    #[test]
    fn a_past_that_is_the_present_leaves_no_variance(a in users(), b in users()) {
        let known = |users: &Users| moments(&users.iter().map(|[n, d, ..]| [*n, *d, *n, *d]).collect::<Vec<_>>());
        let (a, b) = (known(&a), known(&b));
        let pair = Pair::cuped(&a, &b, 1.0).expect("users differ");
        let plain = Pair::plain(&a, &b, 1.0);
        prop_assert!(pair.control.variance <= 1e-9 * plain.control.variance.max(1e-3), "{pair:?}");
        prop_assert!(near(pair.control.value, pair.treatment.value), "{pair:?}");
    }
}

#[test]
fn a_past_that_tells_nothing_adjusts_nothing() {
    let arm = |past: [f64; 2]| {
        moments(&[[1.0, 2.0, past[0], past[1]], [2.0, 5.0, past[0], past[1]], [0.0, 1.0, past[0], past[1]]])
    };
    for past in [[0.0, 0.0], [3.0, 1.0], [0.0, 1.0]] {
        assert_eq!(Pair::cuped(&arm(past), &arm(past), 1.0), None, "{past:?}");
    }
}

#[test]
fn arms_without_variance_are_told_apart_or_not() {
    let arm = |n: f64| moments(&[[n, 1.0, 0.0, 0.0]; 5]);
    let (same, other) = (Pair::plain(&arm(1.0), &arm(1.0), 1.0), Pair::plain(&arm(1.0), &arm(2.0), 1.0));
    assert_eq!((same.p_value(), other.p_value()), (1.0, 0.0));
    assert_eq!((other.lift().low, other.lift().high, same.detectable()), (1.0, 1.0, None));
    assert_eq!((same.always_valid(5000.0).1, other.always_valid(5000.0).1), (1.0, 0.0));
}
