//! The index beside exact search, on raw vectors: `cargo bench -p querent-news --bench index -- VECTORS.f32 QUERIES.f32 DIMENSIONS THREADS
//! [LINKS [ADD]]`. Prints a JSON line per measurement; `tests/bench/index.py` runs it beside faiss.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::time::Instant;

use news::{Exact, Hnsw, HnswSettings, Vectors, ask, recall};
use serde_json::json;

fn floats(path: &str) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("the file is there");
    bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [vectors, queries, dimensions, threads, rest @ ..] = arguments.as_slice() else {
        println!("usage: VECTORS.f32 QUERIES.f32 DIMENSIONS THREADS [LINKS [ADD]]");
        return;
    };
    let (dimensions, threads): (usize, usize) =
        (dimensions.parse().expect("a number"), threads.parse().expect("a number"));
    let number = |at: usize, default: usize| rest.get(at).map_or(default, |n| n.parse().expect("a number"));
    let settings = HnswSettings { links: number(0, 16), expansion_add: number(1, 128), ..HnswSettings::default() };
    let vectors = Vectors::new(dimensions, floats(vectors));
    let queries = floats(queries);

    let exact = Exact::new(vectors.clone()).expect("vectors fit");
    let asked = &queries[..queries.len().min(2_000 * dimensions)];
    let (truth, seconds) =
        ask(asked, dimensions, threads, |queries, ks| exact.search(queries, ks)).expect("queries fit");
    println!("{}", json!({ "what": "exact", "qps": truth.len() as f64 / seconds, "seconds": seconds }));

    let started = Instant::now();
    let graph = Hnsw::build(&vectors, &settings, threads, &|_| ()).expect("vectors fit");
    let seconds = started.elapsed().as_secs_f64();
    let about = format!("M={} add={}", settings.links, settings.expansion_add);
    let mb = graph.memory_bytes() as f64 / 1e6;
    println!("{}", json!({ "what": "build", "settings": about, "seconds": seconds, "mb": mb }));
    for ef in [16, 32, 48, 64, 96, 128, 192] {
        let graph = graph.with_expansion(ef);
        let (found, seconds) =
            ask(&queries, dimensions, threads, |queries, ks| graph.search(queries, ks)).expect("queries fit");
        let (qps, recall) = (found.len() as f64 / seconds, recall(&truth, &found));
        println!("{}", json!({ "what": "search", "settings": format!("ef={ef}"), "qps": qps, "recall": recall }));
    }
}
