"""The card of exported pairs: what the columns hold and how the labels came about. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cream_tui.cards.facts import CardFacts
from cream_tui.cards.markdown import build_fence, build_head, build_table, escape
from cream_tui.cards.model_card import PAPER, TAGS
from cream_tui.units import format_number, format_percent, format_signed
from cream_tui.views.launch_yaml import encode_yaml

_SIZES = (("n<1K", 1_000), ("1K<n<10K", 10_000), ("10K<n<100K", 100_000), ("100K<n<1M", 1_000_000))
_MEANINGS = {
    "prompt": "the messages that the model answered",
    "chosen, rejected": "the response that the model ranked highest, lowest, as an assistant's message",
    "iteration": "t: M_t made the pair, M_{t+1} learns from it",
    "prompt_id": "a digest of the prompt, the same in every store",
    "margin": "reward of chosen minus reward of rejected before training, nats",
    "consistency_rate": "(tau + 1) / 2 of the rankings that the method compares; empty where undefined",
    "confidence": "C: the probability that the loss gave to chosen > rejected; 1 is a hard label",
    "chosen_correct, rejected_correct": "whether the response was right; empty where no answer is known",
    "label_correct": "true: only chosen is right; false: only rejected is; empty: both, neither or unknown",
    "tau_previous, tau_anchor": "rank agreement with the previous model, with the base model's mean log-likelihood",
    "verdict, flagged": "what a person said of the label: agree, swap, tie, both_bad or unsure",
}


def build_dataset_card(facts: CardFacts, n_pairs: int, columns: Sequence[str]) -> str:
    """The text of README.md beside the Parquet files."""
    run = facts.run
    head = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
        "size_categories": [next((name for name, limit in _SIZES if n_pairs < limit), "n>1M")],
        "task_categories": ["text-generation"],
        "tags": [*TAGS, run.method, "trl"],
    }
    known = [
        (f"`{name.replace(', ', '`, `')}`", text) for name, text in _MEANINGS.items() if name.split(", ")[0] in columns
    ]
    parts = [
        f"# Pairs of {escape(run.name)}\n",
        f"{n_pairs:,} preference pairs that a model labelled for itself: it answered each prompt several times and "
        f"ranked its own answers (method {escape(run.method)}, [CREAM]({PAPER}) and its baselines). The labels are the "
        "model's, not a person's; the columns say how far to trust them. TRL's conversational preference format: "
        "`DPOTrainer` takes it as it is.\n",
        f"M0 is {escape(facts.base_title)}. The prompts come from the data named below, whose licence holds for them; "
        "the program that wrote this card does not know it.\n",
        build_fence('from datasets import load_dataset\n\npairs = load_dataset("...", split="train")', "python"),
        "## Columns\n",
        build_table(["column", "what it holds"], known),
        "## By iteration\n",
        _build_iterations(facts),
        "## Settings\n",
        build_fence(encode_yaml(facts.config), "yaml"),
        f"Seed {run.seed}; digest of the settings `{run.config_digest}`; cream-tui "
        f"{escape(facts.packages.get('cream-tui', ''))}.\n",
    ]
    return build_head(head) + "\n" + "\n".join(parts)


def _build_iterations(facts: CardFacts) -> str:
    rows = []
    for result in facts.results:
        n_pairs = facts.counts.get(result.index, {}).get("n_pairs")
        if n_pairs is not None:
            rows.append(
                (
                    result.name,
                    f"{n_pairs:,}",
                    format_number(result.get("confidence")),
                    format_percent(result.get("label_accuracy")),
                    format_signed(result.get("tau_previous")),
                    format_signed(result.get("tau_anchor")),
                )
            )
    titles = ["made by", "pairs", "C, mean", "labels right %", "tau to previous", "tau to anchor"]
    return build_table(titles, rows) + "\nLabels right: of those whose sides differ in correctness.\n"
