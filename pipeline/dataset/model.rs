//! A model of the commit protocol, small enough that a checker (`stateright`) tries every order of its steps.
//!
//! A file is an (output, partition, process): every process writes under names of its own, and what it is based on is in
//! them. Each step below is one operation of the store. Between any two steps others may step, or the process dies and
//! another one is started (a process that just never goes on is one that died). A power loss ends all processes and
//! drops what is not synced; deletions are taken to survive it.
//!
//! | who    | step       | what happens                                                                                 |
//! |--------|------------|----------------------------------------------------------------------------------------------|
//! | writer | `Read`     | the head of every log, the output that is committed first before the primary: the base       |
//! |        | `Settle`   | a run committed its first output only? Fence the primary, which ends that run, and read again |
//! |        | `Tidy`     | sync the logs; list what the law lets go; delete it, file by file                            |
//! |        | `Make`     | per partition: reuse the base's part, or take the run's receipt, or link one of an over run, or write |
//! |        | `Receipt`  | create if absent; whoever loses deletes its own part and takes the winner's                  |
//! |        | `Place`    | rename each staged part to its final name, those of all outputs before the first entry       |
//! |        | `SyncParts`| sync the folders of all named parts, whoever renamed them                                    |
//! |        | `Enter`    | create entry base + 1 if absent, the primary's last; another's is a conflict, our fingerprint's a success |
//! |        | `SyncLog`  | sync the log's folder, also when the entry is another's; after the last one success is reported |
//! |        | `Clean`    | delete what is superseded, the run's staged parts, its receipts                              |
//! | gc     | `Look`     | the heads                                                                                    |
//! |        | `Condemn`  | *any* run, or none: what is old is the adversary's choice                                    |
//! |        | `Fence`    | if that run is open: an entry without data, which ends it                                    |
//! |        | `Sweep`    | sync the logs; list what the law lets go; delete it, then the run's staged parts and receipts |
//! | reader | `Open`     | the newest data entry; then its parts, one by one; if one is gone, a newer version must be there |
//!
//! **The law.** A part may go iff its base is below the head and the version at that head does not name it. Heads and
//! lists may be as old as they like. Partition 0 differs between fingerprints, partition 1 never does, so it is reused.
//!
//! Each [`Flaw`] breaks one rule, and the checker must find what goes wrong. So none of the rules can be left out.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property};

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
    /// A part's bytes are never synced.
    BytesUnsynced,
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

const RIVALS: Setup = Setup {
    flaw: Flaw::None,
    fingerprints: [1, 2],
    starts: [2, 1],
    outputs: 1,
    begun: true,
    store: false,
    sweeps: 1,
    reads: 1,
    power_losses: 0,
};
const TWINS: Setup = Setup { fingerprints: [1, 1], ..RIVALS };

/// A set of files: bit `(output * PARTS + partition) * PROCESSES + process`.
type Files = u32;

fn file(output: usize, partition: usize, process: u8) -> Files {
    1 << ((output * PARTS + partition) * PROCESSES + usize::from(process))
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
    /// The run is open, and what it made is gone. Must not happen.
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
    Sweep,
    Delete,
    Staged,
    Receipts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Gc {
    at: Sweep,
    heads: [u8; 2],
    /// The condemned run, by its first process; 0 is none.
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
    /// Processes are numbered as they start. Whose each is, and what it is based on.
    processes: u8,
    writer: [u8; PROCESSES],
    base: [[u8; 2]; PROCESSES],
    /// The receipts of a run, under its first process: whose part counts for a partition; 0 is no receipt.
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
    /// What of the unsynced survives: entries, renames.
    PowerLoss(bool, bool),
}

impl Setup {
    fn outputs(&self) -> std::ops::Range<usize> {
        0..self.outputs
    }

    fn fingerprint(&self, w: &World, process: u8) -> u8 {
        if process == 0 { 0 } else { self.fingerprints[usize::from(w.writer[usize::from(process)])] }
    }

    /// What a part's content follows from.
    fn key(&self, w: &World, partition: usize, process: u8) -> u8 {
        if partition == 0 { self.fingerprint(w, process) } else { 0 }
    }

    /// Is an entry there, with what this process would have put into it?
    fn is_ours(&self, w: &World, output: usize, number: u8, process: u8) -> bool {
        let entry = w.logs[output].entry(number);
        entry.is_some_and(|e| e.by != FENCE && self.fingerprint(w, e.by) == self.fingerprint(w, process))
    }

    /// A run is a fingerprint and a base. It is known by the first process that had both.
    fn run(&self, w: &World, process: u8) -> u8 {
        let same = |other: &u8| {
            self.fingerprint(w, *other) == self.fingerprint(w, process)
                && w.base[usize::from(*other)] == w.base[usize::from(process)]
        };
        (1..process).find(same).unwrap_or(process)
    }

    fn files_of_run(&self, w: &World, run: u8) -> Files {
        let processes = (1..=w.processes).filter(|process| self.run(w, *process) == run);
        processes.flat_map(|process| self.outputs().map(move |output| (output, process))).fold(0, |files, (o, p)| {
            files | (0..PARTS).fold(0, |files, partition| files | file(o, partition, p))
        })
    }

    fn is_over(&self, w: &World, run: u8, heads: [u8; 2]) -> bool {
        self.outputs().any(|output| w.base[usize::from(run)][output] < heads[output])
    }

    fn heads(&self, w: &World) -> [u8; 2] {
        w.logs.map(|log| log.head)
    }

    /// What the law lets go, of what is there now, for one who read these heads.
    fn doomed(&self, w: &World, heads: [u8; 2]) -> Files {
        let mut doomed = 0;
        for output in self.outputs() {
            let version = w.logs[output].version(heads[output]);
            for (partition, process) in (0..PARTS).flat_map(|p| (0..=w.processes).map(move |q| (p, q))) {
                let below = w.base[usize::from(process)][output] < heads[output] || self.flaw == Flaw::NoBase;
                if below && version.is_none_or(|(_, entry)| entry.parts[partition] != process) {
                    doomed |= file(output, partition, process);
                }
            }
        }
        doomed & w.placed
    }

    fn sync_logs(w: &mut World) {
        w.logs.iter_mut().for_each(|log| log.synced = log.head);
    }

    fn start(&self, w: &mut World, who: usize) {
        w.processes += 1;
        w.writer[usize::from(w.processes)] = who as u8;
        w.base[usize::from(w.processes)] = [u8::MAX; 2];
        let starts = w.writers[who].starts - 1;
        let at = Write::Read(self.outputs as u8 - 1);
        w.writers[who] = Writer { at, process: w.processes, starts, ..Writer::default() };
    }

    fn end(w: &mut World, who: usize, at: Write) {
        w.writers[who] = Writer { at, starts: w.writers[who].starts, ..Writer::default() };
    }

    /// What this run made is gone. If the run is over, that is how it learns of it.
    fn gone(&self, w: &mut World, who: usize) {
        let process = w.writers[who].process;
        let base = w.base[usize::from(process)];
        if !self.is_over(w, process, self.heads(w)) {
            Self::end(w, who, Write::Broken);
        } else if self.is_ours(w, PRIMARY, base[PRIMARY] + 1, process) {
            w.writers[who].at = Write::SyncLog(PRIMARY as u8);
        } else {
            Self::end(w, who, Write::Conflict);
        }
    }

    /// Parts of an output that this run made, not those that it reuses.
    fn made(&self, w: &World, who: usize, output: usize) -> Files {
        let Writer { process, parts, .. } = w.writers[who];
        let own = self.files_of_run(w, self.run(w, process));
        own & (0..PARTS).fold(0, |files, partition| files | file(output, partition, parts[output][partition]))
    }

    fn writer(&self, w: &mut World, who: usize) {
        let Writer { at, process, doomed, .. } = w.writers[who];
        let me = usize::from(process);
        let base = w.base[me];
        let last = self.outputs as u8 - 1;
        let late = matches!(self.flaw, Flaw::PromoteLate | Flaw::EntryFirst);
        let all: Files = self.outputs().map(|output| self.made(w, who, output)).fold(0, |a, b| a | b);
        let next = match at {
            Write::Read(output) => {
                w.base[me][usize::from(output)] = w.logs[usize::from(output)].head;
                match output {
                    0 => Write::Settle,
                    more => Write::Read(more - 1),
                }
            }
            Write::Settle => {
                let unfinished = self.outputs().skip(1).any(|output| {
                    let version = w.logs[output].version(base[output]);
                    version.is_some_and(|(_, entry)| w.base[usize::from(entry.by)][PRIMARY] >= base[PRIMARY])
                });
                let up_to_date = self.outputs().all(|output| {
                    let version = w.logs[output].version(base[output]);
                    version.is_some_and(|(number, _)| self.is_ours(w, output, number, process))
                });
                if up_to_date {
                    // Success will be reported of a version that is there already.
                    self.outputs().for_each(|o| w.base[me][o] = w.logs[o].version(base[o]).map_or(0, |(n, _)| n - 1));
                    Write::SyncLog(last)
                } else if unfinished && self.flaw != Flaw::NoSettle {
                    if w.logs[PRIMARY].head == base[PRIMARY] {
                        w.logs[PRIMARY].push(Entry { by: FENCE, parts: [0; PARTS] });
                    }
                    w.base[me] = [u8::MAX; 2];
                    Write::Read(last)
                } else {
                    Write::Tidy
                }
            }
            Write::Tidy => {
                if self.flaw == Flaw::PromoteLate {
                    return self.tidy_twice(w, who);
                }
                if self.flaw != Flaw::DeletesUnsynced {
                    Self::sync_logs(w);
                }
                w.writers[who].doomed = self.doomed(w, base);
                if w.writers[who].doomed == 0 { Write::Make(0) } else { Write::TidyDelete }
            }
            Write::TidyDelete | Write::CleanDelete => {
                w.placed &= !lowest(doomed);
                w.writers[who].doomed &= !lowest(doomed);
                match (at, doomed == lowest(doomed)) {
                    (Write::TidyDelete, true) => Write::Make(0),
                    (_, true) => Write::CleanStaged,
                    (_, false) => at,
                }
            }
            Write::Make(partition) if usize::from(partition) == PARTS => match late {
                true => Write::Enter(last),
                false => Write::Place(0),
            },
            Write::Make(partition) => self.make(w, who, partition),
            Write::Receipt(partition, _) => {
                let p = usize::from(partition);
                let receipt = &mut w.receipts[usize::from(self.run(w, process))][p];
                let winner = if *receipt == 0 { process } else { *receipt };
                *receipt = winner;
                w.writers[who].parts = take(w.writers[who].parts, p, winner);
                if winner == process { Write::Make(partition + 1) } else { Write::Lost(partition) }
            }
            Write::Lost(partition) => {
                let own = self.outputs().fold(0, |files, o| files | file(o, usize::from(partition), process));
                w.staged &= !own;
                w.placed &= !own;
                Write::Make(partition + 1)
            }
            // One file a step, of the outputs that are placed together.
            Write::Place(output) => {
                let by_output = self.flaw == Flaw::PlacesByOutput;
                let mine = if by_output { self.made(w, who, usize::from(output)) } else { all };
                let rest = mine & !w.placed;
                if rest & !w.staged != 0 && self.flaw != Flaw::PromoteLate {
                    return self.gone(w, who);
                }
                let one = lowest(rest & w.staged);
                w.staged &= !one;
                w.placed |= one;
                w.renamed |= one;
                w.writers[who].renamed |= one;
                match one {
                    0 if late => Write::Clean,
                    0 if by_output => Write::SyncParts(output),
                    0 => Write::SyncParts(last),
                    _ => at,
                }
            }
            Write::SyncParts(output) => {
                w.renamed &= match self.flaw {
                    Flaw::PartsUnsynced => Files::MAX,
                    Flaw::SyncsOwnOnly => !w.writers[who].renamed,
                    _ => !all,
                };
                Write::Enter(output)
            }
            Write::Enter(output) => {
                let o = usize::from(output);
                if w.logs[o].head == base[o] {
                    w.logs[o].push(Entry { by: process, parts: w.writers[who].parts[o] });
                    if self.flaw == Flaw::RetryIsLoss {
                        w.placed &= !all;
                        return Self::end(w, who, Write::Conflict);
                    }
                } else if !self.is_ours(w, o, base[o] + 1, process) {
                    return Self::end(w, who, Write::Conflict);
                }
                Write::SyncLog(output)
            }
            Write::SyncLog(output) => {
                let o = usize::from(output);
                let by_twin = w.logs[o].entry(base[o] + 1).is_none_or(|entry| entry.by != process);
                if !(self.flaw == Flaw::EntryUnsynced || self.flaw == Flaw::TrustsTwin && by_twin) {
                    w.logs[o].synced = w.logs[o].head;
                }
                if o == PRIMARY {
                    let fingerprint = self.fingerprint(w, process);
                    self.outputs().for_each(|o| w.reported[o][usize::from(base[o])] = fingerprint);
                    if late { Write::Place(0) } else { Write::Clean }
                } else if w.writers[who].parts == [[0; PARTS]; 2] {
                    Write::SyncLog(output - 1)
                } else if self.flaw == Flaw::PlacesByOutput {
                    Write::Place(output - 1)
                } else {
                    Write::Enter(output - 1)
                }
            }
            Write::Clean => {
                w.writers[who].doomed = self.doomed(w, base.map(|base| base.saturating_add(1)));
                if w.writers[who].doomed == 0 { Write::CleanStaged } else { Write::CleanDelete }
            }
            Write::CleanStaged => {
                w.staged &= !self.files_of_run(w, self.run(w, process));
                Write::CleanReceipts
            }
            Write::CleanReceipts => {
                w.receipts[usize::from(self.run(w, process))] = [0; PARTS];
                return Self::end(w, who, Write::Success);
            }
            Write::Idle | Write::Success | Write::Conflict | Write::Broken => at,
        };
        w.writers[who].at = next;
    }

    /// Finds a partition's part, or writes it.
    fn make(&self, w: &mut World, who: usize, partition: u8) -> Write {
        let p = usize::from(partition);
        let process = w.writers[who].process;
        let base = w.base[usize::from(process)];
        let key = self.key(w, p, process);
        let there = |w: &World, by: u8| self.outputs().all(|o| (w.staged | w.placed) & file(o, p, by) != 0);
        let versions = [0, 1].map(|output| w.logs[output].version(base[output]));
        if self.outputs().all(|o| versions[o].is_some_and(|(_, v)| self.key(w, p, v.parts[p]) == key)) {
            for output in self.outputs() {
                w.writers[who].parts[output][p] = versions[output].map_or(0, |(_, version)| version.parts[p]);
            }
            return Write::Make(partition + 1);
        }
        if self.flaw == Flaw::ReuseUnnamed {
            let found = (1..process).find(|by| self.key(w, p, *by) == key && w.placed & file(PRIMARY, p, *by) != 0);
            if let Some(found) = found {
                w.writers[who].parts = take(w.writers[who].parts, p, found);
                return Write::Make(partition + 1);
            }
        }
        let run = self.run(w, process);
        if w.receipts[usize::from(run)][p] != 0 {
            w.writers[who].parts = take(w.writers[who].parts, p, w.receipts[usize::from(run)][p]);
            return Write::Make(partition + 1);
        }
        let adopted = (1..process).any(|other| {
            let receipt = w.receipts[usize::from(other)][p];
            let same = self.fingerprint(w, other) == self.fingerprint(w, process);
            same && receipt != 0 && self.is_over(w, other, base) && there(w, receipt)
        });
        let own = self.outputs().fold(0, |files, output| files | file(output, p, process));
        if self.store {
            w.placed |= own;
        } else {
            w.staged |= own;
        }
        if self.flaw == Flaw::BytesUnsynced {
            w.unsynced |= own;
        }
        Write::Receipt(partition, adopted)
    }

    /// What a starting job did before: promote the version read first, then delete by the one read second.
    fn tidy_twice(&self, w: &mut World, who: usize) {
        if let Some((_, version)) = w.logs[PRIMARY].version(w.logs[PRIMARY].head) {
            let named = (0..PARTS).fold(0, |files, p| files | file(PRIMARY, p, version.parts[p]));
            w.placed &= named;
            w.staged &= !self.files_of_run(w, self.run(w, version.by));
        }
        w.writers[who].at = Write::Make(0);
    }

    fn gc(&self, w: &mut World) {
        let Gc { at, heads, run, doomed, .. } = w.gc;
        w.gc.at = match at {
            Sweep::Look => {
                w.gc.sweeps -= 1;
                w.gc.heads = self.heads(w);
                Sweep::Condemn
            }
            Sweep::Condemn => at,
            Sweep::Fence => {
                let first = self.outputs - 1;
                let base = if self.flaw == Flaw::FencesByHead { heads } else { w.base[usize::from(run)] };
                if w.logs[first].head == base[first] {
                    w.logs[first].push(Entry { by: FENCE, parts: [0; PARTS] });
                }
                w.gc.heads = self.heads(w);
                Sweep::Sweep
            }
            Sweep::Sweep => {
                if self.flaw != Flaw::DeletesUnsynced {
                    Self::sync_logs(w);
                }
                w.gc.doomed = self.doomed(w, heads);
                if self.flaw == Flaw::NoFence && run != 0 {
                    let named = self.outputs().filter_map(|o| Some((o, w.logs[o].version(heads[o])?.1)));
                    let named = named.fold(0, |f, (o, v)| f | (0..PARTS).fold(0, |f, p| f | file(o, p, v.parts[p])));
                    w.gc.doomed |= self.files_of_run(w, run) & w.placed & !named;
                }
                if w.gc.doomed == 0 { Sweep::Staged } else { Sweep::Delete }
            }
            Sweep::Delete => {
                w.placed &= !lowest(doomed);
                w.gc.doomed &= !lowest(doomed);
                if w.gc.doomed == 0 { Sweep::Staged } else { Sweep::Delete }
            }
            Sweep::Staged => {
                w.staged &= !if run == 0 { 0 } else { self.files_of_run(w, run) };
                Sweep::Receipts
            }
            Sweep::Receipts => {
                w.receipts[usize::from(run)] = [0; PARTS];
                w.gc = Gc { sweeps: w.gc.sweeps, ..Gc::default() };
                Sweep::Look
            }
        };
    }

    fn reader(&self, w: &mut World) {
        let newest = w.logs[PRIMARY].version(w.logs[PRIMARY].head);
        w.reader.at = match w.reader.at {
            Read::Open => {
                let Some((number, _)) = newest else { return };
                w.reader = Reader { version: number, reads: w.reader.reads - 1, ..Reader::default() };
                Read::Part(0)
            }
            Read::Part(partition) => {
                let p = usize::from(partition);
                let entry = w.logs[PRIMARY].entry(w.reader.version).unwrap_or_default();
                let staged = if self.flaw == Flaw::PromoteLate { w.staged } else { 0 };
                if (w.placed | staged) & file(PRIMARY, p, entry.parts[p]) != 0 {
                    w.reader.saw[p] = entry.parts[p];
                    if p + 1 == PARTS { Read::Done } else { Read::Part(partition + 1) }
                } else if newest.is_some_and(|(number, _)| number > w.reader.version) {
                    w.reader = Reader { reads: w.reader.reads, ..Reader::default() };
                    Read::Open
                } else {
                    Read::Broken
                }
            }
            done => done,
        };
    }

    fn power_loss(&self, w: &mut World, entries_survive: bool, renames_survive: bool) {
        w.power_losses -= 1;
        for log in &mut w.logs {
            if !entries_survive {
                (log.synced..log.head).for_each(|n| log.entries[usize::from(n)] = Entry::default());
                log.head = log.synced;
            }
            log.synced = log.head;
        }
        if !renames_survive {
            w.staged |= w.renamed & w.placed;
            w.placed &= !w.renamed;
        }
        w.staged &= !w.unsynced;
        w.placed &= !w.unsynced;
        (w.renamed, w.unsynced) = (0, 0);
        for who in 0..w.writers.len() {
            Self::end(w, who, Write::Idle);
        }
        w.gc = Gc { sweeps: w.gc.sweeps, ..Gc::default() };
        w.reader = Reader { reads: w.reader.reads, ..Reader::default() };
    }
}

/// Takes a process's parts of one partition, of every output.
fn take(mut parts: [[u8; PARTS]; 2], partition: usize, process: u8) -> [[u8; PARTS]; 2] {
    parts.iter_mut().for_each(|output| output[partition] = process);
    parts
}

impl Model for Setup {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut w = World { power_losses: self.power_losses, ..World::default() };
        if self.begun {
            for output in self.outputs() {
                w.logs[output].push(Entry::default());
                w.placed |= (0..PARTS).fold(0, |files, partition| files | file(output, partition, 0));
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
                let runs = (1..=w.processes).filter(|p| w.receipts[usize::from(*p)] != [0; PARTS]
                    || w.staged & self.files_of_run(w, *p) != 0);
                actions.extend(runs.filter(|p| self.run(w, *p) == *p).map(Action::Condemn));
                actions.push(Action::Condemn(0));
            }
            _ => actions.push(Action::Gc),
        }
        match w.reader.at {
            Read::Open if w.reader.reads == 0 => {}
            Read::Done | Read::Broken => {}
            _ => actions.push(Action::Reader),
        }
        if w.power_losses > 0 {
            for survives in [(false, false), (false, true), (true, false), (true, true)] {
                actions.push(Action::PowerLoss(survives.0, survives.1));
            }
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
                next.gc.at = if open && self.flaw != Flaw::NoFence { Sweep::Fence } else { Sweep::Sweep };
            }
            Action::Reader => self.reader(&mut next),
            Action::PowerLoss(entries, renames) => self.power_loss(&mut next, entries, renames),
        }
        (next != *w).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the current version is whole", |setup, w: &World| {
                let there = if setup.flaw == Flaw::PromoteLate { w.placed | w.staged } else { w.placed };
                setup.outputs().all(|output| {
                    w.logs[output].version(w.logs[output].head).is_none_or(|(_, version)| {
                        (0..PARTS).all(|p| {
                            let by = version.parts[p];
                            there & file(output, p, by) != 0 && setup.key(w, p, by) == setup.key(w, p, version.by)
                        })
                    })
                })
            }),
            Property::always("what was reported is in the log", |setup, w: &World| {
                setup.outputs().all(|output| {
                    let log = &w.logs[output];
                    w.reported[output].iter().zip(1..).filter(|(reported, _)| **reported != 0).all(|(reported, number)| {
                        log.entry(number).is_some_and(|e| e.by != FENCE && setup.fingerprint(w, e.by) == *reported)
                    })
                })
            }),
            Property::always("an open run is never damaged", |_, w: &World| {
                w.writers.iter().all(|writer| writer.at != Write::Broken)
            }),
            Property::always("a reader finds the current version's parts", |_, w: &World| w.reader.at != Read::Broken),
            Property::always("a reader saw one version", |_, w: &World| {
                let entry = w.logs[PRIMARY].entry(w.reader.version);
                w.reader.at != Read::Done || entry.is_some_and(|entry| entry.parts == w.reader.saw)
            }),
            Property::always("outputs are of one run, unless a later one is unfinished", |setup, w: &World| {
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

/// Tries every order of a setup's steps; nothing may go wrong.
fn holds(name: &str, setup: Setup) {
    let began = Instant::now();
    let checker = setup.checker().threads(2).spawn_bfs().join();
    eprintln!("{name}: {} states, depth {}, {:.1?}", checker.unique_state_count(), checker.max_depth(), began.elapsed());
    for (property, path) in checker.discoveries() {
        if checker.model().property(property).expectation.discovery_is_failure() {
            panic!("{name}: not always: {property}\n{}", trace(path.into_vec()));
        }
    }
}

/// The steps to a discovery, one a line.
fn trace(steps: Vec<(World, Option<Action>)>) -> String {
    let line = |(w, action): &(World, Option<Action>)| {
        let action = action.as_ref()?;
        Some(match action {
            Action::Writer(who) => format!("writer {who} (process {}): {:?}\n", w.writers[*who].process, w.writers[*who].at),
            Action::Gc => format!("gc: {:?}\n", w.gc.at),
            Action::Reader => format!("reader: {:?}\n", w.reader.at),
            other => format!("{other:?}\n"),
        })
    };
    steps.iter().filter_map(line).collect()
}

/// A setup with a flaw: the checker must find it.
fn fails(setup: Setup) {
    let began = Instant::now();
    let checker = setup.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut found: Vec<_> = checker.discoveries().into_iter().filter(|(name, _)| {
        checker.model().property(name).expectation.discovery_is_failure()
    }).collect();
    found.sort_by_key(|(name, _)| *name);
    let (name, path) = found.pop().unwrap_or_else(|| panic!("nothing goes wrong with {:?}", setup.flaw));
    eprintln!("{:?}: {} states, {:.1?}: {name}\n{}", setup.flaw, checker.unique_state_count(), began.elapsed(), trace(path.into_vec()));
}


#[test]
fn rivals() { holds("rivals", RIVALS); }
#[test]
fn rivals_empty() { holds("rivals, empty", Setup { begun: false, ..RIVALS }); }
#[test]
fn rivals_store() { holds("rivals, store", Setup { store: true, ..RIVALS }); }
#[test]
fn twins() { holds("twins", TWINS); }
#[test]
fn power() { holds("rivals, power", Setup { power_losses: 1, reads: 0, ..RIVALS }); }
#[test]
fn powertwins() { holds("twins, power", Setup { power_losses: 1, reads: 0, ..TWINS }); }
#[test]
fn two() { holds("two outputs", Setup { outputs: 2, reads: 0, ..RIVALS }); }
#[test]
fn flaws() {
    let power = Setup { power_losses: 1, reads: 0, ..RIVALS };
    let two = Setup { outputs: 2, reads: 0, sweeps: 0, ..RIVALS };
    for (flaw, setup) in [
        (Flaw::PromoteLate, RIVALS), (Flaw::NoFence, RIVALS), (Flaw::FencesByHead, RIVALS), (Flaw::NoBase, RIVALS), (Flaw::ReuseUnnamed, TWINS), (Flaw::EntryFirst, RIVALS),
        (Flaw::BytesUnsynced, power), (Flaw::PartsUnsynced, power), (Flaw::SyncsOwnOnly, Setup { fingerprints: [1, 1], ..power }), (Flaw::EntryUnsynced, power), (Flaw::DeletesUnsynced, power),
        (Flaw::TrustsTwin, Setup { fingerprints: [1, 1], ..power }), (Flaw::RetryIsLoss, RIVALS), (Flaw::PlacesByOutput, Setup { sweeps: 1, ..two }), (Flaw::NoSettle, two),
    ] {
        let r = std::panic::catch_unwind(|| fails(Setup { flaw, ..setup }));
        if r.is_err() { eprintln!("!!!! NOT FOUND {flaw:?}"); }
    }
}
