"""The trackers that a run's metrics can be mirrored to. Imports none of them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Literal, TypeAlias, get_args

from engine.errors import ConfigError

Tracker: TypeAlias = Literal["trackio", "wandb", "tensorboard", "mlflow"]
TRACKERS: tuple[str, ...] = get_args(Tracker)


def check_trackers(names: Iterable[str], key: str = "report_to") -> None:
    """Check that the library of every tracker is installed; each has the tracker's own name.

    Raises:
        ConfigError: one is not.
    """
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a folder of that name, as wandb leaves one, is no library
            raise ConfigError(
                f"{key}: {name} is not installed",
                hint=f"pip install 'cream-tui[{name}]', or leave {name} out",
                key=key,
                value=name,
            )
