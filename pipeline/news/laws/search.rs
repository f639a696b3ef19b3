//! Laws of search.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};

use crate::exact::dot;
use crate::{Exact, Hit, Ivf, Vectors, recall};

/// Unit vectors around a few centres, some of them twice.
pub(super) fn vectors(count: usize, dimensions: usize, seed: u64) -> Vectors {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn an_inverted_file_is_exact_once_every_cell_is_looked_into(count in 1_usize..900, cells in 1_usize..60, k in 0_usize..40, seed in 0_u64..1000) {
        let (articles, queries) = (vectors(count, 33, seed), vectors(70, 33, seed + 1));
        let ks: Vec<usize> = (0..70).map(|query| k + query % 3).collect();
        let index = Ivf::build(&articles, cells, &|_| ())?;
        prop_assert!((1..=cells).contains(&index.cells()));
        let found = index.search(queries.values(), &ks, index.cells())?;
        for (query, (found, k)) in found.iter().zip(ks).enumerate() {
            prop_assert_eq!(found, &brute_force(&articles, queries.get(query), k));
        }
        // Where one cell holds too few, others are looked into.
        let found = index.search(queries.values(), &[k; 70], 1)?;
        prop_assert!(found.iter().all(|hits| hits.len() == k.min(count)));
    }
}

#[test]
fn an_inverted_file_finds_most_in_few_cells_and_survives_the_disk() -> dataset::Result<()> {
    let (articles, queries) = (vectors(3_000, 48, 1), vectors(200, 48, 2));
    let folder = tempfile::tempdir().map_err(|e| dataset::Error::io("a temporary folder", e))?;
    let [path, again] = ["one", "two"].map(|name| folder.path().join(name));
    let steps = AtomicU64::new(0);
    let step = |done| {
        steps.fetch_add(done, Ordering::Relaxed);
    };
    let built = dataset::threads(1)?.install(|| Ivf::build(&articles, 40, &step))?;
    assert_eq!(steps.into_inner(), Ivf::assignments(3_000, 40));
    let failed = |e| dataset::Error::io("a file", e);
    built.save(&path).map_err(failed)?;
    let other = dataset::threads(3)?.install(|| Ivf::build(&articles, 40, &|_| ()))?;
    other.save(&again).map_err(failed)?;
    let bytes = |path| std::fs::read(path).map_err(|e| dataset::Error::io("a file", e));
    assert_eq!(bytes(&path)?, bytes(&again)?, "the same with any number of threads");

    let mapped = Ivf::open(&path, 48, 3_000)?;
    let ks = vec![10; 200];
    let truth: Vec<Vec<Hit>> = (0..200).map(|query| brute_force(&articles, queries.get(query), 10)).collect();
    let mut last = 0.0;
    for probes in [1, 4, 16, 40] {
        let found = mapped.search(queries.values(), &ks, probes)?;
        assert_eq!(found, built.search(queries.values(), &ks, probes)?);
        let recall = recall(&truth, &found);
        assert!(recall >= last, "{recall} with {probes} cells");
        last = recall;
    }
    assert!(last == 1.0 && recall(&truth, &mapped.search(queries.values(), &ks, 16)?) > 0.9);

    // Of other vectors, cut short, and with numbers that are none.
    assert_eq!(Ivf::open(&path, 48, 2_999).map(|_| ()).map_err(|e| e.exit_code()), Err(3));
    let whole = bytes(&path)?;
    std::fs::write(&again, &whole[..whole.len() - 1]).map_err(|e| dataset::Error::io("a file", e))?;
    assert_eq!(Ivf::open(&again, 48, 3_000).map(|_| ()).map_err(|e| e.exit_code()), Err(3));
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().expect("eight bytes")) as usize;
    let mut foreign = whole.clone();
    let tensors = safetensors::SafeTensors::deserialize(&whole).expect("a file of ours");
    for name in ["articles", "starts"] {
        let at = tensors.tensor(name).expect("is there").data().as_ptr() as usize - whole.as_ptr() as usize;
        assert!(at >= header);
        foreign[at..at + 4].copy_from_slice(&9_999_u32.to_le_bytes());
        std::fs::write(&again, &foreign).map_err(|e| dataset::Error::io("a file", e))?;
        let error = Ivf::open(&again, 48, 3_000).expect_err("numbers that are none").to_string();
        assert!(error.contains(name), "{error}");
        foreign[at..at + 4].copy_from_slice(&whole[at..at + 4]);
    }
    // No cells; and numbers where none can lie.
    let view = |kind, shape: &[usize], bytes| TensorView::new(kind, shape.to_vec(), bytes).expect("of this size");
    let empty = [("starts", view(Dtype::U32, &[0], &[])), ("vectors", view(Dtype::F32, &[1, 1], &whole[..4]))];
    let header = br#"{"starts":{"dtype":"U32","shape":[1],"data_offsets":[1,5]},"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    let crooked = [&(header.len() as u64).to_le_bytes(), header.as_slice(), &[0; 5]].concat();
    for bytes in [safetensors::serialize(empty, None).expect("tensors"), crooked] {
        std::fs::write(&again, bytes).map_err(|e| dataset::Error::io("a file", e))?;
        let error = Ivf::open(&again, 1, 1).expect_err("no inverted file").to_string();
        assert!(error.contains("run index again"), "{error}");
    }
    Ok(())
}
