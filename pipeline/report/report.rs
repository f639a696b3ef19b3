//! The page as an artifact: up to date for as long as no dataset has a newer version and no policy was trained anew.

use std::collections::BTreeMap;

use dataset::{Artifact, Draft, Error, Inputs, Kind, Resources, Result};
use serde::{Deserialize, Serialize};

use crate::chosen::ChosenTable;
use crate::found::Found;
use crate::gather::Content;
use crate::page::page;
use crate::runs::{FoundRun, training_runs};
use crate::throughput::ThroughputWords;

/// What the page shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(default)]
pub struct Report {
    /// Users to show
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub users: usize,
    /// Whose lists to show [default: interests, else own-titles, else what there is]
    #[arg(long, value_name = "METHOD")]
    pub method: Option<String>,
    /// Lists to show of each training run: the N best and the N worst of its last step
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub lists: usize,
    /// Tables of chosen methods.
    #[arg(skip)]
    pub tables: Vec<ChosenTable>,
    /// What is said above the policies' throughput.
    #[arg(skip)]
    pub throughput: ThroughputWords,
}

impl Default for Report {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl Report {
    /// Checks that the settings make sense.
    pub fn check(&self) -> Result<()> {
        // They are drawn by their logarithms.
        let numbers = self.tables.iter().flat_map(|table| &table.rows).filter_map(|row| row.x);
        match numbers.into_iter().find(|x| !(*x > 0.0 && x.is_finite())) {
            Some(x) => {
                Err(Error::setting("report.tables.rows.x", "a number above 0", x, "leave it out of rows without one"))
            }
            None => Ok(()),
        }
    }
}

impl Artifact for Report {
    const NAME: &'static str = "report";
    const VERSION: u32 = 6;
    const FILE: bool = true;
    type Inputs = Found;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Found> {
        self.check()?;
        let mut found = Found::all_of(declare.store())?;
        if found.manifests.is_empty() {
            let hint = "run a pipeline first: `querent run`";
            return Err(Error::usage(format!("{}: there are no datasets", found.root()), hint).of_kind(Kind::Missing));
        }
        self.shown(&found)?;
        // The page names each version, and when and how it was made: one of the same rows gives another page.
        let versions: BTreeMap<&str, _> =
            found.manifests.iter().map(|(name, m)| (name.as_str(), (m.version, &m.content, &m.nonce))).collect();
        declare.value("datasets", versions)?;
        declare.value("root", found.root())?;
        for (name, folder) in training_runs(declare.store())? {
            let identity = declare.artifact(&format!("training run {name}"), &folder)?;
            found.runs.push(FoundRun { name, folder, lineage: identity.lineage });
        }
        Ok(found)
    }

    fn make(&self, found: &Found, draft: &Draft, _: &Resources) -> Result<()> {
        let content = Content::gather(found, self.users, self.shown(found)?, self.lists)?;
        let (tables, throughput_words) = (self.tables.clone(), self.throughput.clone());
        let content = Content { tables, throughput_words, ..content };
        // The draft of `report.html` is the folder `report.html.unfinished`, and holds it under its own name.
        let name = draft.path.file_stem().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| {
            Error::setting("report.output", "a file's name in UTF-8", draft.path.display(), "name another file")
        })?;
        draft.write(name, page(&content).as_bytes())
    }
}

impl Report {
    /// Whose lists the sample shows, if there are any lists.
    fn shown<'a>(&self, found: &'a Found) -> Result<Option<&'a str>> {
        let methods: Vec<&str> = found.methods().map(|(method, _)| method).collect();
        let named = |name: &str| methods.iter().copied().find(|method| *method == name);
        match &self.method {
            Some(method) => named(method).map(Some).ok_or_else(|| {
                let expected = format!("one of {}", methods.join(", "));
                Error::setting("report.method", expected, method, "run retrieve first")
            }),
            None => Ok(["interests", "own-titles"].into_iter().find_map(named).or(methods.first().copied())),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::path::Path;

    use dataset::{Done, KeySource, Outcome, Rows, Runner, Stage, Store, Style, encode};
    use schemas::{PolicyState, PolicyStateColumns, Statistics, StatisticsColumns, Table, TrainLog, TrainLogColumns};
    use tempfile::TempDir;

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Toy {
        users: f64,
    }

    impl Stage for Toy {
        const NAME: &'static str = "toy";
        const VERSION: u32 = 1;
        const UNIT: &'static str = "statistics";
        type Inputs = ();
        type Shared = ();
        type Outputs = Rows<Statistics>;

        fn inputs(&self, _: &mut Inputs<'_>) -> Result<()> {
            Ok(())
        }

        fn open(&self, _: &(), _: &Resources) -> Result<()> {
            Ok(())
        }

        fn run(&self, _: &(), _: &(), _: u32) -> Result<Done<Rows<Statistics>>> {
            let outputs = Rows::of(StatisticsColumns {
                position: vec![1].into(),
                statistic: vec!["# Users"].into(),
                value: vec![self.users].into(),
            })?;
            Ok(Done { outputs, accounts: Vec::new() })
        }
    }

    /// A training of two steps.
    #[derive(Serialize, Deserialize)]
    struct ToyRun {
        steps: u64,
        reward: f64,
    }

    impl Artifact for ToyRun {
        const NAME: &'static str = "grpo";
        const VERSION: u32 = 1;
        type Inputs = ();

        fn inputs(&self, _: &mut Inputs<'_>) -> Result<()> {
            Ok(())
        }

        fn make(&self, _: &(), draft: &Draft, _: &Resources) -> Result<()> {
            let text = |text: &str| vec![text.to_owned()].into();
            let state = PolicyStateColumns {
                step: vec![2].into(),
                prompt_cursor: vec![0].into(),
                random: [Vec::<i64>::new()].into_iter().collect(),
                settings_digest: text(""),
                base: text("{}"),
                base_path: vec![None::<&str>].into(),
                config: text("{}"),
                lora: vec![None::<&str>].into(),
                tokenizer: text("{}"),
                prompt: vec![None::<&str>].into(),
                metrics: text("{}"),
                files: text("{}"),
            };
            let log = TrainLogColumns {
                step: vec![1, 1, 2].into(),
                figure: vec!["reward.mean", "valid.reward.mean", "reward.mean"].into(),
                value: vec![0.25, 0.5, self.reward].into(),
            };
            let (state, log) = (Rows::<PolicyState>::of(state)?, Rows::<TrainLog>::of(log)?);
            draft.write("state.parquet", &encode(&PolicyState::contract(), state.batches())?)?;
            draft.write("train_log/step=000002.parquet", &encode(&TrainLog::contract(), log.batches())?)
        }
    }

    /// Over a root.
    pub(crate) fn runner(root: &Path) -> Runner {
        let resources = Resources {
            store: Store::open(root.to_str().unwrap()).unwrap(),
            threads: 1,
            memory_limit: 1 << 30,
            progress: Style::Silent,
            max_bad_ratio: 0.0,
            user_key: KeySource::default(),
        };
        Runner { resources, shard: None, dry_run: false, keep_versions: 0, git_revision: String::new() }
    }

    #[test]
    fn the_page_is_made_again_when_a_dataset_has_a_newer_version_or_a_run_is_another() {
        let folder = TempDir::new().unwrap();
        let runner = runner(folder.path());
        let target = folder.path().join("report.html");
        let report = Report::default();
        let error = runner.make(&report, &target).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("there are no datasets"), "{error}");
        for users in [1234.0, 1235.0] {
            runner.run(&Toy { users }, &["statistics"]).unwrap();
            assert_eq!(runner.make(&report, &target).unwrap(), Outcome::Committed);
            assert_eq!(runner.make(&report, &target).unwrap(), Outcome::UpToDate);
            let page = fs::read_to_string(&target).unwrap();
            assert!(page.contains(&format!("1,{}", users - 1000.0)), "{page}");
        }
        let page_of = |reward: f64, outcome: Outcome| {
            let name = folder.path().join("policy.toy");
            assert_eq!(runner.make(&ToyRun { steps: 3, reward }, &name).unwrap(), outcome);
            assert_eq!(runner.make(&report, &target).unwrap(), outcome, "as the run");
            fs::read_to_string(&target).unwrap()
        };
        let first = page_of(0.5, Outcome::Committed);
        assert!(first.contains("policy.toy") && first.contains("2 of 3 steps"), "{first}");
        assert_eq!(page_of(0.5, Outcome::UpToDate), first);
        assert_ne!(page_of(0.75, Outcome::Committed), first);
        // A run at work is not the page's: it has an end only once it is a policy.
        fs::create_dir_all(folder.path().join("policy.more.unfinished/train_log")).unwrap();
        assert_eq!(runner.make(&report, &target).unwrap(), Outcome::UpToDate);
        fs::remove_dir_all(folder.path().join("policy.more.unfinished")).unwrap();
        let error = runner.make(&Report { method: Some("mine".into()), ..report }, &target).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("report.method"), "{error}");
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["policy.toy", "report.html", "report.html.querent.json", "statistics"]);
    }
}
