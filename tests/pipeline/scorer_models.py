"""Models that score, made on the spot: a judge that states scores with a run of it, and reward models."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from engine.config.load import load_run_config
from engine.config.run import RunConfig

N_PROMPTS = 12
WORDS = ["<pad>", "<bos>", "<end>", "<unk>", "User:", "Assistant:", "Score:", *"012345", "words"]
# What follows a word, and how likely: a reply is a stated score, or words without one.
FOLLOWS = {
    "Assistant:": {"Score:": 0.75, "words": 0.25},
    "Score:": {str(digit): weight for digit, weight in enumerate((0.1, 0.1, 0.2, 0.2, 0.3, 0.1))},
    "words": {"<end>": 1.0},
    **{str(digit): {"<end>": 1.0} for digit in range(6)},
}
RM_WORDS = [
    "<pad>",
    "<bos>",
    "<eos>",
    "<unk>",
    "[user]",
    "[assistant]",
    *(f"w{i}" for i in range(30)),
    "Score:",
    *"012345",
]
RM_TEMPLATE = "{{ bos_token }}{% for m in messages %} [{{ m['role'] }}] {{ m['content'] }}{% endfor %} {{ eos_token }}"


def build_tokenizer(words: list[str], **settings: object) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", **settings)


def save_judge(folder: Path) -> Path:
    """Write a causal LM whose next word depends on the last one alone, by FOLLOWS; it answers and judges alike."""
    n = len(WORDS)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=n,
            hidden_size=n,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            head_dim=8,
            max_position_embeddings=1024,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    logits = torch.full((n, n), -20.0)
    for word, following in FOLLOWS.items():
        for next_word, probability in following.items():
            logits[WORDS.index(next_word), WORDS.index(word)] = math.log(probability)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1.0)
        model.model.embed_tokens.weight.copy_(torch.eye(n))
        # The norm gives the last word's unit vector the length sqrt(n).
        model.lm_head.weight.copy_(logits / math.sqrt(n))
    model.save_pretrained(folder)
    build_tokenizer(WORDS, bos_token="<bos>", eos_token="<end>").save_pretrained(folder)
    return folder


def save_reward_model(
    folder: Path, *, n_logits: int = 1, pad: int | None = 0, context: int = 64, seed: int = 0
) -> Path:
    """Write a random decoder with a reward head, and a tokenizer with a chat template of its own."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(RM_WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        pad_token_id=pad,
        bos_token_id=1,
        eos_token_id=2,
        num_labels=n_logits,
        initializer_range=0.3,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer = build_tokenizer(RM_WORDS, bos_token="<bos>", eos_token="<eos>")
    tokenizer.chat_template = RM_TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def save_encoder(folder: Path) -> Path:
    """Write a random encoder with a reward head; its tokenizer has no chat template and tells two texts apart."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(RM_WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=40,
        num_labels=1,
        initializer_range=0.3,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer = build_tokenizer(
        RM_WORDS, cls_token="<bos>", sep_token="<eos>", model_input_names=names, model_max_length=32
    )
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", pair="<bos> $A <eos> $B:1 <eos>:1", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    tokenizer.save_pretrained(folder)
    return folder


def build_judge_config(folder: Path, *overrides: str, method: str = "srlm-judge", name: str = "judged") -> RunConfig:
    """Return a run of the model that answers and judges with stated scores; M1 is M0."""
    prompts = folder / "prompts.jsonl"
    prompts.write_text("\n".join(f'{{"prompt": "question {n}"}}' for n in range(N_PROMPTS)))
    return load_run_config(
        "sandbox",
        overrides=[
            f"model={{kind: hf, path: {folder / 'lm'}}}",
            "data.sft=none",
            f"data.prompts={prompts}",
            f"data.prompts_per_iteration={N_PROMPTS}",
            "iterations=1",
            "evaluation.tasks=[]",
            # One judged response a batch: there is a middle in which to kill it.
            "sampling={n: 4, max_new_tokens: 4, temperature: 1.0, top_p: 1.0, batch_tokens: 900}",
            "scoring.judge={max_new_tokens: 4, temperature: 1.0, top_p: 1.0}",
            "training.batch_size=4",
            *overrides,
        ],
        method=method,
        name=name,
    )
