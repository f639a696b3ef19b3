//! What holds of the whole crate: a query reads exactly the version that was declared, and metrics are those of other tools.

mod comparing;
mod reading;

use std::path::Path;

use dataset::{KeySource, Resources, Runner, Store, Style};

pub(crate) fn runner(root: &Path, threads: usize) -> Runner {
    let resources = Resources {
        store: Store::open(root.to_str().unwrap()).unwrap(),
        threads,
        memory_limit: 1 << 30,
        progress: Style::Silent,
        max_bad_ratio: 0.0,
        user_key: KeySource::default(),
    };
    Runner { resources, shard: None, dry_run: false, keep_versions: 0, git_revision: String::new() }
}

/// A stage that makes rows of its settings.
macro_rules! toy {
    ($stage:ident, $table:ident, $this:ident, $partition:ident, $declare:ident, $inputs:block, $rows:expr) => {
        impl Stage for $stage {
            const NAME: &'static str = "toy";
            const VERSION: u32 = 1;
            const UNIT: &'static str = "rows";
            type Inputs = ();
            type Shared = ();
            type Outputs = Rows<$table>;

            fn inputs(&$this, $declare: &mut Inputs<'_>) -> Result<()> $inputs

            fn open(&self, _: &(), _: &Resources) -> Result<()> {
                Ok(())
            }

            fn run(&$this, _: &(), _: &(), $partition: u32) -> Result<Done<Rows<$table>>> {
                Ok(Done { outputs: Rows::of($rows)?, accounts: Vec::new() })
            }
        }
    };
}

use toy;
