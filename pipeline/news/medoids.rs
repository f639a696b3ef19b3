//! `themes` as a method: the medoid of each of a user's themes as a query, which takes no training.

use arrow::array::{Int32Array, Int64Array, StringArray};
use clap::Args;
use dataset::{Account, ByPartition, Done, Error, Inputs, Resources, Result, Rows, Stage};
use schemas::{Behaviours, Interests, InterestsColumns, Profiles};
use serde::{Deserialize, Serialize};

use crate::encoder::Declared;
use crate::people::{Among, Asked, distinct};
use crate::queries::QueryVectors;
use crate::retrieve::NOT_ASKED;
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
    /// Whose.
    pub among: Among,
    /// The encoder of behaviours.
    pub encoder: EncoderSettings,
}

impl Medoids {
    /// The dataset that it writes: lists of queries, as `interests` holds them. It has a name of its own, for nobody asked a policy.
    pub const OUTPUT: &str = "themes";
}

/// Users whose behaviours are put to the encoder together: many texts make full batches.
const TOGETHER: usize = 64;

/// What a user did.
struct Behaved {
    user_id: String,
    texts: Vec<String>,
    occurred_at: Vec<i64>,
}

/// What it reads.
#[derive(Debug)]
pub struct Read {
    profiles: ByPartition<Profiles>,
    asked: Option<Asked>,
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
        Ok(Read { profiles, asked: self.among.declare(declare)?, encoder: self.encoder.declare(declare)? })
    }

    fn open(&self, inputs: &Read, _: &Resources) -> Result<QueryVectors> {
        QueryVectors::new(inputs.encoder.open()?)
    }

    fn run(&self, inputs: &Read, vectors: &QueryVectors, partition: u32) -> Result<Done<Self::Outputs>> {
        let mut account = Account::default();
        let mut people: Vec<Behaved> = Vec::new();
        let asked = inputs.asked.as_ref().map(|asked| asked.read(partition)).transpose()?;
        for batch in inputs.profiles.read(partition)?.batches() {
            let (ids, behaviours) = (Profiles::user_id.of(batch)?, Profiles::behaviours.of(batch)?);
            let Behaviours { text, occurred_at, .. } = behaviours.items();
            for row in 0..batch.num_rows() {
                account.input += 1;
                let range = behaviours.range(row);
                match asked.as_ref().is_none_or(|asked| asked.contains(ids.value(row))) {
                    false => account.drop(NOT_ASKED, 1),
                    true if range.is_empty() => account.drop("no behaviours", 1),
                    true => people.push(Behaved {
                        user_id: ids.value(row).to_owned(),
                        texts: range.clone().map(|at| text.value(at).to_owned()).collect(),
                        occurred_at: occurred_at.values()[range].to_vec(),
                    }),
                }
            }
        }
        let (mut users, mut asked): (Vec<&str>, Vec<Vec<String>>) = (Vec::new(), Vec::new());
        for people in people.chunks(TOGETHER) {
            asked.extend(self.queries_of(people, vectors)?);
            users.extend(people.iter().map(|person| person.user_id.as_str()));
        }
        account.output = users.len() as u64;
        account.note("queries", asked.iter().map(|queries| queries.len() as u64).sum());
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

    /// The rows, and the vectors of users who are in work together: a profile has at most 50 behaviours per domain by default.
    fn memory_bytes(&self, vectors: &QueryVectors, input_bytes: u64) -> u64 {
        3 * input_bytes + (3 * TOGETHER * 150 * 4 * vectors.dimensions()) as u64
    }
}

impl Medoids {
    /// The queries of some users.
    fn queries_of(&self, people: &[Behaved], vectors: &QueryVectors) -> Result<Vec<Vec<String>>> {
        let texts: Vec<&str> = people.iter().flat_map(|person| &person.texts).map(String::as_str).collect();
        let (dimensions, values) = (vectors.dimensions(), vectors.get(&texts)?);
        let mut rest = values.as_slice();
        let mut queries = Vec::with_capacity(people.len());
        for Behaved { texts, occurred_at, .. } in people {
            let (own, others) = rest.split_at(dimensions * texts.len());
            let themes = self
                .settings
                .themes
                .of(&Vectors::new(dimensions, own.to_vec()), &self.settings.themes.recency(occurred_at));
            let medoids = themes.iter().map(|theme| texts[theme.medoid].as_str());
            queries.push(distinct(medoids, self.settings.queries));
            rest = others;
        }
        Ok(queries)
    }
}
