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

/// What a worker has in work. When it ends, by an error or a panic too, whoever waits goes on: what is not done they try by themselves, and
/// have an error of their own to report.
struct InWork<'a> {
    vectors: &'a QueryVectors,
    names: &'a [Name],
    texts: Vec<usize>,
}

impl Drop for InWork<'_> {
    fn drop(&mut self) {
        let mut state = self.vectors.state();
        for &text in &self.texts {
            if state.slots.get(&self.names[text]) == Some(&None) {
                state.slots.remove(&self.names[text]);
            }
        }
        drop(state);
        self.vectors.done.notify_all();
    }
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
            let mine = self.claim(&names);
            self.encode(texts, &names, &mine.texts)?;
            drop(mine);
            if let Some(slots) = self.wait(&names) {
                return self.read(&slots);
            }
        }
    }

    /// Takes the texts that nobody has in work.
    fn claim<'a>(&'a self, names: &'a [Name]) -> InWork<'a> {
        let mut mine = InWork { vectors: self, names, texts: Vec::new() };
        let mut state = self.state();
        for (text, name) in names.iter().enumerate() {
            state.slots.entry(*name).or_insert_with(|| {
                mine.texts.push(text);
                None
            });
        }
        mine
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use text::{EncoderOptions, ModelFolder};

    use super::*;

    /// The encoder that `make setup` fetches, with a tokenizer that takes no text but one: any other is an error.
    fn brittle(folder: &Path) -> Result<Encoder> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("a folder");
        std::env::set_current_dir(&repository).expect("a folder");
        for name in ["model.int8.onnx", "config.json"] {
            let file = repository.join("models/minilm").join(name);
            assert!(file.exists(), "this test needs the encoder: run `make setup`");
            std::os::unix::fs::symlink(file, folder.join(name)).expect("a link");
        }
        let tokenizer = r#"{"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
            "model": {"type": "WordLevel", "vocab": {"known": 1}, "unk_token": "<unk>"}}"#;
        std::fs::write(folder.join("tokenizer.json"), tokenizer).expect("writable");
        Encoder::open(ModelFolder::open(folder, "")?, EncoderOptions::default())
    }

    #[test]
    fn nobody_waits_for_a_worker_that_failed() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let vectors = Arc::new(QueryVectors::new(brittle(folder.path())?)?);
        let error = vectors.get(&["known", "strange"]).expect_err("it has no unknown token").to_string();
        assert!(error.starts_with("tokenizer.json: expected tokens for every text"), "{error}");
        let (done, waits) = channel();
        let others = vectors.clone();
        std::thread::spawn(move || {
            let strange = others.get(&["strange"]).is_err();
            done.send((strange, others.get(&["known", "known"]).map(|values| values.len())))
        });
        let (strange, known) = waits.recv_timeout(Duration::from_secs(60)).expect("it does not wait for ever");
        assert!(strange, "it tries by itself");
        assert_eq!(known?, 2 * vectors.dimensions());
        Ok(())
    }
}
