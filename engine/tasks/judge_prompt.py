"""The prompt that makes a model a judge: where it lies, what it must hold, and how it is filled in.

Torch-free. Must not know the model that judges, nor how its judgement is read.
"""

from __future__ import annotations

import re
from pathlib import Path

from engine.config.run import RunConfig
from engine.config.shipped import find_configs_folder
from engine.errors import ConfigError

KEY = "scoring.judge.prompt"
PLACES = ("{prompt}", "{response}")
_PLACE = re.compile("|".join(map(re.escape, PLACES)))


def find_judge_prompt(config: RunConfig) -> Path:
    """Return the file with the judge's prompt: the run's own, or the shipped one."""
    own = config.scoring.judge.prompt
    return find_configs_folder() / "prompts" / "judge.txt" if own is None else Path(own)


def read_judge_prompt(config: RunConfig) -> str:
    """Return the judge's prompt with its places.

    Raises:
        ConfigError: the file cannot be read, or lacks a place.
    """
    path = find_judge_prompt(config)
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError(f"{KEY}: cannot read {path}: {reason}", key=KEY, value=str(path)) from error
    lacking = [place for place in PLACES if place not in text]
    if lacking:
        raise ConfigError(
            f"{KEY}: {path} lacks {' and '.join(lacking)}",
            hint=f"Put {' and '.join(lacking)} where the judged text goes, and ask for a line 'Score: <0 to 5>'.",
            key=KEY,
            value=str(path),
        )
    return text


def fill_judge_prompt(template: str, *, prompt: str, response: str) -> str:
    """Return what the judge is asked; braces in the judged texts stay as they are."""
    texts = {"{prompt}": prompt, "{response}": response}
    return _PLACE.sub(lambda place: texts[place.group()], template)
