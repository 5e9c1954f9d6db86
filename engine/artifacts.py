"""Model folders as artifacts: where M0 lies, what a folder's content digest is. Loads no model and no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from engine.errors import CheckpointError

# What decides what a model computes; model cards and other files beside it do not.
MODEL_FILES = ("*.safetensors", "*.json", "*.model", "*.jinja", "*.txt")
IGNORED_FILES = frozenset({"rebuild.json", "manifest.json"})


@dataclass(frozen=True, slots=True)
class Base:
    """M0: a plain transformers folder and the digest of its content."""

    folder: Path
    digest: str


def resolve_base(kind: str, path: str | None, revision: str | None, *, configs_folder: Path) -> Base:
    """Return M0; a hub name is fetched into the hub's own cache, a folder is used where it lies.

    Raises:
        CheckpointError: no such folder or hub name, or no weights in it.
    """
    if kind == "sandbox":
        folder = configs_folder / "models" / "sandbox"
    elif path is not None and Path(path).is_dir():
        folder = Path(path).absolute()
    else:
        folder = _fetch(str(path), revision)
    check_model_folder(folder)
    return Base(folder=folder, digest=compute_folder_digest(folder))


def check_model_folder(folder: Path) -> None:
    """Raise a CheckpointError naming what is missing for a transformers folder with safetensors."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"model.path: {folder} holds no config.json", hint="name a transformers model folder or a hub name"
        )
    if not any(folder.glob("*.safetensors")):
        pickled = ", ".join(sorted(p.name for p in folder.glob("*.bin"))) or None
        raise CheckpointError(
            f"model.path: {folder} holds no weights (*.safetensors)",
            hint=f"{pickled} is a pickle, which is never loaded: convert it to safetensors"
            if pickled
            else "save the model with save_pretrained",
        )


def compute_folder_digest(folder: Path) -> str:
    """Return 16 hex digits over the names and contents of all files that decide what the model computes."""
    total = hashlib.sha256()
    names = {path.name for pattern in MODEL_FILES for path in folder.glob(pattern)} - IGNORED_FILES
    for name in sorted(names):
        with (folder / name).open("rb") as file:
            total.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def compute_file_digest(path: Path) -> str:
    """Return 16 hex digits of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _fetch(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(MODEL_FILES)))
    except HFValidationError as error:
        raise CheckpointError(
            f"model.path: {name} is neither a folder here nor a valid hub name", hint="check model.path"
        ) from error
    except GatedRepoError as error:
        raise CheckpointError(
            f"model.path: {name} is gated", hint="accept its licence on the hub, then run `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"model.path: there is no {name} on the hub, nor a folder of this name here",
            hint="check the name; a private model needs `hf auth login`",
        ) from error
    except Exception as error:  # the hub client raises what its transport raises; all of it means: not fetched
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"model.path: cannot fetch {name} from the hub: {reason}",
            hint="check the network, or name a folder with the model",
        ) from error
