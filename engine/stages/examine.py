"""What a run will meet, found out without its weights: template, special tokens, context, counts, longest texts.

Knows configuration and M0's folder. Must not know the store. A process of its own, ``python -m engine.stages.examine
CONFIG_JSON FOLDER``: prints one JSON object, whose ``problems`` hold every refusal that a stage would make.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from engine.compute.unused_libraries import hide_unused

if __name__ == "__main__":
    gc.disable()  # nothing of what is loaded is garbage, nor is much of what so short a process makes
    hide_unused(is_quantised=False)

from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from engine.compute.build import read_outline
from engine.compute.decoding import ModelOutline
from engine.compute.judge import JudgedItem, encode_judge_prompts
from engine.compute.models import load_tokenizer
from engine.compute.prompts import check_context, encode_example, encode_prompt
from engine.config.load import config_from_json
from engine.config.run import RunConfig
from engine.errors import ConfigError, CreamError
from engine.records import EncodedPrompt, Message, Prompt
from engine.stages.data import load_examples, load_items, load_prompts
from engine.tasks.judge_prompt import read_judge_prompt

T = TypeVar("T")

PROBE = "The answer is 4."
SHOWN_CHARACTERS = 240
# The prefix property is one of the template; a few hundred prompts of a run show what its texts do to it.
N_PROBED = 200


class Examination:
    """Looks at one run; what is refused becomes a problem, and the rest goes on."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.facts: dict[str, Any] = {"sources": [], "problems": []}

    def run(self) -> dict[str, Any]:
        """Return everything that was found."""
        tokenizer = self._try("tokenizer", lambda: load_tokenizer(self.folder))
        if tokenizer is None:
            return self.facts
        outline = self._try("tokenizer", lambda: read_outline(self.folder, tokenizer))
        self.facts["tokenizer"] = describe_tokenizer(tokenizer, outline)
        self._examine_examples(tokenizer, outline)
        for iteration in range(1, self.config.iterations + 1):
            if not self._examine_prompts(tokenizer, outline, iteration):
                break
        self._examine_items(tokenizer, outline)
        return self.facts

    def _examine_examples(self, tokenizer: PreTrainedTokenizerBase, outline: ModelOutline | None) -> None:
        if self.config.data.sft is None:
            return
        ends = outline.end_token_ids if outline else frozenset({tokenizer.eos_token_id or 0})
        examples = self._try("data.sft", lambda: load_examples(self.config)) or []
        encoded = self._try(
            "template",
            lambda: [encode_example(tokenizer, e.messages, e.response, end_token_ids=ends) for e in examples],
        )
        if encoded:
            limit = self.config.sft.max_length
            self._note("data.sft", [len(example) for example in encoded], limit, "sft.max_length")

    def _examine_prompts(
        self, tokenizer: PreTrainedTokenizerBase, outline: ModelOutline | None, iteration: int
    ) -> bool:
        data = self.config.data
        prompts = self._try("data.prompts", lambda: load_prompts(self.config, iteration))
        encoded = None if prompts is None else self._try("template", lambda: _encode(tokenizer, prompts))
        if prompts is None or encoded is None:
            return False
        if iteration == 1:
            self.facts["first_prompt"] = tokenizer.decode(list(encoded[0].token_ids))[:SHOWN_CHARACTERS]
            self.facts["n_begin_tokens"] = encoded[0].token_ids.count(tokenizer.bos_token_id)
            self._try("template", lambda: _check_prefix(tokenizer, prompts, outline))
        lengths = [len(prompt.token_ids) for prompt in encoded]
        self._note(f"data.prompts t={iteration}", lengths, data.max_prompt_tokens, "data.max_prompt_tokens")
        fitting = [prompt for prompt in encoded if len(prompt.token_ids) <= data.max_prompt_tokens]
        self._examine_judge(tokenizer, outline, iteration, prompts)
        new_tokens = self.config.sampling.max_new_tokens
        return self._check_room(outline, fitting, new_tokens, "sampling.max_new_tokens")

    def _examine_judge(
        self,
        tokenizer: PreTrainedTokenizerBase,
        outline: ModelOutline | None,
        iteration: int,
        prompts: Sequence[Prompt],
    ) -> None:
        """Note how long a judge's prompts are before any response stands in them, and whether one fits its context."""
        if not any(scorer.startswith("judge:") for scorer in self.config.method.scorers):
            return
        items = [JudgedItem(prompt.prompt_id, prompt.text, "", ()) for prompt in prompts]
        encoded = self._try("judge", lambda: encode_judge_prompts(tokenizer, read_judge_prompt(self.config), items))
        if not encoded:
            return
        lengths = [len(prompt.token_ids) for prompt in encoded]
        self._note(f"judge t={iteration}", lengths, None, None)
        new_tokens, limit = self.config.scoring.judge.max_new_tokens, outline.context if outline else None
        if iteration == 1 and limit is not None and min(lengths) + new_tokens > limit:
            message = f"the judge's prompt ({min(lengths)} tokens without a response) and "
            message += (
                f"scoring.judge.max_new_tokens = {new_tokens} exceed the model's context of {limit}: none is judged"
            )
            hint = "set a smaller scoring.judge.max_new_tokens, or a shorter scoring.judge.prompt"
            self._add_problem("judge", ConfigError(message, hint=hint))

    def _examine_items(self, tokenizer: PreTrainedTokenizerBase, outline: ModelOutline | None) -> None:
        evaluation = self.config.evaluation
        for source, task in zip(evaluation.sources, evaluation.tasks, strict=True):
            if source.rows is None:
                continue
            items = self._try("evaluation.tasks", partial(load_items, task, n=evaluation.items))
            encoded = None if items is None else self._try("template", partial(_encode, tokenizer, items))
            if encoded:
                self._note(f"evaluation {source.name}", [len(item.token_ids) for item in encoded], None, None)
                new_tokens = self.config.evaluation_max_new_tokens
                self._check_room(outline, encoded, new_tokens, "evaluation.max_new_tokens")

    def _check_room(
        self, outline: ModelOutline | None, encoded: Sequence[EncodedPrompt], max_new_tokens: int, key: str
    ) -> bool:
        """Note a context that is too short; return whether there is something to go on with."""
        if not encoded:
            self._add_problem("context", ConfigError("all prompts are too long", hint="raise data.max_prompt_tokens"))
            return False
        if outline is None:
            return True
        n_problems = len(self.facts["problems"])
        self._try("context", partial(check_context, outline.context, encoded, max_new_tokens=max_new_tokens, key=key))
        return len(self.facts["problems"]) == n_problems

    def _note(self, name: str, lengths: Sequence[int], limit: int | None, key: str | None) -> None:
        fitting = [length for length in lengths if limit is None or length <= limit]
        self.facts["sources"].append(
            {
                "name": name,
                "n": len(lengths),
                "n_too_long": len(lengths) - len(fitting),
                "limit": key,
                "longest": max(fitting, default=0),
            }
        )

    def _try(self, name: str, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except CreamError as error:
            self._add_problem(name, error)
            return None

    def _add_problem(self, name: str, error: CreamError) -> None:
        self.facts["problems"].append({"name": name, "message": error.message, "hint": error.hint})


def describe_tokenizer(tokenizer: PreTrainedTokenizerBase, outline: ModelOutline | None) -> dict[str, Any]:
    """Return what a tokenizer is, in words and numbers."""
    ends = sorted(outline.end_token_ids) if outline else []
    return {
        "class": type(tokenizer).__name__,
        "n_tokens": None if outline is None else outline.n_known,
        "n_embeddings": None if outline is None else outline.n_embeddings,
        "context": None if outline is None else outline.context,
        "has_template": bool(tokenizer.chat_template),
        "has_clock": "strftime_now" in str(tokenizer.chat_template),
        "begin": tokenizer.bos_token,
        "ends": [tokenizer.convert_ids_to_tokens(token) for token in ends],
        "pad": tokenizer.pad_token,
    }


def main() -> int:
    """Examine what the arguments name and print it."""
    disable_progress_bar()
    set_verbosity_error()
    config = config_from_json(sys.argv[1])
    sys.stdout.write(json.dumps(Examination(config, Path(sys.argv[2])).run()) + "\n")
    return 0


def _encode(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> list[EncodedPrompt]:
    return [EncodedPrompt(prompt.prompt_id, encode_prompt(tokenizer, prompt.messages)) for prompt in prompts]


def _check_prefix(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], outline: ModelOutline | None) -> None:
    """Hold the prefix property on the run's own prompts.

    Raises:
        ConfigError: a prompt and the conversation that goes on from it differ within the prompt.
    """
    ends = outline.end_token_ids if outline else frozenset({0})
    for prompt in prompts[:N_PROBED]:
        messages: tuple[Message, ...] = prompt.messages
        encode_example(tokenizer, messages, PROBE, end_token_ids=ends)


if __name__ == "__main__":
    raise SystemExit(main())
