"""What is known of processes: who may be told to stop, and how a signal tells who waits."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from engine.runtime.detached import Flag
from engine.runtime.process import ask_holder_to_stop, build_lease, is_alive, signal_holder


def test_a_run_of_another_user_cannot_be_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row has the request; the system refuses the signal."""

    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr(os, "killpg", refuse)
    lease = build_lease("run")
    assert is_alive(lease)
    ask_holder_to_stop(lease)
    assert not signal_holder(lease, signal.SIGKILL)


def test_a_signal_tells_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    flag = Flag()
    assert not flag.wait(0.01)
    before = signal.signal(signal.SIGUSR1, lambda *_: flag.set())
    try:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        assert flag.wait(60)
    finally:
        signal.signal(signal.SIGUSR1, before)
