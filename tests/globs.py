"""Counts what readers of plain globs, who know of no log, see while another process commits.

usage: globs.py FOLDER --reads N --rows R --version-column NAME
"""

import argparse

import duckdb
import polars

from readers import count

parser = argparse.ArgumentParser(usage=__doc__)
parser.add_argument("folder")
parser.add_argument("--reads", type=int, required=True)
parser.add_argument("--rows", type=int, required=True)
parser.add_argument("--version-column", required=True)
flags = parser.parse_args()

# The log has Parquet files of its own.
pattern = f"{flags.folder}/bucket=*/*.parquet"


def with_duckdb(column: str) -> list:
    # A connection per read: nothing is remembered of files that are gone.
    with duckdb.connect() as connection:
        query = f"select {column} from read_parquet('{pattern}', hive_partitioning=false)"
        return [value for (value,) in connection.sql(query).fetchall()]


readers = {
    "polars": lambda column: polars.read_parquet(pattern, columns=[column], hive_partitioning=False)[column].to_list(),
    "duckdb": with_duckdb,
}
count(readers, flags.reads, flags.rows, flags.version_column)
