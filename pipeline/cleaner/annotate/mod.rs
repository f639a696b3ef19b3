//! `annotate`: which behaviours are worth keeping, said by rules, by a file, or by a language model (the paper's appendix B).

mod endpoint;
mod file;
mod prompt;
mod rules;
mod sample;

use std::path::PathBuf;

use arrow::array::StringArray;
use chat::{Server, ServerSettings};
use clap::{Args, ValueEnum};
use dataset::plan::file_digest;
use dataset::{Account, Done, Error, Inputs, Resources, Result, Rows, Stage, Whole};
use schemas::{Events, Labels, LabelsColumns};
use serde::{Deserialize, Serialize};

use endpoint::Endpoint;
pub use rules::judge;

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Annotator {
    /// Built-in rules, without any model
    #[default]
    Rules,
    /// A file that has the labels already: --labels-file
    File,
    /// A language model behind an OpenAI-compatible server: --endpoint and --model
    Endpoint,
}

/// Settings of `annotate`, and the stage: sampled behaviours, or those of a labels file, to `labels`.
///
/// What says only where something lies or how it is asked for is not written down: the labels file counts by its content, a language
/// model by its server's name, its own, and the version of what it is asked.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Annotate {
    /// Who labels
    #[arg(long, value_name = "WHO", value_enum, default_value_t = Annotator::Rules)]
    pub annotator: Annotator,
    /// Distinct behaviours to label (a labels file has its own)
    #[arg(long, value_name = "N", default_value_t = 4000)]
    pub sample: usize,
    /// Another seed, another sample
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// TSV or CSV with a header line, or JSONL: text, label (1 keep, 0 noise) and perhaps domain (or source) and reason
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing)]
    pub labels_file: Option<PathBuf>,
    /// An OpenAI-compatible server, such as http://localhost:8000/v1; its key is taken from the environment: QUERENT_API_KEY
    #[arg(long, value_name = "URL", default_value = "", hide_default_value = true)]
    #[serde(skip_serializing)]
    pub endpoint: String,
    /// The model, as the server names it
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    #[serde(skip_serializing)]
    pub model: String,
    /// Requests at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[serde(skip_serializing)]
    pub concurrency: usize,
    /// Seconds until a request is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    #[serde(skip_serializing)]
    pub timeout_s: f64,
    /// How often a request that is refused (429, 5xx) or times out is sent in all
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[serde(skip_serializing)]
    pub attempts: u32,
    /// Let people's texts leave this machine
    #[arg(long)]
    #[serde(skip_serializing)]
    pub allow_remote_text: bool,
}

impl Default for Annotate {
    fn default() -> Self {
        dataset::defaults()
    }
}

impl Annotate {
    /// Errs when a setting makes no sense.
    pub fn check(&self) -> Result<()> {
        if !(1..=sample::COUNTED).contains(&self.sample) {
            let expected = format!("1 to {}", sample::COUNTED);
            return Err(Error::setting("annotate.sample", expected, self.sample, "leave it out for 4000"));
        }
        if i64::try_from(self.seed).is_err() {
            return Err(Error::setting("annotate.seed", "at most 2^63 - 1", self.seed, "any smaller number will do"));
        }
        Ok(())
    }
}

impl Annotate {
    /// The language model.
    fn server(&self) -> Result<Server> {
        Server::new(&ServerSettings {
            prefix: "annotate.",
            endpoint: &self.endpoint,
            model: &self.model,
            concurrency: self.concurrency,
            timeout_s: self.timeout_s,
            attempts: self.attempts,
            allow_remote_text: self.allow_remote_text,
        })
    }
}

/// What `annotate` reads.
#[derive(Debug)]
pub struct AnnotateInputs {
    candidates: Candidates,
    server: Option<Server>,
}

/// Where the behaviours come from.
#[derive(Debug)]
enum Candidates {
    Sample(Box<Whole<Events>>),
    /// A labels file and its digest.
    File(PathBuf, String),
}

/// What `annotate` opens: the behaviours of each partition, and the language model.
#[derive(Debug)]
pub struct AnnotateShared {
    candidates: Vec<Vec<Candidate>>,
    endpoint: Option<Endpoint>,
}

impl Stage for Annotate {
    const NAME: &'static str = "annotate";
    const VERSION: u32 = 2;
    const UNIT: &'static str = "behaviours";
    // How many requests are sent at a time is a setting.
    const ALONE: bool = true;
    type Inputs = AnnotateInputs;
    type Shared = AnnotateShared;
    type Outputs = Rows<Labels>;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Self::Inputs> {
        self.check()?;
        declare.partitions(PARTITIONS)?;
        let server = match self.annotator {
            Annotator::Endpoint => {
                let server = self.server()?;
                declare.value("language model", (server.name(), &server.model, prompt::VERSION))?;
                Some(server)
            }
            _ => None,
        };
        let candidates = match self.annotator {
            Annotator::File => {
                let path =
                    self.labels_file.clone().filter(|path| !path.as_os_str().is_empty()).ok_or_else(|| {
                        Error::setting("annotate.labels_file", "a file", "nothing", "give --labels-file")
                    })?;
                file::check(&path)?;
                declare.files("labels", std::slice::from_ref(&path))?;
                let (digest, _) = file_digest(&path)?;
                Candidates::File(path, digest)
            }
            Annotator::Rules | Annotator::Endpoint => {
                let columns = [Events::domain.name(), Events::text.name()];
                Candidates::Sample(Box::new(declare.whole::<Events>("events")?.columns(&columns)))
            }
        };
        Ok(AnnotateInputs { candidates, server })
    }

    fn open(&self, inputs: &Self::Inputs, resources: &Resources) -> Result<Self::Shared> {
        let candidates = match &inputs.candidates {
            Candidates::Sample(events) => sample::choose(events, self.sample, self.seed)?,
            Candidates::File(path, digest) => file::read(path, digest)?,
        };
        let open = |server| Endpoint::open(server, &resources.store, candidates.len(), resources.progress);
        let endpoint = inputs.server.as_ref().map(open).transpose()?;
        Ok(AnnotateShared { candidates: by_partition(candidates), endpoint })
    }

    fn run(&self, inputs: &Self::Inputs, shared: &Self::Shared, partition: u32) -> Result<Done<Self::Outputs>> {
        let candidates = &shared.candidates[partition as usize];
        let mut account = Account { input: candidates.len() as u64, ..Account::default() };
        let verdicts = match &shared.endpoint {
            None => {
                candidates.iter().map(|c| Some(c.given.clone().unwrap_or_else(|| judge(&c.text, &c.domain)))).collect()
            }
            Some(endpoint) => {
                let texts: Vec<&str> = candidates.iter().map(|c| c.text.as_str()).collect();
                match endpoint.ask_all(&texts, &mut account) {
                    Err(e) if e.exit_code() == 1 => {
                        // What the server failed to answer may pass. So all are asked before the run ends: another has only the rest to ask.
                        let all: Vec<&str> = shared.candidates.iter().flatten().map(|c| c.text.as_str()).collect();
                        endpoint.ask_all(&all, &mut Account::default())?;
                        endpoint.ask_all(&texts, &mut account)?
                    }
                    verdicts => verdicts?,
                }
            }
        };
        let annotator = match (&inputs.server, self.annotator) {
            (Some(server), _) => &server.model,
            (None, Annotator::File) => "file",
            (None, _) => "rules",
        };
        let labelled: Vec<(&Candidate, Verdict)> =
            candidates.iter().zip(verdicts).filter_map(|(c, verdict)| Some((c, verdict?))).collect();
        account.output = labelled.len() as u64;
        account.note("keep", labelled.iter().filter(|(_, verdict)| verdict.keep).count() as u64);
        let rows = Rows::of(LabelsColumns {
            text: labelled.iter().map(|(c, _)| Some(&c.text)).collect(),
            domain: labelled.iter().map(|(c, _)| Some(&c.domain)).collect(),
            label: labelled.iter().map(|(_, verdict)| Some(verdict.keep)).collect(),
            annotator: StringArray::from(vec![annotator; labelled.len()]),
            reason: labelled.iter().map(|(_, verdict)| verdict.reason.as_ref()).collect(),
        })?;
        Ok(Done { outputs: rows, accounts: vec![account] })
    }
}

/// Parts of the labels: enough for progress and for going on after a kill.
const PARTITIONS: u32 = 16;

/// Cuts candidates into partitions by their text; within one they are sorted by it.
fn by_partition(candidates: Vec<Candidate>) -> Vec<Vec<Candidate>> {
    let mut partitions = vec![Vec::new(); PARTITIONS as usize];
    for candidate in candidates {
        let hash = dataset::bucket::digest_128(&[b"labels", candidate.text.as_bytes()]);
        partitions[hash[0] as usize % PARTITIONS as usize].push(candidate);
    }
    partitions.iter_mut().for_each(|candidates| candidates.sort_by(|a, b| a.text.cmp(&b.text)));
    partitions
}
