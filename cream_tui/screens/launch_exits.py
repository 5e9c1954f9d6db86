"""A draft leaves the form: into the person's own editor, into a file, into runs.

Knows the app and YAML documents. Must not know the form.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported
from textual.content import Content

from cream_tui.screens.dialogs import AskText
from cream_tui.shell.actions import Outcome
from cream_tui.views.launch import Base, Draft, Review
from cream_tui.views.launch_reader import preview_review
from cream_tui.views.launch_yaml import encode_yaml, read_document, write_document
from cream_tui.widgets.launch_panes import lay_out_previews
from db.errors import StoreError
from engine.errors import ConfigError, CreamError

if TYPE_CHECKING:
    from cream_tui.app import CreamApp
    from engine.config.run import RunConfig

OnStarted = Callable[[list[str]], None]

_DEFAULT_EDITOR = "vi"


def edit_draft(app: CreamApp, draft: Draft, base: Base) -> Draft | None:
    """The draft after the person's editor had it; None where that did not work, which is told."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or _DEFAULT_EDITOR
    with tempfile.TemporaryDirectory(prefix="cream-tui-") as folder:
        path = Path(folder) / "run.yaml"
        path.write_text(write_document(draft, base), encoding="utf-8")
        try:
            with app.suspend():
                code = subprocess.run([*shlex.split(editor), str(path)], check=False).returncode
            if code:
                app.alert(f"{editor} ended with exit code {code}: the draft is as it was")
                return None
            return read_document(path.read_text(encoding="utf-8"), draft, base)
        except SuspendNotSupported:
            app.alert("this terminal cannot be lent to an editor")
        except (OSError, ValueError) as error:
            app.alert(f"{editor}: {error}; set $EDITOR to an editor that is installed", "error")
        except ConfigError as error:
            app.alert(f"the draft is as it was: {error.message}", "error")
    return None


def ask_and_save(app: CreamApp, config: RunConfig) -> None:
    """Ask for a file and write the whole configuration, as ``cream-tui run FILE`` takes it."""
    from engine.config.load import dump

    text = encode_yaml(dump(config))

    def save(name: str | None) -> None:
        if not name:
            return
        try:
            with _find_path(name).open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            app.alert(f"{name}: {error.strerror or error}", "error")
        else:
            app.tell(f"wrote {name}; cream-tui run {shlex.quote(name)} starts it")

    question = "Save the configuration as"
    app.push_screen(AskText(question, f"{config.name}.yaml", hint="a new YAML file", check=_check_path), save)


def _find_path(name: str) -> Path:
    return Path(name.strip()).expanduser()


def _check_path(name: str) -> str | None:
    try:
        path = _find_path(name)
        if not name.strip() or path.suffix not in (".yaml", ".yml"):
            return "a name that ends in .yaml"
        return f"{path} is there already" if path.exists() else None
    except (OSError, RuntimeError, ValueError) as error:
        return str(error)


def start_runs(app: CreamApp, commands: list[tuple[str, list[str]]], *, is_queued: bool, finish: OnStarted) -> None:
    """Perform the commands one after the other, then call ``finish`` with the ids of the runs that were started.

    Args:
        commands: Each run's name and words.
    """
    started: list[str] = []

    def start_next(rest: list[tuple[str, list[str]]]) -> None:
        if not rest:
            finish(started)
            return
        name, words = rest[0]

        def take(outcome: Outcome) -> None:
            lines = outcome.stdout.split()
            if outcome.is_good and lines:
                started.append(lines[-1])
                start_next(rest[1:])
            else:
                finish(started)

        doing, done = ("queueing", "waits in the queue") if is_queued else ("starting", "is started")
        app.perform(words, doing=f"{doing} {name}", done=f"{name} {done}", then=take)

    start_next(commands)


def try_dry(app: CreamApp, review: Review, finish: Callable[[list[Content]], None]) -> None:
    """Work out beside the event loop what a sound draft would do, and call ``finish`` with it laid out."""
    root = app.root

    def work() -> list[Content] | CreamError | StoreError:
        try:
            return lay_out_previews(preview_review(review, root))
        except (CreamError, StoreError) as error:
            return error

    def take(found: list[Content] | CreamError | StoreError) -> None:
        if isinstance(found, list):
            finish(found)
        else:
            app.alert(f"dry run: {found.message}", "error")

    app.in_background(work, take)
