"""`ingest` beside Polars' own reading of the same files, Parquet and CSV: the floor.

usage: ingest.py FOLDER [USERS] [RUNS]
"""

import shutil
import sys
from pathlib import Path

from tools import ROOT, installed, machine, python, querent, ratio, show

if len(sys.argv) < 2:
    sys.exit(__doc__)
installed(own=["polars"], peers={})
import polars  # noqa: E402

folder = Path(sys.argv[1])
users = int(sys.argv[2]) if len(sys.argv) > 2 else 50_000
runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
data = folder / f"ingest-{users}"
machine()
parquet = (ROOT / "jobs/configs/demo.toml").read_text().replace("out/demo", str(data))
data.mkdir(parents=True, exist_ok=True)
(data / "parquet.toml").write_text(parquet)
querent(data, "simulate", "--config", str(data / "parquet.toml"), "--users", str(users), "--news", str(max(20_000, users)))

# The same logs as CSV, the news still as Parquet.
logs = {"raw_searches": "searched_at", "raw_visits": "visited_at", "raw_clicks": "clicked_at"}
csv = parquet
for log, time in logs.items():
    target = data / "csv" / log
    target.mkdir(parents=True, exist_ok=True)
    for file in (data / log).glob("*.parquet"):
        frame = polars.read_parquet(file).with_columns(polars.col(time).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
        frame.write_csv(target / f"{file.stem}.csv")
    csv = csv.replace(f'files = ["{data}/{log}/*.parquet"]', f'files = ["{target}/*.csv"]\nformat = "csv"')
(data / "csv.toml").write_text(csv)
events = sum(polars.scan_parquet(f"{data}/{log}/*.parquet").select(polars.len()).collect().item() for log in logs)
print(f"{users:,} users, {events:,} behaviours")

for name, scan, files in [
    ("parquet", "scan_parquet", "{data}/{log}/*.parquet"),
    ("csv", "scan_csv", "{data}/csv/{log}/*.csv"),
]:
    globs = [files.format(data=data, log=log) for log in logs]
    read = "import polars\n" + "\n".join(
        f"print(polars.{scan}('{g}').select(polars.all().count()).collect())" for g in globs
    )
    ours, theirs = [], []
    for _ in range(runs):
        for dataset in ["events", "truth", "news", "events.quarantine"]:
            shutil.rmtree(data / dataset, ignore_errors=True)
        ours.append(querent(data, "ingest", "--config", str(data / f"{name}.toml"), "--threads", "2"))
        theirs.append(python(read))
    show(f"querent ingest, {name}", ours, events, "behaviours")
    show(f"floor: polars reads the {name} files", theirs, events, "behaviours")
    ratio("times the floor", ours, theirs)
