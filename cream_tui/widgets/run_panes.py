"""Full-height panes of the Run screen: its stages, its models, its configuration.

Know ``cream_tui.views.run``. Must not know the store. Redrawn only where their words changed, so that the scroll stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static
from textual.widgets.option_list import Option

from cream_tui.readers.run_reader import RunData
from cream_tui.result_table import has_stand_in
from cream_tui.results import ModelResult
from cream_tui.screens.base import Copied
from cream_tui.text import make_visible
from cream_tui.units import MISSING, format_interval, format_percent, format_signed
from cream_tui.views.run import STAGE_COLUMNS, list_stage_rows
from cream_tui.widgets.stage_timeline import STATE_STYLES
from cream_tui.widgets.steady_list import SteadyList
from db.rows import RunCheckpoint

_GAP = "  "
_STAND_IN = "* M0's likelihood"
_REFERENCES = ("previous", "anchor")


class TextPane(VerticalScroll, can_focus=True):
    """A text that scrolls."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="pane")
        self._text = Static()
        self.content = Content("")

    def compose(self) -> ComposeResult:
        """The text."""
        yield self._text

    def set_content(self, title: str, content: Content) -> None:
        """Show this under a title."""
        self.border_title = title
        if content != self.content:
            self.content = content
            self._text.update(content)


class ModelList(SteadyList):
    """The models of a run with their folders."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="pane")
        self.models: tuple[RunCheckpoint, ...] = ()
        self._contents: list[Content] = []
        self.border_title = "models"

    def set_models(self, models: Sequence[RunCheckpoint], results: Sequence[ModelResult]) -> None:
        """Show the models that exist with what is known of them; the highlighted one stays."""
        found = {result.name: result for result in results}
        contents = [_describe_model(model.name, found.get(model.name), model.folder) for model in models]
        self.models = tuple(models)
        if contents == self._contents:
            return
        self._contents = contents
        highlighted = self.highlighted
        self.clear_options()
        self.add_options([Option(content) for content in contents])
        self.highlighted = min(highlighted or 0, len(contents) - 1) if contents else None

    def get_model(self) -> RunCheckpoint | None:
        """The highlighted model."""
        place = self.highlighted
        return self.models[place] if place is not None and place < len(self.models) else None


class RunPanes(Vertical):
    """One pane at a time: stages, models or config."""

    NAMES = ("stages", "models", "config")

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.name_in_front = ""
        self._text = TextPane()
        self._models = ModelList()

    def compose(self) -> ComposeResult:
        """Both kinds, of which one is seen."""
        yield self._text
        yield self._models

    def bring(self, name: str) -> None:
        """Bring a pane to the front and give it the focus."""
        self.name_in_front = name
        self._models.display = name == "models"
        self._text.display = not self._models.display
        (self._models if self._models.display else self._text).focus()

    def show_data(self, data: RunData) -> None:
        """Fill the pane in front."""
        if self.name_in_front == "config":
            text = Content(make_visible(data.config, keep_newlines=True))
            self._text.set_content("configuration, and where the run came from", text)
        elif self.name_in_front == "stages":
            self._text.set_content("stages", lay_out_stage_table(list_stage_rows(data.snapshot, data.attempts)))
        elif self.name_in_front == "models":
            self._models.set_models(data.checkpoints, data.snapshot.results)

    def get_model(self) -> RunCheckpoint | None:
        """The highlighted model, where the models are in front."""
        return self._models.get_model() if self.name_in_front == "models" else None

    def get_copy(self) -> Copied:
        """The folder of the highlighted model, or the whole text."""
        model = self.get_model()
        if model is not None:
            return Copied(model.folder, f"folder of {model.name}")
        return Copied(self._text.content.plain, self.name_in_front)


def _describe_model(name: str, result: ModelResult | None, folder: str) -> Content:
    accuracy = None if result is None else result.accuracy
    interval = None if result is None else result.interval
    right, labels = _write_share(accuracy), _write_share(None if result is None else result.get("label_accuracy"))
    previous, anchor = (format_signed(None if result is None else result.get(f"tau_{name}")) for name in _REFERENCES)
    mark = "*" if result is not None and has_stand_in(result) else " "
    return Content.assemble(
        (f"{name:<4}", "bold"),
        f"accuracy {right:>7} {'(' + format_interval(interval) + ')' if interval else '':<13}",
        f"{_GAP}labels right {labels:>7}\n",
        f"    tau to previous {previous:>6}{mark}{_GAP}tau to anchor {anchor:>6}",
        (f"{_GAP}{_STAND_IN}\n" if mark == "*" else "\n", "dim"),
        ("    " + make_visible(folder), "dim"),
    )


def _write_share(share: float | None) -> str:
    return MISSING if share is None else f"{format_percent(share)} %"


def lay_out_stage_table(rows: Sequence[tuple[tuple[str, ...], str]]) -> Content:
    """The stages as aligned columns, those without a value left out."""
    table = [STAGE_COLUMNS, *(tuple(make_visible(cell) for cell in cells) for cells, _ in rows)]
    kept = [k for k in range(len(STAGE_COLUMNS)) if k < 3 or any(cells[k] != MISSING for cells in table[1:])]
    widths = {k: max(cell_len(cells[k]) for cells in table) for k in kept}
    lines = []
    for number, cells in enumerate(table):
        state = rows[number - 1][1] if number else ""
        parts: list[tuple[str, str]] = []
        for k in kept:
            padding = " " * (widths[k] - cell_len(cells[k]))
            text = cells[k] + padding if k < 2 else padding + cells[k]
            style = "$foreground 60%" if number == 0 else STATE_STYLES.get(state, "") if k == 1 else ""
            parts.append((text + _GAP, style))
        lines.append(Content.assemble(*parts))
    return Content("\n").join(lines)
