//! What was made is used again only while everything that it was made of is the same.

use std::collections::HashMap;

use dataset::bucket::hex;
use dataset::{Identity, Outcome, Result, Runner, Whole};
use schemas::{NewsVectors, Recommendations, RecommendationsColumns};

use super::{CUT_OFF, Embedded, HOUR, WORLD, World, manifest, runner};
use crate::index::read_index;
use crate::{Candidates, Index, IndexAbout, POOL, PoolSettings, Retrieve, Vectors, vectors};

fn retrieve(runner: &Runner, settings: &Retrieve) -> Result<Outcome> {
    Ok(runner.run(settings, &[&settings.output()])?.outcome)
}

#[test]
fn another_window_makes_another_pool() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let runner = runner(&folder.path().join("data"))?;
    // Articles appear until 20 hours after the cut-off: a window of 10 leaves some out.
    let random = Retrieve { articles: 5, ..Retrieve::default() }.by("random");
    let mut contents = Vec::new();
    for window_hours in [168, 10, 168] {
        World { window_hours, ..WORLD }.make(&runner)?;
        assert_eq!(retrieve(&runner, &random)?, Outcome::Committed, "{window_hours}");
        assert_eq!(retrieve(&runner, &random)?, Outcome::UpToDate);
        let made = manifest(&runner, &random.output())?;
        contents.push(made.content);
        let candidates = (CUT_OFF / HOUR - 72..(CUT_OFF / HOUR + window_hours).min(WORLD.articles as i64)).count();
        assert_eq!(made.account.notes["candidates"], candidates as u64);
    }
    assert_ne!(contents[0], contents[1]);
    assert_eq!(contents[0], contents[2]);
    Ok(())
}

#[test]
fn equal_pools_are_told_by_a_declared_value() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let runner = runner(&folder.path().join("data"))?;
    WORLD.make(&runner)?;
    let pool = |method: &str, candidates, candidate_days| {
        let pool = PoolSettings { candidates, candidate_days, ..PoolSettings::default() };
        let settings = Retrieve { articles: 5, pool, ..Retrieve::default() }.by(method);
        retrieve(&runner, &settings)?;
        Ok::<_, dataset::Error>(manifest(&runner, &settings.output())?.lineage.values[POOL].clone())
    };
    let live = pool("random", Candidates::Live, 3)?;
    assert_eq!(pool("popularity", Candidates::Live, 3)?, live);
    assert_ne!(pool("random", Candidates::Live, 4)?, live);
    let all = pool("random", Candidates::All, 3)?;
    assert_eq!(pool("popularity", Candidates::All, 9)?, all, "days decide nothing here");
    let before = pool("random", Candidates::Before, 3)?;
    assert!(before != all && before != live && all != live);
    Ok(())
}

#[test]
fn what_was_read_is_left_out_and_the_most_clicked_come_first() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let runner = runner(&folder.path().join("data"))?;
    WORLD.make(&runner)?;
    let pool = PoolSettings { candidates: Candidates::All, ..PoolSettings::default() };
    let popular = Retrieve { articles: 80, pool, ..Retrieve::default() }.by("popularity");
    retrieve(&runner, &popular)?;
    let key = runner.resources.user_key.find()?;
    let user = |user| (hex(&key.user_id(World::raw(user).as_bytes())), World::article(user));
    let clicked: HashMap<String, String> = (0..WORLD.users).map(user).collect();
    let mut users = 0;
    for part in Whole::<Recommendations>::open(runner.store(), &popular.output())?.parts() {
        for columns in part?.columns() {
            let RecommendationsColumns { user_id, rank, news_id, score, .. } = columns?;
            for row in 0..rank.len() {
                users += usize::from(rank.value(row) == 1);
                assert!(rank.value(row) == 1 || score.value(row) <= score.value(row - 1));
                assert_ne!(clicked[user_id.value(row)], news_id.value(row));
            }
        }
    }
    assert_eq!(users, WORLD.users);
    Ok(())
}

#[test]
fn an_index_is_refused_once_it_is_of_something_else() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let runner = runner(&folder.path().join("data"))?;
    WORLD.make(&runner)?;
    let embed = |encoder: &str| runner.run(&Embedded { encoder: encoder.into() }, &[vectors::NEWS_VECTORS]);
    embed("one")?;
    let target = folder.path().join("index");
    let few =
        Index { pool: PoolSettings { candidates: Candidates::All, ..PoolSettings::default() }, ..Index::default() };
    assert_eq!(runner.make(&few, &target)?, Outcome::Committed);
    assert_eq!(IndexAbout::read(&target)?.cells, 0, "so few need none");
    let mut index = few.clone();
    index.pool.exact_up_to = 0;
    assert_eq!(runner.make(&index, &target)?, Outcome::Committed);
    assert_eq!(runner.make(&index, &target)?, Outcome::UpToDate);
    let about = IndexAbout::read(&target)?;
    assert!(about.articles == WORLD.articles && about.cells > 1, "{about:?}");

    let open = |settings: &PoolSettings| {
        let news_vectors = Whole::<NewsVectors>::open(runner.store(), vectors::NEWS_VECTORS)?;
        let corpus = settings.now(runner.store())?;
        let articles = corpus.open()?.len();
        read_index(&target, &corpus, &news_vectors, 16, articles)
    };
    let found = open(&index.pool)?;
    let exact = Vectors::read(
        &Whole::open(runner.store(), vectors::NEWS_VECTORS)?,
        &index.pool.now(runner.store())?.open()?,
        "one",
    )?;
    for article in [0, 77, 499] {
        let hits = found.search(exact.get(article), &[1], found.cells())?;
        assert!((hits[0][0].score - 1.0).abs() < 1e-5, "every article finds itself, or its twin");
    }
    let refused = |settings: &PoolSettings| open(settings).map_err(|e| (e.exit_code(), e.to_string())).err();
    let live = PoolSettings { candidates: Candidates::Live, ..index.pool.clone() };
    let (code, said) = refused(&live).expect("other candidates");
    assert!(code == 1 && said.contains("got one of all articles") && said.contains("run index again"), "{said}");
    embed("two")?;
    let (code, said) = refused(&index.pool).expect("other vectors");
    assert!(code == 1 && said.contains("earlier ones"), "{said}");
    assert_eq!(runner.make(&index, &target)?, Outcome::Committed);
    assert!(open(&index.pool).is_ok());
    std::fs::write(target.join("ivf.safetensors"), "no tensors").expect("writable");
    let (code, said) = refused(&index.pool).expect("a damaged file");
    assert!(code == 3 && said.contains("run index again"), "{said}");
    assert_eq!(runner.make(&index, &target)?, Outcome::Committed, "it is made again");
    assert!(Identity::read(&target)?.is_some() && open(&index.pool).is_ok());
    Ok(())
}
