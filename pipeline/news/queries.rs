//! Query vectors: each text is put to the encoder once per run, however many users ask for it.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, PoisonError};

use dataset::bucket::digest_128;
use dataset::{Error, Result};
use text::Encoder;

/// Vectors by text. They lie in a temporary file without a name, so that memory holds 40 bytes a text.
#[derive(Debug)]
pub struct QueryVectors<'a> {
    encoder: &'a Encoder,
    file: File,
    state: Mutex<State>,
    done: Condvar,
}

/// Where texts' vectors are; `None`: a worker has it in work.
#[derive(Debug, Default)]
struct State {
    slots: HashMap<[u8; 16], Option<u64>>,
    next: u64,
    failed: bool,
}

impl<'a> QueryVectors<'a> {
    /// None yet.
    pub fn new(encoder: &'a Encoder) -> Result<Self> {
        let file = tempfile::tempfile().map_err(|e| Error::io(std::env::temp_dir().display(), e))?;
        Ok(QueryVectors { encoder, file, state: Mutex::default(), done: Condvar::new() })
    }

    /// The vectors of distinct texts, one after the other. Texts that another worker has in work are waited for.
    pub fn get(&self, texts: &[&str]) -> Result<Vec<f32>> {
        let names: Vec<[u8; 16]> = texts.iter().map(|text| digest_128(&[text.as_bytes()])).collect();
        let mut mine = Vec::new();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            for (text, name) in names.iter().enumerate() {
                state.slots.entry(*name).or_insert_with(|| {
                    mine.push(text);
                    None
                });
            }
        }
        if let Err(e) = self.encode(texts, &names, &mine) {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).failed = true;
            self.done.notify_all();
            return Err(e);
        }
        self.read(&names)
    }

    fn encode(&self, texts: &[&str], names: &[[u8; 16]], mine: &[usize]) -> Result<()> {
        let batch: Vec<&str> = mine.iter().map(|&text| texts[text]).collect();
        let vectors = self.encoder.queries(&batch).map_err(Error::model)?;
        let first = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.next += mine.len() as u64;
            state.next - mine.len() as u64
        };
        let bytes: Vec<u8> = vectors.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
        self.file.write_all_at(&bytes, first * self.bytes()).map_err(|e| Error::io("temporary query vectors", e))?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (slot, &text) in (first..).zip(mine) {
            state.slots.insert(names[text], Some(slot));
        }
        self.done.notify_all();
        Ok(())
    }

    fn read(&self, names: &[[u8; 16]]) -> Result<Vec<f32>> {
        let slots: Vec<u64> = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                if state.failed {
                    return Err(Error::model("another worker's query texts failed; its error is the one to look at"));
                }
                match names.iter().map(|name| state.slots.get(name).copied().flatten()).collect() {
                    Some(slots) => break slots,
                    None => state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            }
        };
        let mut bytes = vec![0; self.bytes() as usize];
        let mut values = Vec::with_capacity(names.len() * self.encoder.dimensions());
        for slot in slots {
            self.file
                .read_exact_at(&mut bytes, slot * self.bytes())
                .map_err(|e| Error::io("temporary query vectors", e))?;
            values.extend(bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)));
        }
        Ok(values)
    }

    fn bytes(&self) -> u64 {
        4 * self.encoder.dimensions() as u64
    }

    /// Texts that were put to the encoder.
    pub fn texts(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).next
    }
}
