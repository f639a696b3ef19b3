//! Exact search: every query against every article, as blocks of matrix products.
//!
//! The products are screened in bf16, which processors multiply several times as fast as 32-bit floats, and what may be among the
//! best is then scored in 32 bits. Nothing is lost by that: rounding a number to bf16 changes it by at most 2⁻⁹ of itself, so the
//! product of two vectors of unit length moves by at most about 2⁻⁸ (Cauchy–Schwarz), and whatever is screened out is further than
//! twice that below the k-th best.

use dataset::{Error, Result};
use numkong::{PackedMatrix, Tensor, bf16};

use crate::{Hit, Vectors};

/// Articles in a block: its vectors fit a core's cache.
const BLOCK: usize = 1024;
/// Queries taken together.
const QUERIES: usize = 64;

/// Searches all vectors.
#[derive(Debug)]
pub struct Exact {
    vectors: Vectors,
    blocks: Vec<Block>,
    margin: f32,
}

/// Some consecutive articles, laid out for the products.
struct Block(PackedMatrix<bf16>);

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({:?})", self.0.dims())
    }
}

fn failed(e: impl std::fmt::Display) -> Error {
    Error::model(format!("exact search: {e}"))
}

impl Exact {
    /// Lays vectors of unit length out for search: 6 bytes a value in all.
    pub fn new(vectors: Vectors) -> Result<Self> {
        let dimensions = vectors.dimensions();
        let blocks = vectors
            .values()
            .chunks(BLOCK * dimensions)
            .map(|block| {
                let tensor = rounded(block, dimensions)?;
                Ok(Block(PackedMatrix::try_pack(&tensor).map_err(failed)?))
            })
            .collect::<Result<_>>()?;
        // Both factors rounded, and the sum's own rounding.
        let margin = 2.0_f32.powi(-8) + 2.0_f32.powi(-18) + dimensions as f32 * 2.0_f32.powi(-23);
        Ok(Exact { vectors, blocks, margin })
    }

    /// The vectors.
    pub fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// The best `ks[i]` articles for each query `[queries · dimensions]`, best first.
    pub fn search(&self, queries: &[f32], ks: &[usize]) -> Result<Vec<Vec<Hit>>> {
        let dimensions = self.vectors.dimensions();
        let mut found = Vec::with_capacity(ks.len());
        for (queries, ks) in queries.chunks(QUERIES * dimensions).zip(ks.chunks(QUERIES)) {
            let rounded = rounded(queries, dimensions)?;
            let mut best: Vec<Screen> = ks.iter().map(|&k| Screen::new(k, 2.0 * self.margin)).collect();
            for (number, block) in self.blocks.iter().enumerate() {
                let scores = rounded.try_dots_packed(&block.0).map_err(failed)?;
                let (articles, _) = block.0.dims();
                for (screen, row) in best.iter_mut().zip(scores.as_slice().chunks_exact(articles)) {
                    screen.offer((number * BLOCK) as u32, row);
                }
            }
            for (screen, query) in best.into_iter().zip(queries.chunks_exact(dimensions)) {
                found.push(self.settle(screen, query));
            }
        }
        Ok(found)
    }

    /// Scores what was not screened out in 32 bits.
    fn settle(&self, screen: Screen, query: &[f32]) -> Vec<Hit> {
        let k = screen.k;
        let mut hits: Vec<Hit> = screen
            .finish()
            .into_iter()
            .map(|article| Hit { article, score: dot(query, self.vectors.get(article as usize)) })
            .collect();
        hits.sort_unstable_by(Hit::best_first);
        hits.truncate(k);
        hits
    }
}

fn rounded(values: &[f32], dimensions: usize) -> Result<Tensor<bf16>> {
    let rounded: Vec<bf16> = values.iter().map(|&x| bf16::from_f32(x)).collect();
    Tensor::try_from_slice(&rounded, &[values.len() / dimensions, dimensions]).map_err(failed)
}

/// The dot product, summed in 16 lanes: the same bits on every machine.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
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

/// One query's candidates: all whose rounded score is within `slack` of the k-th best so far.
struct Screen {
    k: usize,
    slack: f32,
    floor: f32,
    kept: Vec<(f32, u32)>,
}

impl Screen {
    fn new(k: usize, slack: f32) -> Self {
        Screen { k, slack, floor: f32::NEG_INFINITY, kept: Vec::new() }
    }

    fn offer(&mut self, first: u32, scores: &[f32]) {
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
        if self.kept.len() >= 4 * self.k.max(64) {
            self.tighten();
        }
    }

    fn tighten(&mut self) {
        if self.kept.len() > self.k {
            let (_, kth, _) = self.kept.select_nth_unstable_by(self.k - 1, |a, b| b.0.total_cmp(&a.0));
            self.floor = kth.0 - self.slack;
            let floor = self.floor;
            self.kept.retain(|(score, _)| *score >= floor);
        }
    }

    fn finish(mut self) -> Vec<u32> {
        if self.k > 0 {
            self.tighten();
        }
        self.kept.into_iter().map(|(_, article)| article).collect()
    }
}
