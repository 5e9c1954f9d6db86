"""Whether the data that a configuration names can be read and is enough, and what it holds, before any computing.

Reads files; a ``datasets`` name is only loaded by the stages. Must not know torch, models or templates. Main path:
`check_data`; `describe_data` for those who show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from engine.config.data import SourceConfig
from engine.config.run import RunConfig
from engine.records import Prompt
from engine.tasks.evaluation import read_evaluation_files
from engine.tasks.files import PlacedRow
from engine.tasks.shares import Share, count_contamination, share_prompts
from engine.tasks.sources import parse_examples, read_source_rows

# From a text to its number of tokens.
CountTokens: TypeAlias = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class ShareReport:
    """What one iteration asks; ``n_too_long`` prompts exceed data.max_prompt_tokens even without the chat template.

    None where no tokenizer was at hand.
    """

    iteration: int
    n_prompts: int
    n_read: int
    n_repeated: int
    n_conflicting: int
    n_too_long: int | None


@dataclass(frozen=True, slots=True)
class DataReport:
    """What files hold. None, or no entry, for what only the stages load.

    Attributes:
        n_examples: SFT demonstrations that are used.
        contamination: Per evaluation task (name, items, items that some iteration's prompts ask too).
    """

    n_examples: int | None
    shares: tuple[ShareReport, ...]
    contamination: tuple[tuple[str, int, int], ...]


def check_data(config: RunConfig) -> None:
    """Parse every file the run will read.

    Raises:
        TaskError: a file is missing, empty or broken, or holds too few prompts; names file and line.
    """
    describe_data(config)


def describe_data(config: RunConfig, count_tokens: CountTokens | None = None) -> DataReport:
    """Return what the files hold, after every check of ``check_data``.

    Raises:
        TaskError: as ``check_data``.
    """
    data, n_examples = config.data, None
    if data.sft is not None and data.sft.kind == "file":
        n_examples = len(parse_examples(read_source_rows(data.sft, "data.sft"))[: data.sft_examples])
    shares = share_prompts(data, _read, iterations=config.iterations) if data.prompts.kind == "file" else []
    prompts = [prompt for share in shares for prompt in share.prompts]
    contamination = []
    for name, items in read_evaluation_files(config.evaluation).items():
        contamination.append((name, len(items), count_contamination(prompts, items)))
    reports = [_report(t, share, data.max_prompt_tokens, count_tokens) for t, share in enumerate(shares, start=1)]
    return DataReport(n_examples, tuple(reports), tuple(contamination))


def load_token_counter(folder: Path) -> CountTokens | None:
    """Return what counts a text's tokens with the tokenizer of a model folder; None where there is none to load."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # noqa: BLE001  # the library raises plain Exception; the run itself says what is wrong with it
        return None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _read(source: SourceConfig) -> list[PlacedRow]:
    return read_source_rows(source, "data.prompts")


def _report(t: int, share: Share, limit: int, count_tokens: CountTokens | None) -> ShareReport:
    n_too_long = None if count_tokens is None else sum(_count(p, count_tokens) > limit for p in share.prompts)
    return ShareReport(t, len(share.prompts), share.n_read, share.n_repeated, share.n_conflicting, n_too_long)


def _count(prompt: Prompt, count_tokens: CountTokens) -> int:
    return sum(count_tokens(message.content) for message in prompt.messages)
