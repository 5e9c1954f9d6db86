"""The Python API on recorded stores: light to import, harmless to show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from recording import DANGEROUS

from cream_tui import api


def test_a_run_shows_itself_without_obeying_its_name(nasty_root: Path) -> None:
    run = api.find_run(api.runs(store=nasty_root)["run_id"][0], store=nasty_root)
    for shown in (repr(run), run._repr_html_()):
        assert not any(character in shown for character in DANGEROUS)
    assert run == api.find_run(run.run_id, store=nasty_root)
    assert "[red]" in repr(run) and "M1 70.0 %" in repr(run)


def test_markup_of_a_name_is_text_in_a_notebook(recorder) -> None:
    recorder.record("<script>x", last_label="evaluate M0")
    shown = api.find_run("latest", store=recorder.store.paths.root)._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;x" in shown


def test_importing_it_and_naming_a_run_load_nothing_heavy(store_root: Path) -> None:
    heavy = ("torch", "transformers", "datasets", "pandas", "numpy", "sqlmodel", "textual", "typer")
    code = (
        f"import sys; from cream_tui import api; api.find_run('latest', store={str(store_root)!r}).models();"
        f"print(*[name for name in {heavy!r} if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


def test_no_other_process_loads_a_tracker() -> None:
    """Stages run in forks of a process that has imported this; a supervisor starts mirrors, and is none."""
    code = (
        "import sys, engine.runtime.supervisor, engine.runtime.preload, engine.stages.run;"
        "print(*[name for name in ('wandb', 'trackio', 'mlflow', 'tensorboard') if sys.modules.get(name)])"
    )
    loaded = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []
