//! `querent baseline`: recommendations by a recommender of the field.

use std::path::PathBuf;

use baselines::{Compare, ListSettings, Model, PinnerSage, Recommend, Train, TrainSettings};
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
/// read (Ward's, up to the cost --alpha), those of the largest importance; it is not trained. gru, sasrec, hstu and nrhub are: they learn
/// to tell each click of the users of the split train from the clicks before it, until those of valid say that it gets no better. nrhub also
/// looks at what a user searched and visited, by its words, the others with --cross-domain; so who never clicked gets a list, too. (pinnersage has
/// no such setting: medoids of all that a user did are the method themes of retrieve.) The model is a folder, baseline.MODEL, with train_log/ in it, which inspect shows; a killed run goes on from its last look. A step baseline@NAME writes
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
    /// Settings to try before: the ones given, and N - 1 drawn at random around learning rate, temperature, dropout, width and layers; the best
    /// by the users of valid is trained. Writes trials.MODEL; 0: none
    #[arg(long, value_name = "N", default_value_t = 0)]
    tune: u32,
    /// Also rank what impressions showed each user: writes shown.MODEL, for evaluate --impressions
    #[arg(long)]
    impressions: bool,
}

impl Job for Baseline {
    const NAME: &'static str = "baseline";
    const SHARES: &'static [&'static str] = &["index", "retrieve"];
    const NAMED: bool = true;

    fn check(&self) -> Result<()> {
        self.train.check()?;
        self.pinnersage.check()
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let (model, method) = self.named(context)?;
        let mut summaries = fallback(&context.unnamed(), &self.lists.pool)?;
        let mut reads_words = false;
        let trained = if model.is_trained() {
            let folder = context.output(self.output.as_deref(), &format!("{}.{method}", Self::NAME))?;
            crate::undivided_operations();
            let Some(settings) = self.tuned(context, model, &method, &mut summaries)? else { return Ok(summaries) };
            let train = Train { model, settings };
            reads_words = train.reads_words();
            let made = context.make(&train, &folder)?;
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
            reads_words,
            fusion: self.fusion,
            lists: self.lists.clone(),
            shown: false,
        };
        let context = &context.unnamed();
        let mut stages = vec![stage];
        if self.impressions {
            stages.push(stages[0].of_shown());
        }
        for stage in stages {
            let summary = context.run(&stage, &[&stage.output()])?;
            let of = if stage.shown { " of what was shown" } else { "" };
            summaries.push(Summary { job: format!("{} {method}{of}", summary.job), ..summary });
        }
        Ok(summaries)
    }
}

impl Baseline {
    /// The settings of the best trial, or those given where none is wanted. None of a dry run, which has no trials yet.
    fn tuned(
        &self,
        context: &Context,
        model: Model,
        method: &str,
        summaries: &mut Vec<Summary>,
    ) -> Result<Option<TrainSettings>> {
        let trials: Vec<Train> =
            (0..self.tune).map(|trial| Train { model, settings: self.train.trial(trial) }).collect();
        if trials.is_empty() {
            return Ok(Some(self.train.clone()));
        }
        let mut folders = Vec::new();
        for (number, trial) in trials.iter().enumerate() {
            let folder = context.output(None, &format!("_trials/{method}/{number:03}"))?;
            let made = context.make(trial, &folder)?;
            let would_run = matches!(made.outcome, Outcome::WouldRun(_));
            summaries.push(Summary { job: format!("{} {method} trial {number}", made.job), ..made });
            if would_run {
                return Ok(None);
            }
            folders.push(folder);
        }
        let compare = Compare { trials, folders };
        summaries.push(context.unnamed().unsharded().run(&compare, &[&format!("trials.{method}")])?);
        let best = compare.best()?;
        context.note(&format!("trial {best} of {} is the best by the users of valid", self.tune))?;
        Ok(Some(compare.trials[best].settings.clone()))
    }

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
