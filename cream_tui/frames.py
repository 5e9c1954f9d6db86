"""Rows as pandas data frames with types that know a missing value. pandas is imported when a frame is built.

Knows column kinds. Must not know the store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from db.export_types import Kind, find_kind

if TYPE_CHECKING:
    import pandas

_DTYPES = {"text": "string", "integer": "Int64", "number": "Float64", "flag": "boolean"}


def build_frame(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], kinds: Mapping[str, Kind] | None = None
) -> pandas.DataFrame:
    """A frame of these rows; a missing value is NA, a time a UTC time stamp, a list of numbers a list.

    Args:
        kinds: Of columns that are none of an exported table.
    """
    import pandas

    cells = list(zip(*rows, strict=True)) or [()] * len(columns)
    return pandas.DataFrame(
        {
            name: _build_column(values, (kinds or {}).get(name) or find_kind(name))
            for name, values in zip(columns, cells, strict=True)
        }
    )


def _build_column(values: Sequence[Any], kind: Kind) -> pandas.Series[Any]:
    import pandas

    if kind == "time":
        return pandas.to_datetime(pandas.Series(values, dtype="string"), utc=True, format="ISO8601")
    if kind in ("integers", "texts"):
        return pandas.Series([None if value is None else json.loads(value) for value in values], dtype="object")
    return pandas.Series(values, dtype=_DTYPES[kind])
