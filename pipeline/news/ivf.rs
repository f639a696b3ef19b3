//! Approximate search: an inverted file over k-means cells (IVF-Flat: Sivic, Zisserman 2003; Jégou, Douze, Schmid 2011).
//!
//! The articles lie in cells, each round its centroid; a query is compared with the articles of the cells nearest to it, and within
//! these the search is exact. Queries come in batches: all that want a cell are multiplied with it at once, and each cell is read
//! once for the batch, where following a graph would fetch every vector by itself.

use std::fs::File;
use std::path::Path;

use arrow::buffer::{Buffer, ScalarBuffer};
use bytes::Bytes;
use dataset::{Error, Result};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::exact::{Block, Rounded, dot, largest_error};
use crate::{Exact, Hit, Vectors};

/// Rounds of k-means.
const ROUNDS: usize = 8;
/// Articles per cell that k-means looks at.
const SAMPLED: usize = 32;
/// Articles that a worker assigns at once.
const STEP: usize = 4096;
/// Articles wanted by a batch of queries, about: it holds a few times as many candidates.
const WANTED: usize = 1 << 19;
/// Queries multiplied with a cell at once.
const QUERIES: usize = 64;

/// An inverted file over a pool's vectors.
#[derive(Debug)]
pub struct Ivf {
    /// Of the articles, cell after cell: 4 bytes a value, of which a search reads those of its best.
    vectors: Vectors,
    /// Each row's article.
    articles: ScalarBuffer<u32>,
    /// Each article's row.
    rows: Vec<u32>,
    /// Each cell's first row, and the end of the last.
    starts: ScalarBuffer<u32>,
    centroids: Exact,
    /// Each cell for the products: 2 bytes a value.
    cells: Vec<Vec<Block>>,
}

impl Ivf {
    /// The usual number of cells (nlist): eight times the root of the number of articles.
    pub fn usual_cells(articles: usize) -> usize {
        ((8.0 * (articles as f64).sqrt()).round() as usize).clamp(1, articles.max(1))
    }

    /// Assignments that a build with so many cells makes: the length of its progress.
    pub fn assignments(articles: usize, cells: usize) -> u64 {
        (ROUNDS * articles.min(SAMPLED.saturating_mul(cells)) + articles) as u64
    }

    /// Spreads vectors of unit length over at most so many cells, by k-means of cosines. `step` is told of every few assignments
    /// done. The same vectors give the same cells on any number of threads.
    pub fn build(vectors: &Vectors, cells: usize, step: &(dyn Fn(u64) + Sync)) -> Result<Self> {
        let sample = spread(vectors, vectors.len().min(SAMPLED.saturating_mul(cells)));
        let mut centroids = spread(vectors, cells.clamp(1, vectors.len()));
        for _ in 0..ROUNDS {
            let nearest = assign(&sample, &Exact::new(centroids.clone())?, step)?;
            centroids = means(&sample, &nearest, &centroids);
        }
        let nearest = assign(vectors, &Exact::new(centroids.clone())?, step)?;
        // Rows by cell, within it by article; cells that nothing is nearest to fall away.
        let mut rows: Vec<u32> = (0..vectors.len() as u32).collect();
        rows.sort_by_key(|&article| nearest[article as usize]);
        let (mut kept, mut starts) = (Vec::new(), Vec::new());
        for (row, &article) in (0..).zip(&rows) {
            let cell = nearest[article as usize];
            if kept.last() != Some(&cell) {
                kept.push(cell);
                starts.push(row);
            }
        }
        starts.push(rows.len() as u32);
        Ivf::new(vectors.gather(&rows), rows.into(), starts.into(), centroids.gather(&kept))
    }

    /// Lays the cells out.
    fn new(
        vectors: Vectors,
        articles: ScalarBuffer<u32>,
        starts: ScalarBuffer<u32>,
        centroids: Vectors,
    ) -> Result<Self> {
        let cell = |cell: &[u32]| Block::of(&vectors, cell[0] as usize..cell[1] as usize);
        let cells = starts.par_windows(2).map(cell).collect::<Result<_>>()?;
        let mut rows = vec![0; articles.len()];
        (0..).zip(&articles).for_each(|(row, &article)| rows[article as usize] = row);
        Ok(Ivf { centroids: Exact::new(centroids)?, vectors, articles, rows, starts, cells })
    }

    /// Writes the inverted file as safetensors: `vectors` `[articles, dimensions]` cell after cell, `articles` (each row's number in
    /// the pool), `starts` (each cell's first row, and the end), `centroids` `[cells, dimensions]`.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let (n, d, cells) = (self.vectors.len(), self.vectors.dimensions(), self.cells());
        let view = |kind, shape: &[usize], values| {
            TensorView::new(kind, shape.to_vec(), values).map_err(std::io::Error::other)
        };
        let tensors = [
            ("articles", view(Dtype::U32, &[n], self.articles.inner().as_slice())?),
            ("centroids", view(Dtype::F32, &[cells, d], self.centroids.vectors().bytes())?),
            ("starts", view(Dtype::U32, &[cells + 1], self.starts.inner().as_slice())?),
            ("vectors", view(Dtype::F32, &[n, d], self.vectors.bytes())?),
        ];
        safetensors::serialize_to_file(tensors, None, path).map_err(std::io::Error::other)
    }

    /// Maps an inverted file into memory, and lays it out for the products.
    ///
    /// # Errors
    /// When the file is none, or one of other vectors.
    pub fn open(path: &Path, dimensions: usize, articles: usize) -> Result<Self> {
        let damaged = |what: String| Error::unreadable(path.display(), what, "run index again");
        let file = File::open(path).map_err(|e| damaged(e.to_string()))?;
        #[expect(unsafe_code, reason = "memory maps")]
        let map = unsafe { Mmap::map(&file) }.map_err(|e| damaged(e.to_string()))?;
        let bytes = Bytes::from_owner(map);
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        let cells = tensors.tensor("starts").map_or(0, |starts| starts.shape().iter().product::<usize>().max(1) - 1);
        let tensor = |name: &str, kind: Dtype, shape: &[usize]| {
            let tensor = tensors.tensor(name).map_err(|e| damaged(e.to_string()))?;
            let aligned = tensor.data().as_ptr().align_offset(4) == 0;
            if tensor.dtype() != kind || tensor.shape() != shape || tensor.data().is_empty() || !aligned {
                let got = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
                return Err(damaged(format!("{name}: expected {kind:?} {shape:?}, got {got}")));
            }
            Ok(Buffer::from(bytes.slice_ref(tensor.data())))
        };
        let starts = ScalarBuffer::<u32>::from(tensor("starts", Dtype::U32, &[cells + 1])?);
        let numbers = ScalarBuffer::<u32>::from(tensor("articles", Dtype::U32, &[articles])?);
        let centroids = tensor("centroids", Dtype::F32, &[cells, dimensions])?;
        let vectors = tensor("vectors", Dtype::F32, &[articles, dimensions])?;
        let ascending = starts.windows(2).all(|cell| cell[0] < cell[1]);
        if starts.first() != Some(&0) || starts.last() != Some(&(articles as u32)) || !ascending {
            return Err(damaged("starts: expected the cells' first rows".into()));
        }
        if numbers.iter().any(|&number| number as usize >= articles) {
            return Err(damaged(format!("articles: expected numbers below {articles}")));
        }
        let (vectors, centroids) = (Vectors::of(dimensions, vectors), Vectors::of(dimensions, centroids));
        Ivf::new(vectors, numbers, starts, centroids)
    }

    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    /// The vector of an article.
    pub fn vector(&self, article: u32) -> &[f32] {
        self.vectors.get(self.rows[article as usize] as usize)
    }

    /// The best `ks[i]` articles for each query `[queries · dimensions]` among those of the `probes` cells nearest to it (nprobe), best
    /// first. Where these hold fewer, more cells are looked into.
    pub fn search(&self, queries: &[f32], ks: &[usize], probes: usize) -> Result<Vec<Vec<Hit>>> {
        let dimensions = self.vectors.dimensions();
        let together = (WANTED / ks.iter().copied().max().unwrap_or(0).max(64)).max(QUERIES);
        let batches = queries.chunks(together * dimensions).zip(ks.chunks(together));
        let batch = |(queries, ks)| self.search_batch(queries, ks, probes);
        let mut found = batches.map(batch).collect::<Result<Vec<_>>>()?.concat();
        let short = |&query: &usize| found[query].len() < ks[query].min(self.vectors.len());
        let short: Vec<usize> = (0..ks.len()).filter(short).collect();
        if probes < self.cells() && !short.is_empty() {
            let queries: Vec<&[f32]> = short.iter().map(|query| &queries[query * dimensions..][..dimensions]).collect();
            let ks: Vec<usize> = short.iter().map(|&query| ks[query]).collect();
            let longer = self.search(&queries.concat(), &ks, 2 * probes.max(1))?;
            short.into_iter().zip(longer).for_each(|(query, hits)| found[query] = hits);
        }
        Ok(found)
    }

    fn search_batch(&self, queries: &[f32], ks: &[usize], probes: usize) -> Result<Vec<Vec<Hit>>> {
        let dimensions = self.vectors.dimensions();
        let mut asking: Vec<Vec<u32>> = vec![Vec::new(); self.cells()];
        for (query, cells) in (0..).zip(self.centroids.nearest(queries, probes)?) {
            cells.into_iter().for_each(|cell| asking[cell as usize].push(query));
        }
        let rounded = Rounded::new(queries, dimensions);
        let mut screens = rounded.screens(ks, largest_error(self.cells.iter().flatten()));
        for (cell, asking) in self.cells.iter().zip(&asking) {
            for asking in asking.chunks(QUERIES) {
                let rows = rounded.rows(asking.iter().map(|&query| query as usize))?;
                for block in cell {
                    let dots = block.dots(&rows)?;
                    for (&query, row) in asking.iter().zip(dots.rows()) {
                        screens[query as usize].offer(dots.first, row);
                    }
                }
            }
        }
        let article = |row: u32| self.articles[row as usize];
        let queries = queries.chunks_exact(dimensions);
        Ok(screens.into_iter().zip(queries).map(|(s, query)| s.settle(query, &self.vectors, article)).collect())
    }

    /// Bytes in memory: what is held, and what is mapped and read where it is wanted.
    pub fn memory_bytes(&self) -> (usize, usize) {
        let values = self.vectors.values().len();
        let held = 2 * values + 6 * self.centroids.vectors().values().len() + 4 * self.rows.len();
        (held, 4 * values)
    }
}

/// So many of the vectors, evenly spread.
fn spread(vectors: &Vectors, count: usize) -> Vectors {
    let rows: Vec<u32> = (0..count).map(|row| (row * vectors.len() / count) as u32).collect();
    vectors.gather(&rows)
}

/// Each vector's nearest centroid.
fn assign(vectors: &Vectors, centroids: &Exact, step: &(dyn Fn(u64) + Sync)) -> Result<Vec<u32>> {
    let nearest = |vectors: &[f32]| {
        let found = centroids.nearest(vectors, 1)?.concat();
        step(found.len() as u64);
        Ok(found)
    };
    let found: Result<Vec<Vec<u32>>> = vectors.values().par_chunks(STEP * vectors.dimensions()).map(nearest).collect();
    Ok(found?.concat())
}

/// The mean direction of the vectors nearest to each centroid; where there are none, the centroid.
fn means(vectors: &Vectors, nearest: &[u32], centroids: &Vectors) -> Vectors {
    let dimensions = vectors.dimensions();
    let mut sums = vec![0.0_f32; centroids.values().len()];
    for (vector, &cell) in vectors.values().chunks_exact(dimensions).zip(nearest) {
        let sum = &mut sums[cell as usize * dimensions..][..dimensions];
        sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
    }
    for (cell, sum) in sums.chunks_exact_mut(dimensions).enumerate() {
        let length = dot(sum, sum).sqrt();
        match length > 0.0 {
            true => sum.iter_mut().for_each(|x| *x /= length),
            false => sum.copy_from_slice(centroids.get(cell)),
        }
    }
    Vectors::new(dimensions, sums)
}
