"""Timing whole processes: wall seconds, processor seconds and peak memory of each, and medians over runs.

Every benchmark first says which tools it cannot compare with, and how to get them (`installed`). With `--check` it says no more.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
KEY = {"QUERENT_USER_KEY": "000102030405060708090a0b0c0d0e0f"}  # for benchmarks only
WHEELS = {"Stemmer": "PyStemmer", "faiss": "faiss-cpu", "llama_cpp": "llama-cpp-python", "presidio_analyzer": "presidio-analyzer", "pytrec_eval": "pytrec-eval-terrier", "sklearn": "scikit-learn", "tea_tasting": "tea-tasting"}
CLICKS = """
[ingest]
cut_off = "2025-12-01T00:00:00Z"
window_days = 7
[[ingest.events]]
name = "clicks"
domain = "news"
files = ["{folder}/clicks.parquet"]
user = "user_id"
time = "at"
news_id = "news_id"
[[ingest.news]]
name = "news"
files = ["{folder}/news.parquet"]
news_id = "news_id"
time = "published"
title = "title"
"""
CHECK = "--check" in sys.argv
if CHECK:
    sys.argv.remove("--check")


def installed(own: list[str], peers: dict[str, list[str]], program: bool = True) -> set[str]:
    """Says which modules are missing and how to get them, and returns the peers that are there.

    Ends where querent's own figures need what is missing: a module of `own`, or the program that QUERENT names. With `--check` it
    ends in any case, and what `make python` brings counts as there.
    """
    light = re.findall(r"^[\w-]+", (ROOT / "tests/requirements.txt").read_text(), re.MULTILINE) if CHECK else []

    def missing(modules: list[str]) -> str:
        wheels = [WHEELS.get(module, module) for module in modules if importlib.util.find_spec(module) is None]
        return " ".join(wheel for wheel in wheels if wheel not in light)

    if lacking := missing(own):
        sys.exit(f"error: querent's own figures need Python packages that are not installed: {sys.executable} -m pip install {lacking}")
    absent = {peer: lacking for peer, modules in peers.items() if (lacking := missing(modules))}
    for peer, lacking in absent.items():
        print(f"not installed, so left out: {peer} ({sys.executable} -m pip install {lacking})", flush=True)
    if CHECK:
        sys.exit()
    if program and shutil.which(os.environ.setdefault("QUERENT", "querent")) is None:
        sys.exit(f"error: there is no program {os.environ['QUERENT']}: cargo build --release, and name what it makes in QUERENT")
    return set(peers) - set(absent)


class Run(NamedTuple):
    """One run of a process."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def run_and_listen(command: list[str], **environment: str) -> tuple[Run, str]:
    """Runs a command to its end; fails with it. Returns its figures and what it said."""
    start = time.perf_counter()
    environment = {**os.environ, **environment}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"{' '.join(command)}\n{said}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024), said


def querent_and_listen(data: Path, *arguments: str) -> tuple[Run, str]:
    """Runs a release build of querent over a data root. Returns its figures and what it said."""
    command = [os.environ["QUERENT"], *arguments, "--data", str(data), "--quiet"]
    return run_and_listen(command, **KEY)


def querent(data: Path, *arguments: str) -> Run:
    """Runs a release build of querent over a data root."""
    return querent_and_listen(data, *arguments)[0]


def reading_seconds(data: Path, *arguments: str) -> tuple[Run, float]:
    """As `querent`, and how many seconds the job says it spent reading raw files and regrouping their rows."""
    figures, said = querent_and_listen(data, *arguments)
    return figures, sum(float(s) for s in re.findall(r"([0-9.]+) s of them reading", said))


def ingest_clicks(folder: Path, data: Path, buckets: int) -> None:
    """Ingests a folder's clicks.parquet (user_id, at, news_id) and news.parquet (news_id, published, title), cut off on 1 December 2025."""
    (folder / "bench.toml").write_text(CLICKS.format(folder=folder))
    querent(data, "ingest", "--config", str(folder / "bench.toml"), "--buckets", str(buckets))


def in_own_process(job: Callable[[], None]) -> None:
    """Does something in a process of its own, whose memory is not this one's."""
    process = multiprocessing.get_context("fork").Process(target=job)
    process.start()
    process.join()
    assert process.exitcode == 0


def python(script: str) -> Run:
    """Runs a Python script given as text, in a process of its own."""
    return run_and_listen([sys.executable, "-c", script])[0]


def median(runs: list[Run]) -> Run:
    """The median of each figure."""
    return Run(*(statistics.median(figures) for figures in zip(*runs)))


def show(name: str, runs: list[Run], units: float, unit: str) -> None:
    """Prints a row: the medians, the spread of the wall time, and the rate. A tool without runs is not installed."""
    if not runs:
        print(f"{name:<44} not installed", flush=True)
        return
    middle = median(runs)
    times = [r.seconds for r in runs]
    rate = units / middle.seconds
    print(
        f"{name:<44} {middle.seconds:8.1f} s ({min(times):.1f} to {max(times):.1f}) {middle.cpu_seconds:8.1f} cpu s "
        f"{middle.peak_mib:8.0f} MiB " + (f"{rate / 1e6:7.2f} M {unit}/s" if rate >= 1e6 else f"{rate:9,.0f} {unit}/s"),
        flush=True,
    )


def ratio(name: str, slower: list[Run], faster: list[Run]) -> None:
    """Prints how many times faster the second is, pair by pair; nothing if one of them is not installed."""
    if not slower or not faster:
        return
    ratios = [a.seconds / b.seconds for a, b in zip(slower, faster)]
    print(f"{name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def machine() -> None:
    """Prints what this was measured on."""
    load = os.getloadavg()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    print(f"{os.cpu_count()} cores, {memory:.0f} GiB, load {load[0]:.2f} at the start", flush=True)
