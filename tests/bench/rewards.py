"""Which rewards pick lists that fetch what people read? Correlations within groups, of a run of grpo in the simulated world.

    python3 tests/bench/rewards.py ROOT RUN        ROOT: the data root; RUN: the folder that grpo wrote (finished or not)

A group is the lists of one user in one step. Each list is put to the live articles, by vectors (exact, the best cosine over its queries) and by
words (BM25 over titles and abstracts). Two measures of what it fetches: Recall@10 of what the user clicked in the window, which is noisy, for
people click few articles; and the interest of the ten articles: the sum of the user's true weights, which only a simulation knows. Rewards see
neither. A component whose correlation is not above 0 cannot be what a policy should learn by.

Needs bm25s, deltalake, numpy, onnxruntime, polars and tokenizers.
"""

import collections
import glob
import re
import sys

from tools import installed

installed(own=["bm25s", "deltalake", "numpy", "onnxruntime", "polars", "tokenizers"], peers={}, program=False)

import bm25s  # noqa: E402
import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
from inference import embeddings  # noqa: E402

COMPONENTS = ["align", "coverage", "specificity", "diversity", "structure", "reward", "copied"]
WEIGHTED = ["weighted_" + name for name in COMPONENTS[:5]]


def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


def vectors_of(texts):
    texts = sorted(set(texts))
    return dict(zip(texts, embeddings(texts)))


def main(root, run, cut_off="2025-12-01", days=3):
    rollouts = pl.read_parquet(sorted(glob.glob(run + "/rollouts/*.parquet")))
    rollouts = rollouts.filter(pl.col("queries").list.len() > 0)
    news = pl.read_delta(root + "/news").join(pl.read_delta(root + "/news_vectors"), on="news_id").sort("news_id")
    first = pl.lit(cut_off).str.to_datetime(time_zone="UTC") - pl.duration(days=days)
    news = news.filter(pl.col("published_at") >= first)
    number = {name: at for at, name in enumerate(news["news_id"])}
    entities = [set(of or []) for of in news["entities"].to_list()]
    vectors = np.array(news["vector"].to_list())
    bm25 = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    bm25.index([words(f"{title} {text or ''}") for title, text in news.select("title", "abstract").iter_rows()], show_progress=False)

    users = set(rollouts["user_id"])
    profiles = pl.read_delta(root + "/profiles").filter(pl.col("user_id").is_in(users))
    behaviours = {row["user_id"]: row["behaviours"] for row in profiles.iter_rows(named=True)}
    clicked, interest = collections.defaultdict(set), {user: np.zeros(len(number)) for user in users}
    for user, article in pl.read_delta(root + "/truth").select("user_id", "news_id").iter_rows():
        clicked[user].add(number.get(article))
    for row in pl.read_delta(root + "/latent_interests").iter_rows(named=True):
        if row["user_id"] in users:
            of = np.array([row["weight"] if set(row["entities"]) & named else 0 for named in entities])
            interest[row["user_id"]] = np.maximum(interest[row["user_id"]], of)

    queries = vectors_of([query for of in rollouts["queries"].to_list() for query in of])
    measured = []
    for row in rollouts.iter_rows(named=True):
        user, said = row["user_id"], row["queries"]
        did = {" ".join(words(of["text"])): of["domain"] for of in behaviours[user]}
        copies = [did.get(" ".join(words(query))) for query in said]
        got = {f"a {domain} text": copies.count(domain) / len(said) for domain in ("search", "browse", "news")}
        seen = [number[of["news_id"]] for of in behaviours[user] if of["news_id"] in number]
        by_vectors = (np.array([queries[query] for query in said]) @ vectors.T).max(0)
        asked = [sorted(set(words(query))) for query in said]
        by_words = np.max([bm25.get_scores(of) if of else np.zeros(len(number)) for of in asked], 0)
        for name, scores in (("vectors", by_vectors), ("words", by_words)):
            scores[seen] = -1
            top = np.argsort(-scores, kind="stable")[:10]
            got["interest by " + name] = interest[user][top].sum()
            got["recall by " + name] = len(clicked[user] & set(top)) / len(clicked[user]) if clicked[user] else None
        measured.append(got)
    lists = pl.concat([rollouts, pl.DataFrame(measured, infer_schema_length=None)], how="horizontal")

    targets = ["interest by vectors", "interest by words", "recall by vectors", "recall by words"]
    print(f"{len(lists):,} lists of {len(users):,} users, {lists['step'].max()} steps")
    print(f"{'':22}" + "".join(f"{name:>22}" for name in targets))
    for name in COMPONENTS + WEIGHTED + ["a search text", "a browse text", "a news text"]:
        line = f"{name:22}"
        for target in targets:
            both = lists.drop_nulls([name, target])
            from_mean = [(pl.col(of) - pl.col(of).mean().over("step", "user_id")).alias(as_) for of, as_ in ((name, "x"), (target, "y"))]
            line += f"{both.select(from_mean).select(pl.corr('x', 'y')).item():+22.3f}"
        print(line)


if __name__ == "__main__":
    main(*sys.argv[1:3])
