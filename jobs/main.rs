//! `querent`: batch jobs from raw logs to news search queries per user, Parquet in, Parquet out.
//!
//! One file per job; this one lists them, and turns errors into exit codes: 0 done, 1 failed and worth retrying, 2 wrong usage
//! or configuration, 3 data breaks its contract.

mod annotate;
mod cap;
mod clean;
mod commit;
mod context;
mod embed;
mod evaluate;
mod export;
mod gc;
mod generate;
mod import;
mod index;
mod ingest;
mod inspect;
mod output;
mod report;
mod retrieve;
mod run;
mod schema;
mod simulate;
mod statistics;
mod train_cleaner;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Training makes and drops large arrays at every step: the system's allocator gives each back to the kernel, a quarter of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turns a news platform's raw logs into news search queries per user, as batch jobs: Parquet in, Parquet out.
///
/// All datasets of a project lie under one root (--data). Each job reads and writes them by name, skips what is up to date,
/// and after a kill goes on where it stopped.
#[derive(Debug, Parser)]
#[command(
    name = "querent",
    version,
    after_help = "Exit codes: 0 done; 1 failed, worth retrying; 2 wrong usage or \
configuration; 3 data breaks its contract.\nStart with: querent run jobs/configs/demo.toml --insecure-dev-key"
)]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Debug, Subcommand)]
enum Job {
    Run(run::Flags),
    Simulate(simulate::Flags),
    Ingest(ingest::Flags),
    Annotate(annotate::Flags),
    TrainCleaner(train_cleaner::Flags),
    Clean(clean::Flags),
    Cap(cap::Flags),
    Statistics(statistics::Flags),
    Embed(embed::Flags),
    Index(index::Flags),
    Generate(generate::Flags),
    Retrieve(retrieve::Flags),
    Import(import::Flags),
    Evaluate(evaluate::Flags),
    Report(report::Flags),
    Export(export::Flags),
    Commit(commit::Flags),
    Inspect(inspect::Flags),
    Schema(schema::Flags),
    Gc(gc::Flags),
}

fn main() -> ExitCode {
    let result = match Cli::parse().job {
        Job::Run(flags) => run::main(flags),
        Job::Simulate(flags) => simulate::main(flags),
        Job::Ingest(flags) => ingest::main(flags),
        Job::Annotate(flags) => annotate::main(flags),
        Job::TrainCleaner(flags) => train_cleaner::main(flags),
        Job::Clean(flags) => clean::main(flags),
        Job::Cap(flags) => cap::main(flags),
        Job::Statistics(flags) => statistics::main(flags),
        Job::Embed(flags) => embed::main(flags),
        Job::Index(flags) => index::main(flags),
        Job::Generate(flags) => generate::main(flags),
        Job::Retrieve(flags) => retrieve::main(flags),
        Job::Import(flags) => import::main(flags),
        Job::Evaluate(flags) => evaluate::main(flags),
        Job::Report(flags) => report::main(flags),
        Job::Export(flags) => export::main(&flags),
        Job::Commit(flags) => commit::main(&flags),
        Job::Inspect(flags) => inspect::main(&flags),
        Job::Schema(flags) => schema::main(&flags),
        Job::Gc(flags) => gc::main(&flags),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has gone (`querent inspect … | head`): that is no failure.
        Err(e) if e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "error: {}", message(&e));
            let code = exit_code(&e);
            ExitCode::from(code)
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let ours = error.downcast_ref::<dataset::Error>().map(dataset::Error::exit_code);
    ours.or_else(|| error.downcast_ref::<cleaner::Error>().map(cleaner::Error::exit_code))
        .or_else(|| error.downcast_ref::<text::Error>().map(text::Error::exit_code))
        .or_else(|| error.downcast_ref::<policy::Error>().map(policy::Error::exit_code))
        .or_else(|| error.downcast_ref::<context::ConfigError>().map(|_| 2))
        .unwrap_or(1)
}

/// The error with its context. Our own errors say all there is to say, their sources included.
fn message(error: &anyhow::Error) -> String {
    let mut parts = Vec::new();
    for cause in error.chain() {
        parts.push(cause.to_string());
        let ours = cause.is::<dataset::Error>() || cause.is::<cleaner::Error>() || cause.is::<text::Error>();
        if ours || cause.is::<policy::Error>() || cause.is::<context::ConfigError>() {
            break;
        }
    }
    parts.join(": ")
}
