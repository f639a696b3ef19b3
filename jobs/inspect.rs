//! `querent inspect`: what a dataset holds and where it comes from; how a training run goes.

mod run;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use clap::{ArgMatches, Args};
use dataset::account::grouped;
use dataset::{Dataset, Error, Kind, Lineage, Manifest, Result, Snapshot, Standing, Store, read_part};
use schemas::Contract;
use serde_json::Value;
use training::History;

use crate::frame::output::{self, megabytes};
use crate::frame::{Commands, Place, Tool};

/// Look at a dataset: version, account, lineage; its files, for notebooks; its first rows; or check every byte of it.
///
/// Without a name, list the datasets and training runs under the root. Of a training run (its folder, such as policy.grpo, at work or
/// ended): the curve of its reward, its figures, where its time goes. Rows and lists are printed only when asked for (--head, --lists).
/// What was made of versions that are no longer the current ones is shown as stale, until its job has run again. Nothing is written.
#[derive(Debug, Args)]
#[group(id = "what", multiple = false, args = ["versions", "diff", "files", "json", "head", "verify", "lists"])]
pub(crate) struct Inspect {
    /// The dataset, or the training run: its name under the root, or the path of its folder
    dataset: Option<String>,
    /// This version [default: the current one]
    #[arg(long, value_name = "N", requires = "dataset", conflicts_with_all = ["versions", "diff"])]
    version: Option<u64>,
    /// List the versions
    #[arg(long, requires = "dataset")]
    versions: bool,
    /// Say what differs between two versions: rows, parts, settings, inputs
    #[arg(long, value_names = ["A", "B"], num_args = 2, requires = "dataset")]
    diff: Option<Vec<u64>>,
    /// Print the version's Parquet files, one per line
    #[arg(long, requires = "dataset")]
    files: bool,
    /// Print all that is known of the version as JSON
    #[arg(long, requires = "dataset")]
    json: bool,
    /// Print the first rows (they may hold what people wrote)
    #[arg(long, value_name = "N", requires = "dataset")]
    head: Option<usize>,
    /// Read every part and check it against the log and the contract
    #[arg(long, requires = "dataset")]
    verify: bool,
    /// Of a training run, print the N best and the N worst lists of a step, with their scores (they are made of what people did)
    #[arg(long, value_name = "N", requires = "dataset")]
    lists: Option<usize>,
    /// The step of those lists [default: the last]
    #[arg(long, value_name = "STEP", requires = "lists")]
    step: Option<u64>,
    #[command(flatten)]
    place: Place,
}

impl Tool for Inspect {
    const NAME: &'static str = "inspect";

    fn run(&self, _: &ArgMatches, commands: Commands) -> Result<()> {
        let Inspect { dataset, version, versions, diff, files, json, head, verify, lists, step, place } = self;
        let mut out = output::stdout();
        if let Some(folder) = self.training(commands)? {
            let of_datasets = [*versions, *files, *json, *verify, diff.is_some(), head.is_some(), version.is_some()];
            return match lists {
                _ if of_datasets.contains(&true) => {
                    let what = format!("{}: expected a dataset, got a training run", folder.display());
                    Err(Error::usage(what, "of a run there are its figures, without flags, and --lists"))
                }
                Some(count) => run::lists(&folder, *step, *count, &mut out),
                None => run::show(&folder, &mut out),
            };
        }
        let (store, _) = place.open(commands)?;
        let Some(name) = dataset else { return overview(&store, &mut out) };
        if lists.is_some() {
            let what = format!("--lists: expected a training run, got {name}");
            return Err(Error::usage(what, "name the folder of a run, such as policy.grpo").of_kind(Kind::Missing));
        }
        let dataset = Dataset::new(&store, name);
        if *versions {
            return history(&dataset, &mut out);
        }
        if let Some([a, b]) = diff.as_deref() {
            return differences(&dataset.manifest(*a)?, &dataset.manifest(*b)?, &mut out);
        }
        let snapshot = open(&dataset, *version)?;
        let manifest = &snapshot.manifest;
        if *files {
            snapshot.files().iter().try_for_each(|file| writeln!(out, "{file}"))?;
        } else if *json {
            writeln!(out, "{}", serde_json::to_string_pretty(manifest).map_err(Error::bug)?)?;
        } else if *verify {
            let contract = contract(manifest)?;
            for part in &manifest.parts {
                dataset::check_order(&contract, &read_part(&dataset, &contract, part, &[])?)?;
            }
            writeln!(out, "{name}: {} parts are as version {} says", manifest.parts.len(), manifest.version)?;
        } else if let Some(rows) = head {
            let table = pretty_format_batches(&first(&snapshot, *rows)?).map_err(Error::arrow("printing rows"))?;
            writeln!(out, "{table}")?;
        } else {
            describe(manifest, &mut out)?;
            // An earlier version is not what anybody would bring up to date.
            if let Some(why) = Standing::look(&store)?.stale().get(name).filter(|_| version.is_none()) {
                writeln!(out, "  stale: {why}")?;
            }
            if let Some(more) = more_in_a_glob(&dataset)? {
                writeln!(out, "  {more}")?;
            }
        }
        // Beside the list of files, for whoever would have globbed.
        match more_in_a_glob(&dataset)?.filter(|_| *files) {
            Some(more) => Ok(writeln!(std::io::stderr(), "{name}: {more}")?),
            None => Ok(()),
        }
    }
}

impl Inspect {
    /// The folder of the training run that is named, if one is: by its name under the root, or by a path.
    fn training(&self, commands: Commands) -> Result<Option<PathBuf>> {
        let Some(path) = self.dataset.as_ref().map(Path::new) else { return Ok(None) };
        if path.components().count() > 1 {
            return Ok(run::folder(path));
        }
        let (store, _) = self.place.open(commands)?;
        Ok(store.local_root().and_then(|root| run::folder(&root.join(path))))
    }
}

fn open(dataset: &Dataset, version: Option<u64>) -> Result<Snapshot> {
    let manifest = match version {
        Some(version) => dataset.manifest(version)?,
        None => dataset.current()?.ok_or_else(|| {
            let what = format!("{}: no such dataset under {}", dataset.name(), dataset.store().root());
            Error::usage(what, "`querent inspect` lists them").of_kind(Kind::Missing)
        })?,
    };
    Ok(Snapshot { dataset: dataset.clone(), manifest })
}

fn contract(manifest: &Manifest) -> Result<Contract> {
    let known = schemas::all().into_iter().find(|c| c.name == manifest.table && c.version == manifest.table_version);
    known.ok_or_else(|| {
        let what = format!("unknown table {} version {}", manifest.table, manifest.table_version);
        Error::unreadable(&manifest.dataset, what, "read it with the querent that wrote it")
    })
}

/// What a plain glob sees beyond the current version, in words.
fn more_in_a_glob(dataset: &Dataset) -> Result<Option<String>> {
    Ok(match dataset.unnamed_parts()?.len() {
        0 => None,
        more => Some(format!(
            "a plain glob sees {more} more files than the current version has, of versions that are kept or of a commit that was \
             cut short: read those that `querent inspect {} --files` lists",
            dataset.name()
        )),
    })
}

fn overview(store: &Store, out: &mut impl Write) -> Result<()> {
    let mut rows = vec![output::cells(["dataset", "version", "rows", "MB", "parts", "job"])];
    let (mut notes, mut damaged) = (Vec::new(), None);
    for name in store.folders()? {
        if store.local_root().is_some_and(|root| History::is_in(&root.join(&name))) {
            notes.push(format!("{name}: a training run (`querent inspect {name}` shows it)"));
        }
        let dataset = Dataset::new(store, &name);
        match dataset.current() {
            Ok(None) => {}
            Ok(Some(m)) => {
                let (version, megabytes) = (m.version.to_string(), format!("{:.1}", m.bytes as f64 / 1e6));
                let parts = m.parts.len().to_string();
                rows.push(output::cells([&name, &version, &grouped(m.rows), &megabytes, &parts, &m.lineage.job]));
                notes.extend(more_in_a_glob(&dataset)?.map(|more| format!("{name}: {more}")));
            }
            // The others are shown all the same.
            Err(e) => {
                rows.push(output::cells([&name, "damaged"]));
                damaged = Some(e);
            }
        }
    }
    output::table(out, &rows)?;
    let standing = Standing::look(store)?;
    notes.extend(standing.stale().iter().map(|(name, why)| format!("{name}: stale, {why}")));
    notes.iter().try_for_each(|note| writeln!(out, "{note}"))?;
    damaged.map_or(Ok(()), Err)
}

fn history(dataset: &Dataset, out: &mut impl Write) -> Result<()> {
    let mut rows = vec![output::cells(["version", "made", "rows", "MB", "parts", "job", "revision"])];
    for version in dataset.versions()? {
        let m = dataset.manifest(version)?;
        let (megabytes, parts) = (format!("{:.1}", m.bytes as f64 / 1e6), m.parts.len().to_string());
        let Lineage { job, git_revision, .. } = &m.lineage;
        let (version, rows_) = (version.to_string(), grouped(m.rows));
        rows.push(output::cells([&version, &m.created_at, &rows_, &megabytes, &parts, job, git_revision]));
    }
    output::table(out, &rows)
}

fn differences(a: &Manifest, b: &Manifest, out: &mut impl Write) -> Result<()> {
    writeln!(out, "{} version {} → {}", a.dataset, a.version, b.version)?;
    writeln!(out, "  rows {} → {}, {} → {}", grouped(a.rows), grouped(b.rows), megabytes(a.bytes), megabytes(b.bytes))?;
    let digest = |m: &Manifest, partition| m.part(partition).map(|part| part.blake3.clone());
    let partitions = a.partitions.max(b.partitions);
    let differ: Vec<String> =
        (0..partitions).filter(|p| digest(a, *p) != digest(b, *p)).map(|p| p.to_string()).collect();
    let which = match differ.len() {
        0 => String::new(),
        _ => format!(": {}", differ[..differ.len().min(16)].join(", ") + if differ.len() > 16 { ", …" } else { "" }),
    };
    writeln!(out, "  {} of {partitions} parts differ{which}", differ.len())?;
    let (was, is) = (facts(a)?, facts(b)?);
    let names: std::collections::BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for name in names {
        let of = |facts: &BTreeMap<String, String>| facts.get(name).map_or("none", String::as_str).to_owned();
        let (was, is) = (of(&was), of(&is));
        if was != is {
            writeln!(out, "  {name} {was} → {is}")?;
        }
    }
    Ok(())
}

/// What a version was made of, each by a name.
fn facts(manifest: &Manifest) -> Result<BTreeMap<String, String>> {
    let Lineage { job, stage_version, settings, inputs, models, values, user_key_check, git_revision, remark, erased } =
        &manifest.lineage;
    let mut facts = BTreeMap::from([
        ("job".to_owned(), job.clone()),
        ("stage version".to_owned(), stage_version.to_string()),
        ("revision".to_owned(), git_revision.clone()),
        ("partitions".to_owned(), manifest.partitions.to_string()),
        ("table version".to_owned(), manifest.table_version.to_string()),
    ]);
    leaves("setting", settings, &mut facts);
    for (name, value) in values {
        leaves(&format!("value {name}"), value, &mut facts);
    }
    facts.extend(
        inputs.iter().map(|(name, i)| (format!("input {name}"), format!("version {} ({})", i.version, i.content))),
    );
    facts.extend(models.iter().map(|(name, digest)| (format!("model {name}"), digest.clone())));
    facts.extend(user_key_check.iter().map(|check| ("user key".to_owned(), check.clone())));
    facts.extend(remark.iter().map(|remark| ("remark".to_owned(), remark.clone())));
    facts.extend(erased.filter(|erased| *erased > 0).map(|erased| ("people erased".to_owned(), erased.to_string())));
    Ok(facts)
}

/// The values in a tree, by path.
fn leaves(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| leaves(&format!("{path} {key}"), value, found)),
        value => drop(found.insert(path.to_owned(), value.to_string())),
    }
}

fn first(snapshot: &Snapshot, rows: usize) -> Result<Vec<RecordBatch>> {
    let (mut left, mut batches) = (rows, Vec::new());
    let contract = contract(&snapshot.manifest)?;
    for part in &snapshot.manifest.parts {
        if left == 0 {
            break;
        }
        for batch in read_part(&snapshot.dataset, &contract, part, &[])? {
            let batch = batch.slice(0, left.min(batch.num_rows()));
            left -= batch.num_rows();
            batches.push(batch);
        }
    }
    Ok(batches)
}

fn describe(m: &Manifest, out: &mut impl Write) -> Result<()> {
    let Lineage { job, stage_version, settings, inputs, models, values, user_key_check, git_revision, remark, erased } =
        &m.lineage;
    writeln!(
        out,
        "{} version {} (table {} version {}), {}",
        m.dataset, m.version, m.table, m.table_version, m.created_at
    )?;
    let size = megabytes(m.bytes);
    writeln!(out, "  {} rows in {} of {} partitions, {size}", grouped(m.rows), m.parts.len(), m.partitions)?;
    writeln!(out, "  {} {} in, {} out", grouped(m.account.input), m.unit, grouped(m.account.output))?;
    for (what, counts) in output::account_lines(&m.account) {
        writeln!(out, "  {what}: {counts}")?;
    }
    writeln!(out, "made by {job} (stage version {stage_version}, revision {git_revision})")?;
    writeln!(out, "  settings {settings}")?;
    for (name, input) in inputs {
        writeln!(out, "  from {name} version {} ({})", input.version, input.content)?;
    }
    for (name, value) in values.iter().filter(|(name, _)| *name != "sql") {
        writeln!(out, "  with {name} {value}")?;
    }
    for (name, digest) in models {
        writeln!(out, "  with model {name} (BLAKE3 {digest})")?;
    }
    if let Some(check) = user_key_check {
        writeln!(out, "  user key check {check}")?;
    }
    if let Some(erased) = erased.filter(|erased| *erased > 0) {
        writeln!(out, "  without {erased} people who were erased")?;
    }
    if let Some(remark) = remark {
        writeln!(out, "  remark: {remark}")?;
    }
    Ok(())
}
