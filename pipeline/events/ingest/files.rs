//! Raw files: which there are, which of them the version before holds already, and how the new ones are read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use arrow::array::Array;
use dataset::plan::{digest, file_digest};
use dataset::{Digest, Error, Kind, Manifest, Result, Whole};
use rayon::prelude::*;
use schemas::{RawFiles, RawFilesColumns};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::{EventLog, Ingest, NewsLog};
use super::globs::Glob;
use super::{mind, read};

/// The declared value that names the raw files of a version.
pub(super) const RAW_FILES: &str = "raw files";

/// What makes a raw file's rows what they are: the log that it belongs to, its content, and how it was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct FileId {
    /// The log's name.
    pub(super) source: String,
    /// BLAKE3 of the content; if columns are read from its path, of what that says as well.
    pub(super) blake3: Digest,
    /// Digest of the log's mapping.
    pub(super) mapping: Digest,
}

/// One raw file, and how to read it.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub(super) id: FileId,
    /// As found.
    pub(super) path: PathBuf,
    /// Where the same content lies as well.
    twins: Vec<PathBuf>,
    pub(super) bytes: u64,
    pub(super) reader: Reader,
}

impl Raw {
    /// The name of the task that reads it.
    pub(super) fn task(&self) -> Digest {
        digest(&json!(self.id))
    }
}

/// A path as it is compared with others: where it leads, if anything lies there.
fn place(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

#[derive(Debug, Clone)]
pub(super) enum Reader {
    Events(EventLog),
    News(NewsLog),
    MindHistories,
    MindImpressions,
    /// When articles were first shown.
    MindShown,
    MindNews,
}

impl Reader {
    /// Whether the texts of news clicks that it reads, if any, are the titles of `news`.
    pub(super) fn gives_titles(&self) -> bool {
        match self {
            Reader::Events(log) => log.domain != "news" || log.text.is_none(),
            Reader::MindHistories | Reader::MindImpressions => true,
            Reader::News(_) | Reader::MindShown | Reader::MindNews => false,
        }
    }

    /// Whether its rows say what was shown, and not only what was clicked.
    pub(super) fn has_impressions(&self) -> bool {
        match self {
            Reader::Events(log) => log.shown.is_some(),
            Reader::MindImpressions => true,
            _ => false,
        }
    }

    /// Columns of the mapping that the names of a file's folders say.
    fn said_by_path(&self, path: &Path) -> Result<Vec<(String, String)>> {
        let said = read::partitions(path);
        if said.is_empty() {
            return Ok(said);
        }
        let wanted = match self {
            Reader::Events(log) => log.wanted()?,
            Reader::News(log) => log.wanted()?,
            _ => return Ok(Vec::new()),
        };
        Ok(said.into_iter().filter(|(name, _)| wanted.contains(name)).collect())
    }
}

/// All raw files that the settings name: those with behaviours, and those with news.
pub(super) fn find(settings: &Ingest) -> Result<(Vec<Raw>, Vec<Raw>)> {
    let (mut events, mut news) = (Vec::new(), Vec::new());
    if let Some(folder) = &settings.mind {
        let (behaviours, articles) = mind::files(folder)?;
        events.push(("mind-history", behaviours.clone(), Reader::MindHistories));
        events.push(("mind-impressions", behaviours.clone(), Reader::MindImpressions));
        news.push(("mind-impressions", behaviours, Reader::MindShown));
        news.push(("mind-news", articles, Reader::MindNews));
    }
    for log in &settings.events {
        events.extend(
            matches(&log.name, &log.files)?.into_iter().map(|p| (log.name.as_str(), p, Reader::Events(log.clone()))),
        );
    }
    for log in &settings.news {
        news.extend(
            matches(&log.name, &log.files)?.into_iter().map(|p| (log.name.as_str(), p, Reader::News(log.clone()))),
        );
    }
    Ok((digested(events)?, digested(news)?))
}

fn digested(found: Vec<(&str, PathBuf, Reader)>) -> Result<Vec<Raw>> {
    let mut files: Vec<Raw> = found
        .into_par_iter()
        .map(|(source, path, reader)| {
            let (mut blake3, bytes) = file_digest(&path)?;
            let said = reader.said_by_path(&path)?;
            if !said.is_empty() {
                blake3 = digest(&json!([blake3, said]));
            }
            let mapping = digest(&json!(without_files(&reader)));
            Ok(Raw {
                id: FileId { source: source.to_owned(), blake3, mapping },
                path,
                twins: Vec::new(),
                bytes,
                reader,
            })
        })
        .collect::<Result<_>>()?;
    // The same bytes twice in one log are one file.
    files.sort_by(|a, b| a.id.cmp(&b.id).then_with(|| a.path.cmp(&b.path)));
    files.dedup_by(|file, first| {
        let same = file.id == first.id;
        if same {
            first.twins.push(std::mem::take(&mut file.path));
        }
        same
    });
    Ok(files)
}

/// A log's mapping without its files, which are known by their content instead.
fn without_files(reader: &Reader) -> Value {
    let mut mapping = match reader {
        Reader::Events(log) => json!(log),
        Reader::News(log) => json!(log),
        Reader::MindHistories | Reader::MindImpressions | Reader::MindShown | Reader::MindNews => json!({}),
    };
    if let Some(mapping) = mapping.as_object_mut() {
        mapping.remove("files");
    }
    mapping
}

fn matches(name: &str, globs: &[String]) -> Result<Vec<PathBuf>> {
    let setting = format!("ingest.{name}.files");
    let none = |globs: String| {
        let hint = "paths are relative to the folder querent is run in";
        Error::setting(&setting, "globs that match files", globs, hint).of_kind(Kind::Missing)
    };
    let mut paths = BTreeSet::new();
    for pattern in globs {
        let glob = Glob::new(pattern).map_err(|e| {
            Error::setting(&setting, "a glob", format!("{pattern:?}: {e}"), "for example logs/*.tsv.gz")
        })?;
        let found = glob.files()?;
        if found.is_empty() {
            return Err(none(format!("{pattern:?}, which matches none")));
        }
        paths.extend(found);
    }
    if paths.is_empty() {
        return Err(none("none".to_owned()));
    }
    Ok(paths.into_iter().collect())
}

/// What of the files is read now, and what the next version is made of.
#[derive(Debug)]
pub(super) struct Intake {
    /// Files to read.
    pub(super) fresh: Vec<Raw>,
    /// All files that the next version is made of.
    pub(super) all: Vec<FileId>,
    /// Whether the rows of the version before are carried on.
    pub(super) carries: bool,
    /// Logs of which files are carried on.
    pub(super) known: BTreeSet<String>,
    /// Files that lay there before with another content: what came of that is replaced.
    pub(super) replaced: Vec<String>,
    /// Where files lie now that were read before and moved since.
    pub(super) moved: Paths,
}

impl Intake {
    /// Reads what the version before does not hold. `lay` says where its files lay, `unfit` why its rows cannot be carried on, if so.
    ///
    /// A file that lies where one with another content lay takes its place, unless it was read before and moved there: logs are rotated that way.
    /// Which rows came of which file is not kept, so if one was replaced all files are read again.
    ///
    /// # Errors
    /// When all files must be read again, and one of them is gone: nothing that it held may be lost.
    pub(super) fn new(
        found: Vec<Raw>,
        before: Option<&Manifest>,
        lay: &Paths,
        unfit: impl FnOnce(&Manifest) -> Result<Option<String>>,
    ) -> Result<Self> {
        let held = match before {
            Some(before) => held(before)?,
            None => Vec::new(),
        };
        let present: BTreeSet<&FileId> = found.iter().map(|raw| &raw.id).collect();
        let same_content: BTreeSet<(&str, &Digest)> =
            present.iter().map(|id| (id.source.as_str(), &id.blake3)).collect();
        let mappings: BTreeMap<&str, &Digest> =
            found.iter().map(|raw| (raw.id.source.as_str(), &raw.id.mapping)).collect();
        let other =
            held.iter().find(|id| mappings.get(id.source.as_str()).is_some_and(|mapping| **mapping != id.mapping));
        let is_history = |id: &FileId| {
            found.iter().any(|raw| matches!(raw.reader, Reader::MindHistories) && raw.id.source == id.source)
        };
        let history = held.iter().any(|id| is_history(id) && !present.contains(id));
        // What lies at each path now, the paths of the same content included.
        let lies: BTreeMap<(&str, PathBuf), &Digest> = found
            .iter()
            .flat_map(|raw| std::iter::once(&raw.path).chain(&raw.twins).map(move |path| (raw, path)))
            .map(|(raw, path)| ((raw.id.source.as_str(), place(path)), &raw.id.blake3))
            .collect();
        let lies_at = |source: &str, path: &str| lies.get(&(source, place(Path::new(path)))).copied();
        // Read before, and not where it was then.
        let has_moved = |source: &str, content: &Digest| {
            let lay = lay.get(&(source.to_owned(), content.clone()));
            lay.is_some_and(|path| lies_at(source, path) != Some(content))
        };
        let replaced: BTreeMap<&FileId, &String> = held
            .iter()
            .filter_map(|id| Some((id, lay.get(&(id.source.clone(), id.blake3.clone()))?)))
            .filter(|(id, path)| {
                let source = id.source.as_str();
                lies_at(source, path).is_some_and(|content| *content != id.blake3 && !has_moved(source, content))
                    && !same_content.contains(&(source, &id.blake3))
            })
            .collect();
        let moved = found
            .iter()
            .filter(|raw| has_moved(&raw.id.source, &raw.id.blake3))
            .map(|raw| ((raw.id.source.clone(), raw.id.blake3.clone()), raw.path.display().to_string()));
        let moved: Paths = moved.collect();
        let unfit = match (before, other) {
            (None, _) => Some(String::new()),
            (Some(_), Some(id)) => Some(format!(
                "the mapping of the log {} changed (a log under another name is read beside it)",
                id.source
            )),
            (Some(_), None) if history => Some("users' histories come from one behaviors.tsv".to_owned()),
            (Some(_), None) if !replaced.is_empty() => {
                Some(format!("{} is not what was read there before", replaced.values().next().expect("there is one")))
            }
            (Some(before), None) => unfit(before)?,
        };
        let Some(why) = unfit else {
            let known: BTreeSet<&FileId> = held.iter().collect();
            let fresh: Vec<Raw> = found.iter().filter(|raw| !known.contains(&raw.id)).cloned().collect();
            let mut all: Vec<FileId> = held.iter().cloned().chain(fresh.iter().map(|raw| raw.id.clone())).collect();
            all.sort();
            let known = held.into_iter().map(|id| id.source).collect();
            return Ok(Intake { fresh, all, carries: true, known, replaced: Vec::new(), moved });
        };
        let there = |id: &FileId| same_content.contains(&(id.source.as_str(), &id.blake3)) || replaced.contains_key(id);
        if let Some(gone) = held.iter().find(|id| !there(id)) {
            let what = format!(
                "a file of the log {} that was read before is gone or changed (BLAKE3 {}), and every file must be read again: {why}",
                gone.source,
                &gone.blake3[..16]
            );
            let hint = "put it back (events.raw_files has its path), take that setting back, or ingest into another --data root";
            return Err(Error::unreadable("ingest", what, hint));
        }
        let all = found.iter().map(|raw| raw.id.clone()).collect();
        let mut replaced: Vec<String> = replaced.into_values().cloned().collect();
        replaced.dedup();
        Ok(Intake { fresh: found, all, carries: false, known: BTreeSet::new(), replaced, moved: Paths::new() })
    }
}

impl Intake {
    /// Carries the version before on, and reads nothing.
    ///
    /// # Errors
    /// When there is none, or its rows cannot be carried on.
    pub(super) fn nothing(
        before: Option<&Manifest>,
        unfit: impl FnOnce(&Manifest) -> Result<Option<String>>,
    ) -> Result<Self> {
        let before = before.ok_or_else(nothing_to_erase)?;
        if let Some(why) = unfit(before)? {
            let what = format!("events version {} cannot be carried on: {why}", before.version);
            return Err(Error::retry(what, "run ingest without --erase, which reads all logs again, then with it"));
        }
        let all = held(before)?;
        let known = all.iter().map(|id| id.source.clone()).collect();
        Ok(Intake { fresh: Vec::new(), all, carries: true, known, replaced: Vec::new(), moved: Paths::new() })
    }
}

/// Nobody can be erased yet.
pub(super) fn nothing_to_erase() -> Error {
    let what = "events: expected a dataset to erase people from, got none".to_owned();
    Error::usage(what, "run ingest without --erase first").of_kind(Kind::Missing)
}

/// Where the files lay that a version was made of, by log and content.
pub(super) type Paths = BTreeMap<(String, Digest), String>;

/// Where the files lay, as the version itself says.
pub(super) fn paths(files: Option<&Whole<RawFiles>>) -> Result<Paths> {
    let mut paths = Paths::new();
    for rows in files.into_iter().flat_map(Whole::parts) {
        for columns in rows?.columns() {
            let RawFilesColumns { source, blake3, file, .. } = columns?;
            let row = |i| ((source.value(i).to_owned(), blake3.value(i).to_owned()), file.value(i).to_owned());
            paths.extend((0..file.len()).map(row));
        }
    }
    Ok(paths)
}

/// What a reader of the next version should know of files that changed.
pub(super) fn remark(replaced: &[String]) -> Option<String> {
    const NAMED: usize = 5;
    let more = replaced.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} others") } else { String::new() };
    let named = replaced[..replaced.len().min(NAMED)].join(", ");
    (!replaced.is_empty())
        .then(|| format!("files that came again changed replace what came of them before: {named}{more}"))
}

/// The raw files that a version is made of.
fn held(manifest: &Manifest) -> Result<Vec<FileId>> {
    let files = manifest.lineage.values.get(RAW_FILES).cloned().unwrap_or_default();
    serde_json::from_value(files).map_err(|e| {
        let what = format!("its version {} does not say what it is made of: {e}", manifest.version);
        Error::unreadable(&manifest.dataset, what, "delete the dataset's folder and run ingest again")
    })
}
