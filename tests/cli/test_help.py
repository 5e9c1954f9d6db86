"""Help, versions and usage errors, and which modules they load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cream_tui.diagnostics import EXIT_CODES

HEAVY = ("torch", "transformers", "trl", "datasets", "sqlmodel", "sqlalchemy", "textual", "scipy", "numpy", "pydantic")
_LIST_MODULES = """
import sys
from cream_tui.cli import main
sys.argv = ["cream-tui", *sys.argv[1:]]
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("ls",), ("ls", "--json"), ("export", "-h")])
def test_light_commands_load_no_heavy_module(arguments: tuple[str, ...], store_root: Path) -> None:
    with_store = (*arguments, "--store", str(store_root)) if arguments[0] == "ls" else arguments
    done = subprocess.run(
        [sys.executable, "-P", "-c", _LIST_MODULES, *with_store], capture_output=True, text=True, check=False
    )
    loaded = set(done.stderr.split())
    assert done.returncode == 0, done.stderr
    assert "typer" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("arguments", [("show",), ("pairs",), ("export",), ("compare", "demo-srlm", "demo-cream")])
def test_readers_load_neither_torch_nor_the_write_side(arguments: tuple[str, ...], store_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _LIST_MODULES, *arguments, "--store", str(store_root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stderr.split()).isdisjoint({"torch", "transformers", "trl", "sqlmodel", "sqlalchemy", "textual"})


def test_the_help_names_the_app_and_the_exit_codes(call: Callable) -> None:
    asked = call("--help")
    assert asked.code == 0
    assert "cream-tui RUN" in asked.stdout
    assert "\n  open" not in asked.stdout
    for code, meaning in EXIT_CODES:
        assert f"{code}  {meaning}" in asked.stdout


def test_the_bare_command_is_the_app_which_refuses_a_pipe_and_names_the_way_out(call: Callable) -> None:
    bare = call()
    assert (bare.code, bare.stdout) == (2, "")
    assert "needs a terminal" in bare.stderr
    assert "cream-tui ls" in bare.stderr and "--json" in bare.stderr and "--help" in bare.stderr


def test_bare_group_prints_its_help(call: Callable) -> None:
    called = call("config")
    assert called.code == 0
    assert "schema" in called.stdout


def test_every_command_has_help_with_an_example_at_80_columns(call: Callable, all_commands: list[str]) -> None:
    assert len(all_commands) == 29
    for command in all_commands:
        called = call(*command.split(), "-h")
        assert called.code == 0
        assert "Example" in called.stdout, command
        assert f"cream-tui {command}" in called.stdout.split("Example")[1], command
        assert max(map(len, called.stdout.splitlines())) <= 80, command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lss",), ("lss", "did you mean the command ls")),
        (("demo-crem",), ("demo-crem", "demo-cream")),
        (("demo-cream/M9",), ("demo-cream/M9", "M0 to M3")),
        (("demo-cream/pear",), ("demo-cream/pear", "RUN/pairs/412")),
        (("demo-cream/pairs",), ("needs a terminal", "cream-tui ls", "--json")),
        (("--store", "here", "ls"), ("cream-tui ls --store here",)),
        (("config", "shwo"), ("shwo", "did you mean show")),
        (("ls", "--stor", "x"), ("--stor", "--store")),
        (("fork", "x"), ("--at",)),
        (("pairs", "--limit", "many"), ("--limit",)),
        (("pairs", "--sort", "margn"), ("margn", "did you mean margin")),
        (("export", "--what", "pair"), ("did you mean pairs",)),
        (("export", "--format", "json"), ("did you mean jsonl",)),
        (("ls", "--state", "runing"), ("did you mean running",)),
        (("run", "sandbx"), ("sandbx", "sandbox")),
        (("run", "sandbox", "--set", "training.bta=1"), ("training.bta", "training.beta")),
        (("run", "sandbox", "--set", "training.beta=nan"), ("training.beta", "nan")),
        (("config", "check", "sandbox", "--method", "creem"), ("creem", "cream")),
        (("show", "demo-crem"), ("demo-crem", "demo-cream")),
        (("compare", "demo-cream", "latest"), ("two different runs",)),
        (("rm", "demo-cream"), ("--yes",)),
    ],
)
def test_wrong_use_is_one_message_that_names_the_nearest(
    call: Callable, store_root: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    called = call(*arguments, env={"CREAM_STORE": str(store_root)})
    assert called.code == 2
    assert called.stdout == ""
    assert called.stderr.startswith("error: ")
    assert "Traceback" not in called.stderr
    assert len(called.stderr.splitlines()) <= 3
    for word in words:
        assert word in called.stderr


@pytest.mark.parametrize("command", ["ls", "show", "pairs", "export", "watch", "stop x", "resume x", "rm x --yes"])
def test_no_store_says_where_it_looked(call: Callable, tmp_path: Path, command: str) -> None:
    called = call(*command.split(), "--store", str(tmp_path / "none"))
    assert called.code == 2
    assert str(tmp_path / "none") in called.stderr
    assert "--store" in called.stderr
    assert not (tmp_path / "none").exists()


def test_a_damaged_store_is_one_message(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "cream.db").write_bytes(b"no database at all" * 100)
    called = call("ls", "--store", str(tmp_path))
    assert called.code == 2
    assert "damaged" in called.stderr
    assert len(called.stderr.splitlines()) == 2


def test_a_bug_is_one_line_and_a_log(spawn: Callable, tmp_path: Path) -> None:
    code = "from cream_tui import diagnostics; import sys; sys.exit(diagnostics.report(KeyError('x\\x1b[2J')))"
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "this is a bug: KeyError" in done.stderr
    assert "\x1b" not in done.stderr
    (log,) = tmp_path.glob("cream-tui-*.log")
    assert str(log) in done.stderr
    assert "KeyError" in log.read_text()


def test_packages_of_another_install_are_refused(tmp_path: Path) -> None:
    """A stranger's `db` in front of ours: exit code 2, both places named."""
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "__init__.py").write_text("")
    (tmp_path / "db" / "errors.py").write_text(
        "class StoreError(Exception): ...\nclass LeaseLostError(StoreError): ...\n"
        "class StoreFullError(StoreError): ...\n"
    )
    own = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cream_tui", "ls"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{tmp_path}:{own}"},
        check=False,
    )
    assert done.returncode == 2
    assert str(tmp_path / "db") in done.stderr
    assert str(own / "db") in done.stderr
