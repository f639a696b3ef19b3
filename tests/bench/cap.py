"""`cap` beside DuckDB on the same Parquet, the same cores and 2 GB each; peak memory; what bucketing cost at ingest.

usage: cap.py FOLDER [USERS] [RUNS]    (USERS 500000 is the scale of the paper's Table 1)

The two do not do the same work: `ingest` has sorted the parts that `cap` reads, and DuckDB sorts. At 500,000 users it must sort
within 2 GB, which a smaller log does not ask of it.
"""

import shutil
import sys
from pathlib import Path

from tools import ROOT, installed, machine, python, querent, ratio, reading_seconds, show

if len(sys.argv) < 2:
    sys.exit(__doc__)
there = installed(own=["polars"], peers={"duckdb": ["duckdb"]})
folder = Path(sys.argv[1])
users = int(sys.argv[2]) if len(sys.argv) > 2 else 500_000
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
data = folder / f"cap-{users}"
machine()

# No noise: these are the events that cleaning would leave.
config = data / "bench.toml"
data.mkdir(parents=True, exist_ok=True)
text = (ROOT / "jobs/configs/demo.toml").read_text().replace("out/demo", str(data))
config.write_text(text)
common = ["--config", str(config)]
simulated = querent(data, "simulate", *common, "--users", str(users), "--news", str(max(20_000, users * 12 // 5)), "--noise", "0")
buckets = max(64, users // 8000)  # some 8,000 users per bucket
ingested, reading = reading_seconds(data, "ingest", *common, "--buckets", str(buckets))
cleaned = querent(data, "clean", *common, "--model", "none")

import polars  # noqa: E402

glob = f"{data}/clean_events/**/*.parquet"
events = polars.scan_parquet(glob, hive_partitioning=False).select(polars.len()).collect().item()
size = sum(p.stat().st_size for p in (data / "clean_events").glob("**/*.parquet"))
print(f"{users:,} users, {events:,} clean events, {size / 1e6:.0f} MB of Parquet")
print(f"simulate {simulated.seconds:.1f} s, {simulated.peak_mib:.0f} MiB; "
      f"ingest {ingested.seconds:.1f} s ({ingested.seconds - reading:.1f} of them bucketing: settling the spilled buckets), "
      f"{ingested.peak_mib:.0f} MiB; clean {cleaned.seconds:.1f} s, {cleaned.peak_mib:.0f} MiB")

duck = f"""
import duckdb
duckdb.sql("SET threads=2; SET memory_limit='2GB'; SET temp_directory='{folder}/duckdb-tmp'; SET preserve_insertion_order=false")
duckdb.sql('''COPY (SELECT * FROM read_parquet('{glob}', hive_partitioning=false)
  QUALIFY row_number() OVER (PARTITION BY user_id, domain ORDER BY occurred_at DESC, event_id) <= 50)
  TO '{folder}/duckdb.parquet' (FORMAT parquet, COMPRESSION zstd)''')
"""
ours, theirs = [], []
for _ in range(runs):
    shutil.rmtree(data / "profiles", ignore_errors=True)
    ours.append(querent(data, "cap", *common, "--threads", "2"))
    if "duckdb" in there:
        theirs.append(python(duck))
behaviours = polars.scan_parquet(f"{data}/profiles/**/*.parquet", hive_partitioning=False).select(polars.col("behaviours").list.len().sum()).collect().item()
if theirs:
    kept = polars.scan_parquet(f"{folder}/duckdb.parquet").select(polars.len()).collect().item()
    assert kept == behaviours, (kept, behaviours)
    (folder / "duckdb.parquet").unlink()

show("querent cap, of parts that ingest has sorted", ours, events, "events")
show("duckdb, which sorts", theirs, events, "events")
ratio("times as fast as duckdb", theirs, ours)
floor = python(f"import polars; print(polars.scan_parquet('{glob}', hive_partitioning=False).select(polars.col('user_id', 'domain', 'occurred_at', 'text', 'news_id').count()).collect())")
show("floor: polars decodes the same columns", [floor], events, "events")
print(f"{'both keep' if theirs else 'kept'} {behaviours:,} events, {behaviours / users:.2f} per user")
