"""Changed spans written from their own start.

Knows how Textual's compositor hands a partial update to the terminal. Must not know widgets. Textual 8 writes a changed
span from the left edge of its widget on; for a live chart, which changes at its right end, that is the whole row.
A screen that sets ``self._compositor = SpanCompositor()`` sends what changed and no more.
"""

from __future__ import annotations

from rich.console import Console
from rich.control import Control
from textual._compositor import ChopsUpdate, Compositor


class SpanUpdate(ChopsUpdate):
    """A partial update that is cut at both ends of each span."""

    def render_segments(self, console: Console) -> str:
        """The sequences that bring the spans onto the terminal."""
        sequences: list[str] = []
        for y, first, last in self.spans:
            for end, (start, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                if strip is None or start >= last or end <= first:
                    continue
                left, right = max(start, first), min(end, last)
                if (left, right) != (start, end):
                    strip = strip.crop(left - start, right - start)
                sequences += (Control.move_to(left, y).segment.text, strip.render(console))
        return "".join(sequences)


class SpanCompositor(Compositor):
    """Textual's compositor with partial updates that are cut at both ends."""

    def render_partial_update(self) -> SpanUpdate | None:
        """What is dirty, as an update; None where nothing is."""
        update = super().render_partial_update()
        return None if update is None else SpanUpdate(update.chops, update.spans, update.chop_ends)
