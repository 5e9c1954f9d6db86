"""What the app does to runs: exactly the commands that it shows, each in a process of its own.

Knows the command line. Must not know screens. The app therefore holds no training, loads no writer's libraries, and a
user can repeat in a shell whatever it did.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ERROR_WORD = re.compile(r"^(error|warning): ", re.MULTILINE)
# A run that is stopped gets 15 s before it is killed, a study that is stopped a minute; a supervisor has 30 s to start.
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def is_good(self) -> bool:
        """Whether it did what it was asked for."""
        return self.code == 0

    @property
    def message(self) -> str:
        """What it said to a person, without the word error."""
        return _ERROR_WORD.sub("", self.stderr.strip()) or f"the command ended with exit code {self.code}"


def call_command(words: Sequence[str], root: Path, *, has_no_color: bool = False) -> Outcome:
    """Run one of our commands on this store to its end; blocks.

    Args:
        words: The command and its arguments, without --store.
        root: The store's folder.
        has_no_color: Whether NO_COLOR was set when the app began, which takes it out of the environment.
    """
    environment = os.environ | {"CREAM_STORE": str(root)} | ({"NO_COLOR": "1"} if has_no_color else {})
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "cream_tui", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(1, "", f"`cream-tui {' '.join(words)}` has not ended after {TIMEOUT_S:.0f} s")
    except (OSError, ValueError) as error:  # too long for a command line, or with a character that none can hold
        return Outcome(1, "", f"the command cannot be started: {getattr(error, 'strerror', None) or error}")
    return Outcome(ended.returncode, ended.stdout, ended.stderr)
