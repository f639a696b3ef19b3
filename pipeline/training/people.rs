//! The users that a policy is trained on.

use dataset::{Error, Result, Whole};
use policy::Behaviour;
use schemas::Profiles;

/// A behaviour that owns its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Act {
    domain: String,
    text: String,
    occurred_at_us: i64,
    news_id: Option<String>,
}

/// A user and their behaviours, most recent first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) user_id: String,
    acts: Vec<Act>,
}

impl Person {
    /// The same user with the behaviours at some places.
    pub(crate) fn part(&self, places: &[usize]) -> Self {
        let acts = places.iter().map(|&place| self.acts[place].clone()).collect();
        Person { user_id: self.user_id.clone(), acts }
    }

    /// Number of behaviours.
    pub(crate) fn behaviours(&self) -> usize {
        self.acts.len()
    }

    /// What a prompt shows.
    pub(crate) fn shown(&self) -> Vec<Behaviour<'_>> {
        self.acts.iter().map(|act| Behaviour { domain: &act.domain, text: &act.text }).collect()
    }

    /// What rewards see.
    pub(crate) fn user(&self) -> reward::User<'_> {
        fn behaviour(act: &Act) -> reward::Behaviour<'_> {
            let Act { domain, text, occurred_at_us, news_id } = act;
            reward::Behaviour { domain, text, occurred_at_us: *occurred_at_us, news_id: news_id.as_deref() }
        }
        reward::User { user_id: &self.user_id, behaviours: self.acts.iter().map(behaviour).collect() }
    }

    /// Texts of all behaviours.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.acts.iter().map(|act| act.text.as_str())
    }
}

/// Users by split, each by id. Users without behaviours are none: they get no prompt.
#[derive(Debug, Default)]
pub(crate) struct People {
    pub(crate) train: Vec<Person>,
    pub(crate) valid: Vec<Person>,
}

/// The columns of `profiles` that are read.
pub(crate) const COLUMNS: [&str; 3] = [Profiles::user_id.name(), Profiles::split.name(), Profiles::behaviours.name()];

impl People {
    /// Errs when there are fewer users of `train` than a step takes, or none of `valid`.
    pub(crate) fn suffice(&self, users: usize) -> Result<()> {
        if self.train.len() >= users && !self.valid.is_empty() {
            return Ok(());
        }
        let got = format!("{} and {}", self.train.len(), self.valid.len());
        let expected = format!("at least {users} users of the split train, and some of valid");
        Err(Error::setting("profiles", expected, got, "give more users, or lower --users"))
    }

    /// The users of the splits `train` and `valid`. Those of `test` are nobody's to train on.
    pub(crate) fn read(profiles: &Whole<Profiles>) -> Result<Self> {
        let mut people = People::default();
        for part in profiles.parts() {
            for batch in part?.batches() {
                let (ids, splits) = (Profiles::user_id.of(batch)?, Profiles::split.of(batch)?);
                let behaviours = Profiles::behaviours.of(batch)?;
                for row in 0..batch.num_rows() {
                    let to = match splits.value(row) {
                        "train" => &mut people.train,
                        "valid" => &mut people.valid,
                        _ => continue,
                    };
                    let act = |b: reward::Behaviour<'_>| Act {
                        domain: b.domain.to_owned(),
                        text: b.text.to_owned(),
                        occurred_at_us: b.occurred_at_us,
                        news_id: b.news_id.map(str::to_owned),
                    };
                    let acts: Vec<Act> = reward::behaviours(&behaviours, row).into_iter().map(act).collect();
                    // What a prompt would show nothing of is no behaviour.
                    let seen = |c: char| !c.is_control() && !c.is_whitespace();
                    if acts.iter().any(|act| act.text.chars().any(seen)) {
                        to.push(Person { user_id: ids.value(row).to_owned(), acts });
                    }
                }
            }
        }
        for split in [&mut people.train, &mut people.valid] {
            split.sort_by(|a, b| a.user_id.cmp(&b.user_id));
        }
        Ok(people)
    }
}

#[cfg(test)]
impl Person {
    /// A user of these searches, most recent first.
    pub(crate) fn searching(user_id: &str, texts: &[&str]) -> Self {
        let act = |text: &&str| Act { domain: "search".into(), text: (*text).into(), occurred_at_us: 0, news_id: None };
        Person { user_id: user_id.into(), acts: texts.iter().map(act).collect() }
    }
}
