"""What the scripts that open datasets as others do share: a command's answer, types by family, rows as a multiset, counted reads."""

import datetime
import json
import subprocess
from collections import Counter

import pyarrow


def inspect(querent: str, root: str, name: str, *flags: str) -> str:
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


def kinds(schema: pyarrow.Schema) -> dict:
    return {f.name: kind(f.type) for f in schema}


def plain(value):
    """A value that can be counted, and that is the same whatever a reader calls the time zone."""
    if isinstance(value, dict):
        return tuple((key, plain(v)) for key, v in value.items())
    if isinstance(value, list):
        return tuple(map(plain, value))
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).isoformat()
    return value if value == value else "nan"


def multiset(table: pyarrow.Table, columns: list) -> Counter:
    return Counter(map(plain, table.select(columns).to_pylist()))


def count(readers: dict, reads: int, rows: int, column: str) -> None:
    """Reads with each reader in turn while somebody commits; every row carries the version that it was written in.

    A mixture is a read that saw rows of several versions, or fewer or more than a version has. Prints a line of JSON per reader.
    """
    for reader, read in readers.items():
        said = {"reader": reader, "reads": 0, "mixtures": 0, "errors": Counter()}
        seen = set()
        for _ in range(reads):
            said["reads"] += 1
            try:
                values = read(column)
            except Exception as e:  # noqa: BLE001 (whatever a reader raises is what is counted)
                said["errors"][type(e).__name__] += 1
                continue
            seen |= set(values)
            said["mixtures"] += len(set(values)) > 1 or len(values) != rows
        print(json.dumps({**said, "versions": len(seen)}), flush=True)
