"""Takes keys out of a text that other libraries wrote, before it is shown or kept."""

from __future__ import annotations

import os
import re

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=//)[^/@\s]+@")
_TOKENS = re.compile(r"\bhf_[A-Za-z0-9]{8,}\b")
_LEAST_LETTERS = 8


def hide_secrets(text: str) -> str:
    """The text without values of environment variables that look like keys, hub tokens and logins in addresses."""
    secrets = {value for name, value in os.environ.items() if _SECRET.search(name) and len(value) >= _LEAST_LETTERS}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _TOKENS.sub("***", _LOGIN.sub("***@", text))
