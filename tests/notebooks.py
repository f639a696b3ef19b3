"""Opens every dataset under a root as notebooks do, and fails unless all readers see the current version's rows and types.

usage: notebooks.py QUERENT ROOT
"""

import json
import sys
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow.dataset
import pyarrow.parquet

from readers import inspect, kinds

querent, root = sys.argv[1], Path(sys.argv[2])

checked = 0
for folder in sorted(p for p in root.iterdir() if (p / "_delta_log").is_dir()):
    name = folder.name
    version = json.loads(inspect(querent, root, name, "--json"))
    files = inspect(querent, root, name, "--files").split()
    expected = kinds(pyarrow.parquet.read_schema(files[0]))
    bucketed = version["parts"][0]["path"].startswith("bucket=")
    # The log's folder has Parquet files too, so a glob names the folders of the parts.
    glob = f"{folder}/bucket=*/*.parquet" if bucketed else f"{folder}/*.parquet"
    found = [str(p) for p in folder.glob("bucket=*/*.parquet" if bucketed else "*.parquet")]
    assert sorted(Path(p).name for p in found) == sorted(Path(p).name for p in files), name

    frames = {
        "polars, glob": polars.read_parquet(glob, hive_partitioning=False).to_arrow(),
        "polars, files": polars.read_parquet(files, hive_partitioning=False).to_arrow(),
        "duckdb, glob": duckdb.sql(f"select * from read_parquet('{glob}', hive_partitioning=false)").to_arrow_table(),
        "duckdb, files": duckdb.sql(f"select * from read_parquet({files}, hive_partitioning=false)").to_arrow_table(),
        "pyarrow, files": pyarrow.dataset.dataset(files).to_table(),
    }
    for reader, table in frames.items():
        assert table.num_rows == version["rows"], (name, reader, table.num_rows, version["rows"])
        assert kinds(table.schema) == expected, (name, reader, kinds(table.schema), expected)
    rows = pandas.concat([pandas.read_parquet(p, partitioning=None) for p in files])
    assert len(rows) == version["rows"] and list(rows.columns) == list(expected), (name, "pandas")
    # Hive folders are read as a column by those who want it.
    if bucketed:
        hive = polars.read_parquet(glob, hive_partitioning=True)
        assert hive["bucket"].n_unique() == len({p["partition"] for p in version["parts"]}) or hive.is_empty()
    checked += 1

assert checked >= 10, f"only {checked} datasets under {root}"
print(f"{checked} datasets: polars, duckdb, pandas and pyarrow read the current version")
