//! Settings files: sections whose every key knows where it was written, so that a mistake is named with its file and line.
//!
//! `[generate]` holds what all steps of a job share, `[generate.student]` what the step `generate@student` says differently. Only a table
//! with the name of a step is read so; any other table is a setting.

use std::collections::BTreeMap;
use std::path::Path;

use dataset::{Error, Result};
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::context::{FLAGS_ONLY, RunSettings};
use super::{Commands, Step, find, jobs, layers, seeds};

/// The section of what all jobs share.
pub(crate) const RUN: &str = "run";

/// A settings file and the command line's `--set`s.
pub(crate) struct Config {
    pub(crate) commands: Commands,
    /// The file's sections, then those that `--set` makes.
    layers: Vec<BTreeMap<String, Node>>,
    /// The pipeline's steps, in order.
    pub(crate) steps: Vec<Step>,
    /// Those that a `--set run.jobs=…` left out too: their sections are no mistake.
    known: Vec<Step>,
    /// The step that the command line asks for.
    asked: Option<Step>,
}

/// A value, and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// `demo.toml:12`, or `--set cap.events_per_domain=3`.
    pub(crate) place: String,
    pub(crate) value: Value,
    /// What `--set` says, before it was taken for TOML.
    pub(crate) text: Option<String>,
    /// The places of a list's items.
    pub(crate) items: Vec<String>,
    /// A table's values.
    pub(super) table: Option<BTreeMap<String, Node>>,
}

/// A key of a section, as one layer says it.
pub(crate) struct Setting<'a> {
    /// `generate`, or `generate.student`.
    pub(crate) section: String,
    pub(crate) key: &'a str,
    pub(crate) node: &'a Node,
}

impl Config {
    /// Reads what there is, and checks all sections' keys.
    pub(crate) fn read(commands: Commands, file: Option<&Path>, set: &[String], asked: Option<Step>) -> Result<Self> {
        let mut layers = vec![file.map_or(Ok(BTreeMap::new()), read_file)?];
        if !set.is_empty() {
            let mut sections = BTreeMap::new();
            set.iter().try_for_each(|assignment| assign(&mut sections, assignment))?;
            layers.push(sections);
        }
        let count = seeds::seeds(&layers)?;
        let seeded = |job: &str| find(commands, job).is_some_and(|job| (job.keys)().iter().any(|key| key == "seed"));
        layers.iter_mut().for_each(|layer| seeds::expand(layer, count, seeded));
        let mut config = Config { commands, layers, steps: Vec::new(), known: Vec::new(), asked };
        for layer in 0..config.layers.len() {
            if let Some(steps) = config.read_steps(&config.layers[layer], count)? {
                config.known.extend(steps.clone());
                config.steps = steps;
            }
        }
        config.check()?;
        Ok(config)
    }

    /// The settings of a section, for a step of that name: the later count.
    pub(crate) fn settings<'a>(&'a self, section: &str, name: Option<&str>) -> Vec<Setting<'a>> {
        let mut settings = Vec::new();
        for table in self.layers.iter().filter_map(|layer| layer.get(section)?.table.as_ref()) {
            for (key, node) in table.iter().filter(|(key, node)| !self.is_step(section, key, node)) {
                settings.push(Setting { section: section.to_owned(), key, node });
            }
            let own = name.and_then(|name| Some((name, table.get(name)?.table.as_ref()?)));
            for (key, node) in own.into_iter().flat_map(|(_, own)| own) {
                settings.push(Setting { section: format!("{section}.{}", name.unwrap_or_default()), key, node });
            }
        }
        settings
    }

    /// Whether a table holds what one step says differently.
    fn is_step(&self, section: &str, key: &str, node: &Node) -> bool {
        let named = |step: &Step| step.job == section && step.name.as_deref() == Some(key);
        node.table.is_some() && self.known.iter().chain(&self.asked).any(named)
    }

    /// The steps that a layer says there are.
    fn read_steps(&self, layer: &BTreeMap<String, Node>, seeds: u64) -> Result<Option<Vec<Step>>> {
        let mut steps = Vec::new();
        let written = layer.get(RUN).and_then(|run| run.table.as_ref()?.get("jobs"));
        let Some(node) = written else { return Ok(None) };
        let names: Vec<&str> = jobs(self.commands).map(|(name, _)| name).collect();
        let wrong = |got: String, hint: String| {
            Error::setting(&format!("{}: [run] jobs", node.place), "a list of jobs, such as [\"cap\"]", got, hint)
        };
        let items = node.value.as_array().ok_or_else(|| wrong(node.value.to_string(), names.join(", ")))?;
        for item in items {
            let text = item.as_str().ok_or_else(|| wrong(item.to_string(), names.join(", ")))?;
            let step: Step = text.parse().map_err(|e: Error| e.during(format!("{}: [run] jobs", node.place)))?;
            if find(self.commands, &step.job).is_none() {
                return Err(wrong(format!("{text:?}"), nearest(&step.job, names)));
            }
            match &step.name {
                None => steps.push(step),
                Some(name) => {
                    let of = |name| Step { job: step.job.clone(), name: Some(name) };
                    steps.extend(seeds::names(name, seeds).into_iter().map(of));
                }
            }
        }
        Ok(Some(steps))
    }

    fn check(&self) -> Result<()> {
        for step in self.known.iter().chain(&self.asked).filter(|step| step.name.is_some()) {
            let Some(job) = find(self.commands, &step.job) else { continue };
            if !job.named {
                let named: Vec<_> = jobs(self.commands).filter(|(_, job)| job.named).map(|(name, _)| name).collect();
                let what = format!("step {step}: expected a job whose steps may have names, got {}", step.job);
                return Err(Error::usage(what, format!("they are {}", named.join(", "))));
            }
            let keys = (job.keys)();
            if keys.iter().any(|key| Some(key) == step.name.as_ref()) {
                let what = format!("step {step}: expected a name that is no setting of {}", step.job);
                return Err(Error::usage(what, "call it something else"));
            }
        }
        for (section, node) in self.layers.iter().flatten() {
            let known: Vec<&str> = jobs(self.commands).map(|(name, _)| name).chain([RUN]).collect();
            if !known.contains(&section.as_str()) {
                let what = format!("{}: [{section}]: expected run or a job ({})", node.place, known.join(", "));
                return Err(Error::usage(what, nearest(section, known)));
            }
            let Some(table) = &node.table else {
                let what = format!("{}: {section}: expected a section", node.place);
                return Err(Error::usage(what, format!("write [{section}], and its settings below")));
            };
            let keys = match find(self.commands, section) {
                Some(job) => (job.keys)(),
                None => layers::keys::<RunSettings>(),
            };
            for (key, node) in table {
                match &node.table {
                    Some(own) if self.is_step(section, key, node) => own.iter().try_for_each(|(own_key, node)| {
                        self.check_key(section, &format!("{section}.{key}"), own_key, node, &keys)
                    })?,
                    _ => self.check_key(section, section, key, node, &keys)?,
                }
            }
        }
        Ok(())
    }

    fn check_key(&self, section: &str, header: &str, key: &str, node: &Node, keys: &[String]) -> Result<()> {
        if keys.iter().any(|known| known == key) {
            return Ok(());
        }
        let homes = self.homes(key);
        let likeness = |known: &String| strsim::jaro_winkler(known, key);
        let hint = if node.table.is_some() && section != RUN && header == section {
            format!("no step of [run] jobs is called {section}@{key}")
        } else if FLAGS_ONLY.contains(&key) {
            format!("it is a flag only: --{}", key.replace('_', "-"))
        } else if homes.is_empty() || keys.iter().any(|known| likeness(known) > 0.9) {
            nearest(key, keys.iter().map(String::as_str))
        } else {
            format!("{key} belongs to {}", homes.join(" or "))
        };
        Err(Error::usage(format!("{}: [{header}]: {key} is no setting of it", node.place), hint))
    }

    /// The sections that a key belongs to.
    fn homes(&self, key: &str) -> Vec<String> {
        let has = |keys: Vec<String>| keys.iter().any(|known| known == key);
        let shared = |job: &str| find(self.commands, job).is_some_and(|job| has((job.keys)()));
        jobs(self.commands)
            .filter(|(_, job)| has((job.keys)()) && !job.shares.iter().any(|from| shared(from)))
            .map(|(name, _)| name)
            .chain(has(layers::keys::<RunSettings>()).then_some(RUN))
            .map(|name| format!("[{name}]"))
            .collect()
    }
}

fn read_file(path: &Path) -> Result<BTreeMap<String, Node>> {
    let failed = |e: std::io::Error| {
        Error::usage(format!("{}: {e}", path.display()), "--config takes a TOML file, as in jobs/configs/")
    };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("expected a file")));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let place = |at: usize| {
        let line = 1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count();
        format!("{}:{line}", path.display())
    };
    let parsed = DeTable::parse(&text).map_err(|e| {
        let at = e.span().map_or(0, |span| span.start);
        Error::usage(format!("{}: {}", place(at), e.message()), "expected TOML, as in jobs/configs/")
    })?;
    table(parsed.get_ref(), &place)
}

fn table(table: &DeTable<'_>, place: &dyn Fn(usize) -> String) -> Result<BTreeMap<String, Node>> {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.as_ref();
        Ok((key.to_string(), node(value.get_ref(), place(value.span().start), place)?))
    };
    let mut nodes: BTreeMap<String, Node> = table.iter().map(entry).collect::<Result<_>>()?;
    for (key, _) in table {
        // A table's own place is that of its first key; its name's is better.
        if let Some(node) = nodes.get_mut(key.get_ref().as_ref()) {
            node.place = place(key.span().start);
        }
    }
    Ok(nodes)
}

fn node(value: &DeValue<'_>, at: String, place: &dyn Fn(usize) -> String) -> Result<Node> {
    let wrong = |expected: &str, got: &str| Error::setting(&at, expected, got, "write another value");
    let mut items = Vec::new();
    let mut below = None;
    let json = match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Integer(number) => {
            let signed = i64::from_str_radix(number.as_str(), number.radix()).map(Value::from);
            let number = signed.or_else(|_| u64::from_str_radix(number.as_str(), number.radix()).map(Value::from));
            number.map_err(|_| wrong("a number of at most 64 bits", &value_text(value)))?
        }
        DeValue::Float(number) => {
            let finite = number.as_str().parse::<f64>().ok().filter(|number| number.is_finite());
            Value::from(finite.ok_or_else(|| wrong("a finite number", number.as_str()))?)
        }
        DeValue::Array(values) => {
            let mut list = Vec::new();
            for value in values.iter() {
                let item = node(value.get_ref(), place(value.span().start), place)?;
                items.push(item.place);
                list.push(item.value);
            }
            Value::Array(list)
        }
        DeValue::Table(values) => {
            let nodes = table(values, place)?;
            let json: Map<String, Value> = nodes.iter().map(|(key, node)| (key.clone(), node.value.clone())).collect();
            below = Some(nodes);
            Value::Object(json)
        }
    };
    Ok(Node { place: at, value: json, text: None, items, table: below })
}

fn value_text(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(number) => number.to_string(),
        _ => String::new(),
    }
}

/// Lays `section.key=value` over what other `--set`s said.
fn assign(sections: &mut BTreeMap<String, Node>, assignment: &str) -> Result<()> {
    let wrong = || {
        let (what, hint) = ("--set", "for example cap.events_per_domain=20, or generate.student.samples=4");
        Error::setting(what, "SECTION.KEY=VALUE", assignment, hint)
    };
    let place = format!("--set {assignment}");
    let (path, text) = assignment.split_once('=').ok_or_else(wrong)?;
    let mut keys: Vec<&str> = path.split('.').map(str::trim).collect();
    let last = keys.pop().filter(|_| !keys.is_empty()).ok_or_else(wrong)?;
    if last.is_empty() || keys.iter().any(|key| key.is_empty()) {
        return Err(wrong());
    }
    let line = format!("v = {text}");
    // What is no TOML value is a text: `--set ingest.mind=folder` needs no quotes.
    let parsed = DeTable::parse(&line).ok().filter(|table| table.get_ref().len() == 1);
    let value = match parsed.as_ref().and_then(|table| table.get_ref().get("v")) {
        Some(value) => node(value.get_ref(), place.clone(), &|_| place.clone())?,
        None => Node { place: place.clone(), value: text.into(), text: None, items: Vec::new(), table: None },
    };
    let mut table = sections;
    for key in keys {
        let empty = || Node {
            place: place.clone(),
            value: Value::Null,
            text: None,
            items: Vec::new(),
            table: Some(BTreeMap::new()),
        };
        let node = table.entry(key.to_owned()).or_insert_with(empty);
        table = node.table.as_mut().ok_or_else(wrong)?;
    }
    table.insert(last.to_owned(), Node { text: Some(text.to_owned()), ..value });
    Ok(())
}

/// `did you mean "cap"?`
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    known
        .into_iter()
        .max_by(|a, b| strsim::jaro_winkler(a, word).total_cmp(&strsim::jaro_winkler(b, word)))
        .map_or_else(|| "see `querent --help`".into(), |near| format!("did you mean {near:?}?"))
}
