//! Query vectors: each text is put to the encoder once per run, however many users ask for it.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use dataset::bucket::digest_128;
use dataset::{Error, Result};
use text::Encoder;

/// Vectors by text. They lie in a temporary file without a name, so that memory holds 40 bytes a text.
#[derive(Debug)]
pub struct QueryVectors {
    encoder: Encoder,
    file: File,
    state: Mutex<State>,
    done: Condvar,
}

type Name = [u8; 16];

/// Where texts' vectors are; `None`: a worker has it in work.
#[derive(Debug, Default)]
struct State {
    slots: HashMap<Name, Option<u64>>,
    next: u64,
}

fn failed(e: std::io::Error) -> Error {
    Error::io("temporary query vectors", e)
}

impl QueryVectors {
    /// None yet.
    pub(crate) fn new(encoder: Encoder) -> Result<Self> {
        let file = tempfile::tempfile().map_err(|e| Error::io(std::env::temp_dir().display(), e))?;
        Ok(QueryVectors { encoder, file, state: Mutex::default(), done: Condvar::new() })
    }

    /// Dimensions of a vector.
    pub(crate) fn dimensions(&self) -> usize {
        self.encoder.dimensions()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The vectors of texts, one after the other. Texts that another worker has in work are waited for.
    pub(crate) fn get(&self, texts: &[&str]) -> Result<Vec<f32>> {
        let names: Vec<Name> = texts.iter().map(|text| digest_128(&[text.as_bytes()])).collect();
        loop {
            let mut mine = Vec::new();
            {
                let mut state = self.state();
                for (text, name) in names.iter().enumerate() {
                    state.slots.entry(*name).or_insert_with(|| {
                        mine.push(text);
                        None
                    });
                }
            }
            let encoded = self.encode(texts, &names, &mine);
            if encoded.is_err() {
                // Whoever waits for them tries by itself, and has an error of its own to report.
                let mut state = self.state();
                for &text in &mine {
                    state.slots.remove(&names[text]);
                }
            }
            self.done.notify_all();
            encoded?;
            if let Some(slots) = self.wait(&names) {
                return self.read(&slots);
            }
        }
    }

    fn encode(&self, texts: &[&str], names: &[Name], mine: &[usize]) -> Result<()> {
        let batch: Vec<&str> = mine.iter().map(|&text| texts[text]).collect();
        let vectors = self.encoder.queries(&batch)?;
        let first = {
            let mut state = self.state();
            state.next += mine.len() as u64;
            state.next - mine.len() as u64
        };
        let bytes: Vec<u8> = vectors.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
        self.file.write_all_at(&bytes, first * self.bytes()).map_err(failed)?;
        let mut state = self.state();
        for (slot, &text) in (first..).zip(mine) {
            state.slots.insert(names[text], Some(slot));
        }
        Ok(())
    }

    /// Where all of them are, once they are there; none when a worker gave one of them up.
    fn wait(&self, names: &[Name]) -> Option<Vec<u64>> {
        let mut state = self.state();
        loop {
            let slots: Option<Vec<Option<u64>>> = names.iter().map(|name| state.slots.get(name).copied()).collect();
            match slots?.into_iter().collect() {
                Some(slots) => return Some(slots),
                None => state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn read(&self, slots: &[u64]) -> Result<Vec<f32>> {
        let mut bytes = vec![0; self.bytes() as usize];
        let mut values = Vec::with_capacity(slots.len() * self.encoder.dimensions());
        for slot in slots {
            self.file.read_exact_at(&mut bytes, slot * self.bytes()).map_err(failed)?;
            values.extend(bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)));
        }
        Ok(values)
    }

    fn bytes(&self) -> u64 {
        4 * self.encoder.dimensions() as u64
    }
}
