"""A program in a pseudo-terminal, its screen replayed by an emulator, every chunk of output with its time.

Used by the benchmarks of the app and by the test that drives the real program. Answers the questions that programs ask
a terminal at their start, as a modern terminal would.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pyte

_READ_BYTES = 1 << 16
# Sequences that the emulator does not know and would print: keyboard protocols and the like.
_UNKNOWN = re.compile(
    rb"\x1b\[[<>=][0-9;]*[a-zA-Z]|\x1b\[\?[0-9;]*\$p|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1bP[^\x1b]*\x1b\\"
)
_ANSWERS = (
    (re.compile(rb"\x1b\[c|\x1b\[0c"), lambda _: b"\x1b[?62;22c"),
    (re.compile(rb"\x1b\[6n"), lambda _: b"\x1b[1;1R"),
    (re.compile(rb"\x1b\[\?([0-9]+)\$p"), lambda found: b"\x1b[?" + found[1] + b";0$y"),
    (re.compile(rb"\x1b\]11;\?"), lambda _: b"\x1b]11;rgb:1717/1717/1b1b\x1b\\"),
    (re.compile(rb"\x1b\]10;\?"), lambda _: b"\x1b]10;rgb:d9d9/d5d5/cccc\x1b\\"),
)


class PseudoTerminal:
    """Runs a program; ``wait_for`` replays what it writes until a text stands on the screen."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        columns: int = 120,
        lines: int = 40,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.n_bytes = 0
        self.peak_rss_bytes = 0
        self.raw = bytearray()
        env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(environment or {})}
        self._code: int | None = None
        self.started_at = time.perf_counter()
        self._pid, self._handle = pty.fork()
        if self._pid == 0:
            os.chdir(folder or Path.cwd())
            os.execvpe(arguments[0], list(arguments), env)
        fcntl.ioctl(self._handle, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def text(self) -> str:
        """The screen as it stands."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def send(self, keys: str) -> float:
        """Type; the time at which that was done."""
        now = time.perf_counter()
        os.write(self._handle, keys.encode())
        return now

    def wait_for(self, wanted: str | Callable[[str], bool], timeout_s: float = 60.0) -> float:
        """The moment at which the screen shows the text, or at which a condition on it holds.

        Raises:
            TimeoutError: It does not come; the message holds the screen.
        """
        is_there = wanted if callable(wanted) else lambda text: wanted in text
        deadline = time.perf_counter() + timeout_s
        at = time.perf_counter()
        while not is_there(self.text):
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{wanted!r} did not come; the screen:\n{self.text}")
            at = self.read(0.02) or at
        return at

    def read(self, wait_s: float) -> float | None:
        """Take what was written within this time; when its last chunk came."""
        at = None
        while select.select([self._handle], [], [], 0.0 if at else wait_s)[0]:
            try:
                chunk = os.read(self._handle, _READ_BYTES)
            except OSError:
                break
            if not chunk:
                break
            at = time.perf_counter()
            self.n_bytes += len(chunk)
            self.raw += chunk
            for pattern, answer in _ANSWERS:
                for found in pattern.finditer(chunk):
                    os.write(self._handle, answer(found))
            self._stream.feed(_UNKNOWN.sub(b"", chunk))
        self.measure_memory()
        return at

    def idle(self, seconds: float) -> None:
        """Go on reading for so long."""
        deadline = time.perf_counter() + seconds
        while (left := deadline - time.perf_counter()) > 0:
            self.read(min(left, 0.05))

    def measure_memory(self) -> None:
        """Note the resident memory of the program with its children."""
        with suppress(psutil.Error):
            program = psutil.Process(self._pid)
            rss = sum(process.memory_info().rss for process in [program, *program.children(recursive=True)])
            self.peak_rss_bytes = max(self.peak_rss_bytes, rss)

    def close(self) -> int:
        """Wait for the program's end, else end it; its exit code."""
        deadline = time.perf_counter() + 60
        while self._code is None and time.perf_counter() < deadline:
            self.read(0.05)
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self.read(0.05)
                self._code = os.waitstatus_to_exitcode(status)
        return self.end()

    def end(self) -> int:
        """End the program at once; its exit code."""
        if self._code is None:
            os.kill(self._pid, signal.SIGKILL)
            _, status = os.waitpid(self._pid, 0)
            self._code = os.waitstatus_to_exitcode(status)
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        return self._code
