"""Chat templates of the common kinds at token level: minimal ones of our own, and a tokenizer whose tokens are words.

Every expected sequence is written out. A line break, a word with the space before it, a sign are one token each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from engine.compute.prompts import decode_response, encode_example, encode_prompt
from engine.errors import ConfigError
from engine.records import Message

USER = (Message("user", "Say it"),)
SYSTEM = (Message("system", "Be brief"), *USER)
TURNS = (*USER, Message("assistant", "Yes."), Message("user", "Again"))
LLAMA3 = """{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>

{{ m['content'] | trim }}<|eot_id|>{% endfor %}
{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""
LLAMA2 = """{% if messages[0]['role'] == 'system' %}
{% set s = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}
{% set rest = messages[1:] %}{% else %}{% set s = '' %}{% set rest = messages %}{% endif %}
{% for m in rest %}{% if m['role'] == 'user' %}
{{- bos_token + '[INST] ' + (s if loop.first else '') + m['content'].strip() }}
{{- ' [/INST]' }}{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""
QWEN25 = """{% if messages[0]['role'] != 'system' %}<|im_start|>system
You are Qwen<|im_end|>
{% endif %}{% for m in messages %}<|im_start|>{{ m['role'] }}
{{ m['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
# Thoughts of earlier turns are left out; the last reply has a block for them, empty where there is none.
QWEN3 = """{% set ns = namespace(last=-1) %}{% for m in messages %}
{% if m['role'] == 'user' %}{% set ns.last = loop.index0 %}
{% endif %}{% endfor %}{% for m in messages %}<|im_start|>{{ m['role'] }}
{% if m['role'] == 'assistant' and loop.index0 > ns.last %}<think>

</think>

{% endif %}{{ m['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
MISTRAL = """{{ bos_token }}{% for m in messages %}
{%- if m['role'] == 'user' %}[INST] {{ m['content'] }}[/INST]
{%- elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}{% else %}
{{- raise_exception('only user and assistant roles are supported') }}{% endif %}{% endfor %}"""
GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{{- raise_exception('System role not supported') }}{% endif %}
{%- for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}
{{ m['content'] | trim }}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""
WORDS = (
    "\n",
    "\n\n",
    " ",
    "user",
    "assistant",
    "system",
    "model",
    "Say",
    " Say",
    " it",
    "Again",
    " Again",
    "Yes",
    " Yes",
    ".",
    "Be",
    " brief",
    "You",
    " are",
    " Qwen",
    " <<",
    "SYS",
    ">>",
    "<</",
    "Today",
    ":",
    " 26",
    " Jul",
    " 2024",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A template, its special tokens with the beginning and the end first, and what it makes of the messages above."""

    template: str
    begin: str | None
    end: str
    prompt: list[str]
    response: list[str]
    second_prompt: list[str]
    with_system: list[str] | None
    others: list[str] = field(default_factory=list)


def _chat(role: str, *words: str) -> list[str]:
    return ["<|im_start|>", role, "\n", *words, "<|im_end|>", "\n"]


def _head(role: str) -> list[str]:
    return ["<|start_header_id|>", role, "<|end_header_id|>", "\n\n"]


KINDS = {
    "llama3": Kind(
        LLAMA3,
        "<|begin_of_text|>",
        "<|eot_id|>",
        prompt=["<|begin_of_text|>", *_head("user"), "Say", " it", "<|eot_id|>", *_head("assistant")],
        response=["Yes", ".", "<|eot_id|>"],
        second_prompt=[
            "<|begin_of_text|>",
            *_head("user"),
            "Say",
            " it",
            "<|eot_id|>",
            *_head("assistant"),
            "Yes",
            ".",
            "<|eot_id|>",
            *_head("user"),
            "Again",
            "<|eot_id|>",
            *_head("assistant"),
        ],
        with_system=[
            "<|begin_of_text|>",
            *_head("system"),
            "Be",
            " brief",
            "<|eot_id|>",
            *_head("user"),
            "Say",
            " it",
            "<|eot_id|>",
            *_head("assistant"),
        ],
        others=["<|start_header_id|>", "<|end_header_id|>"],
    ),
    "llama2": Kind(
        LLAMA2,
        "<s>",
        "</s>",
        prompt=["<s>", "[INST]", " Say", " it", " ", "[/INST]"],
        response=[" Yes", ".", " ", "</s>"],
        second_prompt=[
            "<s>",
            "[INST]",
            " Say",
            " it",
            " ",
            "[/INST]",
            " Yes",
            ".",
            " ",
            "</s>",
            "<s>",
            "[INST]",
            " Again",
            " ",
            "[/INST]",
        ],
        with_system=[
            "<s>",
            "[INST]",
            " <<",
            "SYS",
            ">>",
            "\n",
            "Be",
            " brief",
            "\n",
            "<</",
            "SYS",
            ">>",
            "\n\n",
            "Say",
            " it",
            " ",
            "[/INST]",
        ],
        others=["[INST]", "[/INST]"],
    ),
    "qwen2.5": Kind(
        QWEN25,
        None,
        "<|im_end|>",
        prompt=[
            *_chat("system", "You", " are", " Qwen"),
            *_chat("user", "Say", " it"),
            "<|im_start|>",
            "assistant",
            "\n",
        ],
        response=["Yes", ".", "<|im_end|>"],
        second_prompt=[
            *_chat("system", "You", " are", " Qwen"),
            *_chat("user", "Say", " it"),
            *_chat("assistant", "Yes", "."),
            *_chat("user", "Again"),
            "<|im_start|>",
            "assistant",
            "\n",
        ],
        with_system=[*_chat("system", "Be", " brief"), *_chat("user", "Say", " it"), "<|im_start|>", "assistant", "\n"],
        others=["<|im_start|>"],
    ),
    "qwen3": Kind(
        QWEN3,
        None,
        "<|im_end|>",
        prompt=[*_chat("user", "Say", " it"), "<|im_start|>", "assistant", "\n"],
        response=["<think>", "\n\n", "</think>", "\n\n", "Yes", ".", "<|im_end|>"],
        second_prompt=[
            *_chat("user", "Say", " it"),
            *_chat("assistant", "Yes", "."),
            *_chat("user", "Again"),
            "<|im_start|>",
            "assistant",
            "\n",
        ],
        with_system=[*_chat("system", "Be", " brief"), *_chat("user", "Say", " it"), "<|im_start|>", "assistant", "\n"],
        others=["<|im_start|>", "<think>", "</think>"],
    ),
    "mistral": Kind(
        MISTRAL,
        "<s>",
        "</s>",
        prompt=["<s>", "[INST]", " Say", " it", "[/INST]"],
        response=[" Yes", ".", "</s>"],
        second_prompt=["<s>", "[INST]", " Say", " it", "[/INST]", " Yes", ".", "</s>", "[INST]", " Again", "[/INST]"],
        with_system=None,
        others=["[INST]", "[/INST]"],
    ),
    "gemma": Kind(
        GEMMA,
        "<bos>",
        "<end_of_turn>",
        prompt=[
            "<bos>",
            "<start_of_turn>",
            "user",
            "\n",
            "Say",
            " it",
            "<end_of_turn>",
            "\n",
            "<start_of_turn>",
            "model",
            "\n",
        ],
        response=["Yes", ".", "<end_of_turn>"],
        second_prompt=[
            "<bos>",
            "<start_of_turn>",
            "user",
            "\n",
            "Say",
            " it",
            "<end_of_turn>",
            "\n",
            "<start_of_turn>",
            "model",
            "\n",
            "Yes",
            ".",
            "<end_of_turn>",
            "\n",
            "<start_of_turn>",
            "user",
            "\n",
            "Again",
            "<end_of_turn>",
            "\n",
            "<start_of_turn>",
            "model",
            "\n",
        ],
        with_system=None,
        others=["<start_of_turn>"],
    ),
}


def build_tokenizer(kind: Kind, template: object | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer that begins every text that it is given with the begin token, as those of these models do."""
    specials = [name for name in ("<unk>", kind.begin, kind.end, *kind.others) if name]
    names = list(dict.fromkeys([*specials, *WORDS]))
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"\n+| ?[A-Za-z]+| ?[0-9]+|<</| ?<<|>>| ?[^\sA-Za-z0-9]| "), behavior="isolated"
    )
    tokenizer.decoder = decoders.Fuse()
    if kind.begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{kind.begin} $A", special_tokens=[(kind.begin, tokenizer.token_to_id(kind.begin))]
        )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=kind.begin,
        eos_token=kind.end,
        unk_token="<unk>",
        additional_special_tokens=[name for name in kind.others if "think" not in name],
        chat_template=kind.template if template is None else template,
    )
    wrapped.add_tokens([name for name in kind.others if "think" in name])  # as in Qwen 3, these two are no special ones
    return wrapped


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def tokenizer(kind: Kind) -> PreTrainedTokenizerFast:
    return build_tokenizer(kind)


def name_ids(tokenizer: PreTrainedTokenizerFast, ids: tuple[int, ...]) -> list[str]:
    names = tokenizer.convert_ids_to_tokens(list(ids))
    assert "<unk>" not in names
    return names  # type: ignore[no-any-return]


def get_ends(tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    return frozenset({tokenizer.eos_token_id})


def test_a_prompt_is_exactly_these_tokens(tokenizer: PreTrainedTokenizerFast, kind: Kind) -> None:
    assert name_ids(tokenizer, encode_prompt(tokenizer, USER)) == kind.prompt
    assert name_ids(tokenizer, encode_prompt(tokenizer, TURNS)) == kind.second_prompt
    if kind.begin:  # sent through this tokenizer as text, the prompt would begin twice
        assert tokenizer("".join(kind.prompt))["input_ids"][:2] == [tokenizer.bos_token_id] * 2


def test_an_example_is_exactly_these_tokens(tokenizer: PreTrainedTokenizerFast, kind: Kind) -> None:
    for messages, prompt in ((USER, kind.prompt), (TURNS, kind.second_prompt)):
        example = encode_example(tokenizer, messages, "Yes.", end_token_ids=get_ends(tokenizer))
        assert name_ids(tokenizer, example.prompt) == prompt
        assert name_ids(tokenizer, example.response) == kind.response


def test_a_system_message_is_written_or_refused_in_our_words(tokenizer: PreTrainedTokenizerFast, kind: Kind) -> None:
    if kind.with_system is not None:
        assert name_ids(tokenizer, encode_prompt(tokenizer, SYSTEM)) == kind.with_system
        return
    with pytest.raises(ConfigError, match="refuses a conversation with the roles system, user") as refusal:
        encode_prompt(tokenizer, SYSTEM)
    assert "data file" in str(refusal.value.hint) and refusal.value.key == "model.path"


def test_spaces_around_a_message_are_those_of_its_kind() -> None:
    """Llama's and Gemma's templates strip, Mistral's and Qwen's keep what they are given."""
    for name in ("llama3", "llama2", "gemma"):
        tokenizer = build_tokenizer(KINDS[name])
        spaced = (Message("user", " Say it "),)
        assert name_ids(tokenizer, encode_prompt(tokenizer, spaced)) == KINDS[name].prompt
        example = encode_example(tokenizer, spaced, " Yes. ", end_token_ids=get_ends(tokenizer))
        assert name_ids(tokenizer, example.response) == KINDS[name].response
    tokenizer = build_tokenizer(KINDS["qwen2.5"])
    kept = name_ids(tokenizer, encode_prompt(tokenizer, (Message("user", "Say it "),)))
    assert kept[-6:] == [" ", "<|im_end|>", "\n", "<|im_start|>", "assistant", "\n"]


def test_the_empty_block_of_thoughts_is_part_of_the_trained_response() -> None:
    tokenizer = build_tokenizer(KINDS["qwen3"])
    example = encode_example(tokenizer, USER, "Yes.", end_token_ids=get_ends(tokenizer))
    assert decode_response(tokenizer, example.response) == "<think>\n\n</think>\n\nYes."


def test_the_date_of_a_template_stands_still() -> None:
    """Else the prompts of a run that goes on tomorrow would be others, under the same keys."""
    kind = KINDS["llama3"]
    date = "{% if strftime_now is defined %}Today: {{ strftime_now('%d %b %Y') }}{% endif %}"
    dated = kind.template.replace("{% for", date + "{% for")
    tokenizer = build_tokenizer(kind, dated)
    prompt = name_ids(tokenizer, encode_prompt(tokenizer, USER))
    assert prompt == [kind.prompt[0], "Today", ":", " 26", " Jul", " 2024", *kind.prompt[1:]]
    today = tokenizer.apply_chat_template([{"role": "user", "content": "Say it"}], tokenize=False)
    assert "26 Jul 2024" not in today, "the template itself writes today's date"


def test_of_several_templates_the_default_is_taken_and_none_is_refused() -> None:
    kind = KINDS["gemma"]
    tokenizer = build_tokenizer(kind, {"default": kind.template, "tool_use": "{{ bos_token }}"})
    assert name_ids(tokenizer, encode_prompt(tokenizer, USER)) == kind.prompt
    tokenizer = build_tokenizer(kind, {"rag": kind.template, "tool_use": "{{ bos_token }}"})
    with pytest.raises(ConfigError, match=r"several chat templates and none is called default: rag, tool_use"):
        encode_prompt(tokenizer, USER)


def test_a_template_that_writes_nothing_is_refused() -> None:
    tokenizer = build_tokenizer(KINDS["qwen2.5"], "{% if false %}{{ messages }}{% endif %}")
    with pytest.raises(ConfigError, match="makes no token of a conversation with the roles user"):
        encode_prompt(tokenizer, USER)


def test_a_response_ends_with_the_end_token_of_the_generation_config_where_the_tokenizer_has_none() -> None:
    tokenizer = build_tokenizer(
        KINDS["mistral"],
        "{% for m in messages %}{{ '[INST]' + m['content'] if loop.first else '[/INST]Yes' }}{% endfor %}"
        "{% if add_generation_prompt %}[/INST]{% endif %}",
    )
    end = tokenizer.eos_token_id
    tokenizer.eos_token = None
    example = encode_example(tokenizer, USER, "Yes.", end_token_ids=frozenset({end}))
    assert example.response[-1] == end
