//! What queries fetch, for whoever asks with texts: an encoder of queries, and the articles of a pool.

use std::path::PathBuf;

use dataset::{Identity, Inputs, Result, Store, Whole};
use rayon::prelude::*;
use schemas::NewsVectors;
use text::Encoder;

use crate::encoder::{Declared, check_encoder};
use crate::index::{missing, open_index};
use crate::lists::Nearest;
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
    /// Every article is searched, however many there are.
    pub exact: bool,
}

/// What a [`Searcher`] reads.
#[derive(Debug)]
pub struct SearcherInputs {
    corpus: Corpus,
    encoder: Declared,
    vectors: Whole<NewsVectors>,
    /// The index's folder, and what it is of, if there is one; none where it is never searched.
    index: Option<(PathBuf, Option<Identity>)>,
    /// So many candidates and fewer are searched exactly.
    exact_up_to: usize,
    search: SearchSettings,
}

impl Search<'_> {
    /// Declares articles, vectors, encoder and index.
    ///
    /// # Errors
    /// When the articles' vectors are another encoder's.
    pub fn declare(&self, declare: &mut Inputs<'_>) -> Result<SearcherInputs> {
        let corpus = self.pool.declare(declare)?;
        let encoder = self.encoder.declare(declare)?;
        let (vectors, made_by) = vectors::declare(declare, None)?;
        check_encoder(vectors::NEWS_VECTORS, &made_by, &encoder.name)?;
        // Whether the candidates are so few that they are searched exactly is known once they are read.
        let never = self.exact || corpus.articles() <= self.pool.exact_up_to as u64;
        let index = match never {
            true => None,
            false => {
                let folder = self.index.folder(declare.store(), self.pool.candidates, None)?;
                let identity = Identity::read(&folder)?.map(|_| declare.artifact("index", &folder)).transpose()?;
                Some((folder, identity))
            }
        };
        Ok(self.inputs(corpus, encoder, vectors, index))
    }

    /// The same as they are now, outside of any run: for people's eyes, and for servers.
    ///
    /// # Errors
    /// When the articles' vectors are another encoder's.
    pub fn now(&self, store: &Store) -> Result<SearcherInputs> {
        let corpus = self.pool.now(store)?;
        let encoder = self.encoder.find()?;
        let vectors = Whole::<NewsVectors>::open(store, vectors::NEWS_VECTORS)?;
        let made_by = vectors.manifest().lineage.values.get("encoder").and_then(|name| name.as_str());
        check_encoder(vectors::NEWS_VECTORS, made_by.unwrap_or_default(), &encoder.name)?;
        let index = match self.exact {
            true => None,
            false => {
                let folder = self.index.folder(store, self.pool.candidates, None)?;
                let identity = Identity::read(&folder)?;
                Some((folder, identity))
            }
        };
        Ok(self.inputs(corpus, encoder, vectors, index))
    }

    fn inputs(
        &self,
        corpus: Corpus,
        encoder: Declared,
        vectors: Whole<NewsVectors>,
        index: Option<(PathBuf, Option<Identity>)>,
    ) -> SearcherInputs {
        let (exact_up_to, search) = (self.pool.exact_up_to, self.index.clone());
        SearcherInputs { corpus, encoder, vectors, index, exact_up_to, search }
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
    dimensions: usize,
    vectors: QueryVectors,
    articles: Nearest,
}

impl Searcher {
    /// Opens encoder, vectors and index.
    ///
    /// # Errors
    /// When there is no article, none of the index's, or the model does not open.
    pub fn open(inputs: &SearcherInputs) -> Result<Self> {
        let SearcherInputs { corpus, encoder, vectors, index, exact_up_to, search } = inputs;
        let pool = corpus.open()?;
        let encoder = encoder.open()?;
        let dimensions = encoder.dimensions();
        let articles = match index {
            Some((folder, identity)) if pool.len() > *exact_up_to => {
                let identity = identity.as_ref().ok_or_else(|| missing(folder))?;
                let index = open_index(folder, identity, corpus, vectors, dimensions, pool.len())?;
                let probes = search.probes(&index);
                Nearest::Ivf(index, probes)
            }
            _ => {
                let vectors = Vectors::read(vectors, &pool, encoder.name())?;
                return Self::exact(encoder, pool, vectors);
            }
        };
        Ok(Searcher { pool, dimensions, vectors: QueryVectors::new(encoder)?, articles })
    }

    /// Of articles with these vectors of the encoder's, in the pool's order: each is looked at.
    pub fn exact(encoder: Encoder, pool: Pool, vectors: Vectors) -> Result<Self> {
        let (dimensions, articles) = (encoder.dimensions(), Nearest::Exact(Exact::new(vectors)?));
        Ok(Searcher { pool, dimensions, vectors: QueryVectors::new(encoder)?, articles })
    }

    /// The articles.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Values of a vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Vectors of distinct queries, in their order: one of unit length for each.
    pub fn vectors(&self, queries: &[&str]) -> Result<Vectors> {
        // Texts of like length make full batches.
        let mut order: Vec<usize> = (0..queries.len()).collect();
        order.sort_by_key(|&query| queries[query].len());
        let together = queries.len().div_ceil(rayon::current_num_threads().max(1)).max(ENCODED_TOGETHER);
        let encoded: Vec<Vec<f32>> = order
            .par_chunks(together)
            .map(|chunk| self.vectors.get(&chunk.iter().map(|&query| queries[query]).collect::<Vec<_>>()))
            .collect::<Result<_>>()?;
        let mut values = vec![0.0; queries.len() * self.dimensions];
        for (&query, vector) in
            order.iter().zip(encoded.iter().flat_map(|vectors| vectors.chunks_exact(self.dimensions)))
        {
            values[query * self.dimensions..][..self.dimensions].copy_from_slice(vector);
        }
        Ok(Vectors::new(self.dimensions, values))
    }

    /// The best `ks[i]` articles for each query, best first.
    pub fn search(&self, queries: &Vectors, ks: &[usize]) -> Result<Vec<Vec<Hit>>> {
        let found: Vec<Vec<Vec<Hit>>> = queries
            .values()
            .par_chunks(TOGETHER * self.dimensions)
            .zip(ks.par_chunks(TOGETHER))
            .map(|(queries, ks)| self.articles.search(queries, ks))
            .collect::<Result<_>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.pool.memory_bytes() + self.articles.memory_bytes()
    }
}
