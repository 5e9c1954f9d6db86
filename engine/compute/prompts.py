"""From messages to token ids and back, once: the only place that knows the chat template and the end tokens.

Everything later works on the stored ids. The main path enters at ``encode_prompt`` and ``encode_example``.
"""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from engine.errors import ConfigError
from engine.records import EncodedPrompt, Message, TokenSequence

# Used where a tokenizer brings no template, so that base models work as they are.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] | trim }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
# A template that writes today's date would give other prompts tomorrow; its clock stands still, on the date that
# Llama's own templates fall back to.
_STANDING_CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format | replace('%Y', '2024') | replace('%y', '24') | replace('%m', '07') "
    "| replace('%B', 'July') | replace('%b', 'Jul') | replace('%-d', '26') | replace('%d', '26') "
    "| replace('%A', 'Friday') | replace('%a', 'Fri') | replace('%H', '12') | replace('%M', '00') "
    "| replace('%S', '00') }}{%- endmacro -%}"
)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[int, ...]:
    """Return the token ids after which the model's response begins."""
    return _apply_template(tokenizer, _as_dicts(messages), add_generation_prompt=True)


def encode_conversation(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], response: str
) -> tuple[int, ...]:
    """Return a conversation and its last reply as token ids, as the template writes it."""
    whole = [*_as_dicts(messages), {"role": "assistant", "content": response}]
    return _apply_template(tokenizer, whole, add_generation_prompt=False)


def encode_example(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], response: str, *, end_token_ids: frozenset[int]
) -> TokenSequence:
    """Return a demonstration as token ids; its response ends with an end token.

    Raises:
        ConfigError: the rendered prompt is no token prefix of the rendered conversation, so that what the model is
            trained to continue is not what it will be given.
    """
    prompt = encode_prompt(tokenizer, messages)
    whole = encode_conversation(tokenizer, messages, response)
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
    ended = tail[: end + 1] if end is not None else (*tail, _choose_end_token(tokenizer, end_token_ids))
    return TokenSequence(prompt=prompt, response=ended)


def decode_response(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """Return the text of a response without special tokens and without the space the template puts before it."""
    text: str = tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text[1:] if text.startswith(" ") else text


def find_end_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return every token id that ends a response: the tokenizer's and those of the generation config.

    Raises:
        ConfigError: there is none, so that no response could ever end.
    """
    return collect_end_token_ids(model.generation_config, tokenizer)


def collect_end_token_ids(generation: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return what ``find_end_token_ids`` does, without the model."""
    found = generation.eos_token_id if generation is not None else None
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


def check_vocabulary(n_embeddings: int, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer with token ids that its model has no embedding for.

    Raises:
        ConfigError: names both sizes.
    """
    largest = count_known_tokens(tokenizer) - 1
    if largest >= n_embeddings:
        raise ConfigError(
            f"the tokenizer does not fit its model: it has token ids up to {largest}, the model {n_embeddings} "
            "embeddings",
            hint="model.path must hold the model and the tokenizer that belong together",
            key="model.path",
        )


def count_known_tokens(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return one more than the largest token id; embeddings are often padded beyond it."""
    return 1 + int(max(tokenizer.get_vocab().values()))


def check_context(limit: int | None, prompts: Sequence[EncodedPrompt], *, max_new_tokens: int, key: str) -> None:
    """Refuse prompts that, with a full response, would not fit the model's context.

    Raises:
        ConfigError: names the setting of the response length, and the longest prompt.
    """
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
    has_template = bool(tokenizer.chat_template)
    roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
    try:
        text = tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            chat_template=_find_template(tokenizer) if has_template else PLAIN_TEMPLATE,
        )
    except TemplateError as error:
        raise ConfigError(
            f"the chat template refuses a conversation with the roles {roles}: {error}",
            hint="change the messages in the data file, or chat_template in the model folder",
            key="model.path",
        ) from error
    # A template writes its own special tokens; only the plain one relies on the tokenizer to begin a text.
    ids: list[int] = tokenizer(text, add_special_tokens=not has_template)["input_ids"]
    if not has_template and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    if not ids:
        raise ConfigError(
            f"the chat template makes no token of a conversation with the roles {roles}",
            hint="mend chat_template in the model folder",
            key="model.path",
        )
    return tuple(ids)


def _find_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the tokenizer's template for conversations, with a clock that stands still.

    Raises:
        ConfigError: it has several, and none is the default.
    """
    try:
        template: str = tokenizer.get_chat_template()
    except ValueError as error:
        raise ConfigError(
            "the tokenizer has several chat templates and none is called default: "
            + ", ".join(sorted(tokenizer.chat_template)),
            hint="leave one chat_template in the model folder",
            key="model.path",
        ) from error
    return _STANDING_CLOCK + template if "strftime_now" in template else template


def _as_dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _choose_end_token(tokenizer: PreTrainedTokenizerBase, end_token_ids: frozenset[int]) -> int:
    """Return what ends a response where the template writes no end: the tokenizer's end token, else the first known."""
    if tokenizer.eos_token_id is None and not end_token_ids:
        raise ConfigError("the tokenizer has no end token", hint="set eos_token in tokenizer_config.json")
    return min(end_token_ids) if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)
