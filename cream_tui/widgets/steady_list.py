"""A list of options whose pages can be turned at any time.

Knows Textual. Must not know what is listed.
"""

from __future__ import annotations

from contextlib import suppress

from textual.widgets import OptionList


class SteadyList(OptionList):
    """Textual's own looks for lines that are there only once it was drawn: a key may be faster."""

    def action_page_up(self) -> None:
        """A page up."""
        with suppress(KeyError, IndexError):
            super().action_page_up()  # type: ignore[no-untyped-call]

    def action_page_down(self) -> None:
        """A page down."""
        with suppress(KeyError, IndexError):
            super().action_page_down()  # type: ignore[no-untyped-call]
