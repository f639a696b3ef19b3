//! Settings that are written once: a struct whose fields are flags of a command and keys of a file, with their documentation and
//! defaults.

use clap::{Args, Command};

/// The settings without any flag: what a struct's `#[arg(default_value_t = …)]` say.
///
/// A struct of settings derives `clap::Args` and takes its `Default` from here, so no default is written twice.
pub fn defaults<S: Args>() -> S {
    let command = S::augment_args(Command::new("settings").no_binary_name(true));
    let matches = command.get_matches_from(std::iter::empty::<&str>());
    S::from_arg_matches(&matches).expect("every setting has a default, or is an Option")
}
