//! A disk that loses power: whatever was not synced may be lost, any of it, in any combination. Names, folders and contents are synced each
//! for itself. A file whose content was not synced may be there with other bytes, of the same number or fewer.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use bytes::Bytes;

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

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
    folders: BTreeSet<PathBuf>,
    unsynced_folders: BTreeSet<PathBuf>,
    next: u64,
    /// Contents that were synced so far.
    syncs: u64,
    operations: u64,
    dies_at: u64,
}

impl State {
    /// Makes the folders that a file lies in.
    fn make_folders(&mut self, path: &Path, synced: bool) {
        for folder in path.ancestors().skip(1) {
            if self.folders.insert(folder.to_owned()) && !synced {
                self.unsynced_folders.insert(folder.to_owned());
            }
        }
    }
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
        let mut gone = state.unsynced_folders.clone();
        gone.retain(|_| dice.below(2) == 0);
        let mut after = BTreeMap::new();
        for path in all.into_iter().filter(|path| !path.ancestors().any(|folder| gone.contains(folder))) {
            let kept = if dice.below(2) == 0 { synced_names.get(&path) } else { names.get(&path) };
            after.extend(kept.map(|inode| (path, *inode)));
        }
        for inode in std::mem::take(&mut state.unsynced) {
            if let Some(content) = state.contents.get_mut(&inode) {
                match dice.below(4) {
                    0 => *content = vec![0; content.len()].into(),
                    1 => content.truncate(dice.below(content.len() as u64 + 1) as usize),
                    _ => {}
                }
            }
        }
        state.folders.retain(|folder| !gone.contains(folder));
        state.unsynced_folders.clear();
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
            state.unsynced.insert(inode);
            state.make_folders(path, true);
            Ok(())
        })
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.act(|state| {
            let inode = *state.names.get(path).ok_or_else(not_found)?;
            state.syncs += 1;
            if self.lazy != Some("contents") {
                state.unsynced.remove(&inode);
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
            state.make_folders(to, false);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(|state| {
            let inode = state.names.remove(from).ok_or_else(not_found)?;
            state.names.insert(to.to_owned(), inode);
            state.make_folders(to, false);
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
            state.unsynced_folders.retain(|path| path.parent() != Some(folder));
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

/// The rows of [`Make`], which tasks send: task 3 sends the third row of every partition.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Spread {
    rows: u32,
    shift: i64,
    partitions: u32,
}

impl Stage for Spread {
    const NAME: &'static str = "spread";
    const VERSION: u32 = 1;
    const UNIT: &'static str = "rows";
    type Inputs = Arc<Regrouped>;
    type Shared = ();
    type Outputs = (Rows<Truth>, Rows<Truth>);

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Arc<Regrouped>> {
        let fields = vec![Field::new("news_id", DataType::Utf8, false), Field::new("at", DataType::Int64, false)];
        let tasks = (0..self.rows).map(|task| format!("{task}-{}", self.shift)).collect();
        declare.regroup(self.partitions, Arc::new(Schema::new(fields)), tasks)
    }

    fn open(&self, _: &Arc<Regrouped>, _: &Resources) -> Result<()> {
        Ok(())
    }

    fn map(&self, regrouped: &Arc<Regrouped>, task: usize, spill: &mut Spill<'_>) -> Result<()> {
        let partitions: Vec<u32> = (0..regrouped.partitions).collect();
        let news_id = StringArray::from(vec![format!("n{task:05}"); partitions.len()]);
        let at = Int64Array::from(vec![task as i64 + self.shift; partitions.len()]);
        let rows = RecordBatch::try_new(spill.schema(), vec![Arc::new(news_id), Arc::new(at)]);
        spill.send(&partitions, &rows.map_err(Error::arrow("a toy"))?)
    }

    fn run(&self, regrouped: &Arc<Regrouped>, (): &(), partition: u32) -> Result<Done<Self::Outputs>> {
        let sent = regrouped.read(partition)?.into_iter().map(|(_, row)| {
            let (news_id, at) = (row.column(0).as_string::<i32>().value(0), row.column(1).as_primitive::<Int64Type>());
            (format!("{partition:032x}"), news_id.to_owned(), at.value(0))
        });
        Ok(Done { outputs: (truth(sent), Rows::empty()), accounts: Vec::new() })
    }
}

/// What came of many trials.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fate {
    /// How often a dataset could not be read, or had other rows than those of the version that was there before or was being made.
    lost: u64,
    /// Partitions that were taken over from a run that lost power.
    taken_over: u64,
}

/// Runs one stage after another, losing power at a random operation of each, `trials` times. Now and then the power is lost again before
/// the same is run again, or something else is made first and that is come back to.
fn fate(lazy: Option<&'static str>, trials: u64) -> Fate {
    let mut fate = Fate::default();
    for trial in 0..trials {
        let mut dice = Dice { seed: trial, thrown: 0 };
        let disk = Arc::new(Fragile::new(lazy));
        let runner = runner_over(Store::disk("/toy", disk.clone()).expect("opens"));
        let spreads = trial % 2 == 1;
        let make = |shift: u32| {
            let (rows, shift, partitions) = (2 + shift, i64::from(shift), 3);
            match spreads {
                true => runner.run(&Spread { rows, shift, partitions }, &OUT),
                false => run(&runner, &make(rows, shift, partitions)),
            }
        };
        let rows = |shift: u32| {
            let row = move |p, i| (format!("{p:032x}"), format!("n{i:05}"), i64::from(i + shift));
            text(truth((0..3).flat_map(move |p| (0..2 + shift).map(move |i| row(p, i)))).batches())
        };
        let mut safe: Option<Vec<String>> = None;
        let mut shift = 0;
        for _ in 0..8 {
            if dice.below(3) == 0 {
                shift = dice.below(3) as u32;
            }
            let new = rows(shift);
            let endures = dice.below(3) == 0;
            disk.state.lock().expect("no panic").dies_at = if endures { u64::MAX } else { 1 + dice.below(180) };
            let made = make(shift);
            if made.is_ok() {
                safe = Some(new.clone());
            }
            disk.lose_power(&mut dice);
            let seen = match Dataset::new(runner.store(), "out").current() {
                Ok(None) => Ok(None),
                _ => by_version(&runner, "out").map(Some),
            };
            match (made, seen) {
                (Err(_), _) if endures => fate.lost += 1,
                (made, Ok(seen)) if seen == safe || seen == Some(new) => {
                    safe = seen;
                    fate.taken_over += made.map_or(0, |made| if endures { made.reused } else { 0 });
                    continue;
                }
                _ => fate.lost += 1,
            }
            break;
        }
    }
    fate
}

#[test]
fn no_loss_of_power_loses_a_version() {
    let Fate { lost, taken_over } = fate(None, 240);
    assert_eq!(lost, 0);
    assert!(taken_over > 0, "nothing was taken over, so nothing was shown of that");
}

#[test]
fn a_store_that_forgets_to_sync_would_be_noticed() {
    assert!(fate(Some("names"), 200).lost > 0);
    assert!(fate(Some("contents"), 200).lost > 0);
}

#[test]
fn every_part_is_synced_once_and_nothing_else_but_the_plan_and_the_entries() -> Result<()> {
    let disk = Arc::new(Fragile::new(None));
    let runner = runner_over(Store::disk("/toy", disk.clone())?);
    let spread = Spread { rows: 5, shift: 0, partitions: 40 };
    runner.run(&spread, &OUT)?;
    let (parts, plan, entries) = (40 + 1, 1, 2);
    assert_eq!(disk.state.lock().expect("no panic").syncs, parts + plan + entries);
    Ok(())
}
