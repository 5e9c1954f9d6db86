"""From messages to token ids and back, once: the only place that knows the chat template and the end tokens.

Everything later works on the stored ids. The main path enters at ``encode_prompt`` and ``encode_example``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.errors import ConfigError
from engine.records import EncodedPrompt, Message, TokenSequence

# Used where a tokenizer brings no template, so that base models work as they are.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] | trim }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[int, ...]:
    """Return the token ids after which the model's response begins."""
    return _apply_template(tokenizer, _as_dicts(messages), add_generation_prompt=True)


def encode_example(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], response: str, *, end_token_ids: frozenset[int]
) -> TokenSequence:
    """Return a demonstration as token ids; its response ends with an end token.

    Raises:
        ConfigError: the rendered prompt is no token prefix of the rendered conversation, so that what the model is
            trained to continue is not what it will be given.
    """
    prompt = encode_prompt(tokenizer, messages)
    whole = _apply_template(
        tokenizer, [*_as_dicts(messages), {"role": "assistant", "content": response}], add_generation_prompt=False
    )
    if whole[: len(prompt)] != prompt:
        at = next(
            (i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), min(len(prompt), len(whole))
        )
        raise ConfigError(
            "the chat template of this tokenizer is no token prefix: a prompt with the generation prompt and the whole "
            f"conversation differ from token {at} on ({tokenizer.decode(list(prompt[at : at + 4]))!r} against "
            f"{tokenizer.decode(list(whole[at : at + 4]))!r})",
            hint="mend chat_template in the model folder and start the run again",
            key="model.path",
        )
    tail = whole[len(prompt) :]
    end = next((i for i, token in enumerate(tail) if token in end_token_ids), None)
    ended = tail[: end + 1] if end is not None else (*tail, _require_end_token(tokenizer))
    return TokenSequence(prompt=prompt, response=ended)


def decode_response(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """Return the text of a response without special tokens and without the space the template puts before it."""
    text: str = tokenizer.decode(list(token_ids), skip_special_tokens=True)
    return text[1:] if text.startswith(" ") else text


def find_end_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return every token id that ends a response: the tokenizer's and those of the generation config.

    Raises:
        ConfigError: there is none, so that no response could ever end.
    """
    found = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = {found} if isinstance(found, int) else set(found or ())
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    if not ids:
        raise ConfigError(
            "neither the tokenizer nor generation_config.json names an end token",
            hint="set eos_token in tokenizer_config.json of the model folder",
            key="model.path",
        )
    return frozenset(ids)


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer with token ids that the model has no embedding for.

    Raises:
        ConfigError: names both sizes.
    """
    n_rows = model.get_input_embeddings().weight.shape[0]
    largest = max(tokenizer.get_vocab().values())
    if largest >= n_rows:
        raise ConfigError(
            f"the tokenizer does not fit its model: it has token ids up to {largest}, the model {n_rows} embeddings",
            hint="model.path must hold the model and the tokenizer that belong together",
            key="model.path",
        )


def check_context(model: PreTrainedModel, prompts: Sequence[EncodedPrompt], *, max_new_tokens: int, key: str) -> None:
    """Refuse prompts that, with a full response, would not fit the model's context.

    Raises:
        ConfigError: names the setting of the response length, and the longest prompt.
    """
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(len(prompt.token_ids) for prompt in prompts)
    if limit is not None and longest + max_new_tokens > limit:
        raise ConfigError(
            f"{key} = {max_new_tokens} after a prompt of {longest} tokens exceeds the model's context of {limit}",
            hint=f"set {key} to at most {limit - longest}, or a smaller data.max_prompt_tokens",
            key=key,
            value=max_new_tokens,
        )


def _apply_template(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], *, add_generation_prompt: bool
) -> tuple[int, ...]:
    template: dict[str, Any] = {} if tokenizer.chat_template else {"chat_template": PLAIN_TEMPLATE}
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, **template
        )
    except TemplateError as error:
        roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
        raise ConfigError(
            f"the chat template refuses a conversation with the roles {roles}: {error}",
            hint="change the messages in the data file, or chat_template in the model folder",
            key="model.path",
        ) from error
    # A template writes its own special tokens; only the plain one relies on the tokenizer to begin a text.
    ids: list[int] = tokenizer(text, add_special_tokens=not tokenizer.chat_template)["input_ids"]
    if not tokenizer.chat_template and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return tuple(ids)


def _as_dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _require_end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise ConfigError("the tokenizer has no end token", hint="set eos_token in tokenizer_config.json")
    end: int = tokenizer.eos_token_id
    return end
