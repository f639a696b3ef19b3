//! `querent`: batch jobs from raw logs to news search queries per user, Parquet in, Parquet out.
//!
//! One file per job. A line in [`COMMANDS`] makes a job a subcommand, a section of settings files and a step that pipelines may name
//! (`frame/`). Exit codes: 0 done, 1 failed and worth retrying, 2 wrong usage or configuration, 3 data breaks its contract, 130 or 143 stopped by
//! Ctrl-C or SIGTERM.

mod abtest;
mod annotate;
mod baseline;
mod cap;
mod clean;
mod commit;
mod distill;
mod embed;
mod evaluate;
mod export;
mod fallback;
mod frame;
mod gc;
mod generate;
mod grpo;
mod import;
mod index;
mod ingest;
mod inspect;
mod report;
mod retrieve;
mod schema;
mod score;
mod sft;
mod simulate;
mod sql;
mod throughput;
mod train_cleaner;

use std::process::ExitCode;

use frame::{Commands, Completions, Run, job, tool};

/// Training makes and drops large arrays at every step: the system's allocator gives each back to the kernel, a quarter of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps memory that is dropped for some seconds, for what is made next: a bucket's rows, a step of training. The kernel would have to clear it anew
/// each time, on a busy machine a quarter of the time of ingest and cap.
fn keep_memory() {
    const PURGE_DELAY: std::ffi::c_int = 15;
    const MILLISECONDS: std::ffi::c_long = 10_000;
    #[expect(unsafe_code, reason = "a setting of the allocator, which may be changed at any time")]
    // SAFETY: mimalloc's own function, which stores a number.
    unsafe {
        unsafe extern "C" {
            fn mi_option_set(option: std::ffi::c_int, value: std::ffi::c_long);
        }
        mi_option_set(PURGE_DELAY, MILLISECONDS);
    }
}

/// Keeps candle from sharing one operation out among threads: they wait for each other spinning, a thousand times a step. For jobs that
/// share a step out themselves. Before candle's first large operation; what the environment says already counts.
fn undivided_operations() {
    const THREADS: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(THREADS).is_none() {
        frame::tell_candle(THREADS, "1");
    }
}

/// Every command: the jobs in the order of the data's way.
static COMMANDS: Commands = &[
    tool::<Run>(),
    job::<simulate::Simulate>(),
    job::<ingest::Ingest>(),
    job::<annotate::Annotate>(),
    job::<train_cleaner::TrainCleaner>(),
    job::<clean::Clean>(),
    job::<cap::Cap>(),
    job::<sql::Table<schemas::Statistics>>(),
    job::<embed::Embed>(),
    job::<index::Index>(),
    job::<sft::Sft>(),
    job::<grpo::Grpo>(),
    job::<distill::Distill>(),
    job::<generate::Generate>(),
    job::<throughput::Throughput>(),
    job::<score::Score>(),
    job::<retrieve::Retrieve>(),
    job::<baseline::Baseline>(),
    job::<import::Import>(),
    job::<evaluate::Evaluate>(),
    job::<abtest::Abtest>(),
    job::<report::Report>(),
    job::<export::Export>(),
    tool::<commit::Commit>(),
    tool::<inspect::Inspect>(),
    tool::<schema::Schema>(),
    tool::<gc::Gc>(),
    tool::<Completions>(),
];

fn main() -> ExitCode {
    keep_memory();
    frame::main(COMMANDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// README's table of jobs, a row each: the command, what its help says first, and datasets that its help names.
    #[test]
    fn the_readme_lists_all_commands() {
        let rows: Vec<Vec<&str>> = include_str!("../README.md")
            .lines()
            .filter(|line| line.starts_with("| `querent "))
            .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
            .collect();
        let listed: Vec<(String, &str)> = rows.iter().map(|row| (row[0].replace('`', ""), row[1])).collect();
        let name = |(row, _): &(String, &str)| row.split(' ').nth(1).unwrap_or_default().to_owned();
        let expected: Vec<String> = COMMANDS.iter().map(|command| command.name.to_owned()).collect();
        assert_eq!(listed.iter().map(name).collect::<Vec<_>>(), expected);
        for (command, row) in COMMANDS.iter().zip(&rows) {
            assert_eq!(row[1], command.about(), "{}", command.name);
            let help = command.help();
            for name in row[2].split('`').skip(1).step_by(2) {
                assert!(help.contains(name), "{}: its help does not name {name}", command.name);
            }
        }
    }

    /// Whatever a job's defaults are, they can be written down and read back, and its arguments make sense.
    #[test]
    fn the_commands_are_sound() {
        frame::check(COMMANDS);
    }
}
