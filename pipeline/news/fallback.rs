//! `fallback.<candidates>`: popular candidates, which readers are shown of whom a method has no list. Every method of a pool has the same.

use dataset::{Account, Done, Inputs, Resources, Result, Rows, Stage, Whole};
use schemas::{FallbackColumns, Popularity};
use serde::{Deserialize, Serialize};

use crate::pool::Corpus;
use crate::{Candidates, PoolSettings, popularity};

/// Chooses the most clicked candidates.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fallback {
    /// Which articles may be recommended.
    pub pool: PoolSettings,
}

/// How many are chosen: as many as lists have by default. All methods of a pool have the same, however long their own lists are.
const ARTICLES: usize = 100;

impl Fallback {
    /// The dataset that it writes, which is another for other candidates.
    pub fn output(&self) -> String {
        let PoolSettings { candidates, candidate_days, .. } = self.pool;
        match candidates {
            Candidates::Live => format!("fallback.{candidates}-{candidate_days}"),
            Candidates::Before | Candidates::All => format!("fallback.{candidates}"),
        }
    }
}

impl Stage for Fallback {
    const NAME: &'static str = "fallback";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "candidates";
    type Inputs = (Corpus, Whole<Popularity>);
    type Shared = ();
    type Outputs = Rows<schemas::Fallback>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Self::Inputs> {
        let corpus = self.pool.declare(declare)?;
        declare.remark(format!("from {}", corpus.about()));
        Ok((corpus, declare.whole("popularity")?))
    }

    fn open(&self, _: &Self::Inputs, _: &Resources) -> Result<()> {
        Ok(())
    }

    fn run(&self, (corpus, clicks): &Self::Inputs, (): &(), _: u32) -> Result<Done<Self::Outputs>> {
        let pool = corpus.open()?;
        let ranking = popularity(clicks, &pool)?;
        let mut account = Account { input: ranking.len() as u64, ..Account::default() };
        let chosen = &ranking[..ARTICLES.min(ranking.len())];
        account.output = chosen.len() as u64;
        account.drop("less popular", account.input - account.output);
        let rows = FallbackColumns {
            rank: (1..=chosen.len() as i32).collect::<Vec<_>>().into(),
            news_id: chosen.iter().map(|(article, _)| Some(&pool.ids()[*article as usize])).collect(),
            clicks: chosen.iter().map(|(_, clicks)| *clicks).collect::<Vec<_>>().into(),
        };
        Ok(Done { outputs: Rows::of(rows)?, accounts: vec![account] })
    }
}
