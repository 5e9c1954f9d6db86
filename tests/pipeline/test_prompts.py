"""Chat templates of the common kinds with a small tokenizer trained on the spot: token prefix, one BOS, one end."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tiny_models import build_model
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast

from engine.compute.prompts import decode_response, encode_example, encode_prompt, find_end_token_ids
from engine.errors import ConfigError
from engine.records import Message

# Line breaks are a piece of their own, as in Llama 3 and Qwen; GPT-2's rule lets the last one go with what follows.
LINES_APART = r"'s|'t| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"
LINES_JOINED = r"'s|'t| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TEXTS = [
    "system user assistant model User: Assistant: You are a helpful assistant.",
    "What is the capital of France? The capital is Paris.\n\nIt lies on the Seine.\n",
    "### Instruction:\n\nSay it again. Again and again!\n\n### Response:\n\n",
]
QUESTION, RESPONSE = "What is the capital of France?", "The capital is Paris.\n\nIt lies on the Seine."


@dataclass(frozen=True, slots=True)
class Kind:
    """A template and its special tokens; ``end`` ends a turn, ``eos`` is what the tokenizer calls its end token."""

    template: str | None
    bos: str | None
    eos: str | None
    end: str
    others: tuple[str, ...] = ()
    pattern: str = LINES_APART


KINDS = {
    "llama3": Kind(
        "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
        "+ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
        end="<|eot_id|>",
        others=("<|start_header_id|>", "<|end_header_id|>"),
    ),
    "llama2": Kind(
        "{% for m in messages %}{% if m['role'] == 'user' %}"
        "{{ bos_token + '[INST] ' + m['content'].strip() + ' [/INST]' }}{% else %}"
        "{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
        bos="<s>",
        eos="</s>",
        end="</s>",
    ),
    "qwen": Kind(
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
        "{% endif %}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        bos=None,
        eos="<|im_end|>",
        end="<|im_end|>",
        others=("<|im_start|>",),
    ),
    "mistral": Kind(
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + '[/INST]' }}"
        "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}",
        bos="<s>",
        eos="</s>",
        end="</s>",
        others=("[INST]", "[/INST]"),
    ),
    "gemma": Kind(
        "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
        "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        bos="<bos>",
        eos="<eos>",
        end="<end_of_turn>",
        others=("<start_of_turn>",),
    ),
    "plain": Kind(None, bos="<s>", eos="</s>", end="</s>"),
    "silent": Kind(  # a template that ends nothing
        "{% for m in messages %}{% if m['role'] == 'user' %}"
        "{{ '### Instruction:\n\n' + m['content'] + '\n\n### Response:' }}{% else %}"
        "{{ ' ' + m['content'] }}{% endif %}{% endfor %}",
        bos=None,
        eos="</s>",
        end="</s>",
    ),
}


def build_tokenizer(kind: Kind) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that, where it has a BOS token, puts it before every text."""
    specials = list(dict.fromkeys(name for name in (kind.bos, kind.eos, kind.end, *kind.others) if name))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(kind.pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer=trainer)
    if kind.bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{kind.bos} $A", special_tokens=[(kind.bos, tokenizer.token_to_id(kind.bos))]
        )
    named = {name: token for name, token in (("bos_token", kind.bos), ("eos_token", kind.eos)) if token}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=kind.template, **named)


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def tokenizer(kind: Kind) -> PreTrainedTokenizerFast:
    return build_tokenizer(kind)


def get_ends(tokenizer: PreTrainedTokenizerFast, kind: Kind) -> frozenset[int]:
    return frozenset(tokenizer.convert_tokens_to_ids([kind.end, kind.eos]))


def test_an_example_is_its_prompt_its_response_and_one_end_token(
    tokenizer: PreTrainedTokenizerFast, kind: Kind
) -> None:
    """What a template writes after the end token, a line break with Qwen, Gemma and plain, is dropped."""
    messages = (Message("user", QUESTION),)
    ends = get_ends(tokenizer, kind)
    example = encode_example(tokenizer, messages, RESPONSE, end_token_ids=ends)
    assert example.prompt == encode_prompt(tokenizer, messages)
    *body, last = example.response
    assert last == tokenizer.convert_tokens_to_ids(kind.end)
    assert not ends & set(body)
    # Llama 2 writes a space before its end token; it is trained as every other token.
    assert decode_response(tokenizer, example.response).rstrip() == RESPONSE


def test_a_conversation_keeps_the_prefix(tokenizer: PreTrainedTokenizerFast, kind: Kind) -> None:
    turns = (Message("user", QUESTION), Message("assistant", RESPONSE), Message("user", "Again!"))
    example = encode_example(tokenizer, turns, RESPONSE, end_token_ids=get_ends(tokenizer, kind))
    first = encode_example(tokenizer, turns[:1], RESPONSE, end_token_ids=get_ends(tokenizer, kind))
    assert example.prompt[: len(first.prompt)] == first.prompt
    assert decode_response(tokenizer, example.response) == decode_response(tokenizer, first.response)


def test_there_is_one_bos_token(tokenizer: PreTrainedTokenizerFast, kind: Kind) -> None:
    """These tokenizers add one by themselves: sent through them, a template that writes it would have two."""
    prompt = encode_prompt(tokenizer, (Message("user", QUESTION),))
    if kind.bos is None:
        assert tokenizer.bos_token_id is None
        return
    bos = tokenizer.bos_token_id
    assert tokenizer(QUESTION)["input_ids"][0] == bos
    assert prompt[0] == bos and prompt.count(bos) == 1


def test_no_template_means_plain_roles() -> None:
    tokenizer = build_tokenizer(KINDS["plain"])
    turns = (Message("user", "Again "), Message("assistant", "and again"), Message("user", "Again!"))
    prompt = encode_prompt(tokenizer, turns)
    assert tokenizer.decode(list(prompt)) == "<s>User: Again\nAssistant: and again</s>\nUser: Again!\nAssistant:"
    example = encode_example(tokenizer, turns, "Paris.", end_token_ids=frozenset({tokenizer.eos_token_id}))
    assert tokenizer.decode(list(example.response)) == " Paris.</s>"


def test_a_plain_prompt_of_a_tokenizer_that_ends_every_text_stays_open() -> None:
    tokenizer = build_tokenizer(KINDS["plain"])
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in ("<s>", "</s>")}
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=list(ids.items())
    )
    prompt = encode_prompt(tokenizer, (Message("user", QUESTION),))
    assert tokenizer(QUESTION)["input_ids"][-1] == ids["</s>"]
    assert ids["</s>"] not in prompt
    assert tokenizer.decode(list(prompt)).endswith("Assistant:")


def test_merges_across_the_border_are_refused_with_the_place() -> None:
    """Where line breaks join what follows, the two of the generation prompt are one token alone, two before a word."""
    kind = KINDS["llama3"]
    tokenizer = build_tokenizer(Kind(kind.template, kind.bos, kind.eos, kind.end, kind.others, LINES_JOINED))
    with pytest.raises(ConfigError, match="no token prefix") as refusal:
        encode_example(tokenizer, (Message("user", QUESTION),), RESPONSE, end_token_ids=get_ends(tokenizer, kind))
    prompt = encode_prompt(tokenizer, (Message("user", QUESTION),))
    assert f"differ from token {len(prompt) - 1} on ('\\n\\n' against '\\n\\nThe" in refusal.value.message
    assert refusal.value.key == "model.path"
    assert "start the run again" in str(refusal.value)


def test_a_generation_prompt_that_the_conversation_lacks_is_refused() -> None:
    """As with templates that open a thought for the model and leave thoughts out of a finished conversation."""
    kind = KINDS["qwen"]
    opening = "<|im_start|>assistant\n' }}{% endif"
    template = str(kind.template).replace(opening, opening.replace("\n'", "\n<think>'"))
    assert template != kind.template
    tokenizer = build_tokenizer(Kind(template, kind.bos, kind.eos, kind.end, kind.others))
    with pytest.raises(ConfigError, match="'<thin' against 'The capital"):
        encode_example(tokenizer, (Message("user", QUESTION),), RESPONSE, end_token_ids=get_ends(tokenizer, kind))


def test_without_any_end_token_nothing_could_be_trained_to_end() -> None:
    kind = KINDS["silent"]
    tokenizer = build_tokenizer(Kind(kind.template, None, None, "<end>"))
    with pytest.raises(ConfigError, match="no end token"):
        encode_example(tokenizer, (Message("user", QUESTION),), RESPONSE, end_token_ids=frozenset())


@pytest.mark.parametrize(("named", "expected"), [(None, {1}), (7, {1, 7}), ([7, 9], {1, 7, 9}), ([1], {1})])
def test_end_tokens_are_those_of_tokenizer_and_generation_config(
    named: int | list[int] | None, expected: set[int]
) -> None:
    model, tokenizer = build_model(), build_tokenizer(KINDS["plain"])
    model.generation_config = GenerationConfig(eos_token_id=named)
    assert tokenizer.eos_token_id == 1
    assert find_end_token_ids(model, tokenizer) == expected


def test_no_end_token_anywhere_is_refused() -> None:
    model = build_model()
    model.generation_config = GenerationConfig()
    tokenizer = build_tokenizer(Kind(None, None, None, "<end>"))
    with pytest.raises(ConfigError, match="names an end token") as refusal:
        find_end_token_ids(model, tokenizer)
    assert refusal.value.key == "model.path"


@pytest.mark.parametrize("text", ["Paris", " Paris", "  Paris ", "\nParis", ""])
def test_a_decoded_response_loses_special_tokens_and_one_leading_space(text: str) -> None:
    tokenizer = build_tokenizer(KINDS["mistral"])
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert decode_response(tokenizer, [*ids, tokenizer.eos_token_id]) == text.removeprefix(" ")
