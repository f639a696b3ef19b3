//! `querent import`: another system's lists, to be evaluated beside ours.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use dataset::{Input, Origin, Summary};
use news::{Candidates, Import, ImportColumns, Lists, Pool};
use schemas::Profiles;

use crate::context::{ConfigError, Context, KeyFlags, Shared};
use crate::output;
use crate::retrieve::METHODS;

/// Bring in the lists of another recommender, to evaluate them beside ours.
///
/// Reads Parquet files with a row per user and article, and a rank or a score. Writes recommendations.METHOD. Of an article that is
/// in a list twice the first counts; equal ranks and scores that are no numbers are errors.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// What the method is called from now on
    method: String,
    /// Parquet files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Column with the platform's user ids [default: user_id]
    #[arg(long, value_name = "COLUMN")]
    user_column: Option<String>,
    /// The user column has querent's own ids (32 hex digits)
    #[arg(long)]
    hashed: bool,
    /// Column with the articles' ids [default: news_id]
    #[arg(long, value_name = "COLUMN")]
    news_id_column: Option<String>,
    /// Column with ranks from 1 [default: rank]
    #[arg(long, value_name = "COLUMN")]
    rank_column: Option<String>,
    /// Column with scores, used where there are no ranks [default: score]
    #[arg(long, value_name = "COLUMN")]
    score_column: Option<String>,
    #[command(flatten)]
    shared: Shared,
    #[command(flatten)]
    key: KeyFlags,
}

pub(crate) fn main(flags: Flags) -> Result<()> {
    let Flags { method, files, user_column, hashed, news_id_column, rank_column, score_column, shared, key } = flags;
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if method.is_empty() || !method.chars().all(fine) {
        let what = format!("METHOD: expected letters, digits, - and _, got {method:?}");
        return Err(ConfigError::new(what, "such as production").into());
    }
    if METHODS.contains(&method.as_str()) {
        let what = format!("METHOD: expected another name than {}, got {method}", METHODS.join(", "));
        return Err(ConfigError::new(what, "`querent retrieve` writes the lists of these").into());
    }
    let context = Context::new(&shared)?;
    let default = ImportColumns::default();
    let columns = ImportColumns {
        user: user_column.unwrap_or(default.user),
        news_id: news_id_column.unwrap_or(default.news_id),
        rank: rank_column.unwrap_or(default.rank),
        score: score_column.unwrap_or(default.score),
        hashed,
    };
    let runner = &context.runner;
    let news = Pool::open(&runner.store, Candidates::All, 0)?;
    let profiles = Input::<Profiles>::open(&runner.store, "profiles")?;
    let lists = Lists::new(files, columns, key.find()?, profiles)?;
    let dataset = format!("recommendations.{method}");
    let summary: Summary = runner.run(&Import { method, news: &news }, &lists, &[&dataset], Origin::default())?;
    output::print_all(&[summary])
}
