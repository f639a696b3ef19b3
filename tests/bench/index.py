"""The index over article vectors beside faiss: building, memory, and queries per second against recall, on the same vectors.

usage: index.py FOLDER [VECTORS] [RUNS] [NEWS_VECTORS]    (VECTORS 200000, RUNS 1; NEWS_VECTORS is a folder of `news_vectors`)

The vectors have unit length and 384 dimensions: those of NEWS_VECTORS, else 5,000 random mixtures of 60 directions, then again and
again with jitter (cosine 0.9) until there are enough; 10,000 queries are jittered alike. So many vectors are near-copies of few, and
how many of a query's ten best are copies of the one that it was made from is printed. All have two threads and all queries at once,
and look for 10. Recall is against each one's own exact search, over the first 2,000 queries.

* querent: cells, `cargo bench --workspace --bench index`.
* faiss HNSW: a graph with M 16 and efConstruction 128.
* faiss IVF: cells as ours are, as many of them, in IndexIVFFlat.
* faiss IVF by cell: the same index, the queries of a cell as one batch (faiss.contrib.big_batch_search), which is how ours works.

Needs numpy, and polars for NEWS_VECTORS; compares with faiss-cpu if it is there. Needs no QUERENT.
"""

import json
import os
import statistics
import sys
from pathlib import Path

from tools import ROOT, installed, machine, run_and_listen

if len(sys.argv) < 2:
    sys.exit(__doc__)
own = ["numpy"] + ["polars"] * (len(sys.argv) > 4)
there = installed(own=own, peers={"faiss": ["faiss"]}, program=False)
import numpy  # noqa: E402

folder = Path(sys.argv[1]).resolve()
count = int(sys.argv[2]) if len(sys.argv) > 2 else 200_000
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 1
dataset = Path(sys.argv[4]).resolve() if len(sys.argv) > 4 else None
DIMENSIONS, QUERIES, THREADS = 384, 10_000, 2
JITTER = (1 / 0.9**2 - 1) ** 0.5  # the length of the noise beside a vector of length one
FAISS = """
import json, re, sys, time
import faiss, numpy
from faiss.contrib.big_batch_search import big_batch_search
kind, asked, distinct = sys.argv[1], numpy.fromfile(sys.argv[2], "<i8"), int(sys.argv[3])
vectors, queries, dimensions, threads = sys.argv[4], sys.argv[5], int(sys.argv[6]), int(sys.argv[7])
faiss.omp_set_num_threads(threads)
vectors = numpy.fromfile(vectors, "<f4").reshape(-1, dimensions)
queries = numpy.fromfile(queries, "<f4").reshape(-1, dimensions)
def peak_mb():  # getrusage would tell the parent's, were it higher
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e6
def ask(index, queries, by_cell=False):
    start = time.perf_counter()
    found = big_batch_search(index, queries, 10, verbose=1)[1] if by_cell else index.search(queries, 10)[1]
    seconds = time.perf_counter() - start
    return found, seconds, len(queries) / seconds
cells = round(8 * len(vectors) ** 0.5)
before, start = peak_mb(), time.perf_counter()
if kind == "hnsw":
    index = faiss.IndexHNSWFlat(dimensions, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 128
    steps = [("ef", ef) for ef in [16, 24, 28, 32, 36, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192]]
else:
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimensions), dimensions, cells, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    steps = [("probes", quarters << power) for power in range(20) for quarters in range(4, 8)]
    steps = [("probes", probes) for probes in [1, 2, 3]] + [step for step in steps if step[1] <= cells]
index.add(vectors)
build = {"what": "build", "seconds": time.perf_counter() - start, "grown": peak_mb() - before}
print(json.dumps({**build, "mb": len(faiss.serialize_index(index)) / 1e6}))
exact = faiss.IndexFlatIP(dimensions)
exact.add(vectors)
truth, seconds, qps = ask(exact, queries[:2000])
copies = float((truth % distinct == asked[: len(truth), None]).mean())
print(json.dumps({"what": "exact", "qps": qps, "seconds": seconds, "copies": copies}))
for name, step in steps:
    if kind == "hnsw":
        index.hnsw.efSearch = step
    else:
        index.nprobe = step
    found, _, qps = ask(index, queries, kind == "ivf by cell")
    recall = float(numpy.mean([len(numpy.intersect1d(t, f)) / 10 for t, f in zip(truth, found)]))
    print(json.dumps({"what": "search", "settings": f"{name}={step}", "qps": qps, "recall": recall}))
    if recall >= 0.9995:  # to look into yet more cells is no use, and at last slower than exact search
        break
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
        return unit(numpy.stack(files["vector"].to_numpy()))
    random = numpy.random.default_rng(1)
    mixtures = random.normal(size=(5000, 60)) * (random.random((5000, 60)) < 0.1) @ random.normal(size=(60, DIMENSIONS))
    return unit(mixtures + random.normal(0, 5, mixtures.shape) / DIMENSIONS**0.5)


def write() -> int:
    """Writes vectors and queries as raw floats, and from which vectors the queries were made. Returns how many are no copies."""
    rows, random = originals(), numpy.random.default_rng(2)
    assert rows.shape[1] == DIMENSIONS, rows.shape
    with open(folder / "vectors.f32", "wb") as file:
        rows[:count].tofile(file)
        for start in range(len(rows), count, len(rows)):
            jittered(rows[: count - start], random).tofile(file)
    random = numpy.random.default_rng(3)
    distinct = min(count, len(rows))
    asked = random.integers(distinct, size=QUERIES)
    asked.astype("<i8").tofile(folder / "asked.i64")
    jittered(rows[:count][asked], random).tofile(folder / "queries.f32")
    print(f"{count:,} vectors, of them {distinct:,} {'of articles' if dataset else 'mixtures'} as they are", flush=True)
    return distinct


def measure(command: list) -> dict:
    """Runs a program that prints a JSON line per measurement."""
    command = [*command, str(folder / "vectors.f32"), str(folder / "queries.f32"), str(DIMENSIONS), str(THREADS)]
    said = run_and_listen(command, OMP_NUM_THREADS=str(THREADS))[1]
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    found = {(line["what"], line.get("settings") if line["what"] == "search" else None): line for line in lines}
    assert {what for what, _ in found} == {"build", "exact", "search"}, said
    return found


def searches(tool: str) -> list:
    """The searches that every turn of a tool made: k-means differs, so one turn may reach the last recall a step later."""
    return [w for w in turns[tool][0] if w[0] == "search" and all(w in turn for turn in turns[tool])]


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
distinct = write()
commands = {"querent": ["cargo", "bench", "-q", "--workspace", "--bench", "index", "--"]}
peers = ["faiss HNSW", "faiss IVF", "faiss IVF by cell"]
if "faiss" in there:
    kinds = [peer.removeprefix("faiss ").lower() for peer in peers]
    commands |= {peer: [sys.executable, "-c", FAISS, kind, str(folder / "asked.i64"), str(distinct)] for peer, kind in zip(peers, kinds)}
turns = {tool: [] for tool in commands}
for _ in range(runs):
    for tool, command in commands.items():
        turns[tool].append(measure(command))

build, exact = ("build", None), ("exact", None)
print(f"{'':<18} {'build, s':>24} {'index, MB':>24} {'exact search, queries/s':>30}")
for tool in commands:
    print(f"{tool:<18} {cell(tool, build, 'seconds', 1):>24} {cell(tool, build, 'mb'):>24} {cell(tool, exact, 'qps'):>30}")
for tool in peers:
    if tool in commands:
        print(f"the process of {tool} grew by {cell(tool, build, 'grown')} MB as it built")
    else:
        print(f"{tool:<18} {'not installed':>24}")
if "faiss" in there:
    print(f"{middle(peers[0], exact, 'copies'):.1%} of the exact ten best are near-copies of the vector that the query was made from")
for tool in commands:
    print(f"\n{tool:<18} {'recall@10':>12} {'queries/s':>30}")
    for what in sorted(searches(tool), key=lambda w: int(w[1].split("=")[1])):
        print(f"{what[1]:<18} {middle(tool, what, 'recall'):12.4f} {cell(tool, what, 'qps'):>30}")
print()
best = {}
for tool in commands:
    good = [w for w in searches(tool) if middle(tool, w, "recall") >= 0.99]
    best[tool] = max(good, key=lambda w: middle(tool, w, "qps"), default=None)
    print(f"{tool} at recall 0.99: " + (f"{best[tool][1]}, {cell(tool, best[tool], 'qps')} queries/s" if good else "not reached"))
for tool in list(commands)[1:]:
    for name, what, figure in [("seconds to build", build, "seconds"), ("MB of index", build, "mb"), ("exact queries/s", exact, "qps")]:
        print(f"{name}, querent : {tool}: {middle('querent', what, figure) / middle(tool, what, figure):.2f}")
    if best["querent"] and best[tool]:
        rates = [middle(each, best[each], "qps") for each in ["querent", tool]]
        print(f"queries/s at recall 0.99, querent : {tool}: {rates[0] / rates[1]:.2f}")
