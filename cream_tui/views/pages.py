"""Which panels are in sight: pages of a grid, or one panel on its own.

Pure: keys and sizes in, keys out; no Textual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

_CELL_WIDTH, _CELL_HEIGHT = 36, 9  # a chart wants at least as much
_MOST_COLUMNS, _MOST_ROWS = 2, 2


@dataclass(frozen=True, slots=True)
class Pages:
    """Attributes:
    keys: All panels, in their order.
    columns, rows: Of a page.
    page: The one in sight, from 0.
    zoomed: The panel that has the whole place; None: the page is in sight.
    """

    keys: tuple[str, ...]
    columns: int = _MOST_COLUMNS
    rows: int = _MOST_ROWS
    page: int = 0
    zoomed: str | None = None

    @property
    def n_cells(self) -> int:
        """Panels of a full page."""
        return self.columns * self.rows

    @property
    def n_pages(self) -> int:
        """Pages that hold all panels."""
        return max(1, -(-len(self.keys) // self.n_cells))

    @property
    def visible(self) -> tuple[str, ...]:
        """The panels in sight."""
        if self.zoomed is not None:
            return (self.zoomed,)
        return self.keys[self.page * self.n_cells : (self.page + 1) * self.n_cells]

    @property
    def shape(self) -> tuple[int, int]:
        """Columns and rows in sight: a page that is not full has larger cells."""
        n = max(1, len(self.visible))
        columns = min(self.columns, n)
        return columns, min(self.rows, -(-n // columns))

    def with_keys(self, keys: Sequence[str]) -> Pages:
        """The same place among other panels."""
        zoomed = self.zoomed if self.zoomed in keys else None
        return replace(self, keys=tuple(keys), zoomed=zoomed)._turn_to(self.page)

    def fit(self, width: int, height: int) -> Pages:
        """As many panels on a page as fit in these cells; the first in sight stays in sight."""
        columns = max(1, min(_MOST_COLUMNS, width // _CELL_WIDTH))
        rows = max(1, min(_MOST_ROWS, height // _CELL_HEIGHT))
        return replace(self, columns=columns, rows=rows)._turn_to(self.page * self.n_cells // (columns * rows))

    def show(self, key: str) -> Pages:
        """With this panel in sight."""
        if key not in self.keys:
            return self
        if self.zoomed is not None:
            return replace(self, zoomed=key)
        return self._turn_to(self.keys.index(key) // self.n_cells)

    def zoom(self, key: str | None) -> Pages:
        """With this panel on its own; None goes back to the page of the one that was."""
        if key is None and self.zoomed is not None:
            return replace(self, zoomed=None).show(self.zoomed)
        return replace(self, zoomed=key if key in self.keys else None)

    def turn(self, step: int) -> Pages:
        """The next page or the one before, around the ends; with a panel on its own the next panel."""
        if self.zoomed is not None:
            return replace(self, zoomed=self.keys[(self.keys.index(self.zoomed) + step) % len(self.keys)])
        return replace(self, page=(self.page + step) % self.n_pages)

    def find_neighbour(self, key: str, columns: int, rows: int) -> str:
        """The panel so many columns and rows away, on other pages too; the same at the ends."""
        step = columns + rows * self.shape[0]
        place = self.keys.index(key) + step
        return self.keys[place] if 0 <= place < len(self.keys) else key

    def _turn_to(self, page: int) -> Pages:
        return replace(self, page=max(0, min(page, self.n_pages - 1)))
