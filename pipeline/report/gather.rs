//! What the page says, collected from the datasets there are.

use std::collections::BTreeMap;

use dataset::account::list;
use dataset::{Manifest, Result};
use schemas::method_and_step;

use crate::chosen::ChosenTable;
use crate::experiment::Experiment;
use crate::found::Found;
use crate::runs::TrainingRun;
use crate::samples::{Sample, samples};
use crate::tables::{Comparison, ListMeasures, Measure};
use crate::throughput::{PolicyThroughput, ThroughputWords};

/// All that the page says.
#[derive(Debug, Default)]
pub struct Content {
    /// The datasets' root.
    pub root: String,
    /// Every dataset.
    pub datasets: Vec<DatasetLine>,
    /// Statistics by name; counts start with `#`.
    pub statistics: Vec<(String, f64)>,
    /// Averages.
    pub metrics: Vec<Measure>,
    /// Averages over impressions.
    pub impressions: Vec<Measure>,
    /// What lists are like, by method.
    pub lists: Vec<ListMeasures>,
    /// What the retrieve step without a name puts queries to.
    pub retriever: String,
    /// Methods against each other, all users.
    pub comparisons: Vec<Comparison>,
    /// Only users who were asked for lists of queries count.
    pub among_interests: bool,
    /// Which articles could be recommended, by method.
    pub candidates: BTreeMap<String, String>,
    /// Which methods are not compared, and why.
    pub not_compared: Option<String>,
    /// Whose lists the sample shows.
    pub method: String,
    /// Sample users.
    pub samples: Vec<Sample>,
    /// Training runs, by name.
    pub runs: Vec<TrainingRun>,
    /// Tables of chosen methods.
    pub tables: Vec<ChosenTable>,
    /// How fast policies write lists.
    pub throughput: Vec<PolicyThroughput>,
    /// What is said above that.
    pub throughput_words: ThroughputWords,
    /// The A/B test.
    pub experiment: Experiment,
}

/// One dataset's current version.
#[derive(Debug, Clone)]
pub struct DatasetLine {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// The job that wrote it.
    pub job: String,
    /// When, RFC 3339.
    pub created_at: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// What went in and came out.
    pub account: String,
}

impl Content {
    /// Collects what there is: with the sample of a method's lists, if there are any, and so many lists from each end of training runs' last
    /// steps.
    pub(crate) fn gather(found: &Found, users: usize, method: Option<&str>, lists: usize) -> Result<Content> {
        let lineage = |name| found.manifests.get(name).map(|manifest| &manifest.lineage);
        let said = |(method, manifest): (&str, &Manifest)| {
            (method.to_owned(), manifest.lineage.remark.clone().unwrap_or_default())
        };
        let mut datasets: Vec<DatasetLine> = found.manifests.iter().map(|(name, m)| line(name, m)).collect();
        datasets.sort_by(|a, b| a.created_at.cmp(&b.created_at).then(a.name.cmp(&b.name)));
        Ok(Content {
            root: found.root().to_owned(),
            datasets,
            statistics: found.statistics()?,
            metrics: found.measures()?,
            impressions: found.impression_measures()?,
            lists: found.list_measures()?,
            retriever: retriever(found),
            comparisons: found.comparisons()?,
            among_interests: lineage("user_metrics").is_some_and(|l| l.settings["among"] == "interests"),
            candidates: found.methods().map(said).collect(),
            not_compared: lineage("comparisons").and_then(|lineage| lineage.remark.clone()),
            method: method.unwrap_or_default().to_owned(),
            samples: method.map_or(Ok(Vec::new()), |method| samples(found, method, users))?,
            runs: found.runs.iter().map(|run| TrainingRun::read(run, lists)).collect(),
            tables: Vec::new(),
            throughput: found.throughput()?,
            throughput_words: ThroughputWords::default(),
            experiment: found.experiment()?,
        })
    }
}

/// What the step without a name puts queries to; methods without queries say what they would be put to by default.
fn retriever(found: &Found) -> String {
    let unnamed = found.methods().filter(|(method, _)| method_and_step(method).1.is_none());
    let mut named = unnamed.filter_map(|(_, lists)| lists.lineage.settings["retriever"].as_str());
    const USUAL: &str = "dense";
    named.find(|retriever| *retriever != USUAL).unwrap_or(USUAL).to_owned()
}

fn line(name: &str, manifest: &Manifest) -> DatasetLine {
    let account = &manifest.account;
    let mut said = format!("{} {} in, {} out", account.input, manifest.unit, account.output);
    for (what, counts) in [("dropped", &account.dropped), ("set aside", &account.quarantined)] {
        if !counts.is_empty() {
            said.push_str(&format!("; {what}: {}", list(counts)));
        }
    }
    DatasetLine {
        name: name.to_owned(),
        version: manifest.version,
        job: manifest.lineage.job.clone(),
        created_at: manifest.created_at.clone(),
        rows: manifest.rows,
        bytes: manifest.bytes,
        account: said,
    }
}
