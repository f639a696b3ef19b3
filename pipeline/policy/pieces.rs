//! Tensors as rows of Parquet files: each tensor in parts, the parts over as many files as they need.
//!
//! A row holds at most 16 MiB and a file at most 256 MiB, so that no array's 32-bit offsets overflow, and one file at a time is in memory.

use std::collections::BTreeMap;

use arrow::array::{Array, BinaryArray, Int32Array, RecordBatch, StringArray};
use bytes::Bytes;
use candle_core::{Device, Tensor};
use dataset::{Error, Result, Store, encode};
use schemas::{Lists, PolicyOptimizer, PolicyOptimizerColumns, PolicyWeights, PolicyWeightsColumns, Table};

use crate::files::candle;

/// How tensors are cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// Bytes of a tensor in one row, at most.
    part_bytes: usize,
    /// Bytes of tensors in one file, at most, but for its last row.
    file_bytes: usize,
}

impl Default for Cut {
    fn default() -> Self {
        const PART: usize = 16 << 20;
        const FILE: usize = 256 << 20;
        // What is written can be read again, if nothing of it could be made smaller.
        const { assert!(((FILE + 2 * PART) as u64) < crate::files::MOST_BYTES) }
        Cut { part_bytes: PART, file_bytes: FILE }
    }
}

/// A part of a tensor. `moment`: 0 for weights.
struct Part<'a> {
    name: &'a str,
    moment: i32,
    shape: &'a [i32],
    number: i32,
    data: &'a [u8],
}

const DTYPE: &str = "F32";

impl Part<'_> {
    /// The part as the row of a table.
    fn row(&self) -> Result<RecordBatch> {
        let Part { name, moment, number, data, .. } = *self;
        let shape: Lists<Int32Array> = std::iter::once(self.shape.iter().copied()).collect();
        let blake3 = StringArray::from(vec![digest(data)]);
        Ok(match moment {
            0 => PolicyWeightsColumns {
                name: vec![name].into(),
                dtype: vec![DTYPE].into(),
                shape,
                part: vec![number].into(),
                data: vec![data].into(),
                blake3,
            }
            .into_batch()?,
            _ => PolicyOptimizerColumns {
                name: vec![name].into(),
                moment: vec![moment].into(),
                dtype: vec![DTYPE].into(),
                shape,
                part: vec![number].into(),
                data: vec![data].into(),
                blake3,
            }
            .into_batch()?,
        })
    }
}

/// BLAKE3, hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Writes tensors as `<folder>/<stem>-0000.parquet` and on; gives the files' names and digests. `tensors` come in the order of their names
/// and moments; moment 0 is for weights.
pub(crate) fn put<'a>(
    store: &Store,
    folder: &str,
    stem: &str,
    cut: Cut,
    tensors: impl Iterator<Item = (&'a str, i32, &'a Tensor)>,
) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let mut write = |rows: &mut Vec<RecordBatch>| -> Result<()> {
        let contract = if stem == WEIGHTS { PolicyWeights::contract() } else { PolicyOptimizer::contract() };
        let content: Bytes = encode(&contract, &std::mem::take(rows))?.into();
        let name = format!("{stem}-{:04}.parquet", files.len());
        let digest = digest(&content);
        store.put(&format!("{folder}/{name}"), content)?;
        files.insert(name, digest);
        Ok(())
    };
    for (name, moment, tensor) in tensors {
        let shape: Vec<i32> = tensor.dims().iter().map(|n| *n as i32).collect();
        let values: Vec<f32> = tensor.flatten_all().and_then(|flat| flat.to_vec1()).map_err(candle)?;
        for (number, part) in (0..).zip(values.chunks((cut.part_bytes / 4).max(1))) {
            let data: Vec<u8> = part.iter().flat_map(|x| x.to_le_bytes()).collect();
            if bytes > 0 && bytes + data.len() > cut.file_bytes {
                write(&mut rows)?;
                bytes = 0;
            }
            bytes += data.len();
            rows.push(Part { name, moment, shape: &shape, number, data: &data }.row()?);
        }
    }
    write(&mut rows)?;
    Ok(files)
}

/// The file's stem for weights.
pub(crate) const WEIGHTS: &str = "weights";
/// The file's stem for moments.
pub const OPTIMIZER: &str = "optimizer";

/// Shapes and bytes of tensors while their parts are read, by name and moment.
#[derive(Debug, Default)]
pub(crate) struct Pieces(BTreeMap<(String, i32), (Vec<usize>, Vec<u8>)>);

impl Pieces {
    /// Appends the parts of a file's batch, which lie in their order. `stem` says which table it is.
    pub(crate) fn add(&mut self, stem: &str, batch: &RecordBatch) -> Result<()> {
        let (name, moment, shape, data) = match stem {
            WEIGHTS => {
                let PolicyWeightsColumns { name, shape, data, .. } = PolicyWeights::from_batch(batch)?;
                (name, None, shape, data)
            }
            _ => {
                let PolicyOptimizerColumns { name, moment, shape, data, .. } = PolicyOptimizer::from_batch(batch)?;
                (name, Some(moment), shape, data)
            }
        };
        self.append(&name, moment.as_ref(), &shape, &data);
        Ok(())
    }

    fn append(
        &mut self,
        name: &StringArray,
        moment: Option<&Int32Array>,
        shape: &Lists<Int32Array>,
        data: &BinaryArray,
    ) {
        for row in 0..name.len() {
            let key = (name.value(row).to_owned(), moment.map_or(0, |moment| moment.value(row)));
            let shape = || shape.row(row).iter().map(|n| *n as usize).collect();
            let (_, bytes) = self.0.entry(key).or_insert_with(|| (shape(), Vec::new()));
            bytes.extend_from_slice(data.value(row));
        }
    }

    /// The tensors, by name and moment. `wrong` makes the error of one whose parts do not make up its shape.
    pub(crate) fn tensors(self, wrong: impl Fn(String) -> Error) -> Result<BTreeMap<(String, i32), Tensor>> {
        let tensor = |((name, moment), (shape, bytes)): ((String, i32), (Vec<usize>, Vec<u8>))| {
            let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
            let count = shape.iter().try_fold(1_usize, |count, n| count.checked_mul(*n));
            if count != Some(values.len()) {
                return Err(wrong(format!("{name}: expected {shape:?} numbers, got {}", values.len())));
            }
            Ok(((name, moment), Tensor::from_vec(values, shape, &Device::Cpu).map_err(candle)?))
        };
        self.0.into_iter().map(tensor).collect()
    }
}

#[cfg(test)]
mod tests {
    use dataset::decode;

    use super::*;

    #[test]
    fn tensors_are_the_same_however_they_are_cut() -> Result<()> {
        let tensor = |rows: usize, columns: usize| {
            let values: Vec<f32> = (0..rows * columns).map(|x| (x as f32).sin()).collect();
            Tensor::from_vec(values, (rows, columns), &Device::Cpu).expect("a tensor")
        };
        let tensors = [("a", tensor(40, 7)), ("b", tensor(1, 1)), ("c", tensor(9, 9))];
        for (part_bytes, file_bytes, expected) in [(64, 200, 8), (4, 1, 362), (1 << 20, 1 << 20, 1), (1 << 20, 1, 3)] {
            let root = tempfile::tempdir().expect("a folder");
            let store = Store::open(&root.path().display().to_string())?;
            let rows = tensors.iter().map(|(name, tensor)| (*name, 0, tensor));
            let files = put(&store, "step", WEIGHTS, Cut { part_bytes, file_bytes }, rows)?;
            assert_eq!(files.len(), expected, "{part_bytes} and {file_bytes} bytes");
            let mut pieces = Pieces::default();
            for (file, expected) in &files {
                let bytes = store.get(&format!("step/{file}"))?.expect("written");
                assert_eq!(digest(&bytes), *expected);
                for batch in decode(file, &PolicyWeights::contract(), bytes, &[])? {
                    pieces.add(WEIGHTS, &batch)?;
                }
            }
            let read = pieces.tensors(Error::bug)?;
            let bits = |tensor: &Tensor| tensor.to_vec2::<f32>().expect("a matrix");
            let same = tensors.iter().all(|(name, tensor)| bits(&read[&((*name).to_owned(), 0)]) == bits(tensor));
            assert!(same && read.len() == tensors.len());
        }
        Ok(())
    }
}
