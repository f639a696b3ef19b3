//! The command line: from arguments to a command, and from errors to exit codes.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{ArgMatches, Args, Command};
use clap_complete::Shell;
use dataset::{Error, Kind, Result, Runner};

use super::{Commands, Context, Step, Tool, find, output, signals};

const ABOUT: &str =
    "Turns a news platform's raw logs into news search queries per user, as batch jobs: Parquet in, Parquet out.";
const MORE: &str = "All datasets of a project lie under one root (--data). Each job reads and writes them by name, skips what is up to \
date, and after a kill goes on where it stopped.";
const AFTER: &str = "Exit codes: 0 done; 1 failed, worth retrying; 2 wrong usage or configuration; 3 data breaks its contract; 130 or 143 \
stopped by Ctrl-C or SIGTERM: run the same command again to go on.\n\
Start with: querent run jobs/configs/demo.toml --insecure-dev-key";

/// Runs what the command line says.
pub(crate) fn main(commands: Commands) -> ExitCode {
    let done = match std::env::args_os().len() {
        0 | 1 => start_page(&mut output::stdout(), commands),
        _ => run(commands, std::env::args_os().collect()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has gone (`querent inspect … | head`): that is no failure.
        Err(e) if e.kind() == Kind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "error: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}

/// All commands and their arguments.
pub(crate) fn command(commands: Commands) -> Command {
    Command::new("querent")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(format!("{ABOUT}\n\n{MORE}"))
        .after_help(AFTER)
        .subcommand_required(true)
        .subcommands(commands.iter().map(|entry| (entry.command)()))
}

fn run(commands: Commands, mut arguments: Vec<OsString>) -> Result<()> {
    let name = step_name(commands, &mut arguments)?;
    let matches = command(commands).try_get_matches_from(arguments).unwrap_or_else(|e| e.exit());
    let (command, matches) = matches.subcommand().expect("one is required");
    let entry = commands.iter().find(|entry| entry.name == command).expect("clap knows no others");
    match &entry.act {
        super::Act::Tool(run) => run(matches, commands),
        super::Act::Job(job) => {
            let step = Step { job: command.to_owned(), name };
            let context = Context::of_job(commands, step.clone(), matches)?;
            let job = (job.settle)(context.config(), &step, Some(matches))?;
            begin(&context.runner)?;
            let summaries = job.run(&context)?;
            let mut out = output::stdout();
            summaries.iter().try_for_each(|summary| output::print(&mut out, summary))?;
            match context.runner.dry_run {
                true => Ok(()),
                false => job.show(&context, &mut out),
            }
        }
    }
}

/// Takes the name out of `querent generate@student …`.
fn step_name(commands: Commands, arguments: &mut [OsString]) -> Result<Option<String>> {
    let Some((first, text)) = arguments.get_mut(1).and_then(|first| Some((first.to_str()?.to_owned(), first))) else {
        return Ok(None);
    };
    match first.split_once('@') {
        Some((job, _)) if find(commands, job).is_some() => {
            let step: Step = first.parse()?;
            *text = step.job.into();
            Ok(step.name)
        }
        _ => Ok(None),
    }
}

/// What must be so before jobs work: signals have an answer, and every pool of threads its size.
pub(crate) fn begin(runner: &Runner) -> Result<()> {
    signals::watch()?;
    // Without it candle reads /proc/cpuinfo at each of its products.
    tell_candle("RAYON_NUM_THREADS", &runner.resources.threads.to_string());
    rayon::ThreadPoolBuilder::new()
        .num_threads(runner.resources.threads)
        .build_global()
        .map_err(|e| Error::setting("--threads", "threads that the system can start", e, "give fewer"))
}

/// Sets what candle reads from the environment alone, before its first operation.
pub(crate) fn tell_candle(variable: &str, value: &str) {
    #[expect(unsafe_code, reason = "candle has no other setting for it")]
    // SAFETY: readers in Rust take the same lock as this does; ONNX Runtime, the one library in C at work, reads when it is loaded.
    unsafe {
        std::env::set_var(variable, value);
    }
}

/// What `querent` alone says.
pub(crate) fn start_page(out: &mut dyn Write, commands: Commands) -> Result<()> {
    writeln!(
        out,
        "querent turns a news platform's logs into short lists of news search queries per user,\n\
         and measures how well the news that they fetch matches what people read next.\n\n\
         Try it on a simulated platform, from raw logs to a report:\n\n  \
           querent run jobs/configs/demo.toml --insecure-dev-key\n\n\
         On your own logs, described in a file like jobs/configs/demo.toml:\n\n  \
           export QUERENT_USER_KEY=$(openssl rand -hex 32)   # keep it: it keys the user ids\n  \
           querent run mine.toml\n\n\
         The commands (`querent COMMAND --help` explains each):\n"
    )?;
    for entry in commands {
        writeln!(out, "  {:<14} {}", entry.name, entry.about())?;
    }
    Ok(())
}

/// Print a script that completes querent's commands and flags in a shell.
///
/// For bash: querent completions bash > ~/.local/share/bash-completion/completions/querent
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Tool for Completions {
    const NAME: &'static str = "completions";

    fn run(&self, _: &ArgMatches, commands: Commands) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(commands), "querent", &mut script);
        Ok(std::io::stdout().write_all(&script)?)
    }
}
