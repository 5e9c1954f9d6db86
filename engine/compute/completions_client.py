"""A client of OpenAI's completions protocol: requests, retries, and what a refusal means. Knows no sampling.

The key stands in one header and nowhere else: no message, no log. Redirects are not followed, for they would carry it
along.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import BackendError

# Waits between tries, in seconds: a server that is busy or starts anew is given two minutes.
RETRY_WAITS_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
LONGEST_WAIT_S = 120.0
TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
LONGEST_REASON = 300
LOOK_TIMEOUT_S = 30.0
ADDRESS_HINT = "is this the address of an OpenAI-compatible server, up to and including /v1?"


class EndpointRefusal(Exception):
    """The server answered, and will not change its mind; ``reason`` is the first line of what it says."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class CompletionsClient:
    """Speaks to the server at ``url``, which ends with /v1."""

    url: str
    key: str | None
    timeout_s: float
    retry_waits_s: tuple[float, ...] = RETRY_WAITS_S
    _opener: urllib.request.OpenerDirector = field(
        default_factory=lambda: urllib.request.build_opener(_NoRedirects), repr=False
    )

    def list_models(self) -> dict[str, str | None]:
        """Return the names that the server serves, each with the name of the model that it is an adapter of."""
        try:
            answer = self._ask("/models", None, timeout_s=LOOK_TIMEOUT_S)
        except EndpointRefusal as refusal:
            raise self._fail(f"answers /models with {refusal.reason}", hint=ADDRESS_HINT) from None
        entries = answer.get("data")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) and "id" in entry for entry in entries):
            raise self._fail("answers /models with no list of models", hint=ADDRESS_HINT)
        return {str(entry["id"]): entry.get("parent") for entry in entries}

    def load_adapter(self, name: str, folder: str) -> None:
        """Have vLLM's server load a LoRA adapter from a folder that it can read.

        Raises:
            EndpointRefusal: it does not.
        """
        self._ask("/load_lora_adapter", {"lora_name": name, "lora_path": folder}, may_be_text=True)

    def complete(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the choices of a completion."""
        choices = self._ask("/completions", request).get("choices")
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise self._fail("answers /completions without choices")
        return choices

    def _ask(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        may_be_text: bool = False,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Return an answer; a server that is busy or not to be reached for a while is asked again."""
        for wait_s in (*self.retry_waits_s, None):
            try:
                text = self._ask_once(path, body, timeout_s or self.timeout_s)
                break
            except _Temporary as fault:
                if wait_s is None:
                    raise self._fail(
                        f"gave no answer to {len(self.retry_waits_s) + 1} tries: {fault}",
                        hint="is the server up? Then resume: what was sampled is kept",
                    ) from None
                time.sleep(min(fault.wait_s or wait_s, LONGEST_WAIT_S))
        if may_be_text:
            return {}
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._fail(f"answers {path} with no JSON object", hint=ADDRESS_HINT)
        return answer

    def _ask_once(self, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers)
        try:
            with self._opener.open(request, timeout=timeout_s) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            raise self._explain(error) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise _Temporary(self._hide(str(reason) or type(error).__name__)) from None

    def _explain(self, error: urllib.error.HTTPError) -> Exception:
        """Return what an HTTP status means; of 401 and 403 without the server's words, which may hold the key."""
        if error.code in (401, 403):
            hint = (
                "check the key in the environment variable that sampling.endpoint.api_key_variable names"
                if self.key is not None
                else "set sampling.endpoint.api_key_variable to the environment variable that holds its key"
            )
            return self._fail(f"refuses the key (HTTP {error.code})", hint=hint)
        reason = self._hide(_read_reason(error))
        if error.code in TEMPORARY:
            wait = error.headers.get("Retry-After", "")
            return _Temporary(f"HTTP {error.code}: {reason}", float(wait) if wait.isdecimal() else None)
        return EndpointRefusal(error.code, f"HTTP {error.code}: {reason}")

    def _hide(self, text: str) -> str:
        return text if self.key is None else text.replace(self.key, "***")

    def _fail(self, what: str, hint: str | None = None) -> BackendError:
        return BackendError(f"the server of sampling.endpoint, {self.url}, {what}", hint=hint)


class _Temporary(Exception):
    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def _read_reason(error: urllib.error.HTTPError) -> str:
    """Return the message of an error in OpenAI's or vLLM's form, else the first line of the body."""
    try:
        text = error.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return str(error.reason)
    try:
        body = json.loads(text)
        inner = body.get("error", body)
        text = str(inner.get("message", text) if isinstance(inner, dict) else inner)
    except (ValueError, AttributeError):
        pass
    lines = text.strip().splitlines()
    return lines[0][:LONGEST_REASON] if lines else str(error.reason)
