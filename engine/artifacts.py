"""Model folders as artifacts: where M0 lies, how large it is, what a folder's content digest is. Loads no torch."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from engine.errors import CheckpointError

# What decides what a model computes; model cards and other files beside it do not.
MODEL_FILES = ("*.safetensors", "*.json", "*.model", "*.jinja", "*.txt")
IGNORED_FILES = frozenset({"rebuild.json", "manifest.json"})
_PARAMETER_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_MAX_HEADER_BYTES = 1 << 27


@dataclass(frozen=True, slots=True)
class Base:
    """M0: a plain transformers folder and the digest of its content."""

    folder: Path
    digest: str


@dataclass(frozen=True, slots=True)
class ModelSize:
    """How large a model is: its weights' parameters, and the bytes of all that lies beside the weights."""

    n_parameters: int
    other_bytes: int

    def count_bytes(self, dtype: str) -> int:
        """Return the bytes of its folder with the weights in this number format."""
        return self.n_parameters * _PARAMETER_BYTES[dtype] + self.other_bytes


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


def find_base(kind: str, path: str | None, revision: str | None, *, configs_folder: Path) -> Base | None:
    """Return M0 without the network; None for a hub name that is not in the hub's cache.

    Raises:
        CheckpointError: a folder without a model.
    """
    folder = find_base_folder(kind, path, revision, configs_folder=configs_folder)
    if folder is None:
        return None
    check_model_folder(folder)
    return Base(folder=folder, digest=compute_folder_digest(folder))


def find_base_folder(kind: str, path: str | None, revision: str | None, *, configs_folder: Path) -> Path | None:
    """Return where M0 lies on this machine; None for a hub name that is not in the hub's cache."""
    if kind == "sandbox":
        return configs_folder / "models" / "sandbox"
    if path is None:
        return None
    return Path(path).absolute() if Path(path).is_dir() else _find_cached(path, revision)


def measure_model(folder: Path) -> ModelSize:
    """Return the size of a transformers folder, from the headers of its weights.

    Raises:
        CheckpointError: a file is no safetensors file.
    """
    weights = sorted(folder.glob("*.safetensors"))
    names = {path for pattern in MODEL_FILES for path in folder.glob(pattern)} - set(weights)
    return ModelSize(sum(map(_count_parameters, weights)), sum(path.stat().st_size for path in names))


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


def is_adapter_folder(folder: Path) -> bool:
    """Return whether a folder holds a LoRA adapter, which needs M0 beside it, and not a whole model."""
    return (folder / "adapter_config.json").is_file()


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


def _count_parameters(path: Path) -> int:
    """Return the numbers in a safetensors file: eight bytes say how long the header is, a JSON object of tensors."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MAX_HEADER_BYTES:
                raise ValueError
            header = json.loads(file.read(length))
        return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"model.path: {path} is no safetensors file", hint="bring the whole model") from error


def _find_cached(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(MODEL_FILES), local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError, ValueError):
        return None


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
