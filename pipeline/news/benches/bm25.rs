//! BM25 over texts, a line each: `cargo bench --workspace --bench bm25 -- ARTICLES.txt QUERIES.txt K THREADS OUT`. Prints a JSON line per
//! measurement, and leaves in the folder OUT the words of each text and the hits of the first 1,000 queries; `tests/bench/bm25.py` runs
//! it beside bm25s.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::path::Path;
use std::time::Instant;

use news::{Bm25, Language};
use serde_json::json;

/// Queries whose hits are written down.
const WRITTEN: usize = 1_000;

fn lines(path: &str) -> Vec<String> {
    std::fs::read_to_string(path).expect("the file is there").lines().map(str::to_owned).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [articles, queries, k, threads, out] = arguments.as_slice() else {
        println!("usage: ARTICLES.txt QUERIES.txt K THREADS OUT");
        return;
    };
    let (articles, queries, out) = (lines(articles), lines(queries), Path::new(out));
    let (k, threads): (usize, usize) = (k.parse().expect("a number"), threads.parse().expect("a number"));
    let language = Language::default();

    let started = Instant::now();
    let index = dataset::threads(threads).expect("threads").install(|| Bm25::build(&articles, language));
    println!("{}", json!({ "what": "build", "seconds": started.elapsed().as_secs_f64() }));

    let asked: Vec<&str> = queries.iter().map(String::as_str).collect();
    let started = Instant::now();
    let search = |queries: &[&str]| index.search(queries, &vec![k; queries.len()]);
    let found: Vec<Vec<(u32, f32)>> = std::thread::scope(|scope| {
        let chunks = asked.chunks(asked.len().div_ceil(threads).max(1));
        let workers: Vec<_> = chunks.map(|queries| scope.spawn(move || search(queries))).collect();
        let found = workers.into_iter().flat_map(|worker| worker.join().expect("no panic"));
        found.map(|hits| hits.iter().map(|hit| (hit.article, hit.score)).collect()).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    println!("{}", json!({ "what": "search", "qps": found.len() as f64 / seconds }));

    let words = |texts: &[String]| texts.iter().map(|text| language.words(text).join(" ") + "\n").collect::<String>();
    std::fs::write(out.join("articles.words"), words(&articles)).expect("writable");
    std::fs::write(out.join("queries.words"), words(&queries)).expect("writable");
    let written = serde_json::to_vec(&found[..found.len().min(WRITTEN)]).expect("numbers");
    std::fs::write(out.join("hits.json"), written).expect("writable");
}
