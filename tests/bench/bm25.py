"""BM25 beside bm25s: building, queries per second, and whether the scores are the same.

usage: bm25.py FOLDER NEWS [RUNS]    (NEWS: MIND's news.tsv; RUNS 1)

Articles are the titles and abstracts of NEWS, queries 10,000 of its titles; all look for 100, with two threads. bm25s (method "lucene",
stemmed by PyStemmer, no stop words) cuts words by its own pattern, and builds and searches from texts as querent does: once with
NumPy, once with numba, which is told to compile beforehand. Scores are compared over an index that bm25s builds of querent's own words.

Compares with bm25s if it, PyStemmer and numba are there. Needs no QUERENT.
"""

import json
import os
import statistics
import sys
from pathlib import Path

from tools import ROOT, installed, machine, run_and_listen

if len(sys.argv) < 3 and "--check" not in sys.argv:
    sys.exit(__doc__)
there = installed(own=[], peers={"bm25s": ["bm25s", "Stemmer", "numba"]}, program=False)

folder, news = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 1
QUERIES, K, THREADS = 10_000, 100, 2
BM25S = """
import json, sys, time
import bm25s, Stemmer
backend, articles, queries, k, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
articles, queries = ([*open(path, encoding="utf-8").read().split("\\n")[:-1]] for path in (articles, queries))
words = {"stopwords": [], "stemmer": Stemmer.Stemmer("english"), "token_pattern": r"(?u)\\b\\w+\\b", "show_progress": False}
start = time.perf_counter()
index = bm25s.BM25(method="lucene", k1=1.2, b=0.75, backend=backend)
index.index(bm25s.tokenize(articles, **words), show_progress=False)
print(json.dumps({"what": "build", "seconds": time.perf_counter() - start}))
if backend == "numba":
    index.retrieve(bm25s.tokenize(queries[:10], **words), k=k, n_threads=threads, show_progress=False)
start = time.perf_counter()
index.retrieve(bm25s.tokenize(queries, **words), k=k, n_threads=threads, show_progress=False)
print(json.dumps({"what": "search", "qps": len(queries) / (time.perf_counter() - start)}))
"""


def write() -> int:
    """Writes articles and queries, a line each. Returns how many articles there are."""
    rows = [line.split("\t") for line in news.read_text(encoding="utf-8").split("\n") if line]
    titles = [row[3] for row in rows]
    (folder / "articles.txt").write_text("".join(f"{row[3]} {row[4]}".strip() + "\n" for row in rows), encoding="utf-8")
    asked = titles[:: max(1, len(titles) // QUERIES)][:QUERIES]
    (folder / "queries.txt").write_text("".join(title + "\n" for title in asked), encoding="utf-8")
    return len(rows)


def measure(command: list, *more: str) -> dict:
    """Runs a program that prints a JSON line per measurement."""
    command = [*command, str(folder / "articles.txt"), str(folder / "queries.txt"), str(K), str(THREADS), *more]
    said = run_and_listen(command)[1]
    return {line["what"]: line for line in map(json.loads, (line for line in said.splitlines() if line.startswith("{")))}


def cell(tool: str, what: str, figure: str, digits: int) -> str:
    """The median of a tool's figure and, of several turns, its spread."""
    values = [turn[what][figure] for turn in turns[tool]]
    spread = f" ({min(values):,.{digits}f} to {max(values):,.{digits}f})" if runs > 1 else ""
    return f"{statistics.median(values):,.{digits}f}{spread}"


def compare() -> None:
    """Compares querent's hits with bm25s's scores over the same words."""
    import bm25s
    import numpy

    words = [line.split() for line in (folder / "articles.words").read_text(encoding="utf-8").split("\n")[:-1]]
    asked = [line.split() for line in (folder / "queries.words").read_text(encoding="utf-8").split("\n")[:-1]]
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75, dtype="float64")
    index.index(words, show_progress=False)
    hits = json.loads((folder / "hits.json").read_bytes())
    largest, worse = 0.0, 0
    for query, found in zip(asked, hits):
        scores = index.get_scores([word for word in query if word in index.vocab_dict])
        articles, got = numpy.array([hit[0] for hit in found]), numpy.array([hit[1] for hit in found])
        largest = max(largest, float((numpy.abs(scores[articles] - got) / got).max()))
        best = numpy.sort(scores)[::-1][: len(found)]
        worse += int((numpy.abs(best - scores[articles]) > 1e-5 * best).sum())
    print(f"of {len(hits):,} queries: scores differ from bm25s's in float64 by at most {largest:.1e} of them; {worse} ranks have a worse article")


machine()
os.chdir(ROOT)
folder.mkdir(parents=True, exist_ok=True)
print(f"{write():,} articles", flush=True)
commands = {"querent": ["cargo", "bench", "-q", "--workspace", "--bench", "bm25", "--"]}
if "bm25s" in there:
    commands |= {f"bm25s, {backend}": [sys.executable, "-c", BM25S, backend] for backend in ["numpy", "numba"]}
turns = {tool: [] for tool in commands}
for _ in range(runs):
    for tool, command in commands.items():
        turns[tool].append(measure(command, *([str(folder)] if tool == "querent" else [])))
print(f"{'':<18} {'build, s':>24} {'queries/s':>30}")
for tool in commands:
    print(f"{tool:<18} {cell(tool, 'build', 'seconds', 2):>24} {cell(tool, 'search', 'qps', 0):>30}")
if "bm25s" in there:
    compare()
