"""`clean` beside a plain Python loop: the same model file, the same two threads.

usage: clean.py FOLDER MODEL_FOLDER [USERS] [RUNS] [TEXTS]    (USERS 4000, RUNS 3; MODEL_FOLDER is train-cleaner's)

(a) is a simulated log, in which texts repeat; (b) has at most 20,000 of its texts once each. The loop scores event by event,
in the files' order, in batches of 32 padded to their longest text. On (a) it scores the first 20,000 events only, and its
seconds are scaled to all of them. Its clock starts after imports and the loading of the model; ours is the whole process.
"""

import json
import re
import shutil
import statistics
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tools import ROOT, Run, installed, machine, median, querent, querent_and_listen, ratio, run_and_listen

if len(sys.argv) < 3:
    sys.exit(__doc__)
folder, model = Path(sys.argv[1]), Path(sys.argv[2])
users = int(sys.argv[3]) if len(sys.argv) > 3 else 4000
runs = int(sys.argv[4]) if len(sys.argv) > 4 else 3
FILES = ["model.int8.onnx", "model.onnx"]
for file in FILES:
    if not (model / file).exists():
        sys.exit(f"error: MODEL_FOLDER: {model} has no {file}; train-cleaner makes a folder that has it")
there = installed(own=["polars"], peers={"python loop": ["transformers", "onnxruntime", "numpy"]})
import polars  # noqa: E402

MOST = int(sys.argv[5]) if len(sys.argv) > 5 else 20_000
CUT_OFF = datetime(2025, 12, 1, tzinfo=timezone.utc)


def column(data: Path, *datasets: str, names: tuple = ("text",)) -> polars.DataFrame:
    """Columns of all rows of datasets."""
    globs = [f"{data}/{dataset}/**/*.parquet" for dataset in datasets if any((data / dataset).glob("**/*.parquet"))]
    return polars.scan_parquet(globs, hive_partitioning=False).select(names).collect()


def simulated(data: Path) -> Path:
    """(a): a simulated log, noise and all."""
    data.mkdir(parents=True, exist_ok=True)
    (config := data / "bench.toml").write_text((ROOT / "jobs/configs/demo.toml").read_text().replace("out/demo", str(data)))
    querent(data, "simulate", "--config", str(config), "--users", str(users), "--news", str(max(20_000, users * 12 // 5)))
    querent(data, "ingest", "--config", str(config))
    return data


def searches(data: Path, texts: list[str], user: str, first: timedelta) -> Path:
    """(b): a log in which each text is searched once; ten searches a user, a second apart."""
    data.mkdir(parents=True, exist_ok=True)
    at = [CUT_OFF - first - timedelta(seconds=i) for i in range(len(texts))]
    log = polars.DataFrame({"user": [f"{user}{i // 10}" for i in range(len(texts))], "at": at, "text": texts})
    log.write_parquet(data / "searches.parquet")
    mapping = f'name = "searches"\ndomain = "search"\nfiles = ["{data}/searches.parquet"]\nuser = "user"\ntime = "at"\ntext = "text"'
    (config := data / "bench.toml").write_text(f"[ingest]\ncut_off = {json.dumps(CUT_OFF.isoformat())}\n[[ingest.events]]\n{mapping}\n")
    querent(data, "ingest", "--config", str(config))
    return data


def clean(data: Path, file: str) -> tuple[Run, str]:
    """Runs `clean`, to which nothing is left but what `text_scores` may hold."""
    for dataset in ["clean_events", "clean_events.dropped", "borderline"]:
        shutil.rmtree(data / dataset, ignore_errors=True)
    return querent_and_listen(data, "clean", "--model", str(model), "--onnx", file, "--threads", "2")


LOOP = """
import glob, json, time
import numpy, onnxruntime, polars
from transformers import PreTrainedTokenizerFast
config = json.load(open("{model}/config.json"))
tokenizer = PreTrainedTokenizerFast(tokenizer_file="{model}/tokenizer.json")
tokenizer.pad_token = tokenizer.convert_ids_to_tokens(config["pad_token_id"])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
session = onnxruntime.InferenceSession("{model}/{file}", options)
start, cpu_start = time.perf_counter(), time.process_time()
files = sorted(glob.glob("{data}/events/**/*.parquet", recursive=True))
events = polars.scan_parquet(files, hive_partitioning=False).head({most}).collect()
texts, scores = events["text"].to_list(), []
for i in range(0, len(texts), 32):
    batch = tokenizer(texts[i : i + 32], padding=True, truncation=True, max_length=64, return_tensors="np")
    logits = session.run(None, {{i.name: batch[i.name] for i in session.get_inputs()}})[0]
    odds = numpy.exp(logits - logits.max(axis=1, keepdims=True))
    scores.append(odds[:, config["label2id"]["keep"]] / odds.sum(axis=1))
events = events.with_columns(keep_score=polars.Series(numpy.concatenate(scores)))
kept = polars.col("keep_score") >= {threshold}
events.filter(kept).write_parquet("{kept}", compression="zstd")
events.filter(~kept).write_parquet("{dropped}", compression="zstd")
print("took", time.perf_counter() - start, time.process_time() - cpu_start)
"""


def loop(data: Path, file: str) -> Run:
    """Runs the plain loop over the first events; its seconds are scaled to all of them."""
    kept, dropped = (data / f"loop-{name}.parquet" for name in ["kept", "dropped"])
    threshold = json.loads((model / "thresholds.json").read_text()).get(file, 0.5)
    script = LOOP.format(model=model, file=file, data=data, most=MOST, threshold=threshold, kept=kept, dropped=dropped)
    figures, said = run_and_listen([sys.executable, "-c", script])
    scale = max(1, events[data] / MOST)
    seconds, cpu_seconds = (float(s) * scale for s in re.search(r"took (\S+) (\S+)", said).groups())
    return Run(seconds, cpu_seconds, figures.peak_mib)


def row(name: str, turns: list[Run], data: Path) -> None:
    """Prints medians: what a run took, and its rates. A tool without runs is not installed."""
    if not turns:
        print(f"{name:<44} not installed", flush=True)
        return
    middle, times = median(turns), [r.seconds for r in turns]
    print(f"{name:<44} {middle.seconds:8.1f} s ({min(times):.1f} to {max(times):.1f}) {middle.cpu_seconds:8.1f} cpu s "
          f"{middle.peak_mib:6.0f} MiB {events[data] / middle.seconds:9,.0f} events/s {distinct[data] / middle.seconds:9,.0f} texts/s",
          flush=True)


def agree(data: Path, file: str) -> None:
    """Both must keep nearly the same; prints how far their scores lie apart."""
    ours = column(data, "clean_events", "clean_events.dropped", names=("text", "keep_score"))
    theirs = polars.read_parquet(data / "loop-*.parquet", columns=["text", "keep_score"])
    both = ours.join(theirs, on="text", suffix="_theirs")
    assert len(both) == len(ours) == len(theirs), (len(both), len(ours), len(theirs))
    apart = (both["keep_score"] - both["keep_score_theirs"]).abs().max()
    kept = set(polars.read_parquet(data / "loop-kept.parquet")["text"])
    one_only = len(kept ^ set(column(data, "clean_events")["text"]))
    print(f"(b) {file}: scores at most {apart:.1e} apart; {one_only} of {len(both):,} texts kept by one only", flush=True)
    assert one_only <= max(1, len(both) // 1000), "the two do not keep the same"


machine()
events, distinct = {}, {}
a = simulated(folder / f"clean-{users}")
texts = column(a, "events")["text"].unique().sort().to_list()
most = min(len(texts), MOST)
chosen = [texts[i * len(texts) // most] for i in range(most)]
b = searches(folder / f"clean-{users}-distinct", chosen, "user", timedelta(hours=1))
again = searches(folder / f"clean-{users}-again", chosen, "other", timedelta(days=1))
for name, data in [("(a)", a), ("(b)", b), ("(b) again", again)]:
    found = column(data, "events")["text"]
    events[data], distinct[data] = len(found), found.n_unique()
    print(f"{name}: {events[data]:,} events, {distinct[data]:,} distinct texts: {events[data] / distinct[data]:.2f} events a text, "
          f"{1 - distinct[data] / events[data]:.1%} of the events repeat a text")

ours, theirs, inside = {}, {}, {}
for turn in range(runs):
    for file in FILES:
        for data in [a, b]:
            shutil.rmtree(data / "text_scores", ignore_errors=True)
            figures, said = clean(data, file)
            scored, share = re.search(r"([\d,]+) texts scored.*?([\d.]+)% of the workers'", said).groups()
            assert int(scored.replace(",", "")) == distinct[data], said
            ours.setdefault((file, data), []).append(figures)
            inside.setdefault((file, data), []).append(float(share))
            if "python loop" in there:
                theirs.setdefault((file, data), []).append(loop(data, file))
        if turn == 0 and theirs:
            agree(b, file)
        shutil.rmtree(again / "text_scores", ignore_errors=True)
        shutil.copytree(b / "text_scores", again / "text_scores")  # what the first run left
        figures, said = clean(again, file)
        assert f"from the cache {distinct[again]}" in said and "texts scored" not in said, said
        ours.setdefault((file, again), []).append(figures)

for file in FILES:
    for name, data in [("(a)", a), ("(b)", b)]:
        row(f"{name} querent clean, {file}", ours[file, data], data)
        row(f"{name} python loop{', scaled' if events[data] > MOST else ''}, {file}", theirs.get((file, data)), data)
        ratio(f"{name} times as fast as the loop, {file}", theirs.get((file, data)), ours[file, data])
        print(f"{name} inside ONNX Runtime, {file}: {statistics.median(inside[file, data]):.1f}% of the workers' time")
    row(f"(b) the same texts again, {file}", ours[file, again], again)
    ratio(f"(b) first run over second run, {file}", ours[file, b], ours[file, again])
for name, data in [("(a)", a), ("(b)", b)]:
    ratio(f"{name} times as fast in int8 as in float32", ours[FILES[1], data], ours[FILES[0], data])
