//! Steps of a pipeline: a job, perhaps under a name of its own.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use dataset::{Error, Result};

/// `generate`, or `generate@student`: the same job with settings of its own, which writes datasets of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// The job.
    pub(crate) job: String,
    /// What tells it from other steps of the job.
    pub(crate) name: Option<String>,
}

impl Step {
    /// The job's step without a name.
    pub(crate) fn of(job: &str) -> Self {
        Step { job: job.to_owned(), name: None }
    }

    /// What the step calls something that the job makes: `interests` is `interests.student`.
    pub(crate) fn named(&self, thing: &str) -> String {
        match &self.name {
            Some(name) => format!("{thing}.{name}"),
            None => thing.to_owned(),
        }
    }
}

impl FromStr for Step {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((job, name)) = text.split_once('@') else { return Ok(Step::of(text)) };
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if name.is_empty() || !name.chars().all(fine) {
            let expected = "a job, @, and a name of letters, digits, - and _";
            return Err(Error::setting("step", expected, text, "for example generate@student"));
        }
        Ok(Step { job: job.to_owned(), name: Some(name.to_owned()) })
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}@{name}", self.job),
            None => write!(f, "{}", self.job),
        }
    }
}
