//! From moments to lifts: the second half of `abtest`.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use dataset::{Account, Done, Error, Inputs, Resources, Result, Rows, Stage, Whole};
use schemas::{Arms, DailyLifts, ExperimentMoments, ExperimentUsers, Lifts};
use serde::{Deserialize, Serialize};

use super::assign::{BYTES_PER_USER, People, Rates};
use super::distributions::chi_squared_tail;
use super::figures::Figures;
use super::rows::{ArmRow, DayRow, LiftRow, Question, arm_rows, day_rows, lift_rows};
use super::{METRICS, Pair, SEGMENTS};
use crate::significance::{benjamini_hochberg, holm};

/// What several tests at once cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adjustment {
    /// The probability of any false discovery is kept (Holm)
    #[default]
    Holm,
    /// The share of false discoveries is kept (Benjamini and Hochberg)
    Bh,
}

/// How an experiment is analysed.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct AbTest {
    /// The variant that the others are compared with
    #[arg(long, value_name = "VARIANT", default_value = "control")]
    pub control: String,
    /// Expected shares of users, as VARIANT=SHARE with commas between [default: the same for all]
    #[arg(long, value_name = "VARIANT=SHARE", value_delimiter = ',')]
    pub shares: Vec<String>,
    /// How p-values are adjusted over treatments, metrics and segments
    #[arg(long, value_enum, default_value_t)]
    pub adjustment: Adjustment,
    /// Metrics that may lose a share of the control's value and no more, as METRIC=MARGIN with commas between: ctr=0.01
    #[arg(long, value_name = "METRIC=MARGIN", value_delimiter = ',')]
    pub guardrails: Vec<String>,
    /// Users at which the always-valid intervals are about the tightest
    #[arg(long, value_name = "USERS", default_value_t = 5000.0)]
    pub sequential_tuning: f64,
    /// The lift that power is told for
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub expected_lift: f64,
    /// Fewer users in an arm are too few: an error for all users, for segments no row
    #[arg(long, value_name = "USERS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(2..=i64::MAX as u64))]
    pub min_users: u64,
    /// Assign the users at random so often, and tell how often a difference is found (p < 0.05): about 5% when all is well
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub simulate_aa: u32,
    /// Seed of these assignments
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
}

impl Default for AbTest {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// The moments; the users, if they are to be assigned anew.
#[derive(Debug)]
pub struct Gathered {
    moments: Whole<ExperimentMoments>,
    users: Option<Whole<ExperimentUsers>>,
}

impl Stage for AbTest {
    const NAME: &'static str = "abtest";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "comparisons";
    /// Assigning anew has all threads.
    const ALONE: bool = true;
    type Inputs = Gathered;
    type Shared = u64;
    type Outputs = (Rows<Lifts>, Rows<DailyLifts>, Rows<Arms>);

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Gathered> {
        self.check()?;
        let moments = declare.whole::<ExperimentMoments>("experiment_moments")?;
        let users = (self.simulate_aa > 0).then(|| declare.whole::<ExperimentUsers>("experiment_users")).transpose()?;
        if let Some(users) = &users {
            declare.together(moments.manifest(), users.manifest())?;
        }
        Ok(Gathered { moments, users })
    }

    fn open(&self, inputs: &Gathered, _: &Resources) -> Result<u64> {
        Ok(inputs.users.as_ref().map_or(0, |users| users.manifest().rows))
    }

    fn run(&self, inputs: &Gathered, _: &u64, _: u32) -> Result<Done<Self::Outputs>> {
        let figures = Figures::read(inputs.moments.parts())?;
        let people = inputs.users.as_ref().map(|users| People::read(users.parts())).transpose()?;
        self.analyse(&figures, people.as_ref())
    }

    fn memory_bytes(&self, users: &u64, input_bytes: u64) -> u64 {
        2 * BYTES_PER_USER * users + 3 * input_bytes
    }
}

impl AbTest {
    /// Checks what can be checked before anything is read.
    pub fn check(&self) -> Result<()> {
        let positive = [("sequential_tuning", self.sequential_tuning), ("expected_lift", self.expected_lift)];
        for (name, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::setting(
                    &format!("abtest.{name}"),
                    "more than 0",
                    value,
                    "see `querent abtest --help`",
                ));
            }
        }
        pairs("abtest.shares", &self.shares)?;
        for (metric, _) in pairs("abtest.guardrails", &self.guardrails)? {
            if !METRICS.contains(&metric) {
                let expected = format!("metrics ({})", METRICS.join(", "));
                return Err(Error::setting("abtest.guardrails", expected, metric, "for example ctr=0.01"));
            }
        }
        Ok(())
    }

    fn analyse(&self, figures: &Figures, people: Option<&People>) -> Result<Done<<Self as Stage>::Outputs>> {
        let control = figures.variants.iter().position(|variant| *variant == self.control).ok_or_else(|| {
            let expected = format!("one of the variants {}", figures.variants.join(", "));
            Error::setting("abtest.control", expected, &self.control, "name the control with --control")
        })?;
        let order: Vec<usize> =
            std::iter::once(control).chain((0..figures.variants.len()).filter(|at| *at != control)).collect();
        let arms = self.arms(figures, &order)?;
        if let Some(arm) = arms.iter().find(|arm| arm.users < self.min_users as f64) {
            let what = format!(
                "the experiment: expected at least {} users in each variant, got {} in {}",
                self.min_users, arm.users, arm.variant
            );
            return Err(Error::new(dataset::Exit::Data, what, "wait for more users, or lower --min-users"));
        }
        let rates = people.map(|people| people.false_positives(arms[0].share, self.simulate_aa, self.seed));
        let mut account = Account::default();
        let (mut lifts, mut days) = (Vec::new(), Vec::new());
        for &treatment in &order[1..] {
            for metric in 0..METRICS.len() {
                for segment in 0..SEGMENTS.len() {
                    let question = Question { metric, segment, control, treatment };
                    match self.compare(figures, question, rates.as_ref(), &mut lifts) {
                        Ok(()) => self.day_by_day(figures, question, &mut days),
                        Err(why) => account.drop(why, 1),
                    }
                }
            }
        }
        self.adjust(&mut lifts);
        account.output = lifts.iter().filter(|lift| !lift.cuped).count() as u64;
        account.input = account.accounted();
        let outputs = (lift_rows(figures, &lifts)?, day_rows(figures, &days)?, arm_rows(&arms)?);
        Ok(Done { outputs, accounts: vec![account, Account::all(days.len() as u64), Account::all(arms.len() as u64)] })
    }

    /// Every variant's users beside how many there should be, the control first.
    fn arms<'a>(&self, figures: &'a Figures, order: &[usize]) -> Result<Vec<ArmRow<'a>>> {
        let shares: BTreeMap<&str, f64> = pairs("abtest.shares", &self.shares)?.into_iter().collect();
        let names: Vec<&str> = figures.variants.iter().map(String::as_str).collect();
        let all_named = names.iter().all(|name| shares.contains_key(name)) && shares.len() == names.len();
        if !(shares.is_empty() || all_named) {
            let expected = format!("a share of each variant ({})", names.join(", "));
            return Err(Error::setting(
                "abtest.shares",
                expected,
                self.shares.join(","),
                "for example control=0.5,treatment=0.5",
            ));
        }
        let weights: f64 = shares.values().sum();
        let users = |segment: usize, at: usize| figures.all(0, segment, at).users;
        let all: f64 = order.iter().map(|&at| users(0, at)).sum();
        let mut arms: Vec<ArmRow<'a>> = order
            .iter()
            .map(|&at| ArmRow {
                variant: &figures.variants[at],
                users: users(0, at),
                cold: users(1, at),
                share: users(0, at) / all,
                expected: shares.get(names[at]).map_or(1.0 / order.len() as f64, |share| share / weights),
                p: 1.0,
            })
            .collect();
        let apart: f64 = arms.iter().map(|arm| (arm.users - all * arm.expected).powi(2) / (all * arm.expected)).sum();
        let p = chi_squared_tail(apart, arms.len() as u32 - 1);
        arms.iter_mut().for_each(|arm| arm.p = p);
        Ok(arms)
    }

    /// Adds the rows of a question, or says why there are none.
    fn compare(
        &self,
        figures: &Figures,
        question: Question,
        rates: Option<&Rates>,
        into: &mut Vec<LiftRow>,
    ) -> Result<(), &'static str> {
        let Question { metric, segment, control, treatment } = question;
        let (control, treatment) = (figures.all(metric, segment, control), figures.all(metric, segment, treatment));
        if control.users.min(treatment.users) < self.min_users as f64 {
            return Err("too few users of the segment");
        }
        let scale = Figures::scale(metric, figures.days.len() - 1);
        let plain = Pair::plain(control, treatment, scale);
        if !(plain.control.value.is_finite() && plain.treatment.value.is_finite()) {
            return Err("nothing was shown to the segment");
        }
        let margins = pairs("abtest.guardrails", &self.guardrails).unwrap_or_default();
        let margin = margins.into_iter().find(|(name, _)| *name == METRICS[metric]).map(|(_, margin)| margin);
        for (cuped, pair) in [(false, Some(plain)), (true, Pair::cuped(control, treatment, scale))] {
            let Some(pair) = pair else { continue };
            let detectable = pair.detectable();
            let guarded = margin.map(|margin| pair.non_inferiority(margin));
            into.push(LiftRow {
                question,
                cuped,
                pair,
                difference: pair.difference(),
                lift: pair.has_lift().then(|| pair.lift()),
                always: pair.has_lift().then(|| pair.always_valid(self.sequential_tuning)),
                p: pair.p_value(),
                p_adjusted: 1.0,
                detectable,
                power: detectable.map(|_| pair.power(self.expected_lift)),
                margin,
                worst: guarded.map(|(worst, _)| worst),
                inferiority: guarded.map(|(_, p)| p),
                false_positives: rates.and_then(|rates| rates[metric][segment][usize::from(cuped)]),
            });
        }
        Ok(())
    }

    /// Adds the lift as it looked at the end of each day, from the first day on which it could be told.
    fn day_by_day(&self, figures: &Figures, question: Question, into: &mut Vec<DayRow>) {
        let Question { metric, segment, control, treatment } = question;
        for day in 0..figures.days.len() {
            let [control, treatment] = [control, treatment].map(|arm| figures.until(metric, segment, arm, day));
            let pair = Pair::plain(control, treatment, Figures::scale(metric, day));
            if control.users.min(treatment.users) < self.min_users as f64 || !pair.has_lift() {
                continue;
            }
            let (lift, (always, _)) = (pair.lift(), pair.always_valid(self.sequential_tuning));
            into.push(DayRow { question, day, users: control.users + treatment.users, lift, always });
        }
    }

    /// Adjusts the p-values of each estimator.
    fn adjust(&self, lifts: &mut [LiftRow]) {
        let adjust = match self.adjustment {
            Adjustment::Holm => holm,
            Adjustment::Bh => benjamini_hochberg,
        };
        for cuped in [false, true] {
            let mut family: Vec<&mut LiftRow> = lifts.iter_mut().filter(|lift| lift.cuped == cuped).collect();
            let adjusted = adjust(&family.iter().map(|lift| lift.p).collect::<Vec<_>>());
            family.iter_mut().zip(adjusted).for_each(|(lift, p)| lift.p_adjusted = p);
        }
    }
}

/// `NAME=NUMBER`, several times.
fn pairs<'a>(setting: &str, texts: &'a [String]) -> Result<Vec<(&'a str, f64)>> {
    let pair = |text: &'a String| {
        let pair =
            text.rsplit_once('=').and_then(|(name, number)| Some((name.trim(), number.trim().parse::<f64>().ok()?)));
        pair.filter(|(_, number)| *number > 0.0 && *number <= 1.0).ok_or_else(|| {
            Error::setting(setting, "NAME=SHARE with a share from 0 to 1", text, "see `querent abtest --help`")
        })
    };
    texts.iter().map(pair).collect()
}
