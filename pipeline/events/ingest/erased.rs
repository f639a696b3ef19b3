//! Erased people: whose behaviours are taken out of the version before, and left out of whatever is read from then on.
//!
//! What is kept of them is a hash of their `user_id`, so that neither the id of the platform nor ours stands anywhere.

use std::collections::BTreeSet;
use std::path::Path;

use dataset::bucket::{digest_128, hex, unhex};
use dataset::ids::{MAX_ID_BYTES, id};
use dataset::plan::digest;
use dataset::{Account, Digest, Error, Result, Rows, UserKey, Whole};
use schemas::{Erased, ErasedColumns};
use serde_json::json;

/// Bytes of a file of people to erase, at most.
const MOST_BYTES: u64 = 1 << 30;

/// The people who were erased, by the hash of their `user_id`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ErasedPeople(BTreeSet<[u8; 16]>);

fn erased_id(user_id: &[u8; 16]) -> [u8; 16] {
    digest_128(&[b"erased", user_id])
}

impl ErasedPeople {
    /// Those that a version names.
    pub(super) fn of(table: Option<&Whole<Erased>>) -> Result<Self> {
        let mut people = ErasedPeople::default();
        for rows in table.into_iter().flat_map(Whole::parts) {
            for columns in rows?.columns() {
                let ErasedColumns { erased_id } = columns?;
                for id in erased_id.iter().flatten() {
                    people.0.insert(unhex(id).ok_or_else(damaged)?);
                }
            }
        }
        Ok(people)
    }

    /// Adds those whose ids a file lists, one per line, as the platform writes them. No id is said in any message.
    ///
    /// # Errors
    /// When the file cannot be read, or a line of it is no id.
    pub(super) fn add_listed(&mut self, path: &Path, key: &UserKey) -> Result<()> {
        let hint = "--erase takes a text file (UTF-8) with one of the platform's user ids per line, and nothing else";
        let bytes = dataset::read_file(path, MOST_BYTES, hint)?;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let wrong = |what: String| Error::usage(format!("{}: {what}", path.display()), hint);
        let mut listed = 0;
        for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let text = text.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let readable = text.len() <= MAX_ID_BYTES && !text.contains(&0) && std::str::from_utf8(text).is_ok();
            let whole = id(text, true).ok().flatten().filter(|_| readable);
            let whole = whole.ok_or_else(|| wrong(format!("line {line}: expected a user id")))?;
            // Of a log whose ids are whole numbers `101.0` is the id 101; of one whose ids are any texts it is itself.
            self.0.extend([whole.as_ref(), text].map(|id| erased_id(&key.user_id(id))));
            listed += 1;
        }
        match listed {
            0 => Err(wrong("expected user ids, got none".to_owned())),
            _ => Ok(()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Whether somebody was erased.
    pub(super) fn has(&self, user_id: &[u8; 16]) -> bool {
        !self.is_empty() && self.0.contains(&erased_id(user_id))
    }

    /// A digest of who they are.
    pub(super) fn digest(&self) -> Digest {
        digest(&json!(self.0.iter().map(|id| hex(id)).collect::<Vec<_>>()))
    }

    /// The rows of one part of the table.
    pub(super) fn part(&self, partition: u32, partitions: u32) -> Result<(Rows<Erased>, Account)> {
        let of = |id: &[u8; 16]| u32::from_be_bytes([id[0], id[1], id[2], id[3]]) % partitions;
        let ids: Vec<String> = self.0.iter().filter(|id| of(id) == partition).map(|id| hex(id)).collect();
        let account = Account::all(ids.len() as u64);
        Ok((Rows::of(ErasedColumns { erased_id: ids.into() })?, account))
    }
}

fn damaged() -> Error {
    let hint = "restore the folder events.erased: without it, people who were erased would come back";
    Error::unreadable("events.erased", "erased_id: expected 32 hex digits", hint)
}
