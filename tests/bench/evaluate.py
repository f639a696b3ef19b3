"""`evaluate` beside pytrec_eval and ranx: the same lists, the same truth, recall and NDCG at 5 and 10 and the reciprocal rank.

usage: evaluate.py FOLDER [USERS] [RUNS]    (USERS 500000, RUNS 3)

USERS users have 1 to 3 clicks in the window, on 20,000 articles, and a list of 10. The others read lists and truth from querent's
Parquet with polars into the dicts that they ask for. Of a job the seconds are those that it tells; of the others all but their
imports, and for ranx its compiling: it first evaluates two users. ranx runs once. All three must agree on the five averages.
Needs numpy and polars; compares with what is there of pytrec-eval-terrier and ranx.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path

from tools import Run, in_own_process, ingest_clicks, installed, machine, querent, querent_and_listen, ratio, run_and_listen, show

if len(sys.argv) < 2:
    sys.exit(__doc__)
there = installed(own=["numpy", "polars"], peers={"pytrec_eval": ["pytrec_eval"], "ranx": ["ranx"]})
os.environ |= {name: "2" for name in ["POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"]}
users = int(sys.argv[2]) if len(sys.argv) > 2 else 500_000
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
folder = Path(sys.argv[1]).resolve() / f"evaluate-{users}"
data = folder / "data"
ARTICLES, LENGTH = 20_000, 10
READ = """
import json, sys, time
import polars
{imports}
start = time.perf_counter()
def read(dataset, *columns):
    return polars.read_parquet("{data}/" + dataset + "/**/*.parquet", columns=columns, hive_partitioning=False)
truth, run = dict(), dict()
for user, article in read("truth", "user_id", "news_id").iter_rows():
    truth.setdefault(user, dict())[article] = 1
for user, article, rank in read("recommendations.bench", "user_id", "news_id", "rank").iter_rows():
    run.setdefault(user, dict())[article] = -float(rank)
dicts = time.perf_counter() - start
{evaluate}
print(json.dumps([means, time.perf_counter() - start, dicts]))
"""
PYTREC_EVAL = """
names = ["recall_5", "recall_10", "ndcg_cut_5", "ndcg_cut_10", "recip_rank"]
found = pytrec_eval.RelevanceEvaluator(truth, {"recall.5,10", "ndcg_cut.5,10", "recip_rank"}).evaluate(run)
means = [sum(of_user[name] for of_user in found.values()) / len(truth) for name in names]
"""
RANX = """
found = evaluate(Qrels(truth), Run(run), names, make_comparable=True)
means = [float(found[name]) for name in names]
"""
RANX_IMPORTS = """
from ranx import Qrels, Run, evaluate
few, names = {"u": {"a": 1, "b": 1}, "v": {"a": 1}}, ["recall@5", "recall@10", "ndcg@5", "ndcg@10", "mrr"]
evaluate(Qrels(few), Run({"u": {"a": -1.0, "c": -2.0}}), names, make_comparable=True)
"""


def make() -> None:
    """Writes the raw logs and the lists. Of the clicks in the window some three in ten are on an article of the user's list."""
    import numpy
    import polars

    random = numpy.random.default_rng(1)
    lists = random.integers(ARTICLES, size=(users, 1)) + random.integers(1, ARTICLES // LENGTH, size=(users, 1)) * numpy.arange(LENGTH)
    lists %= ARTICLES  # no article is in a list twice

    def save(name: str, user: numpy.ndarray, article: numpy.ndarray, **others: polars.Series) -> None:
        ids = {"user_id": polars.Series(user).cast(str), "news_id": polars.Series(article).cast(str)}
        polars.DataFrame({**ids, **others}).select(polars.format("u{}", "user_id").alias("user_id"),
                                                   polars.format("n{}", "news_id").alias("news_id"),
                                                   *others).write_parquet(folder / f"{name}.parquet")

    everyone = numpy.arange(users)
    readers = numpy.repeat(everyone, random.integers(1, 4, size=users))
    listed = lists[readers, random.integers(LENGTH, size=len(readers))]
    clicked = numpy.where(random.random(len(readers)) < 0.3, listed, random.integers(ARTICLES, size=len(readers)))
    past = numpy.repeat(everyone, 2)
    day, cut_off = 86_400_000_000, int(numpy.datetime64("2025-12-01", "us").astype(int))
    at = numpy.concatenate([cut_off - random.integers(1, 20 * day, len(past)), cut_off + random.integers(7 * day, size=len(readers))])
    save("clicks", numpy.concatenate([past, readers]), numpy.concatenate([random.integers(ARTICLES, size=len(past)), clicked]),
         at=polars.Series(at).cast(polars.Datetime("us", "UTC")))
    save("recommendations", numpy.repeat(everyone, LENGTH), lists.ravel(), rank=polars.Series(numpy.tile(numpy.arange(1, LENGTH + 1), users)))
    news = polars.DataFrame({"news_id": [f"n{i}" for i in range(ARTICLES)], "title": [f"Article number {i}" for i in range(ARTICLES)]})
    news.with_columns(published=polars.lit("2025-11-01T00:00:00Z")).write_parquet(folder / "news.parquet")


def ours() -> "tuple[Run, Run, Run]":
    """Runs `evaluate` from nothing: the whole process; the job alone; intervals and comparisons."""
    for dataset in ["user_metrics", "metrics", "comparisons"]:
        shutil.rmtree(data / dataset, ignore_errors=True)
    whole, said = querent_and_listen(data, "evaluate", "--methods", "bench", "--threads", "2")
    told = [re.search(rf"^{job}: .* reused, ([0-9.]+) s", said, re.MULTILINE) for job in ["evaluate", "summarise"]]
    assert all(told), said
    return (whole, *(whole._replace(seconds=float(line[1])) for line in told))


def theirs(imports: str, evaluate: str) -> "tuple[Run, Run, Run, list]":
    """Runs another tool in a process of its own: the whole, all after imports, that until the dicts stand; and the averages."""
    script = READ.format(imports=imports, evaluate=evaluate, data=data)
    figures, said = run_and_listen([sys.executable, "-c", script])
    means, seconds, dicts = json.loads(said.splitlines()[-1])
    return figures, figures._replace(seconds=seconds), figures._replace(seconds=dicts), means


def agree(name: str, means: list) -> None:
    """Fails unless the five averages are ours."""
    import polars  # not before: a child's peak memory is told as at least its parent's

    metrics = polars.read_parquet(f"{data}/metrics/**/*.parquet", hive_partitioning=False).filter(method="bench", slice="all")
    names = [("recall", 5), ("recall", 10), ("ndcg", 5), ("ndcg", 10), ("mrr", None)]
    values = {(row["metric"], row["k"]): row["value"] for row in metrics.iter_rows(named=True)}
    apart = max(abs(values[name] - mean) for name, mean in zip(names, means))
    print(f"{name}: {', '.join(f'{mean:.6f}' for mean in means)}; from ours at most {apart:.1e}")
    if not apart <= 1e-9:
        sys.exit(f"{name} does not agree with querent: {[values[name] for name in names]}")


machine()
shutil.rmtree(folder, ignore_errors=True)
data.mkdir(parents=True)
in_own_process(make)
ingest_clicks(folder, data, max(64, users // 8000))
querent(data, "clean", "--model", "none")
querent(data, "cap")
imported = querent(data, "import", "bench", str(folder / "recommendations.parquet"), "--threads", "2")

wholes, jobs, intervals, processes, inners, dicts = [], [], [], [], [], []
for _ in range(runs):
    for figures, turns in zip(ours(), [wholes, jobs, intervals]):
        turns.append(figures)
    if "pytrec_eval" in there:
        *found, means = theirs("import pytrec_eval", PYTREC_EVAL)
        for figures, turns in zip(found, [processes, inners, dicts]):
            turns.append(figures)
ranx = theirs(RANX_IMPORTS, RANX) if "ranx" in there else ()
show("querent import", [imported], users, "users")
show("querent evaluate, whole process", wholes, users, "users")
show("  job evaluate", jobs, users, "users")
show("  job summarise: intervals, comparisons", intervals, users, "users")
show("pytrec_eval, whole process", processes, users, "users")
show("  without imports", inners, users, "users")
show("  of it Parquet to dicts", dicts, users, "users")
show("ranx, whole process, compiling too", ranx[:1], users, "users")
show("  without imports and compiling", ranx[1:2], users, "users")
ratio("job evaluate, times as fast as pytrec_eval without imports", inners, jobs)
ratio("jobs evaluate and summarise, the same", inners, [a._replace(seconds=a.seconds + b.seconds) for a, b in zip(jobs, intervals)])
ratio("whole processes, times as fast as pytrec_eval", processes, wholes)
if processes:
    agree("pytrec_eval", means)
if ranx:
    agree("ranx", ranx[3])
