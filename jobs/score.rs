//! `querent score`: interests to scores, and why.

use std::io::Write;

use clap::Args;
use dataset::{Result, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};
use crate::index::popularity;

/// Say what lists of queries are worth: the five components of their reward, and the reward.
///
/// Reads profiles, interests, news and news_vectors, and popularity, which it brings up to date from clean_events. Writes scores; score@NAME reads
/// interests.NAME and writes scores.NAME. The components, each from 0 to 1: align (how near the articles known before the cut-off that a query
/// fetches are to it and to the user's themes), coverage (the user's themes that some query is near to), specificity (queries with content words), diversity (how
/// far the queries are from each other), structure (the output is a list). The reward is their weighted sum, once each is brought to one scale.
/// Nothing here reads what people clicked after the cut-off. --explain shows why a user's lists score what they score.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Score {
    /// Score nothing, and print why this user's lists score what they score: themes, which query covers which, the articles that
    /// each fetches, what made one generic. It shows what the user did
    #[arg(long, value_name = "USER")]
    #[serde(skip_serializing)]
    explain: Option<String>,
    /// Score nothing, and serve rewards to other trainers on this port of 127.0.0.1, 0 for any that is free, until stopped; who asks needs the token
    /// in QUERENT_SCORE_TOKEN. POST /get_reward (OpenRLHF), /reward (slime; jobs/shims/ for TRL and verl) or /verify (NeMo-Gym). A
    /// list's label is a user id of profiles
    #[arg(long, value_name = "PORT", conflicts_with = "explain")]
    #[serde(skip_serializing)]
    serve: Option<u16>,
    #[command(flatten)]
    #[serde(flatten)]
    server: reward::ServeSettings,
    #[command(flatten)]
    #[serde(flatten)]
    stage: reward::ScoreLists,
}

impl Score {
    fn stage(&self, context: &Context) -> reward::ScoreLists {
        reward::ScoreLists { interests: context.dataset("interests"), ..self.stage.clone() }
    }
}

impl Job for Score {
    const NAME: &'static str = "score";
    const NAMED: bool = true;
    const SHARES: &'static [&'static str] = &["embed", "index"];

    fn check(&self) -> Result<()> {
        self.stage.rewards.check(Self::NAME)
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let mut summaries = popularity(context, self.stage.rewards.pool().reads_popularity())?;
        if self.explain.is_none() && self.serve.is_none() {
            summaries.push(context.run(&self.stage(context), &["scores"])?);
        }
        Ok(summaries)
    }

    fn show(&self, context: &Context, out: &mut dyn Write) -> Result<()> {
        if let Some(user_id) = &self.explain {
            return reward::explain(&self.stage(context), context.store(), user_id, out);
        }
        let Some(port) = self.serve else { return Ok(()) };
        let token = std::env::var(reward::TOKEN).unwrap_or_default();
        let server = reward::Server::open(&self.stage(context), &self.server, context.store(), port, &token)?;
        writeln!(out, "score: serving at http://127.0.0.1:{}", server.port())?;
        out.flush()?;
        server.run();
        Ok(())
    }
}
