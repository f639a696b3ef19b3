//! `themes` as a method: the medoid of each of a user's themes as a query, which takes no training.

use arrow::array::{Int32Array, Int64Array, StringArray};
use clap::Args;
use dataset::{Account, ByPartition, Done, Error, Inputs, Resources, Result, Rows, Stage};
use schemas::{Behaviours, Interests, InterestsColumns, Profiles};
use serde::{Deserialize, Serialize};

use crate::encoder::Declared;
use crate::people::distinct;
use crate::queries::QueryVectors;
use crate::{EncoderSettings, ThemeSettings, Vectors};

/// Which behaviours the method asks with.
#[derive(Debug, Clone, Copy, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct MedoidSettings {
    /// Queries that themes asks with: those of the heaviest themes
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub queries: usize,
    /// What a theme is
    #[command(flatten)]
    #[serde(flatten)]
    pub themes: ThemeSettings,
}

impl Default for MedoidSettings {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// Asks with what lies in the middle of each of a user's themes: the same clusters as those of the coverage reward.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Medoids {
    /// Which behaviours.
    pub settings: MedoidSettings,
    /// The encoder of behaviours.
    pub encoder: EncoderSettings,
}

impl Medoids {
    /// The dataset that it writes: lists of queries, as `interests` holds them. It has a name of its own, for nobody asked a policy.
    pub const OUTPUT: &str = "themes";
}

/// What it reads.
#[derive(Debug)]
pub struct Read {
    profiles: ByPartition<Profiles>,
    encoder: Declared,
}

impl Stage for Medoids {
    const NAME: &'static str = "themes";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "users";
    type Inputs = Read;
    type Shared = QueryVectors;
    type Outputs = Rows<Interests>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Read> {
        self.settings.themes.check("retrieve")?;
        if self.settings.queries == 0 {
            return Err(Error::setting("retrieve.queries", "at least 1", 0, "see `querent retrieve --help`"));
        }
        let profiles = declare.by_partition::<Profiles>("profiles")?;
        let profiles = profiles.columns(&[Profiles::user_id.name(), Profiles::behaviours.name()]);
        Ok(Read { profiles, encoder: self.encoder.declare(declare)? })
    }

    fn open(&self, inputs: &Read, _: &Resources) -> Result<QueryVectors> {
        QueryVectors::new(inputs.encoder.open()?)
    }

    fn run(&self, inputs: &Read, vectors: &QueryVectors, partition: u32) -> Result<Done<Self::Outputs>> {
        let mut account = Account::default();
        let (mut users, mut asked): (Vec<String>, Vec<Vec<String>>) = (Vec::new(), Vec::new());
        for batch in inputs.profiles.read(partition)?.batches() {
            let (ids, behaviours) = (Profiles::user_id.of(batch)?, Profiles::behaviours.of(batch)?);
            let Behaviours { text, occurred_at, .. } = behaviours.items();
            for row in 0..batch.num_rows() {
                account.input += 1;
                let range = behaviours.range(row);
                let texts: Vec<&str> = range.clone().map(|at| text.value(at)).collect();
                if texts.is_empty() {
                    account.drop("no behaviours", 1);
                    continue;
                }
                let queries = self.medoids(&texts, &occurred_at.values()[range], vectors)?;
                account.output += 1;
                account.note("queries", queries.len() as u64);
                users.push(ids.value(row).to_owned());
                asked.push(queries);
            }
        }
        let rows = users.len();
        let rows = InterestsColumns {
            user_id: users.iter().map(Some).collect(),
            candidate: Int32Array::from(vec![0; rows]),
            queries: asked.into_iter().collect(),
            reasoning: StringArray::new_null(rows),
            reward: vec![None; rows].into(),
            structure: vec![None; rows].into(),
            policy: StringArray::from(vec![Self::NAME; rows]),
            sample: Int32Array::from(vec![0; rows]),
            seed: Int64Array::from(vec![0; rows]),
            finish: StringArray::from(vec!["done"; rows]),
        };
        Ok(Done { outputs: Rows::of(rows)?, accounts: vec![account] })
    }

    /// The rows, and one user's vectors and distances.
    fn memory_bytes(&self, _: &QueryVectors, input_bytes: u64) -> u64 {
        3 * input_bytes + (16 << 20)
    }
}

impl Medoids {
    fn medoids(&self, texts: &[&str], occurred_at: &[i64], vectors: &QueryVectors) -> Result<Vec<String>> {
        let vectors = Vectors::new(vectors.dimensions(), vectors.get(texts)?);
        let themes = self.settings.themes.of(&vectors, &self.settings.themes.recency(occurred_at));
        Ok(distinct(themes.iter().map(|theme| texts[theme.medoid]), self.settings.queries))
    }
}
