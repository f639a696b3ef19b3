//! The frame, with toy jobs.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dataset::{Error, Exit, Result, Summary};
use serde::{Deserialize, Serialize};

use super::{Config, Context, Entry, Job, Step, cli, job, layers, output, tool};

/// Bake bread from dough.
///
/// Reads dough. Writes bread.
#[derive(Debug, PartialEq, Args, Serialize, Deserialize)]
struct Bake {
    #[command(flatten)]
    #[serde(flatten)]
    oven: Oven,
    /// Loaves
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    loaves: u32,
    /// What goes in
    #[arg(long, value_delimiter = ',', default_values_t = ["rye".to_owned(), "salt".to_owned()])]
    flours: Vec<String>,
    /// What only a file can hold
    #[arg(skip)]
    toppings: Vec<Topping>,
    /// Decides nothing
    #[arg(long, value_name = "FOLDER", default_value = "shelf")]
    #[serde(default, skip_serializing)]
    shelf: PathBuf,
    /// Not much either
    #[arg(long)]
    #[serde(default, skip_serializing)]
    helpers: Option<u32>,
    /// Another seed, another crust
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How hot, and how.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
struct Oven {
    /// Degrees
    #[arg(long, default_value_t = 220.5)]
    heat: f64,
    /// From where
    #[arg(long, value_enum, default_value_t)]
    from: From,
    /// With steam
    #[arg(long)]
    steam: bool,
    /// Minutes, if anybody says
    #[arg(long)]
    minutes: Option<u64>,
}

impl Default for Oven {
    fn default() -> Self {
        dataset::defaults()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum From {
    #[default]
    Above,
    AllSides,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Topping {
    name: String,
    grams: u32,
}

impl Job for Bake {
    const NAME: &'static str = "bake";

    const NAMED: bool = true;

    fn run(&self, _: &Context) -> Result<Vec<Summary>> {
        Ok(Vec::new())
    }

    fn target(&self, context: &Context) -> Result<Option<PathBuf>> {
        Ok(Some(context.step().named("loaf").into()))
    }
}

/// Keep an oven warm
#[derive(Debug, PartialEq, Args, Serialize, Deserialize)]
struct Warm {
    #[command(flatten)]
    #[serde(flatten)]
    oven: Oven,
    /// For so long
    #[arg(long, default_value_t = 1)]
    hours: u32,
}

impl Job for Warm {
    const NAME: &'static str = "warm";
    const SHARES: &'static [&'static str] = &["bake"];

    fn run(&self, _: &Context) -> Result<Vec<Summary>> {
        Ok(Vec::new())
    }
}

static COMMANDS: [Entry; 4] = [tool::<super::Run>(), job::<Bake>(), job::<Warm>(), tool::<cli::Completions>()];

fn config(text: &str, set: &[&str]) -> Result<Config> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("c.toml");
    std::fs::write(&file, text).expect("writable");
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    Config::read(&COMMANDS, Some(&file), &set, None)
}

/// The settings of a step, from a file, `--set`s and flags.
fn settings<J: Job>(text: &str, set: &[&str], step: &str, flags: &[&str]) -> Result<J> {
    let command = (super::context::command_of_job::<J>)().no_binary_name(true);
    let matches = command.try_get_matches_from(flags).expect("good flags");
    layers::settings(&config(text, set)?, &step.parse()?, &matches)
}

fn bake(text: &str, set: &[&str], flags: &[&str]) -> Bake {
    settings(text, set, "bake", flags).expect("good settings")
}

/// What is wrong with a file and `--set`s: without the folder.
fn wrong(text: &str, set: &[&str]) -> String {
    let error = settings::<Bake>(text, set, "bake", &[]).map(|_| ()).expect_err("wrong settings");
    assert_eq!(error.exit_code(), Exit::Usage as u8, "{error}");
    let text = error.to_string();
    text.find("c.toml").map_or(text.clone(), |at| text[at..].to_owned())
}

#[test]
fn a_flag_wins_over_set_over_the_file_over_the_default() {
    assert_eq!(bake("", &[], &[]).loaves, 4);
    let file = "[bake]\nloaves = 5\nheat = 200\nsteam = true\nfrom = \"all-sides\"\nminutes = 7\n";
    let Bake { oven, loaves, .. } = bake(file, &[], &[]);
    assert_eq!((loaves, oven), (5, Oven { heat: 200.0, from: From::AllSides, steam: true, minutes: Some(7) }));
    assert_eq!(bake(file, &["bake.loaves=6"], &[]).loaves, 6);
    assert_eq!(bake(file, &["bake.loaves=6"], &["--loaves", "7"]).loaves, 7);
    // A flag that says what is the default anyway is said all the same.
    assert_eq!(bake(file, &["bake.loaves=6"], &["--loaves", "4"]).loaves, 4);
    assert!(!bake(file, &["bake.steam=false"], &[]).oven.steam);
}

#[test]
fn lists_tables_and_what_is_not_written_down_come_through() {
    let file =
        "[bake]\nflours = [\"wheat\"]\nshelf = \"rack\"\nhelpers = 3\n[[bake.toppings]]\nname = \"seeds\"\ngrams = 5\n";
    let got = bake(file, &[], &[]);
    assert_eq!((got.flours, got.shelf, got.helpers), (vec!["wheat".into()], "rack".into(), Some(3)));
    assert_eq!(got.toppings, [Topping { name: "seeds".into(), grams: 5 }]);
    let got = bake(file, &["bake.flours=oat,7"], &["--shelf", "7", "--helpers", "2"]);
    assert_eq!((got.flours, got.shelf, got.helpers), (vec!["oat".into(), "7".into()], "7".into(), Some(2)));
    assert_eq!(bake("", &[], &["--shelf", "7"]).shelf, PathBuf::from("7"));
    assert_eq!(bake("", &["bake.shelf=2025"], &[]).shelf, PathBuf::from("2025"));
    assert_eq!(bake("", &["bake.flours=[\"a\", \"b\"]"], &[]).flours, ["a", "b"]);
    assert_eq!(bake(file, &[], &["--flours", "a,b"]).flours, ["a", "b"]);
}

#[test]
fn a_step_has_what_its_table_says_differently() {
    let file = "[run]\njobs = [\"bake\", \"bake@dark\"]\n[bake]\nloaves = 5\nheat = 200\n[bake.dark]\nheat = 250\n";
    let step = |set: &[&str], step: &str| {
        settings::<Bake>(file, set, step, &[]).map(|b| (b.loaves, b.oven.heat)).expect("good")
    };
    assert_eq!(step(&[], "bake"), (5, 200.0));
    assert_eq!(step(&[], "bake@dark"), (5, 250.0));
    assert_eq!(step(&["bake.heat=180"], "bake@dark"), (5, 180.0));
    assert_eq!(step(&["bake.dark.heat=260", "bake.heat=180"], "bake@dark"), (5, 260.0));
    assert_eq!(step(&["bake.dark.heat=260"], "bake"), (5, 200.0));
    let shared = settings::<Warm>(file, &[], "warm@dark", &[]).expect("good");
    assert_eq!((shared.oven.heat, shared.hours), (250.0, 1));
    assert_eq!(
        settings::<Warm>("[warm]\nheat = 90\n[bake]\nheat = 200\n", &[], "warm", &[]).expect("good").oven.heat,
        90.0
    );

    // Who runs only some of a file's steps leaves the others' tables as they are.
    assert_eq!(step(&["run.jobs=[\"bake\"]"], "bake"), (5, 200.0));
    let unknown = wrong("[run]\njobs = [\"bake\"]\n[bake.dark]\nheat = 250\n", &[]);
    assert_eq!(unknown, "c.toml:3: [bake]: dark is no setting of it\nhint: no step of [run] jobs is called bake@dark");
    let inside = wrong("[run]\njobs = [\"bake@dark\"]\n[bake.dark]\nheta = 250\n", &[]);
    assert_eq!(inside, "c.toml:4: [bake.dark]: heta is no setting of it\nhint: did you mean \"heat\"?");
    let nameless = wrong("[run]\njobs = [\"warm@dark\"]\n", &[]);
    assert_eq!(nameless, "step warm@dark: expected a job whose steps may have names, got warm\nhint: they are bake");
    let clash = wrong("[run]\njobs = [\"bake@toppings\"]\n", &[]);
    assert!(clash.contains("a name that is no setting of bake"), "{clash}");
    assert!(wrong("[run]\njobs = [\"bake@\"]\n", &[]).contains("for example generate@student"));
    assert!(wrong("[run]\njobs = [\"cake\"]\n", &[]).contains("did you mean \"bake\"?"));
    assert!(wrong("[run]\njobs = \"bake\"\n", &[]).starts_with("c.toml:2: [run] jobs: expected a list of jobs"));
}

#[test]
fn a_step_for_each_seed_names_the_steps_of_its_seed() {
    let file = "[run]\nseeds = 2\njobs = [\"bake@rye-sN\", \"bake\"]\n[bake]\nloaves = 5\nseed = 7\n\
                [bake.rye-sN]\nloaves = 6\nshelf = \"bake@dough-sN\"\n[bake.rye-s2]\nheat = 250\n";
    let steps: Vec<String> = config(file, &[]).expect("good").steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["bake@rye-s1", "bake@rye-s2", "bake"]);
    let of = |step: &str, set: &[&str]| {
        let bake = settings::<Bake>(file, set, step, &[]).expect("good");
        (bake.seed, bake.loaves, bake.oven.heat, bake.shelf.display().to_string())
    };
    assert_eq!(of("bake@rye-s1", &[]), (1, 6, 220.5, "bake@dough-s1".into()));
    assert_eq!(of("bake@rye-s2", &[]), (2, 6, 250.0, "bake@dough-s2".into()));
    assert_eq!(of("bake", &[]), (7, 5, 220.5, "shelf".into()));
    assert_eq!(of("bake@rye-s3", &["run.seeds=3", "bake.rye-sN.loaves=9"]), (3, 9, 220.5, "bake@dough-s3".into()));
    let none = wrong("[run]\nseeds = 0\n", &[]);
    assert!(none.starts_with("c.toml:2: [run] seeds: expected 1 to 1000, got 0"), "{none}");
}

#[test]
fn mistakes_are_named_with_file_and_line() {
    for (file, expected) in [
        ("[bake]\n\nloavs = 3\n", "c.toml:3: [bake]: loavs is no setting of it\nhint: did you mean \"loaves\"?"),
        (
            "[bake]\nloaves = \"many\"\n",
            "c.toml:2: [bake] loaves: expected u32, got string \"many\"\nhint: see `querent bake --help`",
        ),
        (
            "[bake]\nloaves = 0\n",
            "c.toml:2: [bake] loaves: 0 is not in 1..=4294967295\nhint: see `querent bake --help`",
        ),
        (
            "[bake]\nfrom = \"below\"\n",
            "c.toml:2: [bake] from: unknown variant `below`, expected `above` or `all-sides`\nhint: did you mean \"above\"?",
        ),
        ("[bake]\nheat = nan\n", "c.toml:2: expected a finite number, got nan\nhint: write another value"),
        ("[bake]\nheats = 3\n", "c.toml:2: [bake]: heats is no setting of it\nhint: did you mean \"heat\"?"),
        ("[bake]\nhours = 3\n", "c.toml:2: [bake]: hours is no setting of it\nhint: hours belongs to [warm]"),
        ("[warm]\nloaves = 3\n", "c.toml:2: [warm]: loaves is no setting of it\nhint: loaves belongs to [bake]"),
        ("[bake]\nthreads = 3\n", "c.toml:2: [bake]: threads is no setting of it\nhint: threads belongs to [run]"),
        ("[run]\ndry_run = true\n", "c.toml:2: [run]: dry_run is no setting of it\nhint: it is a flag only: --dry-run"),
        ("[back]\n", "c.toml:1: [back]: expected run or a job (bake, warm, run)\nhint: did you mean \"bake\"?"),
        ("bake = 3\n", "c.toml:1: bake: expected a section\nhint: write [bake], and its settings below"),
        ("[bake]\nloaves = \n", "c.toml:2: "),
        (
            "[[bake.toppings]]\nname = \"a\"\ngrams = 1\n\n[[bake.toppings]]\nname = \"b\"\ngrms = 1\n",
            "c.toml:5: [bake] toppings: unknown field `grms`, expected `name` or `grams`\nhint: did you mean \"grams\"?",
        ),
    ] {
        let got = wrong(file, &[]);
        assert!(got.starts_with(expected), "{got}");
    }
    let set = wrong("", &["bake.loaves=many"]);
    assert!(set.starts_with("--set bake.loaves=many: [bake] loaves: expected u32, got string \"many\""), "{set}");
    assert!(wrong("", &["bake=3"]).contains("expected SECTION.KEY=VALUE"));
    assert!(wrong("", &["bake.=3"]).contains("expected SECTION.KEY=VALUE"));
    assert!(wrong("", &["bke.loaves=3"]).contains("did you mean \"bake\"?"));
    let command = super::context::command_of_job::<Bake>().no_binary_name(true);
    let matches = command.try_get_matches_from(["--heat", "nan"]).expect("clap reads it");
    let error =
        layers::settings::<Bake>(&config("", &[]).expect("empty"), &Step::of("bake"), &matches).expect_err("no number");
    assert!(error.to_string().starts_with("--heat: expected a finite number"), "{error}");
}

#[test]
fn shares_are_shares_and_threads_are_some() {
    let run = |text: &str, flags: &[&str]| -> Result<()> {
        let command = super::context::command_of_job::<Bake>().no_binary_name(true);
        let matches = command.try_get_matches_from(flags).map_err(|e| Error::usage(e, ""))?;
        super::context::RunSettings::resolve(&config(text, &[])?, &matches).map(|_| ())
    };
    for bad in ["nan", "-1", "2", "inf", "much"] {
        assert!(run("", &[&format!("--max-bad-ratio={bad}")]).is_err(), "{bad}");
        assert!(run(&format!("[run]\nmax_bad_ratio = {bad}\n"), &[]).is_err(), "{bad}");
    }
    assert!(run("", &["--threads", "0"]).is_err());
    assert!(run("[run]\nthreads = 0\n", &[]).is_err());
    assert!(
        run(
            "[run]\nthreads = 3\nmax_bad_ratio = 1\nkeep_versions = 2\nuser_key_file = \"key\"\njobs = [\"bake\"]\n",
            &[]
        )
        .is_ok()
    );
}

#[test]
fn a_setting_may_name_a_step() -> Result<()> {
    let place = tempfile::tempdir().expect("a folder");
    let root = place.path().display().to_string();
    let file = place.path().join("c.toml");
    std::fs::write(&file, "[run]\njobs = [\"bake@dark\", \"warm\"]\n").expect("writable");
    let command = super::context::command_of_job::<Warm>().no_binary_name(true);
    let file = file.display().to_string();
    let matches = command.try_get_matches_from(["--data", &root, "--config", &file]).expect("good flags");
    let context = Context::of_job(&COMMANDS, Step::of("warm"), &matches)?;
    let folder = |named: &str| context.folder(named.as_ref());
    assert_eq!(folder("bake@dark")?, PathBuf::from("loaf.dark"));
    assert_eq!(folder("bake")?, PathBuf::from("loaf"));
    assert_eq!(folder("some/folder")?, PathBuf::from("some/folder"));
    assert!(folder("warm").is_err_and(|e| e.to_string().contains("a step that makes a folder")));
    assert_eq!(context.dataset("warmth"), "warmth");
    assert_eq!(context.of_step(&"warm@x".parse()?).dataset("warmth"), "warmth.x");
    assert_eq!(context.of_step(&"warm@x".parse()?).unnamed().dataset("warmth"), "warmth");
    Ok(())
}

#[test]
fn help_is_the_jobs_own_and_the_start_page_lists_all() -> Result<()> {
    let mut command = cli::command(&COMMANDS);
    let help = command.find_subcommand_mut("bake").expect("listed").render_long_help().to_string();
    assert!(help.starts_with("Bake bread from dough.\n\nReads dough. Writes bread."), "{help}");
    let order: Vec<_> =
        ["--heat", "--loaves", "--threads"].iter().map(|flag| help.find(flag).expect("listed")).collect();
    assert!(order.is_sorted(), "{help}");
    super::check(&COMMANDS);
    let mut page = Vec::new();
    cli::start_page(&mut page, &COMMANDS)?;
    let page = String::from_utf8(page).expect("text");
    assert!(page.contains("bake           Bake bread from dough\n") && page.contains("demo.toml"), "{page}");
    Ok(())
}

#[test]
fn what_is_printed_steers_no_terminal() -> Result<()> {
    let mut out = Vec::new();
    let mut summary = Summary::artifact("bake \u{1b}[2J", dataset::Outcome::UpToDate, 1.0);
    output::print(&mut output::Plain(&mut out), &summary)?;
    assert_eq!(String::from_utf8_lossy(&out), "bake \u{fffd}[2J: up to date\n");
    out.clear();
    summary.job = "bake@dark".into();
    output::stages(&mut out, &[summary])?;
    let text = String::from_utf8_lossy(&out).into_owned();
    assert!(
        text.lines().nth(1).is_some_and(|line| line.starts_with("bake@dark ") && line.ends_with("up to date")),
        "{text}"
    );
    out.flush()?;
    Ok(())
}
