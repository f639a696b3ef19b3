//! Best-of-n, read off lists that were all kept.

use std::collections::BTreeMap;

use arrow::array::{Float32Array, StringArray};
use dataset::{ByPartition, Done, Inputs, Resources, Result, Rows, Runner, Stage, Whole};
use schemas::{Interests, InterestsColumns, Profiles, Recommendations};
use serde::{Deserialize, Serialize};

use super::{WORLD, World, runner};
use crate::{Candidates, Retrieve, Retriever};

/// Three lists of each user, the last sampled best: sample n asks for article n.
#[derive(Debug, Serialize, Deserialize)]
struct Kept;

const LISTS: usize = 3;

impl Stage for Kept {
    const NAME: &'static str = "generate";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "users";
    type Inputs = ByPartition<Profiles>;
    type Shared = ();
    type Outputs = Rows<Interests>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<ByPartition<Profiles>> {
        Ok(declare.by_partition::<Profiles>("profiles")?.columns(&[Profiles::user_id.name()]))
    }

    fn open(&self, _: &ByPartition<Profiles>, _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, profiles: &ByPartition<Profiles>, (): &(), partition: u32) -> Result<Done<Self::Outputs>> {
        let mut users = Vec::new();
        for batch in profiles.read(partition)?.batches() {
            users.extend(Profiles::user_id.of(batch)?.iter().flatten().map(str::to_owned));
        }
        let samples = || users.iter().flat_map(|_| (0..LISTS as i32).rev());
        let rows = LISTS * users.len();
        let columns = InterestsColumns {
            user_id: users.iter().flat_map(|user| [Some(user); LISTS]).collect(),
            candidate: samples().map(|sample| LISTS as i32 - 1 - sample).collect::<Vec<_>>().into(),
            queries: samples().map(|sample| [World::article(sample as usize)]).collect(),
            reasoning: StringArray::new_null(rows),
            reward: samples().map(|sample| Some(sample as f32)).collect::<Float32Array>(),
            structure: vec![1.0; rows].into(),
            policy: StringArray::from(vec!["somebody"; rows]),
            sample: samples().collect::<Vec<_>>().into(),
            seed: vec![1; rows].into(),
            finish: StringArray::from(vec!["stop"; rows]),
        };
        Ok(Done { outputs: Rows::of(columns)?, accounts: Vec::new() })
    }
}

/// The first article of each user.
fn firsts(runner: &Runner, dataset: &str) -> Result<BTreeMap<String, String>> {
    let mut firsts = BTreeMap::new();
    for part in Whole::<Recommendations>::open(runner.store(), dataset)?.parts() {
        for columns in part?.columns() {
            let columns = columns?;
            for row in (0..columns.rank.len()).filter(|row| columns.rank.value(*row) == 1) {
                firsts.insert(columns.user_id.value(row).to_owned(), columns.news_id.value(row).to_owned());
            }
        }
    }
    Ok(firsts)
}

#[test]
fn the_best_of_n_is_the_best_of_those_sampled_first() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let runner = runner(&folder.path().join("data"))?;
    WORLD.make(&runner)?;
    runner.run(&Kept, &["interests"])?;
    let settings = Retrieve { retriever: Retriever::Bm25, keep_seen: true, articles: 1, ..Retrieve::default() };
    let settings =
        Retrieve { pool: crate::PoolSettings { candidates: Candidates::All, ..settings.pool.clone() }, ..settings };
    let by = |best_of: Option<usize>| Retrieve { best_of, ..settings.clone() }.by("interests");
    for (best_of, sample) in [(Some(1), 0), (Some(2), 1), (Some(3), 2), (None, 2)] {
        let stage = by(best_of);
        runner.run(&stage, &[&stage.output()])?;
        let firsts = firsts(&runner, &stage.output())?;
        assert_eq!(firsts.len(), WORLD.users);
        assert!(firsts.values().all(|article| *article == World::article(sample)), "{best_of:?}: {firsts:?}");
    }
    let error = runner.run(&by(Some(4)), &["recommendations.interests"]).expect_err("three were kept");
    assert!(error.to_string().contains("retrieve.best_of") && error.exit_code() == 2, "{error}");
    assert!(error.to_string().contains("got 4 with 3 of them"), "{error}");
    Ok(())
}
