//! Commits one version after another, for `tests/delta.py` and `tests/globs.py` to count what readers see meanwhile.
//!
//! `cargo run --release -p querent-dataset --example commits -- ROOT VERSIONS PAUSE_MS KEEP_VERSIONS disk|objects`: the dataset `out` under
//! ROOT has 8 partitions of 100 rows, each with its version as the time. `objects` writes as to an object store, which cannot rename.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataset::{Done, Inputs, KeySource, Resources, Result, Rows, Runner, Stage, Store, Style};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use schemas::{Truth, TruthColumns};
use serde::{Deserialize, Serialize};

const PARTITIONS: u32 = 8;
const ROWS: u32 = 100;

#[derive(Debug, Serialize, Deserialize)]
struct Version {
    number: i64,
}

impl Stage for Version {
    const NAME: &'static str = "commits";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "rows";
    type Inputs = ();
    type Shared = ();
    type Outputs = Rows<Truth>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<()> {
        declare.partitions(PARTITIONS)
    }

    fn open(&self, (): &(), _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, (): &(), (): &(), partition: u32) -> Result<Done<Self::Outputs>> {
        let user = format!("{partition:032x}");
        let columns = TruthColumns {
            user_id: (0..ROWS).map(|_| Some(&user)).collect(),
            news_id: (0..ROWS).map(|row| Some(format!("n{row:05}"))).collect(),
            occurred_at: vec![self.number; ROWS as usize].into(),
        };
        Ok(Done { outputs: Rows::of(columns)?, accounts: Vec::new() })
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, versions, pause_ms, keep, kind] = arguments.as_slice() else {
        return Err(dataset::Error::usage(
            "expected ROOT VERSIONS PAUSE_MS KEEP_VERSIONS disk|objects",
            "see the top of the file",
        ));
    };
    let number =
        |text: &str| text.parse::<u64>().map_err(|e| dataset::Error::usage(format!("{text}: {e}"), "a number"));
    let store = match kind.as_str() {
        "objects" => {
            std::fs::create_dir_all(root).map_err(|e| dataset::Error::io(root, e))?;
            let objects = LocalFileSystem::new_with_prefix(root).map_err(|e| dataset::Error::store(root, e))?;
            Store::objects(root, Arc::new(objects), Path::default())?
        }
        _ => Store::open(root)?,
    };
    let runner = Runner {
        resources: Resources {
            store,
            threads: 2,
            memory_limit: 1 << 30,
            progress: Style::Silent,
            max_bad_ratio: 0.0,
            user_key: KeySource::default(),
        },
        shard: None,
        dry_run: false,
        keep_versions: number(keep)? as usize,
        git_revision: "none".into(),
    };
    let started = Instant::now();
    for version in 0..number(versions)? {
        runner.run(&Version { number: version as i64 }, &["out"])?;
        std::thread::sleep(Duration::from_millis(number(pause_ms)?));
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(writeln!(std::io::stderr(), "{versions} versions in {seconds:.1} s")?)
}
