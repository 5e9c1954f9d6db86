"""Typed Parquet files of exported rows. pyarrow is imported when one is written.

Knows column kinds. Must not know tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.export_types import Kind

if TYPE_CHECKING:
    import pyarrow

ROWS_AT_ONCE = 2_000


def write_parquet(
    target: Path, records: Iterable[Mapping[str, Any]], kinds: Mapping[str, Kind], messages: Sequence[str] = ()
) -> int:
    """Write records in batches and return how many there were.

    Args:
        kinds: Every column in order.
        messages: Columns that hold lists of messages, whatever their kind.
    """
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, _find_type(kind, name in messages)) for name, kind in kinds.items()])
    n = 0
    with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in _take(iter(records)):
            rows = [{name: _convert(record[name], kind) for name, kind in kinds.items()} for record in batch]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
            n += len(rows)
    return n


def _find_type(kind: Kind, is_messages: bool) -> pyarrow.DataType:
    import pyarrow

    if is_messages:
        return pyarrow.list_(pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())]))
    types = {
        "text": pyarrow.string(),
        "integer": pyarrow.int64(),
        "number": pyarrow.float64(),
        "flag": pyarrow.bool_(),
        "time": pyarrow.timestamp("us", tz="UTC"),
        "integers": pyarrow.list_(pyarrow.int64()),
        "texts": pyarrow.list_(pyarrow.string()),
    }
    return types[kind]


def _convert(value: Any, kind: Kind) -> Any:
    if value is None or not isinstance(value, str):
        return value
    if kind in ("integers", "texts"):
        return json.loads(value)
    if kind == "time":
        from datetime import datetime

        return datetime.fromisoformat(value)
    return value


def _take(records: Iterator[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    while batch := list(islice(records, ROWS_AT_ONCE)):
        yield batch
