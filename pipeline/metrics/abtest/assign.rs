//! A/A tests on an experiment's own users: they are assigned to two arms anew, at random, so that whatever is found is found by chance.

use dataset::bucket::{stream, unhex};
use dataset::{Error, Result, Rows};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use schemas::ExperimentUsers;

use super::figures::belongs;
use super::{ALPHA, METRICS, Moments, Pair, SEGMENTS};

/// The users, in the order of their ids: which are drawn does not depend on buckets.
#[derive(Debug)]
pub(super) struct People(Vec<Person>);

/// A user: whether they are cold, and their n, d, p, q for each metric.
#[derive(Debug)]
struct Person {
    id: [u8; 16],
    cold: bool,
    values: [[f32; 4]; METRICS.len()],
}

/// Bytes of memory that a user takes.
pub(super) const BYTES_PER_USER: u64 = size_of::<Person>() as u64;

/// How often p < 0.05 was found without a difference, by metric and segment: as it is, and with CUPED; none where it cannot be estimated.
pub(super) type Rates = [[[Option<f64>; 2]; SEGMENTS.len()]; METRICS.len()];

impl People {
    /// Reads the users.
    pub(super) fn read(parts: impl Iterator<Item = Result<Rows<ExperimentUsers>>>) -> Result<Self> {
        let mut people = Vec::new();
        for part in parts {
            for users in part?.columns() {
                let users = users?;
                for (at, id) in users.user_id.iter().enumerate() {
                    let wrong = || Error::unreadable("experiment_users", "a user id that is none", "run abtest again");
                    let [active, impressions, clicks, before, shown_before, clicked_before] = [
                        &users.active,
                        &users.impressions,
                        &users.clicks,
                        &users.pre_active,
                        &users.pre_impressions,
                        &users.pre_clicks,
                    ]
                    .map(|column| column.value(at) as f32);
                    people.push(Person {
                        id: id.and_then(unhex).ok_or_else(wrong)?,
                        cold: users.cold.value(at),
                        values: [[active, 1.0, before, 1.0], [clicks, impressions, clicked_before, shown_before]],
                    });
                }
            }
        }
        people.sort_unstable_by_key(|person| person.id);
        Ok(People(people))
    }

    /// The moments of the users whom `chosen` chooses, who are asked for in order: by segment (cold, warm) and metric.
    fn moments(&self, mut chosen: impl FnMut() -> bool) -> [[Moments; METRICS.len()]; 2] {
        let mut moments = [[Moments::default(); METRICS.len()]; 2];
        for Person { cold, values, .. } in &self.0 {
            if chosen() {
                let of = &mut moments[usize::from(!cold)];
                of.iter_mut().zip(values).for_each(|(moments, values)| moments.add(values.map(f64::from)));
            }
        }
        moments
    }

    /// Assigns everybody `repetitions` times, to the first arm with probability `share`.
    pub(super) fn false_positives(&self, share: f64, repetitions: u32, seed: u64) -> Rates {
        let all = self.moments(|| true);
        let found: Vec<[[[Option<bool>; 2]; SEGMENTS.len()]; METRICS.len()]> = (0..repetitions)
            .into_par_iter()
            .map(|number| {
                let seed = stream(seed, "a/a test", number.to_le_bytes());
                let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
                let arm = self.moments(|| random.random::<f64>() < share);
                std::array::from_fn(|metric| {
                    std::array::from_fn(|segment| {
                        let of = |moments: &[[Moments; METRICS.len()]; 2]| {
                            let parts = [true, false].into_iter().zip(moments);
                            let parts = parts.filter(|(cold, _)| belongs(SEGMENTS[segment], *cold));
                            parts.fold(Moments::default(), |sum, (_, moments)| sum.plus(&moments[metric]))
                        };
                        let control = of(&arm);
                        let treatment = of(&all).minus(&control);
                        let finds = |pair: Pair| Some(pair.p_value()).filter(|p| !p.is_nan()).map(|p| p < ALPHA);
                        let enough = control.users >= 2.0 && treatment.users >= 2.0;
                        match enough {
                            true => [
                                finds(Pair::plain(&control, &treatment, 1.0)),
                                Pair::cuped(&control, &treatment, 1.0).and_then(finds),
                            ],
                            false => [None; 2],
                        }
                    })
                })
            })
            .collect();
        std::array::from_fn(|metric| {
            std::array::from_fn(|segment| {
                std::array::from_fn(|cuped| {
                    let tests: Vec<bool> = found.iter().filter_map(|found| found[metric][segment][cuped]).collect();
                    let positive = tests.iter().filter(|found| **found).count();
                    (!tests.is_empty()).then(|| positive as f64 / tests.len() as f64)
                })
            })
        })
    }
}
