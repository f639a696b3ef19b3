//! `annotate`: which behaviours are worth keeping, said by rules, by a file, or by a language model (the paper's appendix B).

mod chat;
mod endpoint;
mod file;
mod prompt;
mod rules;
mod sample;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringArray};
use dataset::{Account, Done, Result, Rows, Stage, from_columns};
use schemas::Labels;
use serde::{Deserialize, Serialize};

pub use endpoint::Endpoint;
pub use file::LabelsFile;
pub use rules::judge;
pub use sample::Sample;

/// A behaviour to label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its text.
    pub text: String,
    /// Where it occurs most.
    pub domain: String,
    /// What a labels file says of it.
    pub given: Option<Verdict>,
}

/// An annotator's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// True: keep.
    pub keep: bool,
    /// Why.
    pub reason: Option<String>,
}

/// Who labels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Annotator {
    /// Built-in rules, without any model.
    #[default]
    Rules,
    /// A file that has the labels already.
    File,
    /// A language model behind an OpenAI-compatible server.
    Endpoint,
}

/// Settings of `annotate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Annotate {
    /// Who labels: rules, file or endpoint.
    pub annotator: Annotator,
    /// Distinct behaviours to label (a file has its own).
    pub sample: usize,
    /// Another seed, another sample.
    pub seed: u64,
    /// For `file`: TSV, CSV or JSONL with text, label (1 keep, 0 noise) and perhaps domain (or source) and reason.
    pub labels_file: String,
    /// For `endpoint`: the server's address, such as http://localhost:8000/v1.
    pub endpoint: String,
    /// For `endpoint`: the model, as the server names it.
    pub model: String,
    /// For `endpoint`: requests at a time.
    pub concurrency: usize,
    /// For `endpoint`: seconds until a request is given up.
    pub timeout_s: f64,
    /// For `endpoint`: how often a request that was refused (429, 5xx) or timed out is sent in all.
    pub attempts: u32,
    /// For `endpoint`: people's texts may leave this machine.
    pub allow_remote_text: bool,
}

impl Default for Annotate {
    fn default() -> Self {
        Annotate {
            annotator: Annotator::Rules,
            sample: 4000,
            seed: 0,
            labels_file: String::new(),
            endpoint: String::new(),
            model: String::new(),
            concurrency: 8,
            timeout_s: 60.0,
            attempts: 5,
            allow_remote_text: false,
        }
    }
}

/// The stage: who labels, and for a language model what it is asked.
#[derive(Debug, Serialize)]
pub struct Label<'a> {
    annotator: Annotator,
    sample: usize,
    seed: u64,
    model: &'a str,
    prompt: &'a str,
    #[serde(skip)]
    endpoint: Option<&'a Endpoint>,
}

impl<'a> Label<'a> {
    /// The stage of these settings; the endpoint is given when it is the annotator.
    pub fn new(settings: &'a Annotate, endpoint: Option<&'a Endpoint>) -> Self {
        let (model, prompt) = match endpoint {
            Some(_) => (settings.model.as_str(), prompt::VERSION),
            None => ("", ""),
        };
        Label { annotator: settings.annotator, sample: settings.sample, seed: settings.seed, model, prompt, endpoint }
    }

    fn annotator(&self) -> String {
        match self.annotator {
            Annotator::Rules => "rules".into(),
            Annotator::File => "file".into(),
            Annotator::Endpoint => self.model.into(),
        }
    }
}

impl Stage for Label<'_> {
    const NAME: &'static str = "annotate";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "behaviours";
    type Inputs = Vec<Candidate>;
    type Outputs = Rows<Labels>;

    fn run(&self, _: u32, mut candidates: Self::Inputs) -> Result<Done<Self::Outputs>> {
        candidates.sort_by(|a, b| a.text.cmp(&b.text));
        let mut account = Account { input: candidates.len() as u64, ..Account::default() };
        let verdicts: Vec<Option<Verdict>> = match self.endpoint {
            None => {
                candidates.iter().map(|c| Some(c.given.clone().unwrap_or_else(|| judge(&c.text, &c.domain)))).collect()
            }
            Some(endpoint) => {
                let texts: Vec<&str> = candidates.iter().map(|c| c.text.as_str()).collect();
                endpoint.ask_all(&texts, &mut account)?
            }
        };
        let labelled: Vec<(&Candidate, Verdict)> =
            candidates.iter().zip(verdicts).filter_map(|(c, verdict)| Some((c, verdict?))).collect();
        account.output = labelled.len() as u64;
        account.note("keep", labelled.iter().filter(|(_, verdict)| verdict.keep).count() as u64);
        let strings = |f: &dyn Fn(&(&Candidate, Verdict)) -> String| -> ArrayRef {
            Arc::new(labelled.iter().map(|row| Some(f(row))).collect::<StringArray>())
        };
        let columns = vec![
            strings(&|(c, _)| c.text.clone()),
            strings(&|(c, _)| c.domain.clone()),
            Arc::new(labelled.iter().map(|(_, verdict)| Some(verdict.keep)).collect::<BooleanArray>()),
            strings(&|_| self.annotator()),
            Arc::new(labelled.iter().map(|(_, verdict)| verdict.reason.clone()).collect::<StringArray>()),
        ];
        Ok(Done { outputs: Rows::new(vec![from_columns::<Labels>(columns)?]), accounts: vec![account] })
    }
}

/// Parts of the labels: enough for progress and for going on after a kill.
const PARTITIONS: u32 = 16;

/// Cuts candidates into partitions by their text.
fn by_partition(candidates: impl IntoIterator<Item = Candidate>) -> Vec<Vec<Candidate>> {
    let mut partitions = vec![Vec::new(); PARTITIONS as usize];
    for candidate in candidates {
        let hash = blake3::hash(candidate.text.as_bytes());
        let partition = hash.as_bytes()[0] as usize % partitions.len();
        partitions[partition].push(candidate);
    }
    partitions
}
