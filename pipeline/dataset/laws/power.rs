//! A disk that loses power: whatever was not synced may be lost, any of it, in any combination.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::bucket::stream;
use crate::disk::{Disk, Listed};

/// Random numbers of a trial.
#[derive(Debug)]
struct Dice {
    seed: u64,
    thrown: u64,
}

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.thrown += 1;
        stream(self.seed, "power", self.thrown.to_le_bytes()) % end
    }
}

/// A file's name points to an inode, as on a real disk: a rename moves the name, and syncing the content does not sync the name.
#[derive(Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, u64>,
    synced_names: BTreeMap<PathBuf, u64>,
    contents: BTreeMap<u64, Bytes>,
    unsynced: BTreeSet<u64>,
    next: u64,
    operations: u64,
    dies_at: u64,
}

#[derive(Debug)]
struct Fragile {
    state: Mutex<State>,
    /// Forget to sync names, or contents: the law must notice.
    lazy: Option<&'static str>,
}

impl Fragile {
    fn new(lazy: Option<&'static str>) -> Self {
        Fragile { state: Mutex::new(State { dies_at: u64::MAX, ..State::default() }), lazy }
    }

    fn act<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock().expect("no panic");
        state.operations += 1;
        match state.operations > state.dies_at {
            true => Err(io::Error::other("no power")),
            false => act(&mut state),
        }
    }

    /// Power is lost and comes back: every name is as it was when its folder was last synced, or as it is now.
    fn lose_power(&self, dice: &mut Dice) {
        let mut state = self.state.lock().expect("no panic");
        let State { names, synced_names, .. } = &*state;
        let all: BTreeSet<PathBuf> = names.keys().chain(synced_names.keys()).cloned().collect();
        let mut after = BTreeMap::new();
        for path in all {
            let kept = if dice.below(2) == 0 { synced_names.get(&path) } else { names.get(&path) };
            after.extend(kept.map(|inode| (path, *inode)));
        }
        // Contents that were not synced may come back as zeros.
        for inode in std::mem::take(&mut state.unsynced) {
            if dice.below(2) == 0
                && let Some(content) = state.contents.get_mut(&inode)
            {
                *content = vec![0; content.len()].into();
            }
        }
        state.names = after.clone();
        state.synced_names = after;
        state.operations = 0;
        state.dies_at = u64::MAX;
    }
}

fn not_found() -> io::Error {
    ErrorKind::NotFound.into()
}

impl Disk for Fragile {
    fn read(&self, path: &Path) -> io::Result<Option<Bytes>> {
        let state = self.state.lock().expect("no panic");
        Ok(state.names.get(path).and_then(|inode| state.contents.get(inode).cloned()))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.state.lock().expect("no panic").names.contains_key(path))
    }

    fn read_range(&self, path: &Path, start: u64, length: usize) -> io::Result<Bytes> {
        let bytes = self.read(path)?.ok_or_else(not_found)?;
        Ok(bytes.slice(start as usize..start as usize + length))
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.act(|state| {
            state.next += 1;
            let inode = state.next;
            state.names.insert(path.to_owned(), inode);
            state.contents.insert(inode, content.to_vec().into());
            if self.lazy == Some("contents") {
                state.unsynced.insert(inode);
            }
            Ok(())
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(|state| {
            if state.names.contains_key(to) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let inode = *state.names.get(from).ok_or_else(not_found)?;
            state.names.insert(to.to_owned(), inode);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(|state| {
            let inode = state.names.remove(from).ok_or_else(not_found)?;
            state.names.insert(to.to_owned(), inode);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.act(|state| state.names.remove(path).map(|_| ()).ok_or_else(not_found))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if self.lazy == Some("names") {
            return Ok(());
        }
        self.act(|state| {
            let here = |path: &PathBuf| path.parent() == Some(folder);
            state.synced_names.retain(|path, _| !here(path));
            let names: Vec<_> =
                state.names.iter().filter(|(path, _)| here(path)).map(|(p, i)| (p.clone(), *i)).collect();
            state.synced_names.extend(names);
            Ok(())
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>> {
        let state = self.state.lock().expect("no panic");
        let below = state.names.iter().filter_map(|(path, inode)| {
            let path = path.strip_prefix(folder).ok()?.to_str()?.to_owned();
            Some(Listed { path, bytes: state.contents.get(inode)?.len() as u64, age_s: 0 })
        });
        Ok(below.collect())
    }

    fn prune(&self, _: &Path) {}
}

/// Runs one stage after another, losing power at a random operation of each, `trials` times. Returns how often a dataset could not be read,
/// or had other rows than those of a version that was reported or being made.
fn losses(lazy: Option<&'static str>, trials: u64) -> u64 {
    let mut lost = 0;
    for trial in 0..trials {
        let mut dice = Dice { seed: trial, thrown: 0 };
        let disk = Arc::new(Fragile::new(lazy));
        let runner = runner_over(Store::disk("/toy", disk.clone()).expect("opens"));
        let rows = |shift: i64, rows: u32| {
            let all = (0..3).flat_map(move |p| {
                (0..rows).map(move |i| (format!("{p:032x}"), format!("n{i:05}"), i64::from(i) + shift))
            });
            text(truth(all).batches())
        };
        let mut safe: Option<Vec<String>> = None;
        for shift in 0..4 {
            disk.state.lock().expect("no panic").dies_at = 1 + dice.below(260);
            let made = run(&runner, &make(2 + shift as u32, shift, 3));
            let new = rows(shift, 2 + shift as u32);
            if made.is_ok() {
                safe = Some(new.clone());
            }
            disk.lose_power(&mut dice);
            let seen = match Dataset::new(runner.store(), "out").current() {
                Ok(None) => None,
                _ => match by_version(&runner, "out") {
                    Ok(rows) => Some(rows),
                    Err(_) => {
                        lost += 1;
                        break;
                    }
                },
            };
            if seen != safe && seen != Some(new.clone()) {
                lost += 1;
                break;
            }
            // Now the power stays.
            match run(&runner, &make(2 + shift as u32, shift, 3)) {
                Ok(_) if by_version(&runner, "out").is_ok_and(|rows| rows == new) => safe = Some(new),
                _ => {
                    lost += 1;
                    break;
                }
            }
        }
    }
    lost
}

#[test]
fn no_loss_of_power_loses_a_version() {
    assert_eq!(losses(None, 200), 0);
}

#[test]
fn a_store_that_forgets_to_sync_would_be_noticed() {
    assert!(losses(Some("names"), 200) > 0);
    assert!(losses(Some("contents"), 200) > 0);
}
