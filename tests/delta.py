"""Opens every dataset under a root as a Delta table, and fails unless all readers see the rows, types and buckets of its parts.

usage: delta.py QUERENT ROOT
       delta.py TABLE --reads N --rows R --version-column NAME    counts what readers see while another process commits
"""

import argparse
from collections import Counter
from pathlib import Path

import duckdb
import polars
import pyarrow
import pyarrow.parquet
from deltalake import DeltaTable

from readers import count, inspect, kinds, multiset

parser = argparse.ArgumentParser(usage=__doc__)
parser.add_argument("paths", nargs="+")
parser.add_argument("--reads", type=int)
parser.add_argument("--rows", type=int)
parser.add_argument("--version-column")
flags = parser.parse_args()

# The extension is used where it is installed; nothing is fetched here.
bundled = duckdb.sql("from duckdb_extensions() where extension_name = 'delta' and installed").fetchall()


def with_duckdb(folder: str) -> pyarrow.Table:
    return duckdb.sql(f"from delta_scan('{folder}')").to_arrow_table()


def check(querent: str, root: Path) -> None:
    checked = 0
    for folder in sorted(p for p in root.iterdir() if (p / "_delta_log").is_dir()):
        name = folder.name
        files = inspect(querent, root, name, "--files").split()
        bucketed = any(Path(file).parent.name.startswith("bucket=") for file in files)
        parts = {Path(file).resolve(): pyarrow.parquet.read_table(file, partitioning=None) for file in files}
        table = DeltaTable(folder)

        schemas = {str(kinds(part.schema)): kinds(part.schema) for part in parts.values()}
        if len(schemas) > 1:
            raise AssertionError((name, "parts of several schemas", schemas))
        types = next(iter(schemas.values()), None)
        rows = Counter()
        for path, part in parts.items():
            if bucketed:
                number = int(path.parent.name.removeprefix("bucket="))
                part = part.append_column("bucket", pyarrow.array([number] * part.num_rows, pyarrow.int32()))
            rows += multiset(part, part.column_names)

        adds = pyarrow.table(table.get_add_actions()).to_pylist()
        counts = {(folder / add["path"]).resolve(): add["num_records"] for add in adds}
        assert counts == {path: part.num_rows for path, part in parts.items()}, (name, "parts", counts)

        readers = {
            "deltalake": table.to_pyarrow_table,
            "polars": lambda: polars.scan_delta(str(folder)).collect().to_arrow(),
            **({"duckdb": lambda: with_duckdb(str(folder))} if bundled else {}),
        }
        for reader, read in readers.items():
            got = read()
            saw = kinds(got.schema)
            bucket = {"bucket": "int32"} if bucketed else {}
            assert types is None or saw == {**types, **bucket}, (name, reader, saw, types)
            assert multiset(got, [*(types or saw), *bucket]) == rows, (name, reader, "other rows than its parts", got.num_rows)
        checked += 1

    assert checked >= 10, f"only {checked} tables under {root}"
    print(f"{checked} tables: deltalake, polars{', duckdb' if bundled else ''} agree with the parts")


if flags.reads is None:
    querent, root = flags.paths
    check(querent, Path(root))
else:
    (table,) = flags.paths
    readers = {
        "deltalake": lambda column: DeltaTable(table).to_pyarrow_table(columns=[column])[column].to_pylist(),
        "polars": lambda column: polars.scan_delta(table).select(column).collect()[column].to_list(),
        **({"duckdb": lambda column: with_duckdb(table)[column].to_pylist()} if bundled else {}),
    }
    count(readers, flags.reads, flags.rows, flags.version_column)
