"""What the list of runs does to runs: start, stop, resume, fork, delete, compare; tags, notes and the baseline.

Knows the screen of runs, commands and db.annotations. With the cursor on a study, it is done to the study: what that
means for its process is in ``study_actions``. Commands change runs; annotations show at once, are written in
the background and can be taken back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cream_tui.readers.run_records import RunRecord
from cream_tui.screens import study_actions
from cream_tui.screens.dialogs import NOTE_HINT, AskText, Choose, Confirm
from cream_tui.shell.actions import Outcome
from cream_tui.targets import CompareTarget, LaunchTarget, RunTarget, StudyTarget
from cream_tui.views.run_columns import COLUMNS
from cream_tui.views.run_edits import Edit
from cream_tui.views.runs import parse_tag_change, split_list
from db.annotations import add_tags, remove_tags, set_baseline, set_note
from db.errors import StoreError
from db.queries import read_run_checkpoints

if TYPE_CHECKING:
    from cream_tui.screens.runs import RunsScreen

_N_CANDIDATES = 12
_FILTERS = (
    ("all runs", ""),
    ("runs that go on", "state:running,queued"),
    ("runs that failed or lost their process", "state:failed,stale"),
    ("runs of today", "age<1d"),
)
_LIVE = ("running", "queued")
NO_RUN = "that is for one run: enter unfolds a study, an arm or a group"
_RESUMABLE = ("stopped", "failed", "stale")


def start_demo(screen: RunsScreen) -> None:
    """Start both arms of the quick demo and open the second one."""
    if screen.has_demo_started:
        return
    screen.has_demo_started = True
    screen.update()

    def open_run(outcome: Outcome) -> None:
        screen.has_demo_started = False
        run_ids = outcome.stdout.split()
        if outcome.is_good and run_ids:
            screen.cream.go_to(RunTarget(run_ids[-1]))
        screen.update()

    words = ["demo", "--quick", "--detach"]
    screen.cream.perform(words, doing="starting the demo", done="the demo runs", then=open_run)


def ask_group(screen: RunsScreen) -> None:
    """Ask for the keys to group by, once it is known which there are."""
    if not screen.ask_for_facts():
        screen.after_facts = lambda: ask_group(screen)
        return
    candidates = ", ".join(screen.list.list_group_candidates()[:_N_CANDIDATES])
    hint = f"Keys with commas between them; empty: no groups. The runs differ in: {candidates or 'nothing'}"

    def take(text: str | None) -> None:
        if text is not None:
            screen.group_by(split_list(text))

    value = ", ".join(screen.list.group_keys)
    screen.app.push_screen(AskText("Group runs by", value, hint=hint, check=screen.list.check_group_keys), take)


def list_palette(screen: RunsScreen) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """What the palette offers beside the keys: studies to start, orders, groups and ready filters."""
    yield from study_actions.list_study_palette(screen.cream)
    for column in COLUMNS:
        if column.key:
            yield f"Sort runs by {column.title}", "Again turns it round", partial(screen.sort_by, column.key)
    for key in screen.list.list_group_candidates():
        yield f"Group runs by {key}", "With their means", partial(screen.group_by, [key])
    if screen.list.group_keys:
        yield "Group runs by nothing", "One list", partial(screen.group_by, [])
    for title, text in _FILTERS:
        yield f"Filter: {title}", text, partial(screen.filter_by, text)


def stop(screen: RunsScreen) -> None:
    """Ask, then stop those of the chosen runs that go on, or the study under the cursor."""
    if screen.study is not None:
        study_actions.stop(screen.cream, screen.study)
        return
    runs = [record for record in screen.chosen if record.state in (*_LIVE, "stale")]
    if not runs:
        screen.cream.tell("nothing to stop: no chosen run goes on")
        return

    def answer(is_sure: bool | None) -> None:
        if is_sure:
            _perform_each(screen, runs, lambda run_id: ["stop", run_id], "stopping", "stopped")

    detail = "What is done stays; R resumes it."
    screen.app.push_screen(Confirm(f"Stop {_name(runs)}?", detail), answer)


def resume(screen: RunsScreen) -> None:
    """Resume those of the chosen runs that were stopped, failed or lost their process, or the study."""
    if screen.study is not None:
        study_actions.resume(screen.cream, screen.study)
        return
    runs = [record for record in screen.chosen if record.state in _RESUMABLE]
    if not runs:
        screen.cream.tell("nothing to resume: no chosen run was stopped, failed or lost its process")
        return
    _perform_each(screen, runs, lambda run_id: ["resume", run_id, "--detach"], "resuming", "goes on")


def fork(screen: RunsScreen) -> None:
    """Ask at which model, then open the form with the fork's settings."""
    record = screen.under_cursor
    if record is None:
        screen.cream.tell(NO_RUN)
        return
    run = record.run

    def read() -> list[str]:
        try:
            with screen.cream.reader() as connection:
                found = [] if connection is None else read_run_checkpoints(connection, run.run_id, screen.cream.root)
        except StoreError:
            return []
        return [model.name for model in found if model.name != "M0"]

    def ask(models: list[str]) -> None:
        if not models:
            screen.cream.tell(f"{run.name} has no model to fork from yet")
            return
        choices = [(name, f"{name}, and go its own way from there") for name in reversed(models)]
        screen.app.push_screen(Choose(f"Fork {run.name} at", choices), take)

    def take(model: str | None) -> None:
        if model is not None:
            screen.cream.go_to(LaunchTarget(source_run_id=run.run_id, fork_at=model))

    screen.cream.in_background(read, ask)


def delete(screen: RunsScreen) -> None:
    """Ask for the name, or for the number of runs, then delete the chosen runs, or the study with all its runs."""
    if screen.study is not None:
        study_actions.delete(screen.cream, screen.study)
        return
    runs = screen.chosen
    if not runs:
        return
    live = [record for record in runs if record.state in _LIVE]
    if live:
        screen.cream.tell(f"{_name(live)} still {'goes' if len(live) == 1 else 'go'} on: x stops first")
        return

    def answer(is_sure: bool | None) -> None:
        if is_sure:
            screen.list.select_none()
            _perform_each(screen, runs, lambda run_id: ["rm", run_id, "--yes"], "deleting", "deleted")

    word = runs[0].run.name if len(runs) == 1 else f"delete {len(runs)}"
    detail = "Rows and models that no other run uses go for good.\n" + "\n".join(r.run.name for r in runs[1:][:8])
    screen.app.push_screen(Confirm(f"Delete {_name(runs)}?", detail.strip(), word=word), answer)


def list_names(screen: RunsScreen) -> list[str]:
    """Names of the chosen runs, or of the study under the cursor."""
    return [screen.study.study.name] if screen.study is not None else [record.run.name for record in screen.chosen]


def compare(screen: RunsScreen) -> None:
    """Compare the selected runs, or those of the arm under the cursor; one alone with the baseline; a study's arms."""
    if screen.study is not None:
        screen.cream.go_to(StudyTarget(screen.study.study.study_id))
        return
    runs = list(screen.chosen)
    baseline = screen.list.baseline
    if len(runs) == 1 and baseline is not None and baseline.run.run_id != runs[0].run.run_id:
        runs.append(baseline)
    if len(runs) < 2:
        screen.cream.tell("select two runs or more with space, or pin a baseline with p")
        return
    runs.sort(key=lambda record: not record.run.is_baseline)
    screen.cream.go_to(CompareTarget(tuple(record.run.run_id for record in runs)))


def pin(screen: RunsScreen) -> None:
    """Make the run under the cursor the baseline, or leave the store without one."""
    record = screen.under_cursor
    if record is None:
        screen.cream.tell(NO_RUN)
        return
    before = screen.list.baseline_id
    after = None if record.run.run_id == before else record.run.run_id
    _set_baseline(screen, before, after)
    what = f"pinning {record.run.name}" if after is not None else f"unpinning {record.run.name}"
    screen.cream.push_undo(what, lambda: _set_baseline(screen, after, before))


def edit_tags(screen: RunsScreen) -> None:
    """Ask for tags: of one run its list, of several what to add and remove."""
    runs = screen.chosen
    if not runs:
        return
    is_one = len(runs) == 1
    value = ", ".join(runs[0].run.tags) if is_one else ""
    hint = "Tags with commas between them; +tag adds to those there are, -tag removes."
    if not is_one:
        hint = f"For {len(runs)} runs: +tag adds, -tag removes, with commas between them."

    def take(text: str | None) -> None:
        if text is None:
            return
        change = text if is_one else ", ".join(_sign(word) for word in text.split(","))
        after = {record.run.run_id: parse_tag_change(change, record.run.tags) for record in runs}
        before = {record.run.run_id: record.run.tags for record in runs}
        _set_tags(screen, before, after)
        screen.cream.push_undo(f"the tags of {_name(runs)}", lambda: _set_tags(screen, after, before))

    screen.app.push_screen(AskText(f"Tags of {_name(runs)}", value, hint=hint), take)


def edit_note(screen: RunsScreen) -> None:
    """Ask for the note of the chosen runs."""
    runs = screen.chosen
    if not runs:
        return

    def take(text: str | None) -> None:
        if text is None:
            return
        before = {record.run.run_id: record.run.note for record in runs}
        after = dict.fromkeys(before, text.strip())
        _set_notes(screen, before, after)
        screen.cream.push_undo(f"the note of {_name(runs)}", lambda: _set_notes(screen, after, before))

    value = runs[0].run.note if len({record.run.note for record in runs}) == 1 else ""
    hint = NOTE_HINT if len(runs) == 1 else f"It replaces the notes of {len(runs)} runs."
    screen.app.push_screen(AskText(f"Note of {_name(runs)}", value, hint=hint), take)


def _set_tags(screen: RunsScreen, before: dict[str, tuple[str, ...]], after: dict[str, tuple[str, ...]]) -> None:
    root = screen.cream.root

    def write() -> None:
        for run_id, tags in after.items():
            add_tags(root, [run_id], set(tags) - set(before[run_id]))
            remove_tags(root, [run_id], set(before[run_id]) - set(tags))

    now = time.time()
    _annotate(screen, {run_id: Edit(now, tags=tags) for run_id, tags in after.items()}, write)


def _set_notes(screen: RunsScreen, before: dict[str, str], after: dict[str, str]) -> None:
    root = screen.cream.root

    def write() -> None:
        for run_id, note in after.items():
            if note != before[run_id]:
                set_note(root, run_id, note)

    now = time.time()
    _annotate(screen, {run_id: Edit(now, note=note) for run_id, note in after.items()}, write)


def _set_baseline(screen: RunsScreen, before: str | None, after: str | None) -> None:
    root, now = screen.cream.root, time.time()
    edits = {run_id: Edit(now, is_baseline=run_id == after) for run_id in (before, after) if run_id is not None}
    _annotate(screen, edits, lambda: set_baseline(root, after))


def _annotate(screen: RunsScreen, edits: dict[str, Edit], write: Callable[[], None]) -> None:
    """Show at once, write in the background, take back what could not be written."""

    def take_back() -> None:
        screen.list.forget_edits(list(edits))
        screen.refresh_data()

    for run_id, edit in edits.items():
        screen.list.edit([run_id], edit)
    screen.update()
    screen.cream.annotate(write, on_failure=take_back)


def _perform_each(
    screen: RunsScreen, runs: Sequence[RunRecord], build: Callable[[str], list[str]], doing: str, done: str
) -> None:
    """Run a command for each run, one after the other; the first that fails ends it."""
    first, *others = runs

    def go_on(outcome: Outcome) -> None:
        if others and outcome.is_good:
            _perform_each(screen, others, build, doing, done)

    name = first.run.name
    screen.cream.perform(build(first.run.run_id), doing=f"{doing} {name}", done=f"{name}: {done}", then=go_on)


def _name(runs: Sequence[RunRecord]) -> str:
    return runs[0].run.name if len(runs) == 1 else f"{len(runs)} runs"


def _sign(word: str) -> str:
    word = word.strip()
    return word if not word or word[0] in "+-" else f"+{word}"
