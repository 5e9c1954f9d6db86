"""What the screens look like: one picture per view, compared as SVG with the kept one.

``pytest tests/ui/test_pictures.py --snapshot-update`` keeps new ones; look at them before.
"""

from __future__ import annotations

import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest
from pictures import VIEWS, View, draw, find_now
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

Usage = namedtuple("Usage", "total used free")


class Picture(SingleFileSnapshotExtension):
    """One .svg file per view."""

    file_extension = "svg"
    _write_mode = WriteMode.TEXT


@pytest.fixture(autouse=True)
def frozen(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = find_now(store)
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100 << 30, 40 << 30, 60 << 30))


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
async def test_the_view_looks_as_it_did(view: View, store: Path, snapshot: SnapshotAssertion) -> None:
    assert await draw(view, store) == snapshot(extension_class=Picture)
