"""Peak memory of every stage: what ``doctor`` expects against what the stage's process took.

    python benchmarks/memory.py                                        # about ten minutes on two cores
    python benchmarks/memory.py --models llama-17m --set training.gradient_checkpointing=true

Models of random weights are made on the spot and go through real runs of one iteration on the CPU: SFT, sampling,
scoring, preference training. Measured is the peak resident memory in the run's rows, less that of the same stage of a
run whose model has hardly any weights: what the process takes without one. Expected is ``estimate_stages`` for the
lengths that the data has, without its constant for the process.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from db.queries import find_run, read_attempts, read_run_stages
from db.reading import open_reader
from engine.config.load import load_run_config
from engine.config.run import RunConfig
from engine.runtime.control import start_run
from engine.runtime.memory import Lengths, StageMemory, estimate_stages, read_shape

PROMPT_TOKENS, RESPONSE_TOKENS = 160, 96
N_PROMPTS, N_RESPONSES, N_EXAMPLES = 8, 4, 16
STAGES = {"train (SFT)": "train M1 (SFT)", "sample": "sample t=1", "score": "score t=1", "train": "train M2"}
Layout = Mapping[str, object]


def _lay_out(kind: str, vocabulary: int, hidden: int, layers: int, heads: int, **others: object) -> Layout:
    names = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    if kind == "gpt2":
        names = {"n_embd": hidden, "n_layer": layers, "n_head": heads}
    return {"model_type": kind, "vocab_size": vocabulary, **names, **others}


MODELS: Mapping[str, Layout] = {
    "llama-17m": _lay_out("llama", 16000, 384, 6, 6, intermediate_size=1024, tie_word_embeddings=True),
    "llama-57m": _lay_out("llama", 32000, 512, 8, 8, num_key_value_heads=2, intermediate_size=1536),
    "gpt2-42m": _lay_out("gpt2", 32000, 512, 8, 8),
    "llama-110m": _lay_out("llama", 32000, 768, 12, 12, intermediate_size=2048, tie_word_embeddings=True),
}
HARDLY_ANY = _lay_out("llama", 64, 8, 1, 1, intermediate_size=8, tie_word_embeddings=True)


def write_model(layout: Layout, folder: Path) -> None:
    """Write a model of random weights and a tokenizer whose tokens are the words t2, t3, ..."""
    torch.manual_seed(0)
    changes = {key: value for key, value in layout.items() if key != "model_type"}
    context = "n_positions" if layout["model_type"] == "gpt2" else "max_position_embeddings"
    config = AutoConfig.for_model(
        layout["model_type"], **changes, **{context: 1024}, bos_token_id=0, eos_token_id=1, pad_token_id=1
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    names = ["<s>", "</s>", *(f"t{index}" for index in range(2, int(str(layout["vocab_size"]))))]
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<s>")
    wrapped.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ ' ' + m['content'] }}{% if m['role'] == 'assistant' %}"
        "{{ ' ' + eos_token }}{% endif %}{% endfor %}"
    )
    wrapped.save_pretrained(folder)


def write_data(folder: Path, vocabulary: int) -> None:
    """Write prompts and demonstrations that are all of the same length."""
    rng = random.Random(0)

    def draw(n_words: int) -> str:
        return " ".join(f"t{rng.randrange(2, vocabulary)}" for _ in range(n_words))

    prompts = [{"prompt": draw(PROMPT_TOKENS - 1)} for _ in range(N_PROMPTS)]
    examples = [{"prompt": draw(PROMPT_TOKENS - 1), "response": draw(RESPONSE_TOKENS - 1)} for _ in range(N_EXAMPLES)]
    for name, rows in (("prompts", prompts), ("sft", examples)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


def write_run(folder: Path, layout: Layout, overrides: Sequence[str] = ()) -> RunConfig:
    """Write model and data into a new folder and return the configuration of a run with them."""
    folder.mkdir()
    write_model(layout, folder / "model")
    write_data(folder, int(str(layout["vocab_size"])))
    settings = {
        "model.kind": "hf",
        "model.path": folder / "model",
        "data.sft": folder / "sft.jsonl",
        "data.sft_examples": "null",
        "data.prompts": folder / "prompts.jsonl",
        "data.prompts_per_iteration": N_PROMPTS,
        "iterations": 1,
        "sampling.n": N_RESPONSES,
        "sampling.max_new_tokens": RESPONSE_TOKENS,
        "sampling.batch_tokens": 8192,
        "scoring.batch_tokens": 2048,
        "sft.batch_size": 8,
        "sft.epochs": 1,
        "training.batch_size": 4,
        "training.epochs": 1,
        "evaluation.tasks": "[]",
    }
    return load_run_config(
        "sandbox",
        overrides=[*(f"{key}={value}" for key, value in settings.items()), *overrides],
        method="srlm",
        name=folder.name,
    )


def estimate_run(config: RunConfig) -> list[StageMemory]:
    """Return what is expected of a run that ``write_run`` wrote."""
    lengths = Lengths(prompt=PROMPT_TOKENS, example=PROMPT_TOKENS + RESPONSE_TOKENS)
    return estimate_stages(config, read_shape(Path(str(config.model.path))), lengths, device="cpu")


def measure_run(config: RunConfig, root: Path) -> dict[str, int]:
    """Run it to its end and return the peak resident bytes of each stage by its label."""
    run = start_run(root, config)
    while run.state in ("queued", "running"):
        time.sleep(0.2)
        with closing(open_reader(root)) as reader:
            run = find_run(reader, run.run_id)
    if run.state != "done":
        raise SystemExit(f"{config.name}: {run.error}")
    with closing(open_reader(root)) as reader:
        labels = {stage.stage_id: stage.label for stage in read_run_stages(reader, run.run_id)}
        return {labels[a.stage_id]: a.peak_rss_bytes or 0 for a in read_attempts(reader, run.run_id)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="overrides")
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as work:
        empty = measure_run(
            write_run(Path(work) / "empty", HARDLY_ANY, arguments.overrides), Path(work) / "store-empty"
        )
        print(f"process without a model: {max(empty.values()) / 2**20:.0f} MiB")
        print(f"{'model':12}  {'stage':12}  {'expected':>9}  {'measured':>9}  {'ratio':>5}   MiB")
        for name in arguments.models:
            config = write_run(Path(work) / name, MODELS[name], arguments.overrides)
            peaks = measure_run(config, Path(work) / f"store-{name}")
            for stage in estimate_run(config):
                label = STAGES[stage.name]
                expected, measured = stage.total - stage.process, peaks[label] - empty[label]
                print(
                    f"{name:12}  {stage.name:12}  {expected / 2**20:9.0f}  {measured / 2**20:9.0f}  "
                    f"{expected / measured:5.2f}",
                    flush=True,
                )
                rows.append({"model": name, "stage": stage.name, "expected": expected, "measured": measured})
    print(json.dumps({"benchmark": "memory", "set": arguments.overrides, "bytes": rows}))


if __name__ == "__main__":
    main()
