"""Every command line that a document shows exists: its subcommand, its options, its shipped configuration."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from engine.config.load import list_shipped_runs, load_run_config

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
INLINE = {line for document in DOCUMENTS for line in re.findall(r"`(cream-tui [^`]+)`", document.read_text())}
LINES = sorted(
    INLINE
    | {
        line.strip()
        for document in DOCUMENTS
        for block in re.findall(r"```\w*\n(.*?)```", document.read_text(), re.DOTALL)
        for line in block.splitlines()
        if re.match(r"\s*(\S*/)?cream-tui \w", line)
    }
)


@cache
def read_help(*command: str) -> str:
    arguments = [sys.executable, "-P", "-m", "cream_tui", *command, "--help"]
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout


def test_documents_show_commands() -> None:
    assert len(LINES) >= 5


@pytest.mark.parametrize("line", LINES)
def test_shown_command_exists(line: str) -> None:
    words = shlex.split(line)[1:]
    group = words[:2] if words[0] == "config" else words[:1]
    text = read_help(*group)
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in text, f"{word} is no option of {' '.join(group)}"
    if words[0] == "run" and words[1] in list_shipped_runs():
        overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        method = words[words.index("--method") + 1] if "--method" in words else None
        load_run_config(words[1], overrides=overrides, method=method)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target
