"""`embed` beside a plain Python loop over the same ONNX file with the same two threads; then vector beside vector.

usage: embed.py FOLDER [TEXTS] [RUNS] [NEWS]    (TEXTS 4000, RUNS 3; NEWS is a MIND news.tsv, else titles are simulated)

The loop embeds the same distinct titles in batches of 32, padded to the longest text, mean pooling over the mask: in the file's
order, and sorted by tokens. Its clock runs from the list of titles to their vectors, tokenising included; opening the model is
told apart. Ours is the whole process, and beside it the rate that the job itself tells, which leaves opening out.
Needs numpy and polars; the loop needs onnxruntime and tokenizers, the vectors of the float32 model torch and transformers.
"""

import json
import os
import re
import shutil
import statistics
import sys
from pathlib import Path

if len(sys.argv) < 2:
    sys.exit(__doc__)
os.environ |= {"RAYON_NUM_THREADS": "2", "POLARS_MAX_THREADS": "2", "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "true"}
from tools import ROOT, ingest_clicks, installed, machine, median, querent, querent_and_listen, ratio, run_and_listen  # noqa: E402

there = installed(
    own=["numpy", "polars"],
    peers={"python loop": ["onnxruntime", "tokenizers"], "float32 vectors": ["torch", "transformers", "tokenizers"]},
)
import numpy  # noqa: E402
import polars  # noqa: E402

wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 4000
folder = Path(sys.argv[1]).resolve() / f"embed-{wanted}"
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
mind = Path(sys.argv[4]).resolve() if len(sys.argv) > 4 else None
data, model = folder / "data", ROOT / "models/minilm"
if not (model / "model.int8.onnx").exists():
    sys.exit(f"error: {model} has no model.int8.onnx: make setup")
CHECKED = 500
LOOP = """
import json, sys, time
import numpy, onnxruntime
from tokenizers import Tokenizer
model, texts, order, size, vectors = sys.argv[1:]
texts, size = json.load(open(texts)), int(size)
start = time.perf_counter()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
session = onnxruntime.InferenceSession(model + "/model.int8.onnx", options, providers=["CPUExecutionProvider"])
names = {i.name for i in session.get_inputs()}
tokenizer = Tokenizer.from_file(model + "/tokenizer.json")
tokenizer.enable_truncation(256)
tokenizer.no_padding()
opening, start = time.perf_counter() - start, time.perf_counter()
encoded = [e.ids for e in tokenizer.encode_batch(texts)]
turn = list(range(len(texts)))
if order == "sorted":
    turn.sort(key=lambda i: len(encoded[i]))
found = numpy.empty((len(texts), 384), numpy.float32)
for at in range(0, len(turn), size):
    batch = turn[at : at + size]
    ids = numpy.zeros((len(batch), max(len(encoded[i]) for i in batch)), numpy.int64)
    mask = numpy.zeros_like(ids)
    for row, i in enumerate(batch):
        ids[row, : len(encoded[i])], mask[row, : len(encoded[i])] = encoded[i], 1
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}
    hidden = session.run(None, {name: feed[name] for name in names})[0]
    mean = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1)[:, None]
    found[batch] = mean / numpy.linalg.norm(mean, axis=1)[:, None]
print("took", opening, time.perf_counter() - start)
numpy.save(vectors, found)
"""


def titles() -> polars.DataFrame:
    """Ids and distinct titles, in their file's order."""
    if mind:
        lines = [line.split("\t") for line in mind.read_text(encoding="utf-8").split("\n") if line]
        news = polars.DataFrame({"news_id": [line[0] for line in lines], "title": [line[3] for line in lines]})
    else:
        querent(data, "simulate", "--users", "1", "--news", str(2 * wanted))
        news = polars.concat(polars.read_parquet(file) for file in sorted((data / "raw_news").glob("*.parquet")))
        news = news.select("article", "headline").rename({"article": "news_id", "headline": "title"})
    return news.unique("title", keep="first", maintain_order=True).head(wanted)


def loop(texts: list, order: str, size: int):
    """Runs the loop in a process of its own. Returns its figures, the seconds of opening, and the first vectors."""
    (folder / "texts.json").write_text(json.dumps(texts))
    command = [sys.executable, "-c", LOOP, str(model), str(folder / "texts.json"), order, str(size), str(folder / "loop.npy")]
    figures, said = run_and_listen(command)
    opening, seconds = (float(s) for s in re.search(r"took (\S+) (\S+)", said).groups())
    return figures._replace(seconds=seconds), opening, numpy.array(numpy.load(folder / "loop.npy", mmap_mode="r")[:CHECKED])


def embed():
    """Runs `embed` from nothing. Returns its figures, and the same with the seconds that the job tells."""
    shutil.rmtree(data / "news_vectors", ignore_errors=True)
    figures, said = querent_and_listen(data, "embed", "--fields", "title", "--model", str(model), "--threads", "2")
    line = re.search(r"([\d,]+) texts embedded, ([\d,]+) texts/s; .*", said)
    assert line and int(line[1].replace(",", "")) == len(news), said
    return figures, figures._replace(seconds=len(news) / int(line[2].replace(",", ""))), line[0]


def row(name: str, turns: list) -> None:
    """Prints the medians of a tool. One without runs is not installed."""
    if not turns:
        print(f"{name:<40} not installed", flush=True)
        return
    middle, times = median(turns), [r.seconds for r in turns]
    print(f"{name:<40} {middle.seconds:8.2f} s ({min(times):.2f} to {max(times):.2f}) {len(news) / middle.seconds:8,.0f} texts/s "
          f"{middle.peak_mib:6.0f} MiB", flush=True)


def cosines(name: str, a: numpy.ndarray, b: numpy.ndarray) -> None:
    """Prints how near vectors of unit length lie, text by text."""
    products = (a.astype(numpy.float64) * b).sum(axis=1)
    print(f"cosine, {name}: min {products.min():.6f}, mean {products.mean():.6f}", flush=True)


def float32(texts: list) -> numpy.ndarray:
    """The vectors of the float32 weights, text by text, in transformers."""
    import torch
    from tokenizers import Tokenizer
    from transformers import BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(2)
    tokenizer, bert = Tokenizer.from_file(str(model / "tokenizer.json")), BertModel.from_pretrained(model).eval()
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    with torch.no_grad():
        means = [bert(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0].mean(dim=0) for text in texts]
        return torch.nn.functional.normalize(torch.stack(means)).numpy()


machine()
os.chdir(ROOT)  # where querent finds ONNX Runtime
shutil.rmtree(data, ignore_errors=True)
data.mkdir(parents=True)
raw = titles()
raw.with_columns(published=polars.lit("2025-11-01T00:00:00Z")).write_parquet(folder / "news.parquet")
click = polars.DataFrame({"user_id": ["u"], "at": ["2025-11-30T00:00:00Z"], "news_id": raw["news_id"][:1]})
click.write_parquet(folder / "clicks.parquet")
ingest_clicks(folder, data, 1)
# The titles as `embed` reads them.
clean = polars.read_parquet(f"{data}/news/**/*.parquet", columns=["news_id", "title"], hive_partitioning=False)
news = raw.select("news_id").join(clean, on="news_id", maintain_order="left").unique("title", keep="first", maintain_order=True)
assert len(news) == len(clean), f"{len(clean) - len(news)} titles are equal once they are cleaned"
texts = news["title"].to_list()
print(f"{len(texts):,} distinct titles of {statistics.mean(map(len, texts)):.0f} characters, "
      f"{'MIND' if mind else 'simulated'}; two threads, model.int8.onnx")

whole, told, plain, by_length, openings = [], [], [], [], []
for _ in range(runs):
    figures, inner, line = embed()
    whole.append(figures)
    told.append(inner)
    for turns, order in [(plain, "file"), (by_length, "sorted")] if "python loop" in there else []:
        figures, opening, batched = loop(texts, order, 32)
        turns.append(figures)
        openings.append(opening)
row("querent embed, whole process", whole)
row("querent embed, as the job tells", told)
row("python loop, file order", plain)
row("python loop, sorted by tokens", by_length)
if openings:
    print(f"python opens the model in {statistics.median(openings):.2f} s")
print(line)
for name, theirs in [("file order", plain), ("sorted", by_length)]:
    ratio(f"times as fast as the loop, {name}: whole process", theirs, whole)
    ratio(f"times as fast as the loop, {name}: as the job tells", theirs, told)

vectors = polars.read_parquet(f"{data}/news_vectors/**/*.parquet", columns=["news_id", "vector"], hive_partitioning=False)
ours = numpy.stack(news.head(CHECKED).join(vectors, on="news_id", maintain_order="left")["vector"].to_numpy())
print(f"the first {len(ours):,} texts:")
if "python loop" in there:
    alone = loop(texts[:CHECKED], "file", 1)[2]
    cosines("querent and python text by text", ours, alone)
    cosines("python sorted, padded and python text by text", batched, alone)
if "float32 vectors" in there and (model / "model.safetensors").exists():
    full = float32(texts[:CHECKED])
    cosines("querent and float32", ours, full)
    if "python loop" in there:
        cosines("python text by text and float32", alone, full)
