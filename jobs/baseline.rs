//! `querent baseline`: recommendations by a recommender of the field.

use std::path::PathBuf;

use baselines::{ListSettings, Model, PinnerSage, Recommend, Train, TrainSettings};
use clap::{Args, ValueEnum};
use dataset::{Error, Outcome, Result, Summary};
use news::Fusion;
use serde::{Deserialize, Serialize};

use crate::fallback::fallback;
use crate::frame::{Context, Job};

/// Recommend news by a recommender of the field, to compare with.
///
/// Reads profiles, events, news and news_vectors. Writes recommendations.MODEL, which evaluate compares with those of retrieve: the same
/// histories, candidates, seen articles left out, and length of lists. pinnersage asks with the medoids of the clusters of what a user
/// read (Ward's, up to the cost --alpha), those of the largest importance; it is not trained. gru, sasrec and hstu are: they learn to tell each
/// click of the users of the split train from the clicks before it, until those of valid say that it gets no better. The model is a folder,
/// baseline.MODEL, with train_log/ in it, which inspect shows; a killed run goes on from its last look. A step baseline@NAME writes
/// recommendations.NAME, so several settings of one model can stand side by side.
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Baseline {
    /// The recommender [default: the one that the step is named after]
    #[arg(long, value_name = "MODEL", value_enum)]
    model: Option<Model>,
    /// The folder of the trained model [default: baseline.MODEL under --data]
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip_serializing)]
    output: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    train: TrainSettings,
    #[command(flatten)]
    #[serde(flatten)]
    pinnersage: PinnerSage,
    /// How the lists of a user's medoids become one
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Fusion::Max)]
    fusion: Fusion,
    #[command(flatten)]
    #[serde(flatten)]
    lists: ListSettings,
}

impl Job for Baseline {
    const NAME: &'static str = "baseline";
    const SHARES: &'static [&'static str] = &["index", "retrieve"];
    const NAMED: bool = true;

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let (model, method) = self.named(context)?;
        let mut summaries = fallback(&context.unnamed(), &self.lists.pool, self.lists.articles)?;
        let trained = if model.is_trained() {
            let folder = context.output(self.output.as_deref(), &format!("{}.{method}", Self::NAME))?;
            crate::keep_memory();
            crate::undivided_operations();
            let made = context.make(&Train { model, settings: self.train.clone() }, &folder)?;
            let would_run = matches!(made.outcome, Outcome::WouldRun(_));
            summaries.push(made);
            if would_run {
                return Ok(summaries);
            }
            Some(folder)
        } else {
            None
        };
        let stage = Recommend {
            method: method.clone(),
            model,
            pinnersage: (model == Model::Pinnersage).then_some(self.pinnersage),
            trained,
            fusion: self.fusion,
            lists: self.lists.clone(),
        };
        let context = &context.unnamed();
        let summary = context.run(&stage, &[&stage.output()])?;
        summaries.push(Summary { job: format!("{} {method}", summary.job), ..summary });
        Ok(summaries)
    }
}

impl Baseline {
    /// The model, and what its lists are called.
    fn named(&self, context: &Context) -> Result<(Model, String)> {
        let name = context.step().name.clone();
        let model = self.model.or_else(|| name.as_deref().and_then(|name| Model::from_str(name, false).ok()));
        let model = model.ok_or_else(|| {
            let models: Vec<String> = Model::value_variants().iter().map(|model| model.to_string()).collect();
            Error::setting("baseline.model", format!("one of {}", models.join(", ")), "none", "give --model")
        })?;
        Ok((model, name.unwrap_or_else(|| model.to_string())))
    }
}
