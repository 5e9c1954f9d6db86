"""What keys do on the Pairs screen beyond moving: judging, jumping, ready filters, notes, texts to copy and to export.

Knows the screen and dialogs. Must not know SQL.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from textual.content import Content

from cream_tui.readers.pair_reader import PairsData
from cream_tui.screens.base import Copied, Table
from cream_tui.screens.dialogs import NOTE_HINT, AskText, Choose
from cream_tui.text import make_visible
from cream_tui.views.pair_judging import turn_verdict
from cream_tui.views.pair_ranks import is_turned
from cream_tui.views.pairs import QUICK_FILTERS, check_number, find_next
from cream_tui.widgets.pair_text import DIM, Look, build_copy
from db.errors import StoreError
from db.pair_browse import read_pair_ids, read_pair_rows

if TYPE_CHECKING:
    from cream_tui.screens.pairs import PairsScreen
    from cream_tui.services import ServiceApp

_PAGE = 500
_COLUMNS = (
    *("number", "iteration", "prompt_id", "prompt", "chosen", "rejected", "label", "tau_previous", "tau_anchor"),
    *("consistency_rate", "confidence", "margin", "previous_margin", "length_ratio", "chosen_correct"),
    *("rejected_correct", "verdict", "is_flagged", "is_blind", "note", "skip_reason"),
)
_BLIND_COLUMNS = ("number", "iteration", "prompt_id", "prompt", "left", "right", "note")


def judge(screen: PairsScreen, key: str) -> None:
    """Say this of the pair and go on to the next one that is not judged."""
    pair = screen.cursor_key
    row = screen.list.cursor_row
    if pair is None or row is None:
        if row is not None:
            screen.cream.tell("nothing to judge: this prompt made no pair")
        return
    is_blind = screen.wishes.is_blind
    is_left_chosen = not (is_blind and is_turned(row.prompt_id, row.iteration))
    verdict = turn_verdict(key, is_left_chosen=is_left_chosen)
    mark = replace(screen.ledger.get(pair.pair_id), verdict=verdict, is_blind=is_blind)
    screen.judge.say(pair, mark, f"the verdict on {_name(screen, pair.pair_id)}")
    step_to_unjudged(screen, 1, none_left="every pair that is shown is judged")


def change_mark(screen: PairsScreen, **changes: Any) -> None:
    """Change the flag, the note or the verdict of the pair, and stay on it."""
    pair = screen.cursor_key
    if pair is None:
        return
    mark = replace(screen.ledger.get(pair.pair_id), **changes)
    what = "the flag of" if "is_flagged" in changes else "the note on" if "note" in changes else "the verdict on"
    screen.judge.say(pair, mark, f"{what} {_name(screen, pair.pair_id)}")


def clear(screen: PairsScreen) -> None:
    """Forget the verdict; flag and note stay."""
    change_mark(screen, verdict=None, is_blind=False)


def toggle_flag(screen: PairsScreen) -> None:
    """Flag the pair, or not any more."""
    pair = screen.cursor_key
    if pair is not None:
        change_mark(screen, is_flagged=not screen.ledger.get(pair.pair_id).is_flagged)


def ask_note(screen: PairsScreen) -> None:
    """Ask for the note on the pair; an empty one is none."""
    pair = screen.cursor_key
    if pair is None:
        return

    def answer(text: str | None) -> None:
        if text is not None:
            mark = replace(screen.ledger.get(pair.pair_id), note=text.strip())
            screen.judge.say(pair, mark, f"the note on {_name(screen, pair.pair_id)}")

    question = f"Note on {_name(screen, pair.pair_id)}"
    screen.app.push_screen(AskText(question, screen.ledger.get(pair.pair_id).note, hint=NOTE_HINT), answer)


def ask_number(screen: PairsScreen) -> None:
    """Ask for a pair's number and go there."""
    data = screen.data
    if data is None or not len(data.numbers):
        return

    def answer(text: str | None) -> None:
        pair_id = data.numbers.find(int(text)) if text is not None and text.strip() else None
        if pair_id is not None and not screen.go_to_pair(pair_id):
            screen.cream.tell(f"#{text} is left out by the filter or the iteration")

    question = f"Go to pair number, 1 to {len(data.numbers):,}"
    screen.app.push_screen(AskText(question, check=lambda text: check_number(text, len(data.numbers))), answer)


def ask_filter(screen: PairsScreen) -> None:
    """Offer ready filters; the chosen one stands in the line, to be changed."""
    offered = [("", "all pairs"), *QUICK_FILTERS]

    def answer(text: str | None) -> None:
        if text is not None:
            screen.set_filter(text)
            screen.filter_bar.set_text(text)

    width = max(len(text) for text, _ in offered)
    screen.app.push_screen(Choose("Show", [(text, f"{text:<{width}}  {words}") for text, words in offered]), answer)


def find_unjudged(screen: PairsScreen, step: int) -> int | None:
    """The place of the next pair without a verdict; a prompt without a pair has no number and is passed over."""
    ledger, number_of = screen.ledger, screen.list.number_of

    def is_open(pair_id: int) -> bool:
        return ledger.get(pair_id).verdict is None and number_of(pair_id) is not None

    place = find_next(screen.list.ids, screen.list.place, is_open, step)
    return None if place == screen.list.place else place


def step_to_unjudged(screen: PairsScreen, step: int, *, none_left: str = "no other pair is left to judge") -> None:
    """Go to the next pair without a verdict, in a circle."""
    place = find_unjudged(screen, step)
    if place is None:
        screen.cream.tell(none_left)
    else:
        screen.list.move_to(place)


def step_to_low(screen: PairsScreen, step: int) -> None:
    """Go to the next pair on which the models rank against each other (consistency below a half)."""
    if screen.wishes.is_blind:
        screen.cream.tell("consistency is hidden in blind mode (B shows it)")
        return
    data, services, query = screen.data, screen.cream, screen.wishes.query
    if data is None:
        return
    where = f"({query.where}) AND consistency < 0.5" if query.where else "consistency < 0.5"

    def work() -> frozenset[int]:
        try:
            with services.reader() as connection:
                if connection is None:
                    return frozenset()
                return frozenset(read_pair_ids(connection, data.run_id, replace(query, where=where)))
        except StoreError:
            return frozenset()

    def finish(low: frozenset[int]) -> None:
        if screen.data is None or screen.data.run_id != data.run_id:
            return
        place = find_next(screen.list.ids, screen.list.place, low.__contains__, step)
        if place is None:
            services.tell("no pair that is shown has a consistency below 0.5")
        else:
            screen.list.move_to(place)

    services.in_background(work, finish)


def step_iteration(screen: PairsScreen, step: int) -> None:
    """Show the pairs of the next iteration; all of them come before the first one."""
    if screen.data is None:
        return
    choices: list[int | None] = [None, *screen.data.counts.n_by_iteration]
    here = choices.index(screen.wishes.iteration) if screen.wishes.iteration in choices else 0
    screen.wishes.iteration = choices[(here + step) % len(choices)]
    screen.refresh_data()


def toggle_blind(screen: PairsScreen) -> None:
    """Hide what tells of the labels, or show it again."""
    wishes = screen.wishes
    wishes.set_blind(not wishes.is_blind)
    if wishes.is_blind and wishes.is_filter_telling:
        screen.cream.tell("the filter tells something of the labels: / changes it")
    screen.refresh_data()


def step(screen: PairsScreen, n: int) -> None:
    """Go to the next pair, wherever the focus is."""
    screen.list.action_move(n)


def sort_by_next(screen: PairsScreen) -> None:
    """Take the next order."""
    screen.wishes.next_order()
    screen.refresh_data()


def reverse(screen: PairsScreen) -> None:
    """Turn the order round."""
    screen.wishes.is_descending = not screen.wishes.is_descending
    screen.refresh_data()


def take_next_mode(screen: PairsScreen) -> None:
    """Show both sides in the next way."""
    screen.pair.next_mode()


def toggle_wrap(screen: PairsScreen) -> None:
    """Break long lines, or let texts scroll sideways."""
    screen.pair.wrap(not screen.pair.is_wrapped)


def scroll_texts(screen: PairsScreen, share: float) -> None:
    """Scroll the response texts by a share of their height, wherever the focus is."""
    screen.pair.scroll_texts(share)


def swap_panes(screen: PairsScreen) -> None:
    """From the list to the text, or back; a narrow screen shows one of them."""
    if screen.has_class("-reading"):
        leave_text(screen)
    else:
        screen.set_class(True, "-reading")
        screen.views.focus_text()


def leave_text(screen: PairsScreen) -> None:
    """Back to the list."""
    screen.set_class(False, "-reading")
    screen.list.focus()


async def open_view(screen: PairsScreen, name: str) -> None:
    """Show a view in place of the pair, or the pair again."""
    await screen.views.open(name)


def open_filter(screen: PairsScreen) -> None:
    """Type a filter."""
    screen.filter_bar.open()


def describe_absence(data: PairsData) -> Content:
    """Why a run has no pairs to show."""
    waiting = data.counts.waiting_for
    head = f"{data.run_name} has no pairs yet"
    if waiting is None:
        if data.counts.n_skipped:
            text = f"None of its {data.counts.n_skipped:,} prompts made a pair. The filter has:skipped shows why."
        else:
            text = "Its plan has no iteration that makes pairs."
    elif data.run_state in ("running", "queued"):
        text = f"They come when these stages are done: {waiting}, and on to the next pair stage. 2 shows how it goes."
    else:
        text = f"The run is {data.run_state} before {waiting}. In the list of runs (1) R resumes it."
    return Content.assemble((make_visible(head), "bold"), "\n\n", (make_visible(text), DIM))


def build_copied(screen: PairsScreen) -> Copied | None:
    """The pair under the cursor as text."""
    pair_id = screen.list.cursor_id
    pair = None if pair_id is None else screen.loader.find_pair(pair_id)
    if pair is None:
        return None
    return Copied(build_copy(pair.detail.view, Look(is_blind=screen.wishes.is_blind)), "the pair")


def tabulate(screen: PairsScreen) -> Table | None:
    """The pairs that are shown, read when they are written; in blind mode without what is hidden."""
    data = screen.data
    if data is None or not len(data.ids):
        return None
    rows = PairTable(screen.cream, data, is_blind=screen.wishes.is_blind)
    return Table(f"{data.run_name}-pairs", rows.columns, rows)


class PairTable(Sequence[Sequence[Any]]):
    """Rows of pairs that are read page by page while somebody goes through them."""

    def __init__(self, services: ServiceApp, data: PairsData, *, is_blind: bool) -> None:
        self._services, self._data, self._is_blind = services, data, is_blind
        self.columns = _BLIND_COLUMNS if is_blind else _COLUMNS

    def __len__(self) -> int:
        return len(self._data.ids)

    @overload
    def __getitem__(self, place: int) -> Sequence[Any]: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Sequence[Any]]: ...
    def __getitem__(self, place: int | slice) -> Any:
        """Rows by their places."""
        if isinstance(place, slice):
            return list(self._read(self._data.ids[place]))
        return next(self._read([self._data.ids[place]]))

    def __iter__(self) -> Iterator[Sequence[Any]]:
        for start in range(0, len(self), _PAGE):
            yield from self._read(self._data.ids[start : start + _PAGE])

    def _read(self, pair_ids: Sequence[int]) -> Iterator[Sequence[Any]]:
        with self._services.reader() as connection:
            views = [] if connection is None else read_pair_rows(connection, self._data.run_id, pair_ids)
        for view in views:
            extra: dict[str, Any] = {"number": self._data.numbers.get(view.pair_id)}
            if self._is_blind:
                sides = (view.chosen, view.rejected)
                is_other = is_turned(view.prompt_id, view.iteration)
                extra["left"], extra["right"] = sides[::-1] if is_other else sides
            yield [extra[name] if name in extra else getattr(view, name) for name in self.columns]


def _name(screen: PairsScreen, pair_id: int) -> str:
    number = screen.list.number_of(pair_id)
    return "the pair" if number is None else f"#{number}"


ACTIONS: Mapping[str, Callable[..., Awaitable[None] | None]] = {
    "judge": judge,
    "clear": clear,
    "flag": toggle_flag,
    "note": ask_note,
    "next_pair": step,
    "low": step_to_low,
    "unjudged": step_to_unjudged,
    "jump": ask_number,
    "swap_panes": swap_panes,
    "next_mode": take_next_mode,
    "wrap": toggle_wrap,
    "scroll_texts": scroll_texts,
    "view": open_view,
    "blind": toggle_blind,
    "filter": open_filter,
    "quick_filter": ask_filter,
    "next_order": sort_by_next,
    "reverse": reverse,
    "iteration": step_iteration,
}
