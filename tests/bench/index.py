"""The index over article vectors beside faiss: building, memory, and queries per second against recall, on the same vectors.

usage: index.py FOLDER [VECTORS] [RUNS] [NEWS_VECTORS]    (VECTORS 200000, RUNS 1; NEWS_VECTORS is a folder of `news_vectors`)

The vectors have unit length and 384 dimensions: those of NEWS_VECTORS, else 5,000 random mixtures of 60 directions, then again and
again with jitter (cosine 0.9) until there are enough; 10,000 queries are jittered alike. faiss follows an HNSW graph with M 16 and
efConstruction 128, ours looks into cells; both with two threads, all queries at once, and look for 10. Recall is against each one's
own exact search, over the first 2,000 queries. Ours is `cargo bench --workspace --bench index`. Needs faiss-cpu, numpy, polars; needs
no QUERENT.
"""

import json
import os
import statistics
import sys
from pathlib import Path

import numpy
from tools import ROOT, machine, run_and_listen

if len(sys.argv) < 2:
    sys.exit(__doc__)
folder = Path(sys.argv[1]).resolve()
count = int(sys.argv[2]) if len(sys.argv) > 2 else 200_000
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 1
dataset = Path(sys.argv[4]).resolve() if len(sys.argv) > 4 else None
DIMENSIONS, QUERIES, THREADS = 384, 10_000, 2
JITTER = (1 / 0.9**2 - 1) ** 0.5  # the length of the noise beside a vector of length one
FAISS = """
import json, re, sys, time
import faiss, numpy
vectors, queries, dimensions, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
faiss.omp_set_num_threads(threads)
vectors = numpy.fromfile(vectors, "<f4").reshape(-1, dimensions)
queries = numpy.fromfile(queries, "<f4").reshape(-1, dimensions)
def peak_mb():  # getrusage would tell the parent's, were it higher
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e6
def ask(index, queries):
    start = time.perf_counter()
    found = index.search(queries, 10)[1]
    seconds = time.perf_counter() - start
    return found, seconds, len(queries) / seconds
before, start = peak_mb(), time.perf_counter()
graph = faiss.IndexHNSWFlat(dimensions, 16, faiss.METRIC_INNER_PRODUCT)
graph.hnsw.efConstruction = 128
graph.add(vectors)
build = {"what": "build", "settings": "M=16 add=128", "seconds": time.perf_counter() - start, "grown": peak_mb() - before}
print(json.dumps({**build, "mb": len(faiss.serialize_index(graph)) / 1e6}))
exact = faiss.IndexFlatIP(dimensions)
exact.add(vectors)
truth, seconds, qps = ask(exact, queries[:2000])
print(json.dumps({"what": "exact", "qps": qps, "seconds": seconds}))
for ef in [16, 24, 28, 32, 36, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192]:
    graph.hnsw.efSearch = ef
    found, _, qps = ask(graph, queries)
    recall = numpy.mean([len(numpy.intersect1d(t, f)) / 10 for t, f in zip(truth, found)])
    print(json.dumps({"what": "search", "settings": f"ef={ef}", "qps": qps, "recall": float(recall)}))
"""


def unit(rows: numpy.ndarray) -> numpy.ndarray:
    """The rows at length one."""
    return (rows / numpy.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")


def jittered(rows: numpy.ndarray, random: numpy.random.Generator) -> numpy.ndarray:
    """The rows with noise, at length one."""
    return unit(rows + random.normal(0, JITTER / DIMENSIONS**0.5, rows.shape))


def originals() -> numpy.ndarray:
    """Articles' vectors, or what is made up in their place."""
    if dataset:
        import polars

        files = polars.read_parquet(f"{dataset}/**/*.parquet", columns=["vector"], hive_partitioning=False)
        return unit(files["vector"].to_numpy())
    random = numpy.random.default_rng(1)
    mixtures = random.normal(size=(5000, 60)) * (random.random((5000, 60)) < 0.1) @ random.normal(size=(60, DIMENSIONS))
    return unit(mixtures + random.normal(0, 5, mixtures.shape) / DIMENSIONS**0.5)


def write() -> None:
    """Writes vectors and queries as raw floats."""
    rows, random = originals(), numpy.random.default_rng(2)
    assert rows.shape[1] == DIMENSIONS, rows.shape
    with open(folder / "vectors.f32", "wb") as file:
        rows[:count].tofile(file)
        for start in range(len(rows), count, len(rows)):
            jittered(rows[: count - start], random).tofile(file)
    random = numpy.random.default_rng(3)
    asked = jittered(rows[:count][random.integers(min(count, len(rows)), size=QUERIES)], random)
    asked.tofile(folder / "queries.f32")
    print(f"{count:,} vectors, of them {min(count, len(rows)):,} {'of articles' if dataset else 'mixtures'} as they are", flush=True)


def measure(command: list) -> dict:
    """Runs a program that prints a JSON line per measurement."""
    command = [*command, str(folder / "vectors.f32"), str(folder / "queries.f32"), str(DIMENSIONS), str(THREADS)]
    said = run_and_listen(command, OMP_NUM_THREADS=str(THREADS))[1]
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    found = {(line["what"], line.get("settings") if line["what"] == "search" else None): line for line in lines}
    assert {what for what, _ in found} == {"build", "exact", "search"}, said
    return found


def middle(tool: str, what: tuple, figure: str) -> float:
    """The median of a tool's figure."""
    return statistics.median(turn[what][figure] for turn in turns[tool])


def cell(tool: str, what: tuple, figure: str, digits: int = 0) -> str:
    """The median of a tool's figure and, of several turns, its spread."""
    values = [turn[what][figure] for turn in turns[tool]]
    spread = f" ({min(values):,.{digits}f} to {max(values):,.{digits}f})" if runs > 1 else ""
    return f"{statistics.median(values):,.{digits}f}{spread}"


machine()
os.chdir(ROOT)
folder.mkdir(parents=True, exist_ok=True)
write()
commands = {
    "querent": ["cargo", "bench", "-q", "--workspace", "--bench", "index", "--"],
    "faiss": [sys.executable, "-c", FAISS],
}
turns = {tool: [] for tool in commands}
for _ in range(runs):
    for tool, command in commands.items():
        turns[tool].append(measure(command))

build, exact = ("build", None), ("exact", None)
print(f"{'':<10} {'build, s':>24} {'index, MB':>24} {'exact search, queries/s':>30}")
for tool in commands:
    print(f"{tool:<10} {cell(tool, build, 'seconds', 1):>24} {cell(tool, build, 'mb'):>24} {cell(tool, exact, 'qps'):>30}")
print(f"the process of faiss grew by {cell('faiss', build, 'grown')} MB as it built")
for tool in commands:
    print(f"\n{tool:<10} {'recall@10':>12} {'queries/s':>30}")
    for what in sorted((w for w in turns[tool][0] if w[0] == "search"), key=lambda w: int(w[1].split("=")[1])):
        print(f"{what[1]:<10} {middle(tool, what, 'recall'):12.4f} {cell(tool, what, 'qps'):>30}")
print()
best = {}
for tool in commands:
    good = [w for w in turns[tool][0] if w[0] == "search" and middle(tool, w, "recall") >= 0.99]
    best[tool] = max(good, key=lambda w: middle(tool, w, "qps"), default=None)
    print(f"{tool} at recall 0.99: " + (f"{best[tool][1]}, {cell(tool, best[tool], 'qps')} queries/s" if good else "not reached"))
for name, what, figure in [("seconds to build", build, "seconds"), ("MB of index", build, "mb"), ("exact queries/s", exact, "qps")]:
    print(f"{name}, querent : faiss: {middle('querent', what, figure) / middle('faiss', what, figure):.2f}")
if all(best.values()):
    fastest = [middle(tool, best[tool], "qps") for tool in commands]
    print(f"queries/s at recall 0.99, querent : faiss: {fastest[0] / fastest[1]:.2f}")
