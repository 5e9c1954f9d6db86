"""Uploads a folder to the Hugging Face hub, only where somebody asked for it by name.

Knows huggingface_hub, imported when needed; the token comes from its login or $HF_TOKEN and is never shown. Must not
know what the folder holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.errors import BackendError, ConfigError, CreamError
from engine.runtime.redaction import hide_secrets

if TYPE_CHECKING:
    from huggingface_hub import HfApi

KEY = "--push-to-hub"


@dataclass(frozen=True, slots=True)
class HubTarget:
    """Where to: USER/NAME on the hub."""

    name: str
    is_private: bool


def check_target(target: HubTarget) -> None:
    """Check, before any work, that the name can be one and that there is a token.

    Raises:
        ConfigError: one is not so.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(target.name)
    except HFValidationError:
        is_valid = False
    else:
        is_valid = target.name.count("/") == 1
    if not is_valid:
        raise ConfigError(f"{KEY} {target.name}: is no USER/NAME of the hub", key=KEY, value=target.name)
    if get_token() is None:
        raise ConfigError(
            f"{KEY} {target.name}: nobody is logged in to the hub",
            hint="run `hf auth login`, or set $HF_TOKEN to a token that may write",
            key=KEY,
        )


def push_folder(folder: Path, target: HubTarget, *, kind: Literal["model", "dataset"], message: str) -> str:
    """Upload a folder's files in one commit and return the address; a new repository is private unless asked otherwise.

    Raises:
        ConfigError: the hub refuses: the token, the name, or a public repository where a private one was asked for.
        BackendError: the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="cream-tui")
    try:
        _refuse_public(api, target, kind)
        address = api.create_repo(target.name, repo_type=kind, private=target.is_private, exist_ok=True)
        api.upload_folder(repo_id=target.name, repo_type=kind, folder_path=folder, commit_message=message)
    except CreamError:
        raise
    except Exception as error:  # the hub client raises what its transport raises
        raise _explain(error, target) from error
    return str(address)


def _refuse_public(api: HfApi, target: HubTarget, kind: str) -> None:
    from huggingface_hub.errors import RepositoryNotFoundError

    if not target.is_private:
        return
    try:
        found = api.repo_info(target.name, repo_type=kind)
    except RepositoryNotFoundError:
        return
    if not found.private:
        raise ConfigError(
            f"{KEY} {target.name}: is there already, and everybody can read it",
            hint="say --public, or name another",
            key=KEY,
            value=target.name,
        )


def _explain(error: Exception, target: HubTarget) -> CreamError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    what = f"{KEY} {target.name}"
    if status == 401:
        return ConfigError(
            f"{what}: the hub does not accept the token (401)", hint="log in anew: `hf auth login`", key=KEY
        )
    if status == 403:
        return ConfigError(
            f"{what}: the token may not write there (403)",
            hint="use a token with write access, and a name below your own or below an organisation of yours",
            key=KEY,
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return BackendError(f"{what}: not uploaded: {hide_secrets(reason)}", hint="nothing here is lost: try again later")
