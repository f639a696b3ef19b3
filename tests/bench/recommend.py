"""`baseline`'s lists beside PyTorch's: the same trained network, the same histories, each user's 100 best of all articles, Parquet in, Parquet out.

usage: recommend.py FOLDER [USERS] [RUNS]    (USERS 100000, RUNS 3)

USERS users have 20 to 44 clicks before the cut-off, some articles much oftener than others, and one in the window; 7,457 articles are live, with
invented titles under the encoder of `make setup`. GRU, SASRec and HSTU learn for 20 steps; then it is timed how long lists take, of 100
articles, without those a user has read. PyTorch takes 1,024 users at a time. The figures are those of whole processes, of two threads each.
Lists must agree: of the first ten articles of 1,000 users at least 99.5%.
Needs numpy and polars; compares with what is there of torch and pyarrow.
"""

import os
import shutil
import sys
from pathlib import Path

from tools import ROOT, Run, in_own_process, ingest_clicks, installed, machine, querent, ratio, run_and_listen, show

if len(sys.argv) < 2 and "--check" not in sys.argv:
    sys.exit(__doc__)
there = installed(own=["numpy", "polars"], peers={"PyTorch": ["torch", "pyarrow"]})
os.environ |= {name: "2" for name in ["POLARS_MAX_THREADS", "OMP_NUM_THREADS"]}
users = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
folder = Path(sys.argv[1]).resolve() / f"recommend-{users}"
data = folder / "data"
ARTICLES, LENGTH = 7_457, 100
MODELS = ["gru", "sasrec", "hstu"]
THEIRS = """
import glob, json, sys, numpy, pyarrow as pa, pyarrow.parquet as pq, torch
from torch.nn import functional
torch.set_num_threads(2)
model, data, LENGTH, WIDTH, LATEST = sys.argv[1], sys.argv[2], int(sys.argv[3]), 64, 50
EPSILON = 1e-6

def read(dataset, *columns):
    files = sorted(glob.glob(f"{data}/{dataset}", recursive=True))
    return pa.concat_tables(pq.ParquetFile(file).read(columns=columns) for file in files)

w = {row["name"]: torch.frombuffer(bytearray(row["data"]), dtype=torch.float32).reshape(row["shape"])
     for row in read(f"baseline.{model}/weights-*.parquet", "name", "data", "shape").to_pylist()}
affine = lambda name, x: functional.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))
normed = lambda name, x: functional.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], EPSILON)
plain = lambda x: functional.layer_norm(x, (WIDTH,), eps=EPSILON)
grus = []
for layer in range(2) if model == "gru" else []:
    grus.append(torch.nn.GRU(WIDTH, WIDTH, batch_first=True))
    named = {"weight_ih_l0": "input.weight", "weight_hh_l0": "hidden.weight", "bias_ih_l0": "input.bias", "bias_hh_l0": "hidden.bias"}
    grus[-1].load_state_dict({theirs: w[f"layers.{layer}.{ours}"] for theirs, ours in named.items()})

def states(x, at, mask):
    # [B, T, WIDTH] of what was read, and when in seconds, to states after each place
    length = x.shape[1]
    if model != "gru":
        x = x + w["positions.weight"][:length]
    for layer in range(2):
        part = lambda name: f"layers.{layer}.{name}"
        if model == "gru":
            x = grus[layer](x)[0]
        elif model == "sasrec":
            query = normed(part("attention_norm"), x)
            seen = functional.scaled_dot_product_attention(*(affine(part(name), of) for name, of in
                                                             (("query", query), ("key", x), ("value", x))), is_causal=True)
            x = normed(part("feed_forward_norm"), query + seen)
            x = x + affine(part("outer"), functional.relu(affine(part("inner"), x)))
        else:
            gate, value, query, key = (functional.silu(affine(part(name), plain(x))) for name in ("gate", "value", "query", "key"))
            places = (torch.arange(length)[:, None] - torch.arange(length)[None]).clamp(min=0)
            apart = (at[:, :, None] - at[:, None]).abs().clamp(min=1)
            buckets = (apart.double().log() / 0.301).long().clamp(max=128)
            score = query @ key.transpose(1, 2) + w[part("positions.bias")][places, 0] + w[part("times.bias")][buckets, 0]
            looked = torch.tril(functional.silu(score)) / LATEST @ value
            x = x + affine(part("output"), gate * plain(looked))
    return affine("output", x) if model == "gru" else normed("last_norm", x) if model == "sasrec" else x

with torch.inference_mode():
    vectors = read("news_vectors/**/*.parquet", "news_id", "vector")
    ids = vectors["news_id"].to_numpy(zero_copy_only=False)
    number = pa.array(ids)
    vectors = torch.from_numpy(vectors["vector"].combine_chunks().values.to_numpy(zero_copy_only=False).copy()).reshape(len(ids), -1)
    table = affine("items", vectors)
    unit, table = functional.normalize(table, dim=1), table * WIDTH ** 0.5
    writer = None
    for file in sorted(glob.glob(f"{data}/profiles/**/*.parquet", recursive=True)):
        for profiles in pq.ParquetFile(file).iter_batches(1024, columns=["user_id", "behaviours"]):
            behaviours = profiles["behaviours"]
            clicked = pa.compute.index_in(behaviours.values.field("news_id"), number).to_numpy()
            when = behaviours.values.field("occurred_at").cast(pa.int64()).to_numpy() // 1_000_000
            starts = behaviours.offsets.to_numpy() - behaviours.offsets[0].as_py()
            lengths = numpy.minimum(numpy.diff(starts), LATEST)
            rows = len(lengths)
            places = starts[:-1, None] + (lengths[:, None] - 1 - numpy.arange(lengths.max())[None])  # they lie most recent first
            known = numpy.arange(lengths.max())[None] < lengths[:, None]
            places = numpy.where(known, places, starts[:-1, None])
            items, at = torch.from_numpy(clicked[places].astype("int64")), torch.from_numpy(when[places])
            last = states(table[items], at, known)[torch.arange(rows), torch.from_numpy(lengths.astype("int64")) - 1]
            scores = functional.normalize(last, dim=1) @ unit.T
            scores[torch.arange(rows).repeat_interleave(torch.from_numpy(numpy.diff(starts).astype("int64"))), torch.from_numpy(clicked.astype("int64"))] = -9
            best, articles = scores.topk(LENGTH, dim=1)
            users = pa.array(numpy.repeat(numpy.arange(rows), LENGTH))
            lists = pa.table({
                "user_id": profiles["user_id"].take(users), "rank": pa.array(numpy.tile(numpy.arange(1, LENGTH + 1, dtype="int32"), rows)),
                "news_id": number.take(pa.array(articles.flatten().numpy())), "score": pa.array(best.flatten().numpy()),
            })
            writer = writer or pq.ParquetWriter(f"{data}/../theirs.parquet", lists.schema, compression="zstd")
            writer.write_table(lists)
    writer.close()
"""


def make() -> None:
    """Writes the raw logs."""
    import numpy
    import polars

    random = numpy.random.default_rng(1)
    day, cut_off = 86_400_000_000, int(numpy.datetime64("2025-12-01", "us").astype(int))
    readers = numpy.repeat(numpy.arange(users), random.integers(20, 45, size=users))
    at = numpy.concatenate([cut_off - random.integers(1, 20 * day, len(readers)), cut_off + random.integers(7 * day, size=users)])
    readers = numpy.concatenate([readers, numpy.arange(users)])
    clicked = (ARTICLES * random.random(len(readers)) ** 3).astype(int)  # the first are clicked most
    polars.DataFrame({"user": readers, "news": clicked, "at": at}).select(
        polars.format("u{}", "user").alias("user_id"), polars.format("n{}", "news").alias("news_id"), polars.col("at").cast(polars.Datetime("us", "UTC"))
    ).write_parquet(folder / "clicks.parquet")
    syllables = [f"{consonant}{vowel}" for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    words = ["".join(random.choice(syllables, length)) for length in random.integers(1, 4, size=3000)]
    titles = [" ".join(random.choice(words, 8)) for _ in range(ARTICLES)]
    news = polars.DataFrame({"news_id": [f"n{i}" for i in range(ARTICLES)], "title": titles})
    news.with_columns(published=polars.lit("2025-11-30T00:00:00Z")).write_parquet(folder / "news.parquet")


def ours(model: str) -> Run:
    """Makes the lists from nothing, by the model that is there."""
    shutil.rmtree(data / f"recommendations.{model}", ignore_errors=True)
    settings = ["--steps", "20", "--look-every", "20", "--articles", str(LENGTH), "--threads", "2"]
    return querent(data, "baseline", "--model", model, *settings)


def agree(model: str) -> None:
    """Fails unless the lists begin alike."""
    import polars  # not before: a child's peak memory is told as at least its parent's

    def first(files: str) -> polars.DataFrame:
        lists = polars.scan_parquet(files, hive_partitioning=False).filter(polars.col("rank") <= 10)
        return lists.select("user_id", "news_id").collect()

    mine, others = first(f"{data}/recommendations.{model}/**/*.parquet"), first(f"{folder}/theirs.parquet")
    few = mine["user_id"].unique().sort().head(1000).implode()
    mine, others = mine.filter(polars.col("user_id").is_in(few)), others.filter(polars.col("user_id").is_in(few))
    alike = len(mine.join(others, on=["user_id", "news_id"])) / len(mine)
    print(f"{model}: {alike:.2%} of the first ten articles are PyTorch's")
    if alike < 0.995:
        sys.exit("the lists do not agree")


machine()
shutil.rmtree(folder, ignore_errors=True)
data.mkdir(parents=True)
in_own_process(make)
ingest_clicks(folder, data, max(16, users // 8000))
querent(data, "clean", "--model", "none")
querent(data, "cap")
querent(data, "embed", "--model", str(ROOT / "models/minilm"), "--fields", "title")
(folder / "theirs.py").write_text(THEIRS)
for model in MODELS:
    training = ours(model)
    mine, others = [], []
    for _ in range(runs):
        mine.append(ours(model))
        if "PyTorch" in there:
            others.append(run_and_listen([sys.executable, str(folder / "theirs.py"), model, str(data), str(LENGTH)])[0])
    show(f"{model}: 20 steps of training, then lists", [training], users, "users")
    show(f"{model}: lists", mine, users, "users")
    show("  PyTorch", others, users, "users")
    ratio("  times as fast", others, mine)
    if others:
        agree(model)
