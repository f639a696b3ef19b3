//! A training's state after its last whole epoch, in a file of the draft: a killed training goes on from there, to the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use candle_core::{Device, Tensor};
use dataset::{Error, Result};
use safetensors::SafeTensors;

use crate::train::Epoch;

const LOG: &str = "log";

/// Writes the log and the tensors; the file is whole or is not there.
pub(crate) fn write(path: &Path, log: &[Epoch], tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let log = serde_json::to_string(log).expect("figures can be written as JSON");
    let bytes = safetensors::serialize(tensors, Some(HashMap::from([(LOG.to_owned(), log)])))
        .map_err(|e| Error::bug(format!("{}: {e}", path.display())))?;
    let unfinished = path.with_extension("unfinished");
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create(&unfinished));
    let written = written.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
    written.and_then(|()| fs::rename(&unfinished, path)).map_err(Error::at(path))
}

/// What was written; `None` when there is nothing that can be read.
pub(crate) fn read(path: &Path) -> Option<(Vec<Epoch>, HashMap<String, Tensor>)> {
    let bytes = fs::read(path).ok()?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).ok()?;
    let log = serde_json::from_str(metadata.metadata().as_ref()?.get(LOG)?).ok()?;
    Some((log, candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).ok()?))
}
