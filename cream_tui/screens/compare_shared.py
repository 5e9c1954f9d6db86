"""Reads, beside the event loop, what two runs say on the same prompts, and hands it to the panes and the answers.

Knows the app's services, the panes and the answers. Must not know the screen. One reading of a kind at a time; what is
no longer wanted when it comes is read anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cream_tui.readers.compare_reader import CompareData
from cream_tui.readers.shared_reader import AnswersData, SharedData, SharedReader, Source, read_sampled_detail
from cream_tui.screens.base import Copied, Table
from cream_tui.views.compare_selection import Selection
from cream_tui.views.shared_prompts import AnsweredItem, SampledItem
from cream_tui.widgets.answers_view import AnswersView
from cream_tui.widgets.compare_panes import ComparePanes
from db.errors import StoreError

if TYPE_CHECKING:
    import sqlite3

    from cream_tui.app import CreamApp


@dataclass(slots=True)
class _Slot:
    """One kind of reading: what is on the screen, and what is being read."""

    shown: object = None
    wanted: object = None
    is_busy: bool = False
    again: Callable[[], None] | None = field(default=None, repr=False)


class SharedPrompts:
    """The readings of one screen."""

    def __init__(self, panes: ComparePanes) -> None:
        self._panes = panes
        self.answers = AnswersView(id="compare-answers")
        self._reader = SharedReader()
        self._slots = {name: _Slot() for name in ("shared", "answers", "detail")}
        self.shared: SharedData | None = None
        self.source: Source | None = None

    @property
    def sources(self) -> list[Source]:
        """Where answers can come from: iterations, then models; the last model is what is shown first."""
        if self.shared is None:
            return []
        sampled = [Source(iteration=found.iteration) for found in self.shared.sampled]
        return [*sampled, *(Source(model=model) for model in self.shared.models)]

    def get_copy(self) -> Copied | None:
        """Prompt and answers of an evaluation item; of a sampled prompt the prompt."""
        item = self.answers.current
        if isinstance(item, AnsweredItem):
            return Copied("\n\n".join([item.prompt, *(answer.text for answer in item.answers)]), "prompt and answers")
        return None if item is None else Copied(item.prompt, "prompt")

    def get_table(self, selection: Selection) -> Table | None:
        """The listed prompts with what the run and the baseline made of them."""
        if selection.rival is None:
            return None
        return tabulate_answers(selection.baseline_run.name, selection.rival.name, self.answers.shown_items)

    def read_shared(self, app: CreamApp, data: CompareData, selection: Selection, then: Callable[[], None]) -> None:
        """Read counts and sentences unless they are shown; ``then`` follows."""
        base, rival = selection.baseline_run, selection.rival
        if rival is None:
            return

        def show(shared: SharedData) -> None:
            self.shared = shared
            self._panes.show_shared(shared, selection)
            then()

        self._read(
            app,
            "shared",
            (data.progress, base.run_id, rival.run_id, tuple(arm.letter for arm in selection.arms)),
            lambda connection: self._reader.read_shared(connection, data.runs, base, rival),
            show,
        )

    def read_answers(self, app: CreamApp, data: CompareData, selection: Selection) -> None:
        """Read the answers of the source unless they are shown."""
        base, rival = selection.baseline_run, selection.rival
        if rival is None or not self.sources:
            return
        source = self.source if self.source in self.sources else self.sources[-1]
        titles = tuple(f"{selection.find_letter(run.run_id)} {run.name}" for run in (base, rival))

        def show(answers: AnswersData) -> None:
            self.answers.show_answers(answers, *titles)

        self._read(
            app,
            "answers",
            (data.progress, base.run_id, rival.run_id, source, titles),
            lambda connection: self._reader.read_answers(connection, base, rival, source),
            show,
        )

    def step_source(self, step: int) -> None:
        """Take the next source, around the ends."""
        sources = self.sources
        if sources:
            here = sources.index(self.source) if self.source in sources else len(sources) - 1
            self.source = sources[(here + step) % len(sources)]

    def read_detail(self, app: CreamApp, prompt_id: str) -> None:
        """Read the texts of a sampled prompt."""
        item, shared = self.answers.current_sampled, self.answers.shared
        if item is None or shared is None:
            return
        self._read(
            app,
            "detail",
            (shared, prompt_id),
            lambda connection: read_sampled_detail(connection, shared, prompt_id),
            lambda detail: self.answers.show_detail(item, detail),
        )

    def _read(
        self,
        app: CreamApp,
        kind: str,
        key: object,
        read: Callable[[sqlite3.Connection], Any],
        show: Callable[[Any], None],
    ) -> None:
        slot = self._slots[kind]
        if key == slot.shown and not slot.is_busy and kind != "detail":
            return
        slot.wanted = key
        if slot.is_busy:
            slot.again = lambda: self._read(app, kind, key, read, show)
            return
        slot.is_busy = True

        def work() -> Any:
            try:
                with app.reader() as connection:
                    return None if connection is None else read(connection)
            except StoreError:  # the screen's own reading tells of it
                return None

        def finish(found: Any) -> None:
            slot.is_busy = False
            again, slot.again = slot.again, None
            if slot.wanted == key and found is not None and self._panes.is_mounted:
                slot.shown = key
                show(found)
            if again is not None and slot.wanted != key:
                again()

        app.in_background(work, finish)


def tabulate_answers(baseline: str, run: str, items: Sequence[AnsweredItem | SampledItem]) -> Table:
    """The listed prompts with what a run and the baseline made of them."""
    if all(isinstance(item, SampledItem) for item in items) and items:
        sampled_columns = (
            "prompt_id",
            "prompt",
            "baseline",
            "run",
            "baseline_right",
            "run_right",
            "outcome",
            "relation",
        )
        sampled = [
            (
                *(item.prompt_id, item.prompt, baseline, run, item.baseline.n_right, item.run.n_right),
                *(None if item.outcome is None else item.outcome.value,),
                *(None if item.relation is None else item.relation.value,),
            )
            for item in items
            if isinstance(item, SampledItem)
        ]
        return Table("answers", sampled_columns, sampled)
    columns = ("task", "item_id", "prompt", "gold", "baseline", "baseline_response", "baseline_correct")
    greedy = [
        (
            *(item.task, item.item_id, item.prompt, item.gold),
            *(baseline, item.answers[0].text, item.answers[0].is_right),
            *(run, item.answers[1].text, item.answers[1].is_right, item.outcomes[0].value),
        )
        for item in items
        if isinstance(item, AnsweredItem)
    ]
    return Table("answers", (*columns, "run", "run_response", "run_correct", "outcome"), greedy)
