//! Which raw files were read, and which of their rows were set aside and why. Never the rows' text.

use std::collections::BTreeSet;

use arrow::array::Array;
use dataset::bucket::unhex;
use dataset::{Account, Result, Rows};
use schemas::{Quarantine, QuarantineColumns, RawFiles, RawFilesColumns};

use super::collect::ERASED;
use super::erased::ErasedPeople;
use super::files::{Paths, Raw};
use super::tally::{Aside, Tally};

/// Rows, and how they were counted.
type Counted<T> = (Rows<T>, Account);

/// The partition that keeps what is said of a file.
fn partition_of(raw: &Raw, partitions: u32) -> u32 {
    u32::from_str_radix(&raw.id.blake3[..8], 16).unwrap_or(0) % partitions
}

/// What is said of the files that a partition keeps: those read now, and those carried on, of which some were moved.
pub(super) fn files_and_quarantine<'a>(
    read: impl Iterator<Item = (&'a Raw, &'a Tally)>,
    carried: (&Rows<RawFiles>, &Rows<Quarantine>, &Paths),
    erased: &ErasedPeople,
    partition: u32,
    partitions: u32,
) -> Result<(Counted<RawFiles>, Counted<Quarantine>)> {
    let (mut files, mut rows) = (BTreeSet::new(), BTreeSet::new());
    let (mut files_in, mut rows_in, mut rows_erased) = (0, 0, 0);
    for (raw, tally) in read.filter(|(raw, _)| partition_of(raw, partitions) == partition) {
        let path = raw.path.display().to_string();
        let latest = (tally.latest_us > i64::MIN).then_some(tally.latest_us);
        let (bytes, units) = (raw.bytes as i64, tally.units as i64);
        files_in += 1;
        files.insert((
            raw.id.source.clone(),
            raw.id.blake3.clone(),
            path.clone(),
            bytes,
            units,
            latest,
            tally.dated_from_cut_off,
        ));
        for Aside { line, reason, user_id } in &tally.quarantined {
            rows_in += 1;
            rows.insert((path.clone(), *line as i64, reason.to_string(), raw.id.source.clone(), user_id.clone()));
        }
    }
    for columns in carried.0.columns() {
        let RawFilesColumns { source, blake3, file, bytes, units, latest_at, dated_from_cut_off } = columns?;
        files_in += source.len();
        files.extend((0..source.len()).map(|i| {
            let latest = latest_at.is_valid(i).then(|| latest_at.value(i));
            let id = (source.value(i).to_owned(), blake3.value(i).to_owned());
            let path = carried.2.get(&id).map_or(file.value(i), String::as_str).to_owned();
            (id.0, id.1, path, bytes.value(i), units.value(i), latest, dated_from_cut_off.value(i))
        }));
    }
    for columns in carried.1.columns() {
        let QuarantineColumns { source, file, line, reason, user_id } = columns?;
        rows_in += source.len();
        for i in 0..source.len() {
            let user = user_id.is_valid(i).then(|| user_id.value(i).to_owned());
            if user.as_deref().and_then(unhex).is_some_and(|user| erased.has(&user)) {
                rows_erased += 1;
                continue;
            }
            let (file, reason, source) = (file.value(i).to_owned(), reason.value(i).to_owned(), source.value(i));
            rows.insert((file, line.value(i), reason, source.to_owned(), user));
        }
    }
    // A file that was read under two paths is one file.
    let mut last: Option<(String, String)> = None;
    files.retain(|file| {
        let id = (file.0.clone(), file.1.clone());
        last.replace(id.clone()) != Some(id)
    });
    let files_account = once(files_in, files.len());
    // A row of several behaviours may be set aside for one reason more than once.
    let mut last: Option<(String, i64, String, String)> = None;
    rows.retain(|(file, line, reason, source, _)| {
        let id = (file.clone(), *line, reason.clone(), source.clone());
        last.replace(id.clone()) != Some(id)
    });
    let mut rows_account = once(rows_in - rows_erased, rows.len());
    rows_account.input += rows_erased as u64;
    rows_account.drop(ERASED, rows_erased as u64);
    let files = Rows::of(RawFilesColumns {
        source: files.iter().map(|f| Some(&f.0)).collect(),
        blake3: files.iter().map(|f| Some(&f.1)).collect(),
        file: files.iter().map(|f| Some(&f.2)).collect(),
        bytes: files.iter().map(|f| f.3).collect(),
        units: files.iter().map(|f| f.4).collect(),
        latest_at: files.iter().map(|f| f.5).collect(),
        dated_from_cut_off: files.iter().map(|f| Some(f.6)).collect(),
    })?;
    let rows = Rows::of(QuarantineColumns {
        source: rows.iter().map(|r| Some(&r.3)).collect(),
        file: rows.iter().map(|r| Some(&r.0)).collect(),
        line: rows.iter().map(|r| r.1).collect(),
        reason: rows.iter().map(|r| Some(&r.2)).collect(),
        user_id: rows.iter().map(|r| r.4.as_ref()).collect(),
    })?;
    Ok(((files, files_account), (rows, rows_account)))
}

/// What came in more than once counts once.
fn once(input: usize, output: usize) -> Account {
    let mut account = Account { input: input as u64, output: output as u64, ..Account::default() };
    account.drop("listed already", account.input - account.output);
    account
}
