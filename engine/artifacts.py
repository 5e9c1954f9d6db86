"""Model folders as artifacts: where M0 lies, how large it is, what a folder's content digest is. Loads no torch."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError, CreamError

# What decides what a model computes; model cards and other files beside it do not.
MODEL_FILES = ("*.safetensors", "*.json", "*.model", "*.jinja", "*.txt")
IGNORED_FILES = frozenset({"rebuild.json", "manifest.json"})
PARAMETER_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
# Second copies of the weights in another layout, and files of other programs; transformers reads neither.
_NOT_FETCHED = ("*/*", "consolidated*.safetensors")
_MAX_HEADER_BYTES = 1 << 27
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len")
_STRETCHED_ALREADY = "gemma3"  # its limit counts the factor of its rotary embeddings
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_SECRET = re.compile(r"hf_\w+|(?<=://)[^/@\s]+@|\?\S+")


@dataclass(frozen=True, slots=True)
class Base:
    """M0: a plain transformers folder and the digest of its content."""

    folder: Path
    digest: str

    @property
    def commit(self) -> str | None:
        """The hub's commit that the folder is a snapshot of; None for a folder of one's own."""
        is_snapshot = self.folder.parent.name == "snapshots" and _COMMIT.fullmatch(self.folder.name)
        return self.folder.name if is_snapshot else None


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as a safetensors header tells it; ``dtype`` is the header's word, F32 or BF16."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def n_numbers(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class ModelSize:
    """How large a model is: its weights' parameters, and the bytes of all that lies beside the weights."""

    n_parameters: int
    other_bytes: int

    def count_bytes(self, dtype: str) -> int:
        """Return the bytes of its folder with the weights in this number format."""
        return self.n_parameters * PARAMETER_BYTES[dtype] + self.other_bytes

    @property
    def snapshot_bytes(self) -> int:
        """The bytes of one snapshot of a training of all weights: these and Adam's two moments, in float32."""
        return 12 * self.n_parameters


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
    names = {path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.suffix != ".safetensors"}
    return ModelSize(
        sum(tensor.n_numbers for tensor in read_tensors(folder)), sum(path.stat().st_size for path in names)
    )


def list_weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that transformers reads of a folder, or all of a folder laid out in another way.

    Raises:
        CheckpointError: the index cannot be read, or names a file that is not there.
    """
    index = folder / WEIGHTS_INDEX
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    try:
        files = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"model.path: {index} is no index of weights", hint="bring the whole model") from error
    lacking = [path.name for path in files if not path.is_file()]
    if lacking:
        raise CheckpointError(
            f"model.path: {folder} lacks {lacking[0]}" + f" and {len(lacking) - 1} more" * (len(lacking) > 1),
            hint="bring the whole model",
        )
    return files


def read_tensors(folder: Path) -> list[Tensor]:
    """Return every tensor of a folder's weights, from the headers alone.

    Raises:
        CheckpointError: a file is no safetensors file, or is missing.
    """
    return [tensor for path in list_weight_files(folder) for tensor in _read_header(path)]


def read_model_config(folder: Path) -> dict[str, Any]:
    """Return ``config.json``.

    Raises:
        CheckpointError: it is not there, or no JSON object.
    """
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"model.path: cannot read {path}", hint="bring the whole model") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"model.path: {path} is no JSON object", hint="bring the whole model")
    return found


def find_context_length(config: Mapping[str, Any]) -> int | None:
    """Return how many positions a model's config allows; None where it sets no limit.

    Rotary embeddings that are stretched by a factor reach that many times their original length.
    """
    config = config.get("text_config") or config
    limits = [int(config[key]) for key in _CONTEXT_KEYS if isinstance(config.get(key), int)]
    if not limits:
        return None
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    factor, kind = rope.get("factor"), rope.get("rope_type", rope.get("type"))
    original = rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
    if not isinstance(factor, int | float) or str(config.get("model_type")).startswith(_STRETCHED_ALREADY):
        return max(limits)
    if original is None and kind not in ("linear", "dynamic"):
        return max(limits)
    return max(*limits, int(factor * (original or limits[0])))


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
    list_weight_files(folder)


def check_room(folder: Path, n_bytes: int, what: str, *, error: type[CreamError] = CheckpointError) -> None:
    """Raise an error where the disk of a folder, which need not exist yet, has not so many bytes free."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if n_bytes > free:
        raise error(
            f"no room for {what}: it takes {n_bytes / 1e9:.2f} GB on the disk of {existing}, and {free / 1e9:.2f} GB "
            "is free",
            hint="free some space, for example with rm and gc, and resume; a new run can have another --store DIR",
        )


def is_adapter_folder(folder: Path) -> bool:
    """Return whether a folder holds a LoRA adapter, which needs M0 beside it, and not a whole model."""
    return (folder / "adapter_config.json").is_file()


def compute_folder_digest(folder: Path) -> str:
    """Return 16 hex digits over the names and contents of all files that decide what the model computes."""
    total = hashlib.sha256()
    names = {path.name for pattern in MODEL_FILES for path in folder.glob(pattern)} - IGNORED_FILES
    for name in sorted(names):
        total.update(f"{name}\0{_hash_file(folder / name)}\n".encode())
    return total.hexdigest()[:16]


def compute_file_digest(path: Path) -> str:
    """Return 16 hex digits of a file's content."""
    return _hash_file(path)[:16]


def _hash_file(path: Path) -> str:
    status = path.stat()
    return _hash_content(path.absolute(), (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(maxsize=4096)
def _hash_content(path: Path, state: tuple[int, ...]) -> str:
    """Return the SHA-256 of a file that is in this state; a process reads a file again only where that has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_header(path: Path) -> list[Tensor]:
    """Return the tensors of a safetensors file: eight bytes say how long the header is, a JSON object of tensors."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MAX_HEADER_BYTES:
                raise ValueError
            header = json.loads(file.read(length))
        described = [tensor for name, tensor in header.items() if name != "__metadata__"]
        end = 8 + length + max((int(tensor["data_offsets"][1]) for tensor in described), default=0)
        if path.stat().st_size < end:
            raise CheckpointError(
                f"model.path: {path} is cut off: it has {path.stat().st_size:,} of {end:,} bytes",
                hint="fetch or copy it again",
            )
        return [
            Tensor(name, str(tensor["dtype"]), tuple(map(int, tensor["shape"])))
            for name, tensor in header.items()
            if name != "__metadata__"
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"model.path: {path} is no safetensors file", hint="bring the whole model") from error


def _find_cached(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(MODEL_FILES),
                ignore_patterns=list(_NOT_FETCHED),
                local_files_only=True,
            )
        )
    except (HFValidationError, LocalEntryNotFoundError, OSError, ValueError):
        return None


def _fetch(name: str, revision: str | None) -> Path:
    """Return the snapshot of a hub model, fetched where the cache does not hold it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=list(MODEL_FILES), ignore_patterns=list(_NOT_FETCHED)
        )
    except HFValidationError as error:
        raise CheckpointError(
            f"model.path: {name} is neither a folder here nor a valid hub name", hint="check model.path"
        ) from error
    except Exception as error:  # noqa: BLE001 - the hub client raises what its transport raises: not fetched
        # Without its cause: that carries the request with its headers.
        raise _explain_failure(name, revision, error) from None
    return Path(folder)


def _explain_failure(name: str, revision: str | None, error: Exception) -> CheckpointError:
    """Return what a failed fetch means, and the way out."""
    from huggingface_hub import errors

    has_token = any(os.environ.get(variable) for variable in _TOKEN_VARIABLES)
    log_in = "set HF_TOKEN to a token that may read it" if has_token else "run `hf auth login` or set HF_TOKEN"
    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return CheckpointError(f"model.path: {name} is gated", hint=f"accept its licence on the hub, then {log_in}")
    if isinstance(error, errors.RevisionNotFoundError):
        return CheckpointError(
            f"model.revision: {name} has no revision {revision or 'main'}", hint="name a branch, a tag or a commit"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return CheckpointError(
            f"model.path: there is no {name} on the hub, nor a folder of this name here",
            hint=f"check the name; for a private model {log_in}",
        )
    if status in (401, 403):
        return CheckpointError(f"model.path: the hub refuses {name} (HTTP {status})", hint=log_in)
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return CheckpointError(
            f"model.path: {name} is not in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it",
            hint="unset HF_HUB_OFFLINE, or name a folder with the model",
        )
    if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
        return CheckpointError(
            f"model.path: no space is left to fetch {name}", hint="free some, or move the hub's cache with HF_HOME"
        )
    reason = _SECRET.sub("", (str(cause).strip() or type(cause).__name__).splitlines()[0]).rstrip(":")
    return CheckpointError(
        f"model.path: cannot fetch {name} from the hub: {reason}",
        hint="check the network, or name a folder with the model",
    )
