//! A simulated A/B test: users in two arms, day by day, with lifts that are known.
//!
//! A user has a propensity to come, a number of articles that they look at and a taste of their own. So days of a user are alike, in the
//! time before the experiment too. The treatment multiplies propensities and tastes. A user is a pure function of (seed, number).

use arrow::array::{BooleanArray, Int32Array};
use chrono::{DateTime, Days, Utc};
use clap::Args;
use dataset::{Account, Done, Error, Inputs, Resources, Result, Rows, Runner, Stage, Summary};
use schemas::{RawExperiment, RawExperimentColumns, TrueLifts, TrueLiftsColumns};
use serde::{Deserialize, Serialize};

use super::random::Random;
use super::user::raw_id;
use super::{Simulate, parts, texts};

/// Users per raw file.
const USERS_PER_PART: u64 = 20_000;
/// A user's day in memory.
const BYTES_PER_DAY: u64 = 96;
/// Days before the experiment of which there are counts; of cold users, who are new.
const PAST_DAYS: u32 = 14;
const COLD_PAST_DAYS: u32 = 2;
const COLD_SHARE: f64 = 0.3;
/// Lifts that leave all probabilities below 1.
const LIFTS: std::ops::RangeInclusive<f64> = -0.9..=0.2;

/// A simulated A/B test.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Experiment {
    /// Write the user-days of an A/B test and its true lifts, instead of logs
    #[arg(long)]
    pub experiment: bool,
    /// Its days; the first one is that of the cut-off
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub experiment_days: u32,
    /// How much oftener warm users of the treatment come
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, allow_negative_numbers = true)]
    pub warm_lift: f64,
    /// How much oftener cold users of the treatment come
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, allow_negative_numbers = true)]
    pub cold_lift: f64,
    /// How much oftener users of the treatment click what they are shown
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, allow_negative_numbers = true)]
    pub click_lift: f64,
}

impl Default for Experiment {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl Experiment {
    /// Checks that the settings make sense.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<()> {
        for (name, value) in
            [("warm_lift", self.warm_lift), ("cold_lift", self.cold_lift), ("click_lift", self.click_lift)]
        {
            if !LIFTS.contains(&value) {
                let expected = format!("{} to {}", LIFTS.start(), LIFTS.end());
                return Err(Error::setting(&format!("simulate.{name}"), expected, value, "0.01 is a lift of 1%"));
            }
        }
        if !(1..=super::MOST_DAYS).contains(&self.experiment_days) {
            let expected = format!("1 to {}", super::MOST_DAYS);
            return Err(Error::setting(
                "simulate.experiment_days",
                expected,
                self.experiment_days,
                "a week is the default",
            ));
        }
        Ok(())
    }
}

/// Writes the user-days of an experiment, and its true lifts.
pub fn simulate_experiment(runner: &Runner, world: &Simulate, experiment: &Experiment) -> Result<Vec<Summary>> {
    world.check()?;
    experiment.check()?;
    let Simulate { users, seed, cut_off, .. } = *world;
    let people = People { users, seed, cut_off, experiment: experiment.clone() };
    let days = runner.run(&SimulateExperiment(people.clone()), &["raw_experiment"])?;
    let lifts = runner.run(&SimulateLifts(people), &["true_lifts"])?;
    Ok(vec![days, lifts])
}

/// Who takes part.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct People {
    users: u64,
    seed: u64,
    cut_off: DateTime<Utc>,
    experiment: Experiment,
}

/// A user.
#[derive(Debug, Clone, Copy)]
struct Person {
    cold: bool,
    /// Probability to come on a day.
    comes: f64,
    /// The scale of articles shown on a day: a geometric distribution from 1.
    reads: f64,
    /// Probability to click an article that is shown.
    likes: f64,
}

impl Person {
    /// Articles shown on a day on which the user comes, on average.
    fn shown(&self) -> f64 {
        1.0 / (1.0 - (-1.0 / self.reads).exp())
    }

    /// Whether the user comes on a day, articles shown and clicked.
    fn day(&self, random: &mut Random) -> [i32; 3] {
        if !random.chance(self.comes) {
            return [0; 3];
        }
        let shown = 1 + random.exponential(self.reads) as i32;
        [1, shown, (0..shown).filter(|_| random.chance(self.likes)).count() as i32]
    }
}

impl People {
    fn person(&self, number: u64) -> (Person, Random) {
        let mut random = Random::new(self.seed, "experiment", number);
        let cold = random.chance(COLD_SHARE);
        let [come, like] = [random.uniform(), random.uniform()].map(|u| u * u);
        let comes = if cold { 0.03 + 0.4 * come } else { 0.1 + 0.7 * come };
        (Person { cold, comes, reads: 1.0 + random.exponential(8.0), likes: 0.02 + 0.3 * like }, random)
    }

    /// The user, if they are in the treatment.
    fn treated(&self, person: Person) -> Person {
        let Experiment { warm_lift, cold_lift, click_lift, .. } = self.experiment;
        let lift = if person.cold { cold_lift } else { warm_lift };
        Person { comes: person.comes * (1.0 + lift), likes: person.likes * (1.0 + click_lift), ..person }
    }

    fn is_treated(&self, number: u64) -> bool {
        Random::new(self.seed, "experiment arm", number).chance(0.5)
    }

    fn dates(&self) -> Vec<String> {
        let date = |day: u32| self.cut_off.date_naive() + Days::new(day.into());
        (0..self.experiment.experiment_days).map(|day| date(day).to_string()).collect()
    }
}

/// The table of users and days.
#[derive(Debug, Serialize, Deserialize)]
struct SimulateExperiment(People);

impl Stage for SimulateExperiment {
    const NAME: &'static str = "simulate-experiment";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "users";
    type Inputs = ();
    type Shared = ();
    type Outputs = Rows<RawExperiment>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<()> {
        declare.partitions(parts(self.0.users, USERS_PER_PART))
    }

    fn open(&self, (): &(), _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, (): &(), (): &(), part: u32) -> Result<Done<Self::Outputs>> {
        let (people, dates) = (&self.0, self.0.dates());
        let start = u64::from(part) * USERS_PER_PART;
        let numbers = start..(start + USERS_PER_PART).min(people.users);
        let account = Account::all(numbers.end - numbers.start);
        let mut rows = Vec::with_capacity((numbers.end - numbers.start) as usize * dates.len());
        for number in numbers {
            let (person, mut random) = people.person(number);
            let mut past = [0; 3];
            for _ in 0..if person.cold { COLD_PAST_DAYS } else { PAST_DAYS } {
                past.iter_mut().zip(person.day(&mut random)).for_each(|(sum, count)| *sum += count);
            }
            let treated = people.is_treated(number);
            let person = if treated { people.treated(person) } else { person };
            rows.extend((0..dates.len()).map(|day| (number, day, treated, person.cold, past, person.day(&mut random))));
        }
        let counts = |of: &dyn Fn(&[i32; 3], &[i32; 3]) -> i32| -> Int32Array {
            rows.iter().map(|(.., past, today)| of(past, today)).collect::<Vec<_>>().into()
        };
        let columns = RawExperimentColumns {
            user_id: texts(rows.iter().map(|row| raw_id(people.seed, row.0))),
            day: texts(rows.iter().map(|row| &dates[row.1])),
            variant: texts(rows.iter().map(|row| if row.2 { "treatment" } else { "control" })),
            active: rows.iter().map(|(.., today)| Some(today[0] == 1)).collect::<BooleanArray>(),
            impressions: counts(&|_, today| today[1]),
            clicks: counts(&|_, today| today[2]),
            cold: rows.iter().map(|row| Some(row.3)).collect::<BooleanArray>(),
            pre_active: counts(&|past, _| past[0]),
            pre_impressions: counts(&|past, _| past[1]),
            pre_clicks: counts(&|past, _| past[2]),
        };
        Ok(Done { outputs: Rows::of(columns)?, accounts: vec![account] })
    }

    fn memory_bytes(&self, (): &(), _: u64) -> u64 {
        3 * USERS_PER_PART * u64::from(self.0.experiment.experiment_days) * BYTES_PER_DAY
    }
}

/// What nobody but evaluation may know.
#[derive(Debug, Serialize, Deserialize)]
struct SimulateLifts(People);

impl Stage for SimulateLifts {
    const NAME: &'static str = "simulate-lifts";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "lifts";
    type Inputs = ();
    type Shared = ();
    type Outputs = Rows<TrueLifts>;

    fn inputs(&self, _: &mut Inputs<'_>) -> Result<()> {
        Ok(())
    }

    fn open(&self, (): &(), _: &Resources) -> Result<()> {
        Ok(())
    }

    /// Expected values over the users, once as if all were in the control and once as if all were in the treatment.
    fn run(&self, (): &(), (): &(), _: u32) -> Result<Done<Self::Outputs>> {
        // By segment (all, cold, warm) and arm: users, who come, what is shown, what is clicked.
        let mut sums = [[[0.0; 4]; 2]; 3];
        for number in 0..self.0.users {
            let (person, _) = self.0.person(number);
            for segment in [0, if person.cold { 1 } else { 2 }] {
                for (sums, person) in sums[segment].iter_mut().zip([person, self.0.treated(person)]) {
                    let shown = person.comes * person.shown();
                    let values = [1.0, person.comes, shown, shown * person.likes];
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
            }
        }
        let mut rows = Vec::new();
        for (metric, above, below) in [("ctr", 3, 2), ("dau", 1, 0)] {
            for (segment, arms) in ["all", "cold", "warm"].into_iter().zip(&sums).filter(|(_, arms)| arms[0][0] > 0.0) {
                let [control, treatment] = [0, 1].map(|arm: usize| arms[arm][above] / arms[arm][below]);
                rows.push((metric, segment, control, treatment));
            }
        }
        let floats = |of: &dyn Fn(f64, f64) -> f64| rows.iter().map(|row| of(row.2, row.3)).collect::<Vec<_>>().into();
        let columns = TrueLiftsColumns {
            metric: texts(rows.iter().map(|row| row.0)),
            segment: texts(rows.iter().map(|row| row.1)),
            control_value: floats(&|control, _| control),
            treatment_value: floats(&|_, treatment| treatment),
            lift: floats(&|control, treatment| treatment / control - 1.0),
        };
        Ok(Done { outputs: Rows::of(columns)?, accounts: Vec::new() })
    }
}
