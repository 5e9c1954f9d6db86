"""What the light side really loads, each entry point in a clean interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "trl", "datasets", "accelerate", "vllm", "textual")
PLAIN = (*HEAVY, "sqlmodel", "sqlalchemy", "numpy", "scipy", "pandas", "pydantic")


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("cream_tui.cli", PLAIN),
        ("db.queries", PLAIN),
        ("db.exports", PLAIN),
        ("engine.config.load", (*HEAVY, "sqlmodel", "sqlalchemy", "huggingface_hub")),
        ("engine.plan", (*HEAVY, "sqlmodel", "sqlalchemy")),
        ("engine.runtime.control", HEAVY),
        ("engine.runtime.imports", (*HEAVY, "pyarrow", "tokenizers")),
        ("engine.tasks.check", (*HEAVY, "pyarrow", "tokenizers", "numpy")),
        ("engine.runtime.preview", (*HEAVY, "sqlmodel", "sqlalchemy", "numpy")),
        ("engine.runtime.supervisor", HEAVY),
        ("engine.runtime.memory", (*HEAVY, "sqlmodel", "sqlalchemy", "numpy")),
        ("cream_tui.commands.doctor_config", HEAVY),
        ("cream_tui.commands.compare", PLAIN),
        ("engine.method.agreement", HEAVY),
    ],
)
def test_entry_point_stays_light(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(' '.join(n for n in {forbidden!r} if n in sys.modules))"
    loaded = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


def test_the_check_sees_a_heavy_module() -> None:
    code = "import sys, torch; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True).stdout.strip() == "True"
