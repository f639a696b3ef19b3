//! The files that a glob names. Nothing on the way is passed over because it cannot be looked at: it may be what the glob is for.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use dataset::{Error, Result};
use glob::{MatchOptions, Pattern, PatternError};

/// What the system hides is matched only where the glob says the dot.
const HIDDEN_ARE_NONE: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// What stands between two slashes.
enum Part {
    /// `log.csv`
    Name(String),
    /// `*.csv`
    Like(Pattern),
    /// `**`: any number of folders.
    Folders,
}

/// A glob, such as `logs/**/day-*.tsv.gz`.
pub(super) struct Glob {
    start: PathBuf,
    parts: Vec<Part>,
}

impl Glob {
    /// # Errors
    /// When it is none.
    pub(super) fn new(glob: &str) -> Result<Self, PatternError> {
        let part = |part: &str| {
            Ok(match part {
                "**" => Part::Folders,
                like if like.contains(['*', '?', '[']) => Part::Like(Pattern::new(like)?),
                name => Part::Name(name.to_owned()),
            })
        };
        let start = if glob.starts_with('/') { PathBuf::from("/") } else { PathBuf::new() };
        let parts = glob.split('/').filter(|part| !matches!(*part, "" | ".")).map(part);
        Ok(Glob { start, parts: parts.collect::<Result<_, _>>()? })
    }

    /// The files that it names now.
    ///
    /// # Errors
    /// When a file or folder that may be one of them, or hold one, cannot be looked at, or is a link to nothing.
    pub(super) fn files(&self) -> Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        walk(&self.start, &self.parts, &mut Vec::new(), &mut found)?;
        Ok(found)
    }
}

/// Adds what the parts name from here on. `links` are the folders that links have led to.
fn walk(at: &Path, parts: &[Part], links: &mut Vec<PathBuf>, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        if look(at)?.is_some_and(|about| about.is_file()) {
            found.insert(at.to_owned());
        }
        return Ok(());
    };
    match part {
        Part::Name(name) => walk(&at.join(name), rest, links, found),
        Part::Like(pattern) => entries(at, |name| pattern.matches_with(name, HIDDEN_ARE_NONE))?
            .into_iter()
            .try_for_each(|(path, _)| walk(&path, rest, links, found)),
        Part::Folders => {
            walk(at, rest, links, found)?;
            for (path, _) in entries(at, |name| !name.starts_with('.'))?.into_iter().filter(|(_, about)| about.is_dir())
            {
                if !path.is_symlink() {
                    walk(&path, parts, links, found)?;
                    continue;
                }
                let target = fs::canonicalize(&path).map_err(Error::at(&path))?;
                let here = fs::canonicalize(folder(at)).map_err(Error::at(at))?;
                // A link that leads back would lead on for ever.
                if !here.starts_with(&target) && !links.contains(&target) {
                    links.push(target);
                    walk(&path, parts, links, found)?;
                    links.pop();
                }
            }
            Ok(())
        }
    }
}

fn folder(at: &Path) -> &Path {
    if at.as_os_str().is_empty() { Path::new(".") } else { at }
}

/// What of a folder has a name that is wanted; nothing, if it is no folder.
fn entries(at: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<(PathBuf, Metadata)>> {
    if !look(folder(at))?.is_some_and(|about| about.is_dir()) {
        return Ok(Vec::new());
    }
    let failed = |e| Error::io(folder(at).display(), e);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder(at)).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if wanted(&name.to_string_lossy()) {
            let path = at.join(name);
            entries.extend(look(&path)?.map(|about| (path, about)));
        }
    }
    Ok(entries)
}

/// What lies there; none, if nothing does.
fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(about) => Ok(Some(about)),
        Err(e) if e.kind() == ErrorKind::NotFound && path.is_symlink() => {
            let what = "expected a file or a folder, got a link to nothing";
            Err(Error::unreadable(path.display(), what, "mend the link, or remove it"))
        }
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::io(path.display(), e)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// What a glob names in a folder, without the folder's name.
    fn named(folder: &TempDir, glob: &str) -> Result<Vec<String>> {
        let glob = Glob::new(&format!("{}/{glob}", folder.path().display())).expect("a glob");
        let name = |path: &PathBuf| path.strip_prefix(folder.path()).expect("within").display().to_string();
        Ok(glob.files()?.iter().map(name).collect())
    }

    fn write(folder: &TempDir, names: &[&str]) {
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
            fs::write(path, "").expect("writable");
        }
    }

    #[test]
    fn it_names_what_shells_say() -> Result<()> {
        let folder = TempDir::new().expect("a folder");
        write(
            &folder,
            &["a/log.tsv", "a/b/log.tsv", "a/b/log.csv", "c/log.tsv", "log.tsv", "note", ".h/log.tsv", "a/.log.tsv"],
        );
        for (glob, expected) in [
            ("*/log.tsv", &["a/log.tsv", "c/log.tsv"][..]),
            ("*/*.tsv", &["a/log.tsv", "c/log.tsv"]),
            ("**/*.tsv", &["a/b/log.tsv", "a/log.tsv", "c/log.tsv", "log.tsv"]),
            ("a/**/log.?sv", &["a/b/log.csv", "a/b/log.tsv", "a/log.tsv"]),
            ("[ab]/./b/log.[!c]sv", &["a/b/log.tsv"]),
            (".h/log.tsv", &[".h/log.tsv"]),
            (".*/log.tsv", &[".h/log.tsv"]),
            ("a/../log.tsv", &["a/../log.tsv"]),
            ("*", &["log.tsv", "note"]),
            ("d/*.tsv", &[]),
            ("log.tsv/*", &[]),
            ("**", &[]),
        ] {
            assert_eq!(named(&folder, glob)?, expected, "{glob}");
        }
        assert!(Glob::new("logs/a**").is_err() && Glob::new("logs/[").is_err());
        Ok(())
    }

    #[test]
    fn links_are_gone_into_and_never_round() -> Result<()> {
        let (folder, elsewhere) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
        write(&folder, &["a/log.tsv"]);
        write(&elsewhere, &["log.tsv"]);
        symlink(elsewhere.path(), folder.path().join("a/link")).expect("writable");
        symlink(folder.path(), elsewhere.path().join("back")).expect("writable");
        symlink(folder.path(), folder.path().join("a/up")).expect("writable");
        assert_eq!(named(&folder, "*/*/log.tsv")?, ["a/link/log.tsv"]);
        let all = named(&folder, "**/log.tsv")?;
        assert!(all.contains(&"a/link/log.tsv".to_owned()) && all.len() < 5, "{all:?}");
        Ok(())
    }

    #[test]
    fn what_cannot_be_looked_at_is_an_error_whatever_the_globs_shape() {
        let link = |target: &str| {
            let folder = TempDir::new().expect("a folder");
            write(&folder, &["good/log.tsv"]);
            symlink(target, folder.path().join("bad")).expect("writable");
            folder
        };
        // A link to itself is what the system refuses to everybody, the superuser included.
        for (target, said) in
            [("bad", "symbolic links"), ("gone", "bad: expected a file or a folder, got a link to nothing")]
        {
            let folder = link(target);
            for glob in ["*/log.tsv", "*/*.tsv", "**/log.tsv", "b*", "bad", "ba[d]/log.tsv"] {
                let error = named(&folder, glob).expect_err(glob).to_string();
                assert!(error.contains(said) && error.contains("\nhint: "), "{glob}: {error}");
            }
            assert_eq!(named(&folder, "g*/log.tsv").expect("it is not asked for"), ["good/log.tsv"]);
        }
    }
}
