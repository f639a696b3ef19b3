//! Settings that are written once: a struct whose fields are flags of a command and keys of a file, with their documentation and
//! defaults.

use clap::{Args, Command};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, Result};

/// The settings without any flag: what a struct's `#[arg(default_value_t = …)]` say.
///
/// A struct of settings derives `clap::Args` and takes its `Default` from here, so no default is written twice.
pub fn defaults<S: Args>() -> S {
    let command = S::augment_args(Command::new("settings").no_binary_name(true));
    let matches = command.get_matches_from(std::iter::empty::<&str>());
    S::from_arg_matches(&matches).expect("every setting has a default, or is an Option")
}

/// Settings as they are written down, and what that reads back: nothing that is not written down reaches whoever works with the latter.
pub(crate) fn written_down<S: Serialize + DeserializeOwned>(job: &str, settings: &S) -> Result<(Value, S)> {
    let bug = |what: &str, e: serde_json::Error| Error::bug(format!("{job}: settings that cannot be {what}: {e}"));
    let written = serde_json::to_value(settings).map_err(|e| bug("written down", e))?;
    let read = serde_json::from_value(written.clone()).map_err(|e| bug("read back", e))?;
    Ok((written, read))
}
