//! Lists for those who ask with vectors of their own instead of texts: of other spaces than the encoder's, too.

use std::collections::HashSet;

use dataset::{Error, Result};

use crate::lists::enough;
use crate::{Exact, Fetched, Fusion, Person, Pool, Vectors, fuse};

/// Users whose vectors are searched with together.
const TOGETHER: usize = 256;

/// Lists of at most so many articles of a pool, by exact search.
#[derive(Debug)]
pub struct ByVectors {
    pool: Pool,
    exact: Exact,
    articles: usize,
    fusion: Fusion,
}

impl ByVectors {
    /// Of a pool's articles, whose vectors of unit length lie in its order.
    pub fn new(pool: Pool, vectors: Vectors, articles: usize, fusion: Fusion) -> Result<Self> {
        match vectors.len() == pool.len() {
            true => Ok(ByVectors { pool, exact: Exact::new(vectors)?, articles, fusion }),
            false => Err(Error::bug(format!("{} vectors of {} articles", vectors.len(), pool.len()))),
        }
    }

    /// The articles.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn vectors(&self) -> &Vectors {
        self.exact.vectors()
    }

    pub(crate) fn fusion(&self) -> Fusion {
        self.fusion
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.pool.memory_bytes() + self.exact.memory_bytes()
    }

    /// Each person's list, best first, without what they have seen: what their vectors of unit length fetch, fused as the lists of texts
    /// are. A list follows from its person alone.
    pub fn of(&self, people: &[Person], vectors: &[Vectors]) -> Result<Vec<Vec<Fetched>>> {
        let mut made = Vec::with_capacity(people.len());
        for (people, vectors) in people.chunks(TOGETHER).zip(vectors.chunks(TOGETHER)) {
            let seen: Vec<HashSet<u32>> = people.iter().map(|person| person.seen_of(&self.pool)).collect();
            let mut queries = Vec::new();
            let mut ks = Vec::new();
            for (vectors, seen) in vectors.iter().zip(&seen) {
                queries.extend_from_slice(vectors.values());
                ks.extend(vec![enough(self.articles, seen.len(), self.pool.len()); vectors.len()]);
            }
            let hits = self.exact.search(&queries, &ks)?;
            let mut hits = hits.iter().map(Vec::as_slice);
            for (vectors, seen) in vectors.iter().zip(&seen) {
                let lists: Vec<_> = hits.by_ref().take(vectors.len()).collect();
                made.push(fuse(&lists, self.fusion, self.articles, |article| seen.contains(&article)));
            }
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_follow_from_vectors_and_what_was_read() -> Result<()> {
        let pool = Pool::of(["a", "b", "c", "d"].map(str::to_owned).to_vec());
        let vectors = Vectors::new(2, vec![1.0, 0.0, 0.8, 0.6, 0.0, 1.0, -1.0, 0.0]);
        let lists = ByVectors::new(pool, vectors, 2, Fusion::Max)?;
        let person =
            |seen: &[&str]| Person { seen: seen.iter().map(|id| (*id).to_owned()).collect(), ..Person::default() };
        let people = [person(&[]), person(&["b"]), person(&["a", "b"]), person(&[])];
        let asked = [vec![1.0, 0.0], vec![1.0, 0.0, 0.0, 1.0], vec![0.6, 0.8], vec![]].map(|of| Vectors::new(2, of));
        let found: Vec<Vec<_>> =
            lists.of(&people, &asked)?.iter().map(|list| list.iter().map(|f| f.article).collect()).collect();
        assert_eq!(found, [vec![0, 1], vec![2, 0], vec![2, 3], vec![]]);
        assert_eq!(lists.of(&people[1..2], &asked[1..2])?[0][0].query, 1);
        assert!(ByVectors::new(Pool::of(vec!["a".into()]), Vectors::new(2, vec![0.0; 4]), 2, Fusion::Max).is_err());
        Ok(())
    }
}
