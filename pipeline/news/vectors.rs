//! Vectors of a pool's articles, in memory.

use arrow::buffer::{Buffer, ScalarBuffer};
use dataset::{Error, Inputs, Result, Whole};
use schemas::NewsVectors;

use crate::Pool;
use crate::encoder::check_encoder;

/// The dataset; with a dot and the name of a step, that of another encoder.
pub const NEWS_VECTORS: &str = "news_vectors";

/// The dataset of the vectors that `embed@name` makes.
pub(crate) fn dataset(name: Option<&str>) -> String {
    name.map_or_else(|| NEWS_VECTORS.to_owned(), |name| format!("{NEWS_VECTORS}.{name}"))
}

/// `[articles · dimensions]` 32-bit floats, in the pool's order.
#[derive(Debug, Clone)]
pub struct Vectors {
    dimensions: usize,
    values: ScalarBuffer<f32>,
}

/// Declares the vectors of `embed@name`, and which encoder made them: its name.
pub fn declare_vectors(declare: &mut Inputs<'_>, name: Option<&str>) -> Result<(Whole<NewsVectors>, String)> {
    let dataset = dataset(name);
    let vectors = declare.whole::<NewsVectors>(&dataset)?;
    let encoder = declare.value_of::<NewsVectors, String>(&dataset, "encoder")?;
    let columns = [NewsVectors::news_id.name(), NewsVectors::encoder.name(), NewsVectors::vector.name()];
    Ok((vectors.columns(&columns), encoder))
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

    /// Reads the vectors of a pool's articles, with their article, encoder and vector columns.
    ///
    /// # Errors
    /// When an article has none, or when another encoder made them.
    pub fn read(vectors: &Whole<NewsVectors>, pool: &Pool, encoder: &str) -> Result<Self> {
        let (mut values, mut dimensions, mut found) = (Vec::new(), 0, 0);
        for part in vectors.parts() {
            for batch in part?.batches() {
                let (id, by) = (NewsVectors::news_id.of(batch)?, NewsVectors::encoder.of(batch)?);
                let vector = NewsVectors::vector.of(batch)?;
                for row in 0..batch.num_rows() {
                    check_encoder(NEWS_VECTORS, by.value(row), encoder)?;
                    let Some(number) = pool.number(id.value(row)) else { continue };
                    let vector = vector.row(row);
                    if dimensions == 0 {
                        dimensions = vector.len();
                        values = vec![0.0; pool.len() * dimensions];
                    }
                    if vector.len() != dimensions || dimensions == 0 {
                        let what = "expected vectors of one length, got several";
                        return Err(Error::unreadable(NEWS_VECTORS, what, "run embed again"));
                    }
                    let at = number as usize * dimensions;
                    values[at..at + dimensions].copy_from_slice(vector);
                    found += 1;
                }
            }
        }
        if values.iter().any(|x: &f32| !x.is_finite()) {
            let what = "expected finite numbers, got NaN or infinity";
            return Err(Error::unreadable(NEWS_VECTORS, what, "delete the dataset's folder and run embed again"));
        }
        if found < pool.len() {
            let what = format!("{NEWS_VECTORS}: expected a vector for each of {} articles, got {found}", pool.len());
            return Err(Error::retry(what, "news has changed since: run embed again"));
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
    pub fn gather(&self, rows: &[u32]) -> Self {
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
