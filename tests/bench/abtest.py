"""`abtest` beside tea-tasting on the same Parquet file of user-days: seconds, peak memory, and the same lifts.

usage: abtest.py FOLDER [ROWS] [RUNS]    (ROWS 10000000, RUNS 3)

The experiment is simulated: a week, a row per user and day, one file that lies by day as logs do. tea-tasting has polars add up the days of
each user, lazily and streaming, and analyses four metrics of all users: active days and clicks per impression, each with and without CUPED.
querent does the same for cold and warm users too, and day by day with always-valid intervals. Its figures are those of the whole process;
of tea-tasting the seconds without imports are told too. tea-tasting 2.0 needs Python 3.12.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path

from tools import Run, in_own_process, installed, machine, querent, querent_and_listen, ratio, run_and_listen, show

if len(sys.argv) < 2:
    sys.exit(__doc__)
there = installed(own=["polars"], peers={"tea-tasting": ["tea_tasting", "pyarrow"]})
os.environ["POLARS_MAX_THREADS"] = "2"
rows = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000_000
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
DAYS = 7
folder = Path(sys.argv[1]).resolve() / f"abtest-{rows}"
data, table = folder / "data", folder / "days.parquet"
TEA = """
import json, time
import polars, pyarrow
import tea_tasting
start = time.perf_counter()
days = polars.scan_parquet("{table}")
users = days.group_by("user_id").agg(
    polars.col("variant").first(), polars.col("active").sum(), polars.col("impressions").sum(), polars.col("clicks").sum(),
    polars.col("pre_active").first(), polars.col("pre_impressions").first(), polars.col("pre_clicks").first(),
).collect(engine="streaming").drop("user_id")
counts = [name for name in users.columns if name != "variant"]
users = users.with_columns(polars.col(counts).cast(polars.Float64))  # sums of squares of 32-bit counts would overflow
added = time.perf_counter() - start
experiment = tea_tasting.Experiment(
    dau=tea_tasting.Mean("active"), dau_cuped=tea_tasting.Mean("active", "pre_active"),
    ctr=tea_tasting.RatioOfMeans("clicks", "impressions"),
    ctr_cuped=tea_tasting.RatioOfMeans("clicks", "impressions", "pre_clicks", "pre_impressions"),
    ratio=tea_tasting.SampleRatio(),
)
found = experiment.analyze(users, "control")
names = ["rel_effect_size", "rel_effect_size_ci_lower", "rel_effect_size_ci_upper", "pvalue"]
lifts = {{metric: [getattr(found[metric], name) for name in names] for metric in ["dau", "dau_cuped", "ctr", "ctr_cuped"]}}
print(json.dumps([lifts, time.perf_counter() - start, added]))
"""


def one_file() -> None:
    """Puts the simulated user-days into one file, by day."""
    import polars

    polars.scan_parquet(f"{data}/raw_experiment/*.parquet").sort("day", "user_id").sink_parquet(table)


def ours() -> "tuple[Run, Run, Run]":
    """Runs `abtest` from nothing: the whole process; adding up; the analysis."""
    for dataset in ["experiment_users", "experiment_moments", "lifts", "daily_lifts", "arms"]:
        shutil.rmtree(data / dataset, ignore_errors=True)
    whole, said = querent_and_listen(data, "abtest", str(table), "--threads", "2")
    told = [re.search(rf"^{job}: .* reused, ([0-9.]+) s", said, re.MULTILINE) for job in ["gather-experiment", "abtest"]]
    assert all(told), said
    return (whole, *(whole._replace(seconds=float(line[1])) for line in told))


def theirs() -> "tuple[Run, Run, Run, dict]":
    """Runs tea-tasting in a process of its own: the whole, all after imports, that until users are added up; and the lifts."""
    figures, said = run_and_listen([sys.executable, "-c", TEA.format(table=table)])
    lifts, seconds, added = json.loads(said.splitlines()[-1])
    return figures, figures._replace(seconds=seconds), figures._replace(seconds=added), lifts


def agree(lifts: dict) -> None:
    """Fails unless lifts, intervals and p-values are ours."""
    import polars  # not before: a child's peak memory is told as at least its parent's

    found = polars.read_parquet(f"{data}/lifts/**/*.parquet", hive_partitioning=False).filter(segment="all")
    apart = 0.0
    for row in found.iter_rows(named=True):
        expected = lifts[row["metric"] + ("_cuped" if row["cuped"] else "")]
        got = [row[name] for name in ["lift", "lift_low", "lift_high", "p_value"]]
        apart = max([apart, *(abs(a - b) / max(abs(b), 1e-300) for a, b in zip(got, expected))])
    print(f"four metrics, their lifts, intervals and p-values: from ours at most {apart:.1e}, relative")
    if not apart <= 1e-6:
        sys.exit(f"tea-tasting does not agree with querent: {lifts}")


machine()
shutil.rmtree(folder, ignore_errors=True)
data.mkdir(parents=True)
simulated = querent(data, "simulate", "--experiment", "--users", str(rows // DAYS), "--experiment-days", str(DAYS), "--threads", "2")
in_own_process(one_file)
shutil.rmtree(data / "raw_experiment")
print(f"{rows // DAYS:,} users, {rows // DAYS * DAYS:,} user-days, {table.stat().st_size / 1e6:.0f} MB of Parquet; simulated in {simulated.seconds:.1f} s")

wholes, gathers, analyses, processes, inners, additions = [], [], [], [], [], []
for _ in range(runs):
    for figures, turns in zip(ours(), [wholes, gathers, analyses]):
        turns.append(figures)
    if "tea-tasting" in there:
        *found, lifts = theirs()
        for figures, turns in zip(found, [processes, inners, additions]):
            turns.append(figures)
show("querent abtest, whole process", wholes, rows, "user-days")
show("  adding up: users, moments", gathers, rows, "user-days")
show("  analysis", analyses, rows, "user-days")
show("tea-tasting, whole process", processes, rows, "user-days")
show("  without imports", inners, rows, "user-days")
show("  of it polars adding up users", additions, rows, "user-days")
ratio("whole processes, times as fast as tea-tasting", processes, wholes)
if processes:
    agree(lifts)
