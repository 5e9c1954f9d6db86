"""Whether the data sets that a configuration names on the hub are there, asked before anything is computed.

Only what the hub denies ends a start: without network a data set may still lie in the cache of `datasets`, and a stage
that needs it says so. Torch-free. The main path enters at ``check_hub_sources``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.config.data import SourceConfig
from engine.config.run import RunConfig
from engine.errors import TaskError

TIMEOUT_S = 10.0


def check_hub_sources(config: RunConfig) -> None:
    """Ask the hub for each data set that the run would load from it.

    Raises:
        TaskError: the hub has no such data set or revision, or keeps it from us; names the key.
    """
    for key, name, revision in sorted(set(_list_hub_sources(config)), key=str):
        _check(key, name, revision)


def _list_hub_sources(config: RunConfig) -> Iterator[tuple[str, str, str | None]]:
    data, evaluation = config.data, config.evaluation
    sources: list[tuple[str, SourceConfig | None]] = [("data.sft", data.sft)]
    sources += [("data.prompts", data.prompts.choose(t)) for t in range(1, config.iterations + 1)]
    sources += [("evaluation.tasks", source.rows) for source in evaluation.sources]
    sources += [("evaluation.preference_sets", source.rows) for source in evaluation.preference_sources]
    for key, source in sources:
        if source is not None and source.kind == "datasets" and not Path(source.path).is_dir():
            yield key, source.path, source.revision


def _check(key: str, name: str, revision: str | None) -> None:
    from huggingface_hub import HfApi, errors

    way_out = f"check {key}; what is private or gated needs `hf auth login` or HF_TOKEN"
    try:
        HfApi().dataset_info(name, revision=revision, timeout=TIMEOUT_S)
    except errors.HFValidationError:
        raise TaskError(f"{key}: {name} is neither a file or folder here nor a name on the hub", hint=way_out) from None
    except errors.GatedRepoError:
        raise TaskError(f"{key}: {name} is gated", hint=f"accept its terms on the hub; {way_out}") from None
    except errors.RevisionNotFoundError:
        raise TaskError(f"{key}: {name} has no revision {revision}", hint="name a branch, a tag or a commit") from None
    except errors.RepositoryNotFoundError:
        raise TaskError(f"{key}: there is no data set {name} on the hub, nor a folder here", hint=way_out) from None
    except Exception:  # noqa: BLE001 - the client raises what its transport raises: not known, so not denied
        return
