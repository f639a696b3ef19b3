//! What a job is, and all that follows from it.
//!
//! A [`Job`] is one struct. Its fields are the job's settings: flags on the command line, keys of the job's section in a settings file, and,
//! by their doc comments, its `--help`. A line in the list of commands (`main.rs`) makes it a subcommand, a section and a step that a
//! pipeline may name. A [`Tool`] looks after datasets and has no section.
//!
//! ```text
//! default  <  [job] of the file  <  [job.name]  <  --set job.key=value  <  --key value
//! ```

mod cli;
mod config;
mod context;
mod layers;
pub(crate) mod output;
mod pipeline;
pub(crate) mod plot;
mod seeds;
mod signals;
mod step;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgMatches, Args, Command};
use dataset::{Result, Summary};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use cli::{Completions, main, tell_candle};
use config::Config;
pub(crate) use context::{Context, Place};
pub(crate) use pipeline::Run;
use step::Step;

/// A job: its settings, and what it does.
///
/// Every field has a default, so that a pipeline can start it without flags; what a user must say is checked by `run`. Where settings of a
/// struct of the same name are flattened into it, it needs `#[group(skip)]`: clap names groups of arguments by structs.
pub(crate) trait Job: Args + Serialize + DeserializeOwned {
    /// The subcommand, the section and the step.
    const NAME: &'static str;
    /// Sections of other jobs that hold some of its settings: the encoder that `embed` and `retrieve` share is set in `[embed]`.
    const SHARES: &'static [&'static str] = &[];

    /// Whether its steps may have names: only where something picks up what each of them makes.
    const NAMED: bool = false;

    /// Checks what can be known of its settings before it runs. A pipeline asks this of all its steps before the first one.
    ///
    /// # Errors
    /// A setting that makes no sense.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Brings what it makes up to date.
    fn run(&self, context: &Context) -> Result<Vec<Summary>>;

    /// Prints what people want to see of what it made.
    fn show(&self, _context: &Context, _out: &mut dyn Write) -> Result<()> {
        Ok(())
    }

    /// Where the folder or file lies that it makes, if it makes one: what another step's setting means when it names this step.
    fn target(&self, _context: &Context) -> Result<Option<PathBuf>> {
        Ok(None)
    }
}

/// A command that is no job: no section, no step.
pub(crate) trait Tool: Args {
    /// The subcommand.
    const NAME: &'static str;

    /// Does it. `matches` is what `self` was read from.
    fn run(&self, matches: &ArgMatches, commands: Commands) -> Result<()>;
}

/// All commands, in the order in which they are listed.
pub(crate) type Commands = &'static [Entry];

/// One command.
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its arguments.
    command: fn() -> Command,
    act: Act,
}

enum Act {
    Job(JobEntry),
    Tool(fn(&ArgMatches, Commands) -> Result<()>),
}

/// What a job's entry can do.
struct JobEntry {
    shares: &'static [&'static str],
    named: bool,
    /// The keys that its section may have.
    keys: fn() -> Vec<String>,
    /// The job with its settings, those of a command line or without one.
    settle: Settle,
}

type Settle = fn(&Config, &Step, Option<&ArgMatches>) -> Result<Box<dyn Ready>>;

/// A job with its settings, whichever it is.
trait Ready {
    fn check(&self) -> Result<()>;
    fn run(&self, context: &Context) -> Result<Vec<Summary>>;
    fn show(&self, context: &Context, out: &mut dyn Write) -> Result<()>;
    fn target(&self, context: &Context) -> Result<Option<PathBuf>>;
}

impl<J: Job> Ready for J {
    fn check(&self) -> Result<()> {
        Job::check(self)
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        Job::run(self, context)
    }

    fn show(&self, context: &Context, out: &mut dyn Write) -> Result<()> {
        Job::show(self, context, out)
    }

    fn target(&self, context: &Context) -> Result<Option<PathBuf>> {
        Job::target(self, context)
    }
}

/// A job's line in the list of commands.
pub(crate) const fn job<J: Job + 'static>() -> Entry {
    let entry = JobEntry { shares: J::SHARES, named: J::NAMED, keys: layers::keys::<J>, settle: settle::<J> };
    Entry { name: J::NAME, command: context::command_of_job::<J>, act: Act::Job(entry) }
}

/// A tool's line in the list of commands.
pub(crate) const fn tool<T: Tool + 'static>() -> Entry {
    Entry { name: T::NAME, command: command_of_tool::<T>, act: Act::Tool(run_tool::<T>) }
}

fn settle<J: Job + 'static>(config: &Config, step: &Step, matches: Option<&ArgMatches>) -> Result<Box<dyn Ready>> {
    Ok(Box::new(match matches {
        Some(matches) => layers::settings::<J>(config, step, matches)?,
        None => layers::settings_of_file::<J>(config, step)?,
    }))
}

fn command_of_tool<T: Tool>() -> Command {
    T::augment_args(Command::new(T::NAME))
}

fn run_tool<T: Tool>(matches: &ArgMatches, commands: Commands) -> Result<()> {
    T::from_arg_matches(matches).map_err(layers::unparsed)?.run(matches, commands)
}

impl Entry {
    /// What it is, if it is a job.
    fn job(&self) -> Option<&JobEntry> {
        match &self.act {
            Act::Job(job) => Some(job),
            Act::Tool(_) => None,
        }
    }

    /// What it does, in one sentence.
    pub(crate) fn about(&self) -> String {
        (self.command)().get_about().map(ToString::to_string).unwrap_or_default()
    }

    /// All that its help says.
    #[cfg(test)]
    pub(crate) fn help(&self) -> String {
        (self.command)().render_long_help().to_string()
    }
}

/// Checks what can be checked of all commands together.
#[cfg(test)]
pub(crate) fn check(commands: Commands) {
    cli::command(commands).debug_assert();
    let config = Config::read(commands, None, &[], None).expect("nothing to read");
    for (name, job) in jobs(commands) {
        if let Err(e) = (job.settle)(&config, &Step::of(name), None) {
            panic!("{name}: {e}");
        }
    }
}

/// The jobs among the commands.
fn jobs(commands: Commands) -> impl Iterator<Item = (&'static str, &'static JobEntry)> {
    commands.iter().filter_map(|entry| Some((entry.name, entry.job()?)))
}

fn find(commands: Commands, job: &str) -> Option<&'static JobEntry> {
    jobs(commands).find(|(name, _)| *name == job).map(|(_, entry)| entry)
}
