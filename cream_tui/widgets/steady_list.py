"""A list of options whose pages can be turned at any time, and whose choice has a mark: colours may be off.

Knows Textual. Must not know what is listed.
"""

from __future__ import annotations

from contextlib import suppress

from rich.segment import Segment
from textual.strip import Strip
from textual.widgets import OptionList

_MARK = "▸"


class SteadyList(OptionList):
    """Textual's own looks for lines that are there only once it was drawn: a key may be faster."""

    DEFAULT_CSS = "SteadyList > .option-list--option { padding: 0 1 0 2; }"

    def render_line(self, y: int) -> Strip:
        """One line of the widget; the first of the highlighted option begins with the mark."""
        strip = super().render_line(y)
        at = self.scroll_offset.y + y
        is_first = at < len(self._lines) and self._lines[at] == (self.highlighted, 0)
        if not is_first or not strip.cell_length:
            return strip
        mark = Segment(_MARK, next(segment.style for segment in strip if segment.text))
        return Strip.join([Strip([mark]), strip.crop(1)])

    def action_page_up(self) -> None:
        """A page up."""
        with suppress(KeyError, IndexError):
            super().action_page_up()  # type: ignore[no-untyped-call]

    def action_page_down(self) -> None:
        """A page down."""
        with suppress(KeyError, IndexError):
            super().action_page_down()  # type: ignore[no-untyped-call]
