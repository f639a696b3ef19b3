//! Laws of search.

use proptest::prelude::*;

use crate::exact::dot;
use crate::{Exact, Hit, Hnsw, HnswSettings, Pool, Vectors};

/// Unit vectors around a few centres, some of them twice.
fn vectors(count: usize, dimensions: usize, seed: u64) -> Vectors {
    use rand::{RngExt, SeedableRng};
    let mut random = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut values: Vec<f32> = Vec::new();
    for number in 0..count {
        if number % 7 == 6 {
            let copied = random.random_range(0..number as u64) as usize * dimensions;
            values.extend_from_within(copied..copied + dimensions);
            continue;
        }
        let centre = (number % 5) as f32;
        let mut vector: Vec<f32> =
            (0..dimensions).map(|i| (centre * 1.7 + i as f32).sin() + random.random::<f32>() - 0.5).collect();
        let length = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
        values.extend(vector);
    }
    Vectors::new(dimensions, values)
}

fn brute_force(vectors: &Vectors, query: &[f32], k: usize) -> Vec<Hit> {
    let mut hits: Vec<Hit> = (0..vectors.len())
        .map(|article| Hit { article: article as u32, score: dot(query, vectors.get(article)) })
        .collect();
    hits.sort_unstable_by(Hit::best_first);
    hits.truncate(k);
    hits
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn exact_search_is_exact(count in 1_usize..2_500, dimensions in 1_usize..70, k in 0_usize..40, seed in 0_u64..1000) {
        let articles = vectors(count, dimensions, seed);
        let queries = vectors(70, dimensions, seed + 1);
        let ks: Vec<usize> = (0..70).map(|query| k + query % 3).collect();
        let found = Exact::new(articles.clone())?.search(queries.values(), &ks)?;
        for (query, (found, k)) in found.iter().zip(ks).enumerate() {
            prop_assert_eq!(found, &brute_force(&articles, queries.get(query), k));
        }
    }
}

#[test]
fn a_graph_finds_most_and_survives_the_disk() -> dataset::Result<()> {
    let (articles, queries) = (vectors(3_000, 48, 1), vectors(200, 48, 2));
    let settings = HnswSettings::default();
    let built = Hnsw::build(&articles, &settings, 2, &|_| ())?;
    let folder = tempfile::tempdir().map_err(|e| dataset::Error::io("a temporary folder", e))?;
    let path = folder.path().join("graph.usearch");
    built.save(&path)?;
    let mapped = Hnsw::open(&path, 48, 3_000, &settings)?;
    let ks = vec![10; 200];
    let found = mapped.search(queries.values(), &ks)?;
    assert_eq!(found, built.search(queries.values(), &ks)?);
    // Copies of one article are equally good: scores are compared, not numbers.
    let mut missed = 0;
    for (query, found) in found.iter().enumerate() {
        let worst = brute_force(&articles, queries.get(query), 10)[9].score;
        missed += found.iter().filter(|hit| hit.score < worst - 0.01).count();
        assert_eq!(found.len(), 10);
    }
    assert!(missed < 20, "{missed} of 2,000");
    assert_eq!(Hnsw::open(&path, 48, 2_999, &settings).map(|_| ()).map_err(|e| e.exit_code()), Err(3));
    Ok(())
}

#[test]
fn pools_number_articles_in_the_order_of_their_ids() {
    let pool = Pool::of(["b", "a", "c", "b"].map(str::to_owned).to_vec());
    assert_eq!((pool.len(), pool.number("b"), pool.number("d")), (3, Some(1), None));
}
