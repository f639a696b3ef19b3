//! Checks that the jobs of training share.

use dataset::{Error, Result};

/// A setting of a job: its key, whether its value makes sense, what is expected, what there is.
pub(crate) type Setting<'a> = (&'a str, bool, &'a str, String);

/// Errs with the first setting that makes no sense.
pub(crate) fn check(job: &str, settings: &[Setting<'_>]) -> Result<()> {
    match settings.iter().find(|(_, makes_sense, ..)| !makes_sense) {
        None => Ok(()),
        Some((key, _, expected, got)) => {
            Err(Error::setting(&format!("{job}.{key}"), expected, got, format!("see `querent {job} --help`")))
        }
    }
}

/// How long a run is, and how often it is looked at.
pub(crate) fn pace<'a>(users: usize, steps: u64, look_every: u64, valid_users: usize) -> [Setting<'a>; 4] {
    [
        ("users", (1..=100_000).contains(&users), "1 to 100000", users.to_string()),
        ("steps", steps > 0, "at least 1", steps.to_string()),
        ("look_every", look_every > 0, "at least 1", look_every.to_string()),
        ("valid_users", valid_users > 0, "at least 1", valid_users.to_string()),
    ]
}
