//! The steps of writers, gc, readers and power losses, each one operation of the store.

use super::{
    Entry, FENCE, Files, Flaw, Gc, PARTS, PRIMARY, PROCESSES, Read, Reader, Setup, Survives, Sweep, World, Write,
    Writer, file, files_of, lowest,
};

impl Setup {
    pub(super) fn outputs(&self) -> std::ops::Range<usize> {
        0..self.outputs
    }

    pub(super) fn fingerprint(&self, w: &World, process: u8) -> u8 {
        if process == 0 { 0 } else { self.fingerprints[usize::from(w.writer[usize::from(process)])] }
    }

    /// What a part's content follows from.
    pub(super) fn key(&self, w: &World, partition: usize, process: u8) -> u8 {
        if partition == 0 { self.fingerprint(w, process) } else { 0 }
    }

    /// Is an entry there, with what this process would have put into it?
    fn is_ours(&self, w: &World, output: usize, number: u8, process: u8) -> bool {
        let entry = w.logs[output].entry(number);
        entry.is_some_and(|e| e.by != FENCE && self.fingerprint(w, e.by) == self.fingerprint(w, process))
    }

    /// A run is a fingerprint and a base. It is known by the process that opened it.
    fn open(&self, w: &mut World, process: u8) {
        let me = usize::from(process);
        let same = |other: &usize| {
            w.base[*other] == w.base[me] && self.fingerprint(w, *other as u8) == self.fingerprint(w, process)
        };
        w.run[me] = (1..PROCESSES).filter(|other| w.run[*other] != 0).find(same).map_or(process, |other| w.run[other]);
    }

    /// Every file that a run's processes may have made.
    pub(super) fn files_of_run(&self, w: &World, run: u8) -> Files {
        let mut files = 0;
        for process in (1..=w.processes).filter(|process| w.run[usize::from(*process)] == run) {
            self.outputs().for_each(|output| files |= files_of(output, [process; PARTS]));
        }
        files
    }

    pub(super) fn is_over(&self, w: &World, run: u8, heads: [u8; 2]) -> bool {
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

    pub(super) fn sync_logs(w: &mut World) {
        w.logs.iter_mut().for_each(|log| log.synced = log.head);
    }

    pub(super) fn start(&self, w: &mut World, who: usize) {
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

    /// What this run made is gone. If the run is over, that is how it learns of it: a twin committed all of its outputs,
    /// or it is lost.
    fn gone(&self, w: &mut World, who: usize) {
        let process = w.writers[who].process;
        let base = w.base[usize::from(process)];
        let by_me = self.outputs().any(|o| w.logs[o].entry(base[o] + 1).is_some_and(|entry| entry.by == process));
        let lost = self.outputs().any(|o| w.logs[o].head > base[o] && !self.is_ours(w, o, base[o] + 1, process));
        if !self.is_over(w, process, self.heads(w)) || by_me && !lost {
            Self::end(w, who, Write::Broken);
        } else if self.outputs().all(|o| self.is_ours(w, o, base[o] + 1, process)) {
            w.writers[who].at = Write::SyncLog(PRIMARY as u8);
        } else {
            Self::end(w, who, Write::Conflict);
        }
    }

    /// The parts that this run made, of some outputs; not those that it reuses.
    fn made(&self, w: &World, who: usize, outputs: std::ops::Range<usize>) -> Files {
        let Writer { process, parts, .. } = w.writers[who];
        self.files_of_run(w, w.run[usize::from(process)]) & outputs.fold(0, |files, o| files | files_of(o, parts[o]))
    }

    pub(super) fn writer(&self, w: &mut World, who: usize) {
        let Writer { at, process, doomed, .. } = w.writers[who];
        let me = usize::from(process);
        let base = w.base[me];
        let last = self.outputs as u8 - 1;
        let late = matches!(self.flaw, Flaw::PromoteLate | Flaw::EntryFirst);
        // On a store there is nothing to sync or rename, and nobody looks whether the parts are there still.
        let place = match self.flaw {
            _ if self.store => Write::SyncParts(last),
            Flaw::PromoteLate | Flaw::EntryFirst => Write::Enter(last),
            Flaw::SyncsBytesLate => Write::Place(last),
            _ => Write::SyncBytes,
        };
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
                    self.open(w, process);
                    Write::SyncLog(last)
                } else if unfinished && self.flaw != Flaw::NoSettle {
                    if w.logs[PRIMARY].head == base[PRIMARY] {
                        w.logs[PRIMARY].push(Entry { by: FENCE, parts: [0; PARTS] });
                    }
                    w.base[me] = [u8::MAX; 2];
                    Write::Read(last)
                } else {
                    self.open(w, process);
                    Write::Make(0)
                }
            }
            Write::Tidy => {
                if self.flaw == Flaw::PromoteLate {
                    self.tidy_twice(w, who);
                    w.writers[who].at = place;
                    return;
                }
                if self.flaw != Flaw::DeletesUnsynced {
                    Self::sync_logs(w);
                }
                w.writers[who].doomed = self.doomed(w, base);
                if w.writers[who].doomed == 0 { place } else { Write::TidyDelete }
            }
            Write::TidyDelete | Write::CleanDelete => {
                w.placed &= !lowest(doomed);
                w.writers[who].doomed &= !lowest(doomed);
                match (at, doomed == lowest(doomed)) {
                    (Write::TidyDelete, true) => place,
                    (_, true) => Write::CleanStaged,
                    (_, false) => at,
                }
            }
            Write::Make(partition) if usize::from(partition) == PARTS => Write::Tidy,
            Write::Make(partition) => self.make(w, who, partition),
            Write::Receipt(partition, _) => {
                let p = usize::from(partition);
                let receipt = w.receipts[usize::from(w.run[me])][p];
                let yields = receipt != 0 && (self.is_whole(w, p, receipt) || self.flaw == Flaw::YieldsUnchecked);
                let winner = if yields { receipt } else { process };
                w.receipts[usize::from(w.run[me])][p] = winner;
                w.writers[who].parts = take(w.writers[who].parts, p, winner);
                if winner == process { Write::Make(partition + 1) } else { Write::Lost(partition) }
            }
            Write::Lost(partition) => {
                let own = self.outputs().fold(0, |files, o| files | file(o, usize::from(partition), process));
                w.staged &= !own;
                w.placed &= !own;
                Write::Make(partition + 1)
            }
            Write::SyncBytes => {
                let made = self.made(w, who, self.outputs());
                if made & !(w.staged | w.placed) != 0 {
                    return self.gone(w, who);
                }
                w.unsynced &= match self.flaw {
                    Flaw::BytesUnsynced => Files::MAX,
                    Flaw::SyncsOwnBytes => !self.outputs().fold(0, |own, o| own | files_of(o, [process; PARTS])),
                    _ => !made,
                };
                match self.flaw {
                    Flaw::SyncsBytesLate => Write::Clean,
                    _ => Write::Place(last),
                }
            }
            // One file a step, of the outputs that are placed together.
            Write::Place(output) => {
                let by_output = self.flaw == Flaw::PlacesByOutput;
                let o = usize::from(output);
                let rest = self.made(w, who, if by_output { o..o + 1 } else { self.outputs() }) & !w.placed;
                if rest & !w.staged != 0 && self.flaw != Flaw::PromoteLate {
                    return self.gone(w, who);
                }
                let one = lowest(rest & w.staged);
                w.staged &= !one;
                w.placed |= one;
                w.renamed |= one;
                if self.flaw == Flaw::SyncsOwnOnly {
                    w.writers[who].renamed |= one;
                }
                match one {
                    0 if late => Write::Clean,
                    0 => Write::SyncParts(output),
                    _ => at,
                }
            }
            Write::SyncParts(output) => {
                w.renamed &= match self.flaw {
                    Flaw::PartsUnsynced => Files::MAX,
                    Flaw::SyncsOwnOnly => !w.writers[who].renamed,
                    _ => !self.made(w, who, self.outputs()),
                };
                Write::Enter(output)
            }
            Write::Enter(output) => {
                let o = usize::from(output);
                let has = w.logs[o].version(base[o]).filter(|(number, _)| self.is_ours(w, o, *number, process));
                if let (Flaw::SkipsSame, Some((number, _))) = (self.flaw, has) {
                    w.base[me][o] = number - 1;
                } else if w.logs[o].head == base[o] {
                    w.logs[o].push(Entry { by: process, parts: w.writers[who].parts[o] });
                    if self.flaw == Flaw::RetryIsLoss {
                        w.placed &= !self.made(w, who, self.outputs());
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
                    match self.flaw {
                        _ if late => Write::Place(last),
                        Flaw::SyncsBytesLate => Write::SyncBytes,
                        _ => Write::Clean,
                    }
                // Nothing was made: it was up to date.
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
                w.staged &= !self.files_of_run(w, w.run[usize::from(process)]);
                Write::CleanReceipts
            }
            Write::CleanReceipts => {
                w.receipts[usize::from(w.run[usize::from(process)])] = [0; PARTS];
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
        let versions = [0, 1].map(|output| w.logs[output].version(base[output]));
        if self.outputs().all(|o| versions[o].is_some_and(|(_, v)| self.key(w, p, v.parts[p]) == key)) {
            for output in self.outputs() {
                w.writers[who].parts[output][p] = versions[output].map_or(0, |(_, version)| version.parts[p]);
            }
            return Write::Make(partition + 1);
        }
        if self.flaw == Flaw::ReuseUnnamed {
            let found = (1..=w.processes)
                .find(|by| *by != process && self.key(w, p, *by) == key && w.placed & file(PRIMARY, p, *by) != 0);
            if let Some(found) = found {
                w.writers[who].parts = take(w.writers[who].parts, p, found);
                return Write::Make(partition + 1);
            }
        }
        let receipt = w.receipts[usize::from(w.run[usize::from(process)])][p];
        if receipt != 0 && (self.is_whole(w, p, receipt) || self.flaw == Flaw::ResumesUnchecked) {
            w.writers[who].parts = take(w.writers[who].parts, p, receipt);
            return Write::Make(partition + 1);
        }
        let adopted = (1..=w.processes).find_map(|other| {
            let receipt = w.receipts[usize::from(other)][p];
            let same = self.fingerprint(w, other) == self.fingerprint(w, process);
            let whole =
                self.is_whole(w, p, receipt) || self.flaw == Flaw::AdoptsUnchecked && self.is_there(w, p, receipt);
            (same && receipt != 0 && self.is_over(w, other, base) && whole).then_some(receipt)
        });
        // Linked or written, it is the same file.
        let own = self.outputs().fold(0, |files, output| files | file(output, p, process));
        if self.store {
            w.placed |= own;
        } else {
            w.staged |= own;
        }
        if !self.store {
            w.unsynced |= own;
        }
        // It has the bytes of what it is linked to.
        let torn = adopted.is_some_and(|other| !self.is_whole(w, p, other));
        w.torn |= if torn { own } else { 0 };
        Write::Receipt(partition, adopted.is_some())
    }

    /// Are a process's parts of one partition there, staged or placed?
    fn is_there(&self, w: &World, partition: usize, process: u8) -> bool {
        self.outputs().all(|output| (w.staged | w.placed) & file(output, partition, process) != 0)
    }

    /// The same, with the bytes that were written.
    fn is_whole(&self, w: &World, partition: usize, process: u8) -> bool {
        self.is_there(w, partition, process) && self.outputs().all(|o| w.torn & file(o, partition, process) == 0)
    }

    /// What a starting job did before: promote the version read first, then delete by the one read second.
    fn tidy_twice(&self, w: &mut World, who: usize) {
        if let Some((_, version)) = w.logs[PRIMARY].version(w.logs[PRIMARY].head) {
            let first = w.logs[PRIMARY].version(w.base[usize::from(w.writers[who].process)][PRIMARY]);
            let staged = w.staged & first.map_or(0, |(_, first)| files_of(PRIMARY, first.parts));
            w.placed = (w.placed | staged) & files_of(PRIMARY, version.parts);
            w.staged &= !staged;
            w.staged &= !self.files_of_run(w, w.run[usize::from(version.by)]);
        }
    }

    pub(super) fn gc(&self, w: &mut World) {
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
                Sweep::List
            }
            Sweep::List => {
                if self.flaw != Flaw::DeletesUnsynced {
                    Self::sync_logs(w);
                }
                w.gc.doomed = self.doomed(w, heads);
                if self.flaw == Flaw::NoFence && run != 0 {
                    let named = self.outputs().filter_map(|o| Some((o, w.logs[o].version(heads[o])?.1)));
                    let named = named.fold(0, |named, (o, version)| named | files_of(o, version.parts));
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

    pub(super) fn reader(&self, w: &mut World) {
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
                if (w.placed | staged) & !w.torn & file(PRIMARY, p, entry.parts[p]) != 0 {
                    w.reader.saw[p] = entry.parts[p];
                    if p + 1 < PARTS {
                        Read::Part(partition + 1)
                    } else {
                        let at = if w.reader.saw == entry.parts { Read::Done } else { Read::Mixed };
                        w.reader = Reader { reads: w.reader.reads, ..Reader::default() };
                        at
                    }
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

    pub(super) fn power_loss(&self, w: &mut World, survives: Survives) {
        w.power_losses -= 1;
        for log in &mut w.logs {
            if !survives.entries {
                (log.synced..log.head).for_each(|n| log.entries[usize::from(n)] = Entry::default());
                log.head = log.synced;
            }
            log.synced = log.head;
        }
        if !survives.renames {
            w.staged |= w.renamed & w.placed;
            w.placed &= !w.renamed;
        }
        if !survives.bytes {
            w.torn |= w.unsynced;
        }
        if !survives.receipts {
            w.receipts = [[0; PARTS]; PROCESSES];
        }
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
