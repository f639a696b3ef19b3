//! What queries fetch, for whoever asks with texts: an encoder of queries, and the articles of a pool.

use std::path::PathBuf;

use dataset::{Identity, Inputs, Result, Store, Whole};
use rayon::prelude::*;
use schemas::NewsVectors;
use text::Encoder;

use crate::encoder::{Declared, check_encoder};
use crate::index::{missing, open_index};
use crate::lists::{Dense, Nearest};
use crate::pool::Corpus;
use crate::queries::QueryVectors;
use crate::{EncoderSettings, Exact, Hit, Pool, PoolSettings, SearchSettings, Vectors, vectors};

/// Queries that one thread searches for together.
const TOGETHER: usize = 64;
/// Texts that one thread encodes together, at least: fewer make small batches.
const ENCODED_TOGETHER: usize = 32;

/// Which articles are searched, and how.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// The articles.
    pub pool: &'a PoolSettings,
    /// How an index is searched.
    pub index: &'a SearchSettings,
    /// The encoder of queries.
    pub encoder: &'a EncoderSettings,
    /// The articles' vectors: those of `embed@NAME`.
    pub vectors: Option<&'a str>,
    /// Every article is searched, however many there are.
    pub exact: bool,
}

/// What vectors of queries are put to: encoder, vectors and index.
#[derive(Debug)]
pub(crate) struct DenseInputs {
    encoder: Declared,
    vectors: Whole<NewsVectors>,
    /// The index's folder, and what it is of, if there is one; none where it is never searched.
    index: Option<(PathBuf, Option<Identity>)>,
    /// So many candidates and fewer are searched exactly.
    exact_up_to: usize,
    search: SearchSettings,
}

/// What a [`Searcher`] reads.
#[derive(Debug)]
pub struct SearcherInputs {
    corpus: Corpus,
    dense: DenseInputs,
}

impl Search<'_> {
    /// Declares articles, vectors, encoder and index.
    ///
    /// # Errors
    /// When the articles' vectors are another encoder's.
    pub fn declare(&self, declare: &mut Inputs<'_>) -> Result<SearcherInputs> {
        let corpus = self.pool.declare(declare)?;
        Ok(SearcherInputs { dense: self.declare_vectors(declare, &corpus)?, corpus })
    }

    /// The same, of articles that are declared.
    pub(crate) fn declare_vectors(&self, declare: &mut Inputs<'_>, corpus: &Corpus) -> Result<DenseInputs> {
        let encoder = self.encoder.declare(declare)?;
        let (vectors, made_by) = vectors::declare_vectors(declare, self.vectors)?;
        let index = self.index(corpus, declare.store())?;
        let declared = |(folder, identity): (PathBuf, Option<Identity>)| -> Result<_> {
            let identity = identity.map(|_| declare.artifact("index", &folder)).transpose()?;
            Ok((folder, identity))
        };
        let index = index.map(declared).transpose()?;
        self.inputs(encoder, vectors, &made_by, index)
    }

    /// The same as they are now, outside of any run: for people's eyes, and for servers.
    ///
    /// # Errors
    /// When the articles' vectors are another encoder's.
    pub fn now(&self, store: &Store) -> Result<SearcherInputs> {
        let corpus = self.pool.now(store)?;
        let vectors = Whole::<NewsVectors>::open(store, &vectors::dataset(self.vectors))?;
        let made_by = vectors.manifest().lineage.values.get("encoder").and_then(|name| name.as_str());
        let made_by = made_by.unwrap_or_default().to_owned();
        let index = self.index(&corpus, store)?;
        Ok(SearcherInputs { dense: self.inputs(self.encoder.find()?, vectors, &made_by, index)?, corpus })
    }

    /// The index, unless it is never searched: whether the candidates are few enough for that is known once they are read.
    fn index(&self, corpus: &Corpus, store: &Store) -> Result<Option<(PathBuf, Option<Identity>)>> {
        if self.exact || corpus.articles() <= self.pool.exact_up_to as u64 {
            return Ok(None);
        }
        let folder = self.index.folder(store, self.pool.candidates, self.vectors)?;
        let identity = Identity::read(&folder)?;
        Ok(Some((folder, identity)))
    }

    fn inputs(
        &self,
        encoder: Declared,
        vectors: Whole<NewsVectors>,
        made_by: &str,
        index: Option<(PathBuf, Option<Identity>)>,
    ) -> Result<DenseInputs> {
        check_encoder(vectors.snapshot().dataset.name(), made_by, &encoder.name)?;
        let (exact_up_to, search) = (self.pool.exact_up_to, self.index.clone());
        Ok(DenseInputs { encoder, vectors, index, exact_up_to, search })
    }
}

impl DenseInputs {
    /// Opens encoder, vectors and index, for a pool of the declared articles.
    ///
    /// # Errors
    /// When there is no index of these articles, or the model does not open.
    pub(crate) fn open(&self, corpus: &Corpus, pool: &Pool) -> Result<Dense> {
        let DenseInputs { encoder, vectors, index, exact_up_to, search } = self;
        let encoder = encoder.open()?;
        let articles = match index {
            Some((folder, identity)) if pool.len() > *exact_up_to => {
                let identity = identity.as_ref().ok_or_else(|| missing(folder))?;
                let index = open_index(folder, identity, corpus, vectors, encoder.dimensions(), pool.len())?;
                let probes = search.probes(&index);
                Nearest::Ivf(index, probes)
            }
            _ => Nearest::Exact(Exact::new(Vectors::read(vectors, pool, encoder.name())?)?),
        };
        Ok(Dense { queries: QueryVectors::new(encoder)?, articles })
    }
}

impl SearcherInputs {
    /// The articles that are searched.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }
}

/// Puts queries to an encoder, and finds the articles nearest to them. Each text is encoded once, and neither vectors nor hits depend on
/// what is asked together.
#[derive(Debug)]
pub struct Searcher {
    pool: Pool,
    dense: Dense,
}

impl Searcher {
    /// Opens encoder, vectors and index.
    ///
    /// # Errors
    /// When there is no article, none of the index's, or the model does not open.
    pub fn open(inputs: &SearcherInputs) -> Result<Self> {
        let pool = inputs.corpus.open()?;
        Ok(Searcher { dense: inputs.dense.open(&inputs.corpus, &pool)?, pool })
    }

    /// Of articles with these vectors of the encoder's, in the pool's order: each is looked at.
    pub fn exact(encoder: Encoder, pool: Pool, vectors: Vectors) -> Result<Self> {
        let articles = Nearest::Exact(Exact::new(vectors)?);
        Ok(Searcher { pool, dense: Dense { queries: QueryVectors::new(encoder)?, articles } })
    }

    /// The articles.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The vector of an article of the pool.
    pub fn article(&self, number: u32) -> &[f32] {
        self.dense.articles.vector(number)
    }

    /// Values of a vector.
    pub fn dimensions(&self) -> usize {
        self.dense.queries.dimensions()
    }

    /// Vectors of distinct queries, in their order: one of unit length for each.
    pub fn vectors(&self, queries: &[&str]) -> Result<Vectors> {
        let dimensions = self.dimensions();
        // Texts of like length make full batches.
        let mut order: Vec<usize> = (0..queries.len()).collect();
        order.sort_by_key(|&query| queries[query].len());
        let together = queries.len().div_ceil(rayon::current_num_threads().max(1)).max(ENCODED_TOGETHER);
        let encoded: Vec<Vec<f32>> = order
            .par_chunks(together)
            .map(|chunk| self.dense.queries.get(&chunk.iter().map(|&query| queries[query]).collect::<Vec<_>>()))
            .collect::<Result<_>>()?;
        let mut values = vec![0.0; queries.len() * dimensions];
        for (&query, vector) in order.iter().zip(encoded.iter().flat_map(|vectors| vectors.chunks_exact(dimensions))) {
            values[query * dimensions..][..dimensions].copy_from_slice(vector);
        }
        Ok(Vectors::new(dimensions, values))
    }

    /// The best `ks[i]` articles for each query, best first.
    pub fn search(&self, queries: &Vectors, ks: &[usize]) -> Result<Vec<Vec<Hit>>> {
        let found: Vec<Vec<Vec<Hit>>> = queries
            .values()
            .par_chunks(TOGETHER * queries.dimensions())
            .zip(ks.par_chunks(TOGETHER))
            .map(|(queries, ks)| self.dense.articles.search(queries, ks))
            .collect::<Result<_>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.pool.memory_bytes() + self.dense.memory_bytes()
    }
}
