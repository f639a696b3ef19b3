//! Vectors of a pool's articles, in memory.

use std::collections::BTreeSet;

use arrow::array::{Array, FixedSizeListArray, Float32Array, StringArray};
use arrow::buffer::{Buffer, ScalarBuffer};
use dataset::{Error, Input, Result, Rows, Source, Store};
use schemas::NewsVectors;

use crate::Pool;

/// `[articles · dimensions]` 32-bit floats, in the pool's order.
#[derive(Debug, Clone)]
pub struct Vectors {
    dimensions: usize,
    values: ScalarBuffer<f32>,
}

impl Vectors {
    /// Vectors from their values, `dimensions` to each.
    pub fn new(dimensions: usize, values: Vec<f32>) -> Self {
        assert!(dimensions > 0 && values.len().is_multiple_of(dimensions), "vectors are of one length");
        Vectors { dimensions, values: values.into() }
    }

    /// Vectors of little-endian 32-bit floats, wherever they lie.
    pub(crate) fn of(dimensions: usize, bytes: Buffer) -> Self {
        Vectors { dimensions, values: bytes.into() }
    }

    /// Reads the vectors of a pool's articles from the current `news_vectors`.
    ///
    /// # Errors
    /// When an article has none, or when another encoder made them.
    pub fn read(store: &Store, pool: &Pool, encoder: &str) -> Result<Self> {
        let input = Input::<NewsVectors>::open(store, "news_vectors")?.columns(&["news_id", "encoder", "vector"]);
        let (mut values, mut dimensions, mut found) = (Vec::new(), 0, 0);
        let mut encoders = BTreeSet::new();
        for part in 0..input.partitions() {
            for batch in input.read(part)?.batches() {
                let id: &StringArray = Rows::<NewsVectors>::column(batch, "news_id")?;
                let by: &StringArray = Rows::<NewsVectors>::column(batch, "encoder")?;
                let vector: &FixedSizeListArray = Rows::<NewsVectors>::column(batch, "vector")?;
                encoders.extend(by.iter().flatten().map(str::to_owned));
                let length = vector.value_length() as usize;
                if dimensions == 0 {
                    dimensions = length;
                    values = vec![0.0; pool.len() * dimensions];
                }
                if length != dimensions {
                    return Err(Error::unreadable("news_vectors", "vectors of different lengths", "run embed again"));
                }
                let floats = flat(vector)?;
                for row in 0..batch.num_rows() {
                    if let Some(number) = pool.number(id.value(row)) {
                        let at = number as usize * dimensions;
                        values[at..at + dimensions].copy_from_slice(&floats[row * dimensions..(row + 1) * dimensions]);
                        found += 1;
                    }
                }
            }
        }
        if values.iter().any(|x: &f32| !x.is_finite()) {
            let what = "expected finite numbers, got NaN or infinity";
            return Err(Error::unreadable("news_vectors", what, "delete the dataset's folder and run embed again"));
        }
        check_encoder("news_vectors", &encoders.into_iter().collect::<Vec<_>>().join(" and "), encoder)?;
        if found < pool.len() {
            return Err(Error::Mismatch {
                what: "news_vectors".into(),
                expected: format!("a vector for each of {} articles", pool.len()),
                got: format!("{found}"),
                hint: "news has changed since: run embed again".into(),
            });
        }
        Ok(Vectors::new(dimensions, values))
    }

    /// Values per vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.dimensions.max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// One vector.
    pub fn get(&self, number: usize) -> &[f32] {
        &self.values[number * self.dimensions..(number + 1) * self.dimensions]
    }

    /// Some of the vectors, in this order.
    pub(crate) fn gather(&self, rows: &[u32]) -> Self {
        let mut values = Vec::with_capacity(rows.len() * self.dimensions);
        rows.iter().for_each(|&row| values.extend_from_slice(self.get(row as usize)));
        Vectors::new(self.dimensions, values)
    }

    /// All values as bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.values.inner().as_slice()
    }

    /// All values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// The values of a column of vectors.
pub(crate) fn flat(vectors: &FixedSizeListArray) -> Result<&[f32]> {
    let length = vectors.value_length() as usize;
    let values = vectors.values().as_any().downcast_ref::<Float32Array>().ok_or_else(|| {
        Error::unreadable("news_vectors", "expected 32-bit floats", "delete the dataset's folder and run embed again")
    })?;
    Ok(&values.values()[vectors.value_offset(0) as usize..][..vectors.len() * length])
}

/// Refuses vectors of another encoder than the queries'.
pub(crate) fn check_encoder(what: &str, got: &str, expected: &str) -> Result<()> {
    match got == expected {
        true => Ok(()),
        false => {
            let expected = format!("vectors of the query encoder, {expected}");
            let got = if got.is_empty() { "none".into() } else { format!("those of {got}") };
            let hint = "queries and articles need one encoder (model, max_tokens, prefixes): give the same, or run embed and index again";
            Err(Error::setting(what, expected, got, hint))
        }
    }
}
