"""Opens every dataset under a root as notebooks do, and fails unless all readers see the manifest's rows and types.

usage: notebooks.py QUERENT ROOT
"""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.parquet

querent, root = sys.argv[1], Path(sys.argv[2])


def inspect(name: str, *flags: str) -> str:
    command = [querent, "inspect", name, "--data", str(root), *flags]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def kind(arrow_type: pyarrow.DataType) -> str:
    """A type's family: what must be the same whichever reader names it."""
    t = pyarrow.types
    if t.is_list(arrow_type) or t.is_large_list(arrow_type):
        return f"list[{kind(arrow_type.value_type)}]"
    if t.is_struct(arrow_type):
        return "struct[" + ", ".join(f"{f.name}: {kind(f.type)}" for f in arrow_type) + "]"
    if t.is_timestamp(arrow_type):
        assert arrow_type.unit == "us" and arrow_type.tz is not None, arrow_type
        return "timestamp"
    if t.is_string(arrow_type) or t.is_large_string(arrow_type) or t.is_string_view(arrow_type):
        return "string"
    return str(arrow_type)


checked = 0
for folder in sorted(p for p in root.iterdir() if (p / "_manifests").is_dir()):
    name = folder.name
    manifest = json.loads(inspect(name, "--json"))
    files = inspect(name, "--files").split()
    expected = {f.name: kind(f.type) for f in pyarrow.parquet.read_schema(files[0])}
    glob = f"{folder}/**/*.parquet"

    frames = {
        "polars, glob": polars.read_parquet(glob, hive_partitioning=False).to_arrow(),
        "polars, files": polars.read_parquet(files, hive_partitioning=False).to_arrow(),
        "duckdb, glob": duckdb.sql(f"select * from read_parquet('{glob}', hive_partitioning=false)").to_arrow_table(),
        "duckdb, files": duckdb.sql(f"select * from read_parquet({files}, hive_partitioning=false)").to_arrow_table(),
        "pyarrow, glob": pyarrow.dataset.dataset([str(p) for p in folder.glob("**/*.parquet")]).to_table(),
        "pyarrow, files": pyarrow.dataset.dataset(files).to_table(),
    }
    for reader, table in frames.items():
        assert table.num_rows == manifest["rows"], (name, reader, table.num_rows, manifest["rows"])
        got = {f.name: kind(f.type) for f in table.schema}
        assert got == expected, (name, reader, got, expected)
    for reader, paths in {"pandas, files": files, "pandas, glob": list(folder.glob("**/*.parquet"))}.items():
        rows = pandas.concat([pandas.read_parquet(p, partitioning=None) for p in paths])
        assert len(rows) == manifest["rows"] and list(rows.columns) == list(expected), (name, reader)
    # Hive folders are read as a column by those who want it.
    if manifest["parts"][0]["path"].startswith("bucket="):
        hive = polars.read_parquet(glob, hive_partitioning=True)
        assert hive["bucket"].n_unique() == len({p["partition"] for p in manifest["parts"]}) or hive.is_empty()
    checked += 1

assert checked >= 10, f"only {checked} datasets under {root}"
print(f"{checked} datasets: polars, duckdb, pandas and pyarrow agree with the manifests")
