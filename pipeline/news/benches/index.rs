//! The index beside exact search, on raw vectors: `cargo bench --workspace --bench index -- VECTORS.f32 QUERIES.f32 DIMENSIONS THREADS
//! [CELLS]`. Prints a JSON line per measurement; `tests/bench/index.py` runs it beside faiss.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::time::Instant;

use news::{Exact, Ivf, Vectors, ask, recall};
use serde_json::json;

fn floats(path: &str) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("the file is there");
    bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [vectors, queries, dimensions, threads, rest @ ..] = arguments.as_slice() else {
        println!("usage: VECTORS.f32 QUERIES.f32 DIMENSIONS THREADS [CELLS]");
        return;
    };
    let (dimensions, threads): (usize, usize) =
        (dimensions.parse().expect("a number"), threads.parse().expect("a number"));
    let vectors = Vectors::new(dimensions, floats(vectors));
    let queries = floats(queries);
    let cells = rest.first().map_or(Ivf::usual_cells(vectors.len()), |cells| cells.parse().expect("a number"));

    let exact = Exact::new(vectors.clone()).expect("vectors fit");
    let asked = &queries[..queries.len().min(2_000 * dimensions)];
    let (truth, seconds) =
        ask(asked, dimensions, threads, |queries, ks| exact.search(queries, ks)).expect("queries fit");
    drop(exact);
    println!("{}", json!({ "what": "exact", "qps": truth.len() as f64 / seconds, "seconds": seconds }));

    let started = Instant::now();
    let build = || Ivf::build(&vectors, cells, &|_| ()).expect("vectors fit");
    let index = dataset::threads(threads).expect("threads").install(build);
    let seconds = started.elapsed().as_secs_f64();
    let about = format!("cells={}", index.cells());
    let (held, mapped) = index.memory_bytes();
    let (held, mapped) = (held as f64 / 1e6, mapped as f64 / 1e6);
    println!(
        "{}",
        json!({ "what": "build", "settings": about, "seconds": seconds, "mb": held + mapped, "held": held })
    );
    // 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20 …
    let steps = (1..4).chain((0..).flat_map(|power| (4..8).map(move |quarters| quarters << power)));
    for probes in steps.take_while(|&probes| probes <= index.cells()) {
        let (found, seconds) =
            ask(&queries, dimensions, threads, |queries, ks| index.search(queries, ks, probes)).expect("queries fit");
        let (qps, recall) = (found.len() as f64 / seconds, recall(&truth, &found));
        println!(
            "{}",
            json!({ "what": "search", "settings": format!("probes={probes}"), "qps": qps, "recall": recall })
        );
    }
}
