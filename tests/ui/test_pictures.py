"""What the screens look like: one picture per view, compared as SVG with the kept one.

``pytest tests/ui/test_pictures.py --snapshot-update`` keeps new ones; look at them before.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from driving import copy_store
from pictures import VIEWS, View, draw, frozen
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode


class Picture(SingleFileSnapshotExtension):
    """One .svg file per view."""

    file_extension = "svg"
    _write_mode = WriteMode.TEXT


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
async def test_the_view_looks_as_it_did(view: View, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    store = copy_store(tmp_path, is_usable=False)
    with frozen(store):
        assert await draw(view, store) == snapshot(extension_class=Picture)
