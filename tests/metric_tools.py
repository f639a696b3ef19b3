"""Metrics as others compute them: hand-made rankings with known values, and random ones put to trec_eval (pytrec_eval).

usage: metric_tools.py make FOLDER CASES    raw logs, lists and a configuration
       metric_tools.py check FOLDER CASES   FOLDER/data/user_metrics against CASES (fixtures/metric_cases.json) and pytrec_eval

Every ranking gets users and articles of its own, so that all lie in one dataset; an article's id tells whose it is.
"""

import json
import random
import sys
from datetime import datetime, timezone
from pathlib import Path

import polars
import pytrec_eval

WINDOW = datetime(2025, 12, 2, tzinfo=timezone.utc)
MEASURES = {"recall_5": ("recall", 5), "recall_10": ("recall", 10), "ndcg_cut_5": ("ndcg", 5), "ndcg_cut_10": ("ndcg", 10), "recip_rank": ("rr", None)}


def cases(path):
    """Name, qrels {user: {article: relevance}}, run [(user, article, score)], expected per user."""
    told = json.loads(Path(path).read_text())
    for case in told["cases"]:
        run = [(u, d, s) for u, scores in case["run"].items() for d, s in scores.items()]
        expected = {u: {name(k): v for k, v in values.items()} for u, values in case["recommended"]["per_user"].items()}
        yield case["name"], case["qrels"], run, expected
    twice = told["duplicate_case"]
    qrels = {}
    for user, article, relevance in twice["qrels_list"]:
        qrels.setdefault(user, {})[article] = relevance
    values = {name(k): v for k, v in twice["recommended"].items() if k != "policy"}
    yield twice["name"], qrels, [tuple(row) for row in twice["run_list"]], {"1": values}


def name(key):
    """`recall@5` → (recall, 5); `mrr` → (rr, None)."""
    metric, _, cut = key.partition("@")
    return ("rr" if metric == "mrr" else metric, int(cut) if cut else None)


def random_runs(count=200):
    """Lists with ties, users without lists, lists without hits, users without truth."""
    draw = random.Random(11)
    for number in range(count):
        qrels, run = {}, []
        for user in range(draw.randint(1, 6)):
            corpus = [f"d{i}" for i in range(draw.randint(1, 40))]
            relevant = draw.sample(corpus, min(len(corpus), draw.choice([0, 1, 1, 2, 5, 12])))
            qrels[str(user)] = dict.fromkeys(relevant, 1)
            listed = draw.sample(corpus, draw.randint(0, len(corpus))) if draw.random() > 0.1 else []
            grid = draw.choice([2, 5, 1000])
            run += [(str(user), d, draw.randint(0, grid) / grid) for d in listed]
        yield f"random{number}", qrels, run, None


def everything(path):
    yield from cases(path)
    yield from random_runs()


def make(folder, path):
    clicks, lists, articles = [], [], set()
    for case, qrels, run, _ in everything(path):
        for user, judged in qrels.items():
            for article, relevance in judged.items():
                articles.add(f"{case}|{user}|{article}")
                if relevance >= 1:
                    clicks.append((f"{case}|{user}", f"{case}|{user}|{article}", WINDOW))
        for user, article, score in run:
            articles.add(f"{case}|{user}|{article}")
            lists.append((f"{case}|{user}", f"{case}|{user}|{article}", score))
    clicks.append(("somebody", min(articles), datetime(2025, 11, 1, tzinfo=timezone.utc)))
    polars.DataFrame(clicks, schema=["user", "article", "at"], orient="row").write_parquet(folder / "clicks.parquet")
    polars.DataFrame(lists, schema=["user_id", "news_id", "score"], orient="row").write_parquet(folder / "lists.parquet")
    news = sorted(articles)
    polars.DataFrame({"article": news, "title": [f"Title {i}" for i in range(len(news))]}).write_parquet(folder / "news.parquet")
    (folder / "config.toml").write_text(
        f"""
[run]
data = "{folder}/data"
jobs = ["ingest", "clean", "cap"]
[ingest]
buckets = 4
cut_off = "2025-12-01T00:00:00Z"
window_days = 7
[[ingest.events]]
name = "clicks"
domain = "news"
files = ["{folder}/clicks.parquet"]
user = "user"
time = "at"
news_id = "article"
[[ingest.news]]
name = "news"
files = ["{folder}/news.parquet"]
news_id = "article"
title = "title"
[clean]
model = "none"
"""
    )


def check(folder, path):
    read = lambda dataset: polars.read_parquet(folder / "data" / dataset / "**/*.parquet", hive_partitioning=False)
    truth = read("truth")
    ours = {}
    whose = {user: article.rsplit("|", 1)[0] for user, article in truth.select("user_id", "news_id").iter_rows()}
    for user, metric, k, value in read("user_metrics").select("user_id", "metric", "k", "value").iter_rows():
        ours.setdefault(whose[user], {})[(metric, k)] = value
    compared = 0
    for case, qrels, run, expected in everything(path):
        relevant = {u: {d: 1 for d, r in judged.items() if r >= 1} for u, judged in qrels.items()}
        relevant = {u: judged for u, judged in relevant.items() if judged}
        if expected is None:
            scores = {}
            for user, article, score in run:
                scores.setdefault(user, {})[article] = score
            told = pytrec_eval.RelevanceEvaluator(relevant, {"recall.5,10", "ndcg_cut.5,10", "recip_rank"}).evaluate(scores)
            nothing = dict.fromkeys(MEASURES, 0.0)
            expected = {u: {MEASURES[m]: told.get(u, nothing)[m] for m in MEASURES} for u in relevant}
        graded = any(r > 1 for judged in qrels.values() for r in judged.values())
        for user in relevant:
            for key, value in expected[user].items():
                if graded and key[0] == "ndcg":
                    continue  # clicks have no grades
                got = ours[f"{case}|{user}"][key]
                assert abs(got - value) <= 1e-9, (case, user, key, value, got)
                compared += 1
    users = {f"{case}|{u}" for case, qrels, _, _ in everything(path) for u, judged in qrels.items() if any(r >= 1 for r in judged.values())}
    assert users == set(ours), users ^ set(ours)
    print(f"{compared} values of {len(users)} users agree")


{"make": make, "check": check}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
