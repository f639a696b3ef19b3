//! Articles and queries with a real encoder.

use std::path::Path;

use dataset::{Outcome, Result, Runner, Summary, Whole};
use schemas::Recommendations;

use super::{WORLD, World, manifest, runner};
use crate::{Candidates, Embed, EncoderSettings, Index, PoolSettings, Retrieve, SearchSettings};

/// The encoder that `make setup` fetches. ONNX Runtime lies beside it.
fn encoder() -> EncoderSettings {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let model = repository.join("models/minilm");
    assert!(model.join("model.int8.onnx").exists(), "this test needs the encoder: run `make setup`");
    std::env::set_current_dir(repository).expect("a folder");
    EncoderSettings { model, ..EncoderSettings::default() }
}

/// For each user the article that comes first, and how many come in all.
fn firsts(runner: &Runner, method: &str) -> Result<(Vec<(String, String)>, usize)> {
    let (mut firsts, mut all) = (Vec::new(), 0);
    for part in Whole::<Recommendations>::open(runner.store(), &format!("recommendations.{method}"))?.parts() {
        for columns in part?.columns() {
            let columns = columns?;
            all += columns.rank.len();
            let first = (0..columns.rank.len()).filter(|row| columns.rank.value(*row) == 1);
            firsts
                .extend(first.map(|row| (columns.query.value(row).to_owned(), columns.news_id.value(row).to_owned())));
        }
    }
    Ok((firsts, all))
}

#[test]
fn a_title_fetches_its_article_exactly_and_by_an_index() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let runner = runner(&folder.path().join("data"))?;
    WORLD.make(&runner)?;
    let embed = Embed { encoder: encoder(), ..Embed::default() };
    let run = |embed: &Embed| -> Result<Summary> { runner.run(embed, &["news_vectors"]) };
    assert_eq!(run(&embed)?.account.notes["texts embedded"], WORLD.articles as u64);
    assert_eq!(run(&embed)?.outcome, Outcome::UpToDate);
    World { articles: WORLD.articles + 7, ..WORLD }.make(&runner)?;
    let more = run(&embed)?.account.notes;
    assert_eq!((more["texts embedded"], more["carried over"]), (7, WORLD.articles as u64));
    let content = manifest(&runner, "news_vectors")?.content;
    std::fs::remove_dir_all(folder.path().join("data/news_vectors")).expect("there");
    run(&embed)?;
    assert_eq!(manifest(&runner, "news_vectors")?.content, content, "what was carried over is what is made anew");

    let pool = PoolSettings { candidates: Candidates::All, exact_up_to: 0, ..PoolSettings::default() };
    let target = folder.path().join("index");
    let search = SearchSettings { index: Some(target.clone()), ..SearchSettings::default() };
    let settings = Retrieve {
        pool: pool.clone(),
        search,
        encoder: encoder(),
        articles: 5,
        keep_seen: true,
        ..Retrieve::default()
    };
    let retrieve = |settings: &Retrieve| runner.run(settings, &[&settings.output()]);
    let exact = Retrieve { exact: true, ..settings.clone() }.by("own-titles");
    retrieve(&exact)?;
    let (found, all) = firsts(&runner, "own-titles")?;
    assert_eq!((found.len(), all), (WORLD.users, 5 * WORLD.users));
    assert!(found.iter().all(|(query, article)| query == article), "{found:?}");

    let by_index = settings.by("own-titles");
    let missing = retrieve(&by_index).expect_err("no index yet");
    assert!(missing.exit_code() == 3 && missing.to_string().contains("querent index"), "{missing}");
    let index = Index { pool, ..Index::default() };
    runner.make(&index, &target)?;
    retrieve(&by_index)?;
    let (again, _) = firsts(&runner, "own-titles")?;
    let same = found.iter().filter(|first| again.contains(first)).count();
    assert!(same * 10 >= 9 * WORLD.users, "{same} of {}", WORLD.users);
    let measured = index.verify(&target, &by_index.search, &encoder(), &runner.resources)?;
    assert!(measured.by_probes.last().is_some_and(|row| row.recall_at_10 > 0.7), "{measured}");
    assert_eq!(runner.make(&index, &target)?, Outcome::UpToDate, "measuring changes no index");
    assert_eq!(retrieve(&by_index)?.outcome, Outcome::UpToDate);

    let mut other = by_index.clone();
    other.encoder.options.max_tokens = 128;
    let refused = retrieve(&other).expect_err("another encoder");
    assert!(refused.exit_code() == 2 && refused.to_string().contains("the query encoder"), "{refused}");
    Ok(())
}
