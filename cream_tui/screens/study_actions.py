"""What the app does to a study as a whole: stop, resume and delete it, and choose one to start.

Knows studies, dialogs and the commands. Must not know the screen of runs nor the form of a new run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cream_tui.screens.dialogs import AskText, Choose, Confirm
from cream_tui.text import make_visible
from cream_tui.views.studies import LIVE, tell_counts

if TYPE_CHECKING:
    from cream_tui.app import CreamApp
    from cream_tui.readers.study_records import StudyRecord

_STUDY = "study:"
_ANOTHER = "another"
_SUFFIXES = (".yaml", ".yml", ".json")
_METHODS = re.compile(r'^methods:|[{,]\s*"methods"\s*:', re.MULTILINE)  # as YAML and as JSON has it
_MOST_BYTES = 1 << 16  # of a file in the current folder that is looked at


def stop(app: CreamApp, study: StudyRecord) -> None:
    """Ask, then stop the study and those of its runs that go on."""
    name = study.study.name
    if study.state not in (*LIVE, "stale") and not any(state in LIVE for state in study.states):
        app.tell(f"nothing to stop: the study {name} does not go on")
        return

    def answer(is_sure: bool | None) -> None:
        if is_sure:
            app.perform(["stop", study.study.study_id], doing=f"stopping {name}", done=f"{name}: stopped")

    app.push_screen(Confirm(f"Stop the study {name}?", f"{tell_counts(study.states)}. R goes on with it."), answer)


def resume(app: CreamApp, study: StudyRecord) -> None:
    """Go on with a study that was stopped, failed or lost its process."""
    name = study.study.name
    if study.state in ("running", "done"):
        app.tell(f"nothing to resume: the study {name} is {study.state}")
        return
    app.perform(["resume", study.study.study_id, "--detach"], doing=f"resuming {name}", done=f"{name}: goes on")


def delete(app: CreamApp, study: StudyRecord) -> None:
    """Ask for its name, then delete the study with its runs."""
    name, n_runs = study.study.name, len(study.run_ids)
    if study.state == "running" or any(state in LIVE for state in study.states):
        app.tell(f"the study {name} still goes on: x stops it first")
        return

    def answer(is_sure: bool | None) -> None:
        if is_sure:
            app.perform(["rm", study.study.study_id, "--yes"], doing=f"deleting {name}", done=f"{name}: deleted")

    runs = "1 run goes" if n_runs == 1 else f"{n_runs} runs go"
    detail = f"Its {runs} with it; rows and models that no other run uses go for good."
    app.push_screen(Confirm(f"Delete the study {make_visible(name)}?", detail, word=name), answer)


def list_study_choices() -> list[tuple[str, str]]:
    """Studies to start, as choices: the shipped ones, the files of the current folder, any other file."""
    from engine.config.shipped import list_shipped, read_purpose

    shipped = [(name, f"study {name}   {read_purpose(path)}") for name, path in list_shipped("sweeps").items()]
    files = [(str(path), f"study {path}   a file here") for path in _list_study_files(Path())]
    choices = [*shipped, *files, (_ANOTHER, "study of another file …")]
    return [(f"{_STUDY}{value}", text.rstrip()) for value, text in choices]


def choose_study(app: CreamApp) -> None:
    """Ask which study is to be started, then show what it would do."""

    def take(choice: str | None) -> None:
        if choice is not None:
            open_choice(app, choice)

    app.push_screen(Choose("Start a study: methods × seeds × settings", list_study_choices()), take)


def open_choice(app: CreamApp, choice: str) -> bool:
    """Show what the chosen study would do, for another file after its name; False where the choice is no study."""
    from cream_tui.screens.study_window import StudyWindow

    if not choice.startswith(_STUDY):
        return False
    study = choice.removeprefix(_STUDY)
    if study != _ANOTHER:
        app.push_screen(StudyWindow(study))
        return True

    def take(name: str | None) -> None:
        if name is not None and name.strip():
            app.push_screen(StudyWindow(name.strip()))

    hint = "A YAML file with name, config, methods and seeds, as `cream-tui sweep FILE` takes it."
    app.push_screen(AskText("Start the study of this file", hint=hint), take)
    return True


def list_study_palette(app: CreamApp) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """What the palette offers beside the keys: the shipped studies to start."""
    from engine.config.shipped import list_shipped

    for name in list_shipped("sweeps"):
        yield f"New study {name}", "Shows its plan first", partial(open_choice, app, f"{_STUDY}{name}")


def _list_study_files(folder: Path) -> list[Path]:
    """YAML and JSON files in which a line says `methods:`; what cannot be read is none."""
    found: list[Path] = []
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return found
    for path in paths:
        try:
            if path.suffix in _SUFFIXES and path.is_file() and path.stat().st_size <= _MOST_BYTES:
                found += [path] if _METHODS.search(path.read_text(encoding="utf-8")) else []
        except (OSError, ValueError):
            continue
    return found
