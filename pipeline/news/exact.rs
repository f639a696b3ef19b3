//! Exact search: every query against every article, as blocks of matrix products.
//!
//! The products are screened in bf16, which processors multiply several times as fast as 32-bit floats, and what may be among the
//! best is then scored in 32 bits. Nothing is lost by that: with q' and v' the rounded vectors of unit length,
//! |q·v - q'·v'| <= |q - q'| |v| + |q'| |v - v'| (Cauchy, Schwarz). What rounding did to each query and, at most, to an article is
//! known, and whatever is screened out is further than twice that below the k-th best.

use std::ops::Range;

use dataset::{Error, Result};
use numkong::{PackedMatrix, Tensor, bf16};

use crate::{Hit, Vectors};

/// Articles in a block, at most: its vectors fit a core's cache.
const BLOCK: usize = 1024;
/// Queries taken together.
const QUERIES: usize = 64;

/// Searches all vectors.
#[derive(Debug)]
pub struct Exact {
    vectors: Vectors,
    blocks: Vec<Block>,
}

/// Some consecutive rows of vectors, rounded and laid out for the products.
pub(crate) struct Block {
    vectors: PackedMatrix<bf16>,
    first: u32,
    len: usize,
    /// The largest |v - v'|.
    error: f32,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({} from {})", self.len, self.first)
    }
}

fn failed(e: impl std::fmt::Display) -> Error {
    Error::retry(format!("exact search: {e}"), "this is a bug, unless memory ran out; committed versions are whole")
}

impl Block {
    /// Some rows, in as many blocks as they take.
    pub(crate) fn of(vectors: &Vectors, rows: Range<usize>) -> Result<Vec<Self>> {
        let block = |first: usize| {
            let rows = first..rows.end.min(first + BLOCK);
            let (first, len, d) = (first as u32, rows.len(), vectors.dimensions());
            let rounded = Rounded::new(&vectors.values()[rows.start * d..rows.end * d], d);
            let vectors = PackedMatrix::try_pack(&rounded.rows(0..len)?).map_err(failed)?;
            Ok(Block { vectors, first, len, error: rounded.errors.into_iter().fold(0.0, f32::max) })
        };
        rows.clone().step_by(BLOCK).map(block).collect()
    }

    /// The products of queries, as of [`Rounded::rows`], with the vectors: a row for each query.
    pub(crate) fn dots(&self, queries: &Tensor<bf16>) -> Result<Dots> {
        let products = queries.try_dots_packed(&self.vectors).map_err(failed)?;
        Ok(Dots { products, first: self.first, len: self.len })
    }
}

/// The largest |v - v'| of some blocks.
pub(crate) fn largest_error<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> f32 {
    blocks.into_iter().map(|block| block.error).fold(0.0, f32::max)
}

/// Products of queries and a block's vectors.
pub(crate) struct Dots {
    products: Tensor<f32>,
    /// The block's first row.
    pub(crate) first: u32,
    len: usize,
}

impl Dots {
    /// Each query's, one for each vector.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.products.as_slice().chunks_exact(self.len.next_multiple_of(4)).map(|row| &row[..self.len])
    }
}

impl Exact {
    /// Lays vectors of unit length out for search: 6 bytes a value in all.
    pub fn new(vectors: Vectors) -> Result<Self> {
        Ok(Exact { blocks: Block::of(&vectors, 0..vectors.len())?, vectors })
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        6 * self.vectors.values().len() as u64
    }

    /// The vectors.
    pub fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// The best `ks[i]` articles for each query `[queries · dimensions]`, best first.
    pub fn search(&self, queries: &[f32], ks: &[usize]) -> Result<Vec<Vec<Hit>>> {
        self.screened(queries, ks, |screen, query| screen.settle(query, &self.vectors, |row| row))
    }

    /// The nearest `k` rows for each query, in any order.
    pub(crate) fn nearest(&self, queries: &[f32], k: usize) -> Result<Vec<Vec<u32>>> {
        let ks = vec![k; queries.len() / self.vectors.dimensions()];
        self.screened(queries, &ks, |screen, query| screen.choose(query, &self.vectors))
    }

    fn screened<T>(&self, queries: &[f32], ks: &[usize], finish: impl Fn(Screen, &[f32]) -> T) -> Result<Vec<T>> {
        let dimensions = self.vectors.dimensions();
        let error = largest_error(&self.blocks);
        let mut found = Vec::with_capacity(ks.len());
        for (queries, ks) in queries.chunks(QUERIES * dimensions).zip(ks.chunks(QUERIES)) {
            let rounded = Rounded::new(queries, dimensions);
            let mut screens = rounded.screens(ks, error);
            let rounded = rounded.rows(0..ks.len())?;
            for block in &self.blocks {
                let dots = block.dots(&rounded)?;
                screens.iter_mut().zip(dots.rows()).for_each(|(screen, row)| screen.offer(dots.first, row));
            }
            let queries = queries.chunks_exact(dimensions);
            found.extend(screens.into_iter().zip(queries).map(|(screen, query)| finish(screen, query)));
        }
        Ok(found)
    }
}

/// Vectors in bf16.
pub(crate) struct Rounded {
    dimensions: usize,
    values: Vec<bf16>,
    /// What that did to each: |v - v'|.
    errors: Vec<f32>,
}

impl Rounded {
    pub(crate) fn new(values: &[f32], dimensions: usize) -> Self {
        // To the nearest, of two equally near the even one: all in integers, which compilers vectorise.
        let rounded = |x: &f32| x.to_bits().wrapping_add(0x7fff + (x.to_bits() >> 16 & 1)) & 0xffff_0000;
        let error = |vector: &[f32]| {
            let errors: Vec<f32> = vector.iter().map(|x| x - f32::from_bits(rounded(x))).collect();
            dot(&errors, &errors).sqrt()
        };
        Rounded {
            dimensions,
            values: values.iter().map(|x| bf16((rounded(x) >> 16) as u16)).collect(),
            errors: values.chunks_exact(dimensions).map(error).collect(),
        }
    }

    /// A screen for each vector as a query for the `ks[i]` best. `of_vectors`: of what is screened, the largest |v - v'|.
    pub(crate) fn screens(&self, ks: &[usize], of_vectors: f32) -> Vec<Screen> {
        let screen = |(&k, &of_query): (&usize, &f32)| Screen::new(k, of_query, of_vectors, self.dimensions);
        ks.iter().zip(&self.errors).map(screen).collect()
    }

    /// Some of the vectors, and after them zeros up to a multiple of four: the kernel's fast path takes four by four.
    pub(crate) fn rows(&self, rows: impl ExactSizeIterator<Item = usize>) -> Result<Tensor<bf16>> {
        let d = self.dimensions;
        let mut tensor = Tensor::try_full(&[rows.len().next_multiple_of(4), d], bf16::ZERO).map_err(failed)?;
        for (to, row) in tensor.as_mut_slice().chunks_exact_mut(d).zip(rows) {
            to.copy_from_slice(&self.values[row * d..][..d]);
        }
        Ok(tensor)
    }
}

/// The dot product, summed in 16 lanes: the same bits on every machine.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let (a16, a_rest) = a.as_chunks::<16>();
    let (b16, b_rest) = b.as_chunks::<16>();
    for (a, b) in a16.iter().zip(b16) {
        for lane in 0..16 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

/// One query's candidates: all rows whose rounded score is within `slack` of the k-th best so far.
pub(crate) struct Screen {
    k: usize,
    slack: f32,
    floor: f32,
    kept: Vec<(f32, u32)>,
    /// So many kept, and those below the floor go.
    full: usize,
}

impl Screen {
    /// `of_query`, `of_vectors`: |q - q'| and the largest |v - v'|.
    fn new(k: usize, of_query: f32, of_vectors: f32, dimensions: usize) -> Self {
        // The last term is for the sums' own rounding, and for lengths that are nearly one.
        let margin = of_query + (1.0 + of_query) * of_vectors + dimensions as f32 * 2.0_f32.powi(-22);
        let full = k.saturating_mul(4).max(256);
        Screen { k, slack: 2.0 * margin, floor: f32::NEG_INFINITY, kept: Vec::new(), full }
    }

    /// Looks at the rounded scores of consecutive rows.
    pub(crate) fn offer(&mut self, first: u32, scores: &[f32]) {
        if self.k == 0 {
            return;
        }
        for (number, scores) in scores.chunks(16).enumerate() {
            // One comparison for sixteen, most of which are out.
            if !scores.iter().fold(false, |any, &score| any | (score >= self.floor)) {
                continue;
            }
            for (lane, &score) in scores.iter().enumerate() {
                if score >= self.floor {
                    self.kept.push((score, first + (number * 16 + lane) as u32));
                }
            }
        }
        if self.kept.len() >= self.full {
            self.tighten();
            self.full = self.full.max(2 * self.kept.len());
        }
    }

    fn tighten(&mut self) {
        if (1..self.kept.len()).contains(&self.k) {
            let (_, kth, _) = self.kept.select_nth_unstable_by(self.k - 1, |a, b| b.0.total_cmp(&a.0));
            self.floor = kth.0 - self.slack;
            let floor = self.floor;
            self.kept.retain(|(score, _)| *score >= floor);
        }
    }

    /// The best, once what was not screened out is scored in 32 bits. `article`: a row's article.
    pub(crate) fn settle(mut self, query: &[f32], vectors: &Vectors, article: impl Fn(u32) -> u32) -> Vec<Hit> {
        self.tighten();
        let score =
            |(_, row): &(f32, u32)| Hit { article: article(*row), score: dot(query, vectors.get(*row as usize)) };
        let mut hits: Vec<Hit> = self.kept.iter().map(score).collect();
        hits.sort_unstable_by(Hit::best_first);
        hits.truncate(self.k);
        hits.shrink_to_fit();
        hits
    }

    /// The rows that [`Screen::settle`] would give, in any order: only those are scored of which it is not sure.
    fn choose(mut self, query: &[f32], vectors: &Vectors) -> Vec<u32> {
        self.tighten();
        if self.kept.len() <= self.k {
            return self.kept.into_iter().map(|(_, row)| row).collect();
        }
        let sure = self.floor + 2.0 * self.slack;
        let (sure, unsure): (Vec<_>, Vec<_>) = self.kept.into_iter().partition(|(score, _)| *score > sure);
        let left = Screen { k: self.k - sure.len(), kept: unsure, floor: f32::NEG_INFINITY, ..self };
        let rest = left.settle(query, vectors, |row| row);
        sure.into_iter().map(|(_, row)| row).chain(rest.into_iter().map(|hit| hit.article)).collect()
    }
}
