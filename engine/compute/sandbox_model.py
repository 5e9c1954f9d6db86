"""Rebuilds the base model of the sandbox from nothing: tokenizer, corpus, tiny Llama, training, saved folder.

Knows the recipe of M0 and the token format of the sandbox. Must not know runs, stages or the store: everyone else loads
the saved folder like any other transformers model. Enters at `main`, `python -m engine.compute.sandbox_model`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from engine.tasks.sandbox import CORPORA, MAX_NUMBER, Document, generate_documents

SEED = 0
VOCAB_SIZE = 384
CONTEXT_LENGTH = 256
DOCUMENTS_PER_BATCH = 32
BUCKET_BATCHES = 16  # documents of so many batches are sorted by length together, which leaves little padding
STEPS = 11_400  # about 10M tokens; at 5.4M M1 answers .46 of the test problems, at 10M .79
LEARNING_RATE = 4e-3
WARMUP_SHARE = 0.05
N_RECORDED_LOSSES = 20

PAD, BOS, END, USER, ASSISTANT, UNKNOWN = "<pad>", "<bos>", "<end>", "<user>", "<assistant>", "<unk>"
# The space before every text keeps BPE merges from crossing into the special token, so a rendered prompt is a token
# prefix of the rendered conversation. It belongs to the template: callers pass plain text.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<assistant> ' + message['content'] + '<end>' }}"
    "{% elif message['role'] == 'user' %}{{ '<user> ' + message['content'] }}"
    "{% else %}{{ raise_exception('the sandbox model knows only the roles user and assistant') }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
# One leading space belongs to a word, a number or a run of signs; digits and letters never mix.
_WORD_PATTERN = r" ?\d+| ?[A-Za-z]+| ?[^\sA-Za-z\d]+|\s"
_ALPHABET = [chr(code) for code in range(32, 127)] + ["\n"]
_TOKENIZER_DOCUMENTS = 4000
_NUMBER_REPEATS = 200  # makes every number more frequent than the rarer halves of words, hence one token


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What one training of M0 did; losses are in nats per token, one per step, seconds are wall clock."""

    losses: list[float]
    n_tokens: int
    n_parameters: int
    training_s: float


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the BPE tokenizer, trained on the head of the corpus; every whole number up to MAX_NUMBER is one token."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD_PATTERN), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[PAD, BOS, END, USER, ASSISTANT, UNKNOWN],
        initial_alphabet=_ALPHABET,
        limit_alphabet=len(_ALPHABET),
        show_progress=False,
    )
    texts = [_render_plain(document) for document in islice(generate_documents(SEED), _TOKENIZER_DOCUMENTS)]
    numbers = "".join(f" {number}" for number in range(MAX_NUMBER + 1))
    tokenizer.train_from_iterator([*texts, *[numbers] * _NUMBER_REPEATS], trainer=trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=[USER, ASSISTANT],
        model_max_length=CONTEXT_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return the untrained model; its weights depend on SEED alone, not on the initialisation of transformers."""
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=96,
        intermediate_size=288,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.02, generator=generator)
    model.generation_config = GenerationConfig(
        max_new_tokens=64,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return model


def iterate_batches(tokenizer: PreTrainedTokenizerFast, corpus: str = "mixed") -> Iterator[torch.Tensor]:
    """Yield endless batches of corpus documents as token ids [DOCUMENTS_PER_BATCH, longest], padded on the right."""
    documents = generate_documents(SEED, corpus)
    rng = random.Random(SEED)
    while True:
        texts = [_render(document) for document in islice(documents, DOCUMENTS_PER_BATCH * BUCKET_BATCHES)]
        rows = sorted(tokenizer(texts, add_special_tokens=False)["input_ids"], key=len)
        starts = list(range(0, len(rows), DOCUMENTS_PER_BATCH))
        rng.shuffle(starts)
        for start in starts:
            batch = rows[start : start + DOCUMENTS_PER_BATCH]
            width = len(batch[-1])
            yield torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in batch])


def train(
    model: LlamaForCausalLM, batches: Iterator[torch.Tensor], *, steps: int, stop_after: int | None = None
) -> TrainingReport:
    """Train the model in place on `steps` batches with warm-up and cosine decay, and return what happened.

    `stop_after` ends early on the schedule of the full training, which makes the first losses comparable.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _compute_rate_factor(step, steps))
    model.train()
    losses: list[float] = []
    n_tokens = 0
    started = time.monotonic()
    for step, ids_BT in enumerate(islice(batches, steps if stop_after is None else min(stop_after, steps))):
        loss = _compute_loss(model, ids_BT)
        n_tokens += int((ids_BT != model.config.pad_token_id).sum())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 200 == 0:
            print(f"step {step + 1}/{steps}  loss {loss.item():.4f}", file=sys.stderr, flush=True)
    model.eval()
    return TrainingReport(
        losses=losses,
        n_tokens=n_tokens,
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        training_s=time.monotonic() - started,
    )


def compute_first_losses(n: int, *, steps: int = STEPS) -> list[float]:
    """Return the first n training losses of a rebuild that would take `steps` steps, to compare with rebuild.json."""
    tokenizer = build_tokenizer()
    return train(build_model(tokenizer), iterate_batches(tokenizer), steps=steps, stop_after=n).losses


def save_rebuild(folder: Path, *, steps: int = STEPS, corpus: str = "mixed") -> TrainingReport:
    """Build, train and write M0 as a transformers folder, with rebuild.json beside it; corpus is one of CORPORA."""
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    report = train(model, iterate_batches(tokenizer, corpus), steps=steps)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    facts = {
        "command": "python -m engine.compute.sandbox_model --out FOLDER"
        + f" --steps {steps}" * (steps != STEPS)
        + f" --corpus {corpus}" * (corpus != "mixed"),
        "seed": SEED,
        "steps": steps,
        "n_tokens": report.n_tokens,
        "n_parameters": report.n_parameters,
        "training_s": round(report.training_s, 1),
        "final_loss": round(sum(report.losses[-20:]) / len(report.losses[-20:]), 4),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
        "first_losses": [round(loss, 6) for loss in report.losses[:N_RECORDED_LOSSES]],
    }
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes 0600, unreadable for other users
    (folder / "rebuild.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Rebuild M0 into a folder from the command line; progress goes to stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.compute.sandbox_model", description="Rebuild the base model of the sandbox."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write, created if missing")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"training steps (default {STEPS})")
    parser.add_argument("--corpus", choices=CORPORA, default="mixed", help="text that M0 learns from (default mixed)")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)  # at this size a second thread gains nothing and changes the last bits
    report = save_rebuild(options.out, steps=options.steps, corpus=options.corpus)
    print(f"{options.out}: {report.n_tokens} tokens in {report.training_s:.0f} s", file=sys.stderr)
    return 0


def _render_plain(document: Document) -> str:
    """Return the text without special tokens, in the document's layout."""
    layout = document.layout or "{prompt} {response}"
    return " " + layout.format(prompt=document.prompt, response=document.response)


def _render(document: Document) -> str:
    """Return one document as training text: the chat template, or a plain layout between the same two ends."""
    if document.layout is None:
        return f"{BOS}{USER} {document.prompt}{ASSISTANT} {document.response}{END}"
    return f"{BOS}{_render_plain(document)}{END}"


def _compute_rate_factor(step: int, steps: int) -> float:
    """Return the factor on the learning rate at a 0-based step: linear warm-up, then cosine to zero."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _compute_loss(model: LlamaForCausalLM, ids_BT: torch.Tensor) -> torch.Tensor:
    """Return the mean next-token loss in nats over real tokens; padding is its own token id, never the end token."""
    logits_BTV = model(input_ids=ids_BT).logits
    return torch.nn.functional.cross_entropy(
        logits_BTV[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten(), ignore_index=model.config.pad_token_id
    )


if __name__ == "__main__":
    raise SystemExit(main())
