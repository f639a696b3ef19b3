//! A model of the commit protocol, small enough that a checker (`stateright`) tries every order of its steps.
//!
//! There are two writers, gc and a reader. Each step is one operation of the store. Between any two steps the others may
//! step, and a writer's process may die and a new one be started. (One that never steps again is one that died.)
//! A power loss ends all processes and drops what is not synced. Deletions survive it, which is the worst case.
//!
//! A file is an (output, partition, process): every process writes under names of its own, with its base in them.
//! Partition 0 differs between fingerprints. Partition 1 never does, so it is reused.
//!
//! Neither a part nor a receipt is synced when it is written. So after a power loss a receipt may be there whose part is
//! *torn*: it has its name and its size, and other bytes. Whoever takes a part over checks its bytes. Whoever commits
//! syncs all parts of the version first, whoever wrote them. A receipt is never synced, for losing it is only work lost.
//!
//! | who | step | what happens |
//! |---|---|---|
//! | writer | `Read` | the head of every log, the primary's last: the base |
//! | | `Settle` | has a run committed its first output only? Fence the primary, which ends that run; read again. (The program first finishes that commit for the run, by the steps that the run itself would take, which the model has as the run's) |
//! | | `Make` | per partition: reuse the base's part, or take the run's receipt if its part is whole, or link a whole part of an over run, or write |
//! | | `Receipt` | create it if absent, or replace one whose part is not whole; the loser deletes its own part (`Lost`) and takes the winner's |
//! | | `Tidy` | sync the logs, list what the law lets go, delete it file by file; after `Make`, which may link it |
//! | | `SyncBytes` | sync the bytes of all parts of the run, whoever wrote them: of all outputs, before the first is placed |
//! | | `Place` | rename each staged part to its final name: of all outputs, before the first entry |
//! | | `SyncParts` | sync the folders of all parts of the run, whoever renamed them |
//! | | `Enter` | create entry base + 1 if absent, the primary's last; one of our fingerprint is a success, any other a conflict |
//! | | `SyncLog` | sync the log, whoever wrote the entry; after the primary's, report success |
//! | | `Clean` | delete what the law lets go, then the run's staged parts, then its receipts |
//! | gc | `Look` | the heads |
//! | | `Condemn` | any run or none: what is old is left to the worst case |
//! | | `Fence` | the run is open? Create entry base + 1 of the *run*, without data, if absent: the run is over now |
//! | | `List` | sync the logs, list what the law lets go, delete it, then the run's staged parts, then its receipts |
//! | reader | `Open` | the newest entry with data |
//! | | `Part` | one part after the other; if one is gone, a newer version must be there |
//!
//! **The law.** A part may go iff its base is below the head and the version at that head does not name it. It holds for
//! heads and lists of any age: only a run based on `b` brings parts of base `b`, into version `b + 1`.
//!
//! Each [`Flaw`] leaves one rule out, and the checker must find what goes wrong then.

use stateright::{Model, Property};

#[path = "model/checks.rs"]
mod checks;
#[path = "model/steps.rs"]
mod steps;

/// Partitions of every output.
const PARTS: usize = 2;
/// Processes that ever write, the one that made the first version (number 0) included.
const PROCESSES: usize = 8;
/// Entries of a log, at most.
const ENTRIES: usize = 14;
/// The maker of an entry without data.
const FENCE: u8 = u8::MAX;
/// The output that is committed last.
const PRIMARY: usize = 0;

// What always holds.
const WHOLE: &str = "the current version is whole";
const REPORTED: &str = "what was reported is in the log";
const LOST_TO_ANOTHER: &str = "a run is lost to another's entry only";
const READABLE: &str = "a reader finds the current version's parts";
const UNMIXED: &str = "a reader saw one version";
const ONE_RUN: &str = "outputs are of one run, unless a later one is unfinished";

/// A rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// The protocol as it should be.
    None,
    /// Parts are renamed after the entry; a starting job promotes the version that it read first and clears what is
    /// staged for the one that it reads then.
    PromoteLate,
    /// gc deletes an open run without ending it.
    NoFence,
    /// gc fences the head that it read before it saw the run, not the run's base: the run may be based on a later one.
    FencesByHead,
    /// What the current version does not name is deleted, whatever its base.
    NoBase,
    /// A part with the right key is reused wherever it is found.
    ReuseUnnamed,
    /// The entry comes before the parts are placed.
    EntryFirst,
    /// The bytes of parts are not synced before the entry.
    BytesUnsynced,
    /// Only the bytes of parts that this process wrote are synced.
    SyncsOwnBytes,
    /// The bytes of parts are synced after the entry.
    SyncsBytesLate,
    /// A run that goes on takes the part that a receipt names, and does not check its bytes.
    ResumesUnchecked,
    /// A part of a run that is over is linked, and its bytes are not checked.
    AdoptsUnchecked,
    /// Where there is a receipt already, its part counts, and its bytes are not checked.
    YieldsUnchecked,
    /// The folders of parts are not synced before the entry.
    PartsUnsynced,
    /// Only the folders of parts that this process renamed are synced.
    SyncsOwnOnly,
    /// The log is not synced before success is reported and superseded parts are deleted.
    EntryUnsynced,
    /// The log is not synced before others delete by it.
    DeletesUnsynced,
    /// The log is not synced when the entry is a twin's.
    TrustsTwin,
    /// An answer "exists already" is a loss, and a loser deletes its parts (every answer here is that of a retry).
    RetryIsLoss,
    /// Each output is placed just before its own entry.
    PlacesByOutput,
    /// A half-committed run is not ended before the next one begins.
    NoSettle,
    /// An output that has a version of this fingerprint already gets no entry.
    SkipsSame,
}

/// One situation to check.
#[derive(Debug, Clone, Copy)]
struct Setup {
    flaw: Flaw,
    /// What the two writers make.
    fingerprints: [u8; 2],
    /// How often each may be started.
    starts: [u8; 2],
    outputs: usize,
    /// Is there a version already?
    begun: bool,
    /// Parts are written at their final names at once, as on an object store.
    store: bool,
    /// How often gc runs, and a reader begins.
    sweeps: u8,
    reads: u8,
    power_losses: u8,
}

/// A set of files: bit `(output * PARTS + partition) * PROCESSES + process`.
type Files = u32;

fn file(output: usize, partition: usize, process: u8) -> Files {
    1 << ((output * PARTS + partition) * PROCESSES + usize::from(process))
}

/// An output's partitions, each of the process that made it.
fn files_of(output: usize, processes: [u8; PARTS]) -> Files {
    (0..PARTS).fold(0, |files, partition| files | file(output, partition, processes[partition]))
}

fn lowest(files: Files) -> Files {
    files & files.wrapping_neg()
}

/// A log entry: who made it (or [`FENCE`]), and whose part is which partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Entry {
    by: u8,
    parts: [u8; PARTS],
}

/// The entries of a log; entry `n` is `entries[n - 1]`, so that head 0 is an empty table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Log {
    head: u8,
    synced: u8,
    entries: [Entry; ENTRIES],
}

impl Log {
    fn push(&mut self, entry: Entry) {
        self.entries[usize::from(self.head)] = entry;
        self.head += 1;
    }

    fn entry(&self, number: u8) -> Option<Entry> {
        let exists = number >= 1 && number <= self.head;
        exists.then(|| self.entries[usize::from(number) - 1])
    }

    /// The version at a head: its newest entry with data, and that one's number.
    fn version(&self, head: u8) -> Option<(u8, Entry)> {
        (1..=head).rev().filter_map(|n| Some((n, self.entry(n)?))).find(|(_, entry)| entry.by != FENCE)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Write {
    #[default]
    Idle,
    Read(u8),
    Settle,
    Tidy,
    TidyDelete,
    Make(u8),
    Receipt(u8, bool),
    Lost(u8),
    SyncBytes,
    Place(u8),
    SyncParts(u8),
    Enter(u8),
    SyncLog(u8),
    Clean,
    CleanDelete,
    CleanStaged,
    CleanReceipts,
    Success,
    Conflict,
    /// What the run made is gone, and no other's entry ended the run. Must not happen.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Writer {
    at: Write,
    process: u8,
    parts: [[u8; PARTS]; 2],
    renamed: Files,
    doomed: Files,
    starts: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Sweep {
    #[default]
    Look,
    Condemn,
    Fence,
    List,
    Delete,
    Staged,
    Receipts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Gc {
    at: Sweep,
    heads: [u8; 2],
    /// The condemned run; 0 is none.
    run: u8,
    doomed: Files,
    sweeps: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Read {
    #[default]
    Open,
    Part(u8),
    Done,
    /// A part of the current version is missing. Must not happen.
    Broken,
    /// It saw parts of several versions. Must not happen.
    Mixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Reader {
    at: Read,
    version: u8,
    saw: [u8; PARTS],
    reads: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct World {
    logs: [Log; 2],
    staged: Files,
    placed: Files,
    /// Placed, but by a rename that is not synced: a power loss takes it back.
    renamed: Files,
    /// Files whose bytes a power loss takes.
    unsynced: Files,
    /// Files whose bytes a power loss took.
    torn: Files,
    /// Processes are numbered as they start. Whose each is, and what it is based on.
    processes: u8,
    writer: [u8; PROCESSES],
    base: [[u8; 2]; PROCESSES],
    /// The run that each works for, by the process that opened it; 0 while it has none.
    run: [u8; PROCESSES],
    /// The receipts of a run: whose part counts for a partition; 0 is no receipt.
    receipts: [[u8; PARTS]; PROCESSES],
    writers: [Writer; 2],
    gc: Gc,
    reader: Reader,
    /// Fingerprints of the versions that writers reported.
    reported: [[u8; ENTRIES]; 2],
    power_losses: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// A writer's old process, if there is one, is dead; a new one starts.
    Start(usize),
    Writer(usize),
    Gc,
    Condemn(u8),
    Reader,
    PowerLoss(Survives),
}

/// What of the unsynced survives a power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Survives {
    entries: bool,
    renames: bool,
    bytes: bool,
    receipts: bool,
}

impl Model for Setup {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut w = World { power_losses: self.power_losses, ..World::default() };
        if self.begun {
            for output in self.outputs() {
                w.logs[output].push(Entry::default());
                w.placed |= files_of(output, [0; PARTS]);
            }
            Self::sync_logs(&mut w);
        }
        w.writers = self.starts.map(|starts| Writer { starts, ..Writer::default() });
        w.gc.sweeps = self.sweeps;
        w.reader.reads = self.reads;
        vec![w]
    }

    fn actions(&self, w: &World, actions: &mut Vec<Action>) {
        for (who, writer) in w.writers.iter().enumerate() {
            if !matches!(writer.at, Write::Idle | Write::Success | Write::Conflict | Write::Broken) {
                actions.push(Action::Writer(who));
            }
            if writer.starts > 0 {
                actions.push(Action::Start(who));
            }
        }
        match w.gc.at {
            Sweep::Look if w.gc.sweeps == 0 => {}
            Sweep::Condemn => {
                let runs = (1..=w.processes).filter(|run| {
                    w.receipts[usize::from(*run)] != [0; PARTS] || w.staged & self.files_of_run(w, *run) != 0
                });
                actions.extend(runs.map(Action::Condemn));
                actions.push(Action::Condemn(0));
            }
            _ => actions.push(Action::Gc),
        }
        match w.reader.at {
            Read::Open if w.reader.reads == 0 => {}
            Read::Done | Read::Broken | Read::Mixed => {}
            _ => actions.push(Action::Reader),
        }
        if w.power_losses > 0 {
            actions.extend((0..16).map(|which: u8| {
                let [entries, renames, bytes, receipts] = [1, 2, 4, 8].map(|bit| which & bit != 0);
                Action::PowerLoss(Survives { entries, renames, bytes, receipts })
            }));
        }
    }

    fn next_state(&self, w: &World, action: Action) -> Option<World> {
        let mut next = *w;
        match action {
            Action::Start(who) => self.start(&mut next, who),
            Action::Writer(who) => self.writer(&mut next, who),
            Action::Gc => self.gc(&mut next),
            Action::Condemn(run) => {
                next.gc.run = run;
                let open = run != 0 && !self.is_over(w, run, w.gc.heads);
                next.gc.at = if open && self.flaw != Flaw::NoFence { Sweep::Fence } else { Sweep::List };
            }
            Action::Reader => self.reader(&mut next),
            Action::PowerLoss(survives) => self.power_loss(&mut next, survives),
        }
        // Where no power loss can come any more, syncing makes no difference: it takes no step then.
        if next.power_losses == 0 {
            for who in 0..next.writers.len() {
                while matches!(next.writers[who].at, Write::SyncBytes | Write::SyncParts(_) | Write::SyncLog(_)) {
                    self.writer(&mut next, who);
                }
            }
            Self::sync_logs(&mut next);
            (next.renamed, next.unsynced) = (0, 0);
        }
        next.renamed &= next.placed;
        next.unsynced &= next.staged | next.placed;
        next.torn &= next.staged | next.placed;
        (next != *w).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(WHOLE, |setup, w: &World| {
                let there = if setup.flaw == Flaw::PromoteLate { w.placed | w.staged } else { w.placed };
                setup.outputs().all(|output| {
                    w.logs[output].version(w.logs[output].head).is_none_or(|(_, version)| {
                        (0..PARTS).all(|p| {
                            let by = version.parts[p];
                            there & !w.torn & file(output, p, by) != 0
                                && setup.key(w, p, by) == setup.key(w, p, version.by)
                        })
                    })
                })
            }),
            Property::always(REPORTED, |setup, w: &World| {
                setup.outputs().all(|output| {
                    let log = &w.logs[output];
                    w.reported[output].iter().zip(1..).filter(|(reported, _)| **reported != 0).all(
                        |(reported, number)| {
                            log.entry(number).is_some_and(|e| e.by != FENCE && setup.fingerprint(w, e.by) == *reported)
                        },
                    )
                })
            }),
            Property::always(LOST_TO_ANOTHER, |_, w: &World| w.writers.iter().all(|writer| writer.at != Write::Broken)),
            Property::always(READABLE, |_, w: &World| w.reader.at != Read::Broken),
            Property::always(UNMIXED, |_, w: &World| w.reader.at != Read::Mixed),
            Property::always(ONE_RUN, |setup, w: &World| {
                let version = |output: usize| w.logs[output].version(w.logs[output].head);
                setup.outputs().skip(1).all(|output| match (version(PRIMARY), version(output)) {
                    (Some((_, primary)), Some((_, other))) => {
                        setup.fingerprint(w, primary.by) == setup.fingerprint(w, other.by)
                            || w.base[usize::from(other.by)][PRIMARY] > w.base[usize::from(primary.by)][PRIMARY]
                    }
                    _ => true,
                })
            }),
            Property::sometimes("success", |_, w: &World| w.writers.iter().any(|writer| writer.at == Write::Success)),
            Property::sometimes("conflict", |_, w: &World| w.writers.iter().any(|writer| writer.at == Write::Conflict)),
            Property::sometimes("adoption", |_, w: &World| {
                w.writers.iter().any(|writer| matches!(writer.at, Write::Receipt(_, true)))
            }),
            Property::sometimes("fence", |_, w: &World| {
                w.logs.iter().any(|log| log.entries[..usize::from(log.head)].iter().any(|entry| entry.by == FENCE))
            }),
        ]
    }
}
