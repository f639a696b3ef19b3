//! Errors are as frequent as they are said to be, on simulated experiments. `QUERENT_TRIALS` says how many.

use dataset::bucket::stream;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

use super::super::{ALPHA, Moments, Pair};

const DAYS: usize = 7;
const USERS: usize = 1000;

fn trials() -> u32 {
    std::env::var("QUERENT_TRIALS").ok().and_then(|trials| trials.parse().ok()).unwrap_or(250)
}

/// Two standard errors of a share of 5% among so many trials: 1.4 points of 1,000.
fn allowed() -> f64 {
    1.4e-2 * (1000.0 / f64::from(trials())).sqrt()
}

/// Moments until each day: of active users, and of clicks per impression.
type Arm = [[Moments; 2]; DAYS];

/// An arm of users whose days are alike: each has a propensity to come and a taste of their own, in the past too.
fn arm(random: &mut Xoshiro256PlusPlus, dau_lift: f64, ctr_lift: f64) -> Arm {
    let mut arm = Arm::default();
    for _ in 0..USERS {
        let (come, shown) = (0.05 + 0.75 * random.random::<f64>().powi(2), 1.0 + 8.0 * random.random::<f64>());
        let likes = 0.02 + 0.3 * random.random::<f64>().powi(2);
        let mut live = |days: usize, come: f64, likes: f64| {
            let mut until = vec![[0.0; 3]];
            for day in 0..days {
                let mut user = until[day];
                if random.random::<f64>() < come {
                    let articles = 1 + (shown * random.random::<f64>()) as usize;
                    let clicks = (0..articles).filter(|_| random.random::<f64>() < likes).count();
                    user = [user[0] + 1.0, user[1] + articles as f64, user[2] + clicks as f64];
                }
                until.push(user);
            }
            until
        };
        let past = live(14, come, likes)[14];
        let until = live(DAYS, come * (1.0 + dau_lift), likes * (1.0 + ctr_lift));
        for (moments, [active, shown, clicked]) in arm.iter_mut().zip(&until[1..]) {
            moments[0].add([*active, 1.0, past[0], 1.0]);
            moments[1].add([*clicked, *shown, past[2], past[1]]);
        }
    }
    arm
}

/// Whether a metric's p-value is below 0.05: at the end, as it is and with CUPED; at any of the days' ends, always valid and not.
type Found = ([bool; 2], bool, bool);

/// Each trial's two arms.
fn experiments<T: Send>(purpose: &str, lifts: [f64; 2], of: impl Fn(&Arm, &Arm) -> T + Sync) -> Vec<T> {
    let trial = |number: u32| {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(stream(1, purpose, number.to_le_bytes()));
        let (control, treatment) = (arm(&mut random, 0.0, 0.0), arm(&mut random, lifts[0], lifts[1]));
        of(&control, &treatment)
    };
    (0..trials()).into_par_iter().map(trial).collect()
}

fn share(of: &[bool]) -> f64 {
    of.iter().filter(|is| **is).count() as f64 / of.len() as f64
}

fn estimators(control: &Moments, treatment: &Moments) -> [Pair; 2] {
    [Pair::plain(control, treatment, 1.0), Pair::cuped(control, treatment, 1.0).expect("the past differs")]
}

#[test]
fn without_a_difference_one_look_finds_one_in_20_times_and_a_week_of_looks_no_oftener() {
    let found = experiments("a/a", [0.0, 0.0], |control, treatment| {
        std::array::from_fn::<Found, 2, _>(|metric| {
            let last =
                estimators(&control[DAYS - 1][metric], &treatment[DAYS - 1][metric]).map(|pair| pair.p_value() < ALPHA);
            let looks = |of: &dyn Fn(Pair) -> f64| {
                (0..DAYS).any(|day| of(Pair::plain(&control[day][metric], &treatment[day][metric], 1.0)) < ALPHA)
            };
            (last, looks(&|pair| pair.always_valid(2.0 * USERS as f64).1), looks(&|pair| pair.p_value()))
        })
    });
    for metric in 0..2 {
        let of = |of: &dyn Fn(&Found) -> bool| share(&found.iter().map(|f| of(&f[metric])).collect::<Vec<_>>());
        for cuped in 0..2 {
            let rate = of(&|found| found.0[cuped]);
            assert!((rate - ALPHA).abs() <= allowed(), "metric {metric}, CUPED {cuped}: {rate}");
        }
        let (always, peeking) = (of(&|found| found.1), of(&|found| found.2));
        assert!(always <= ALPHA, "metric {metric}: always-valid intervals err {always} of the time");
        assert!(
            peeking > 0.08,
            "metric {metric}: looking every day at what holds for one look errs {peeking} of the time"
        );
    }
}

#[test]
fn intervals_cover_a_known_lift_and_the_past_makes_them_shorter() {
    let lifts = [0.06, -0.04];
    let found = experiments("known lift", lifts, |control, treatment| {
        std::array::from_fn::<_, 2, _>(|metric| {
            let pairs = estimators(&control[DAYS - 1][metric], &treatment[DAYS - 1][metric]);
            let covers = pairs.map(|pair| (pair.lift().low..=pair.lift().high).contains(&lifts[metric]));
            let always = pairs[0].always_valid(2.0 * USERS as f64).0;
            let [plain, cuped] = pairs.map(|pair| pair.lift().high - pair.lift().low);
            (covers, (always.low..=always.high).contains(&lifts[metric]), cuped / plain)
        })
    });
    for metric in 0..2 {
        for cuped in 0..2 {
            let covered = share(&found.iter().map(|f| f[metric].0[cuped]).collect::<Vec<_>>());
            assert!((covered - 0.95).abs() <= allowed(), "metric {metric}, CUPED {cuped}: {covered} are covered");
        }
        assert!(share(&found.iter().map(|f| f[metric].1).collect::<Vec<_>>()) >= 0.95, "metric {metric}");
        let ratio = found.iter().map(|f| f[metric].2).sum::<f64>() / found.len() as f64;
        assert!(ratio < [0.8, 0.9][metric], "metric {metric}: with the past, intervals are {ratio} as long");
    }
}
