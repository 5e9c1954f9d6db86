"""The paper's configurations, end to end on a tiny model: only paths and counts are overridden."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from small_runs import finish
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from db.queries import read_run_checkpoints, read_run_metrics
from db.reading import open_reader
from engine.config.load import load_run_config
from engine.runtime import control

LLAMA3_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
LLAMA2_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token }}[INST] {{ m['content'] | trim }} [/INST]"
    "{% else %} {{ m['content'] | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)
COUNTS = (
    "resources.launcher=single",  # sharding needs GPUs
    "data.prompts_per_iteration=6",
    "sampling.max_new_tokens=8",
    "evaluation.max_new_tokens=8",
    "evaluation.items=4",
)


def save_model(folder: Path, *, template: str, end: str) -> None:
    specials = ["<|begin_of_text|>", end, "<|pad|>", "<|start_header_id|>", "<|end_header_id|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["user assistant what is the answer ? [INST] [/INST]"] * 4, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=specials[0], eos_token=end, pad_token=specials[2], chat_template=template
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    fast.save_pretrained(folder)


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("config", "template", "end"),
    [("paper-llama3", LLAMA3_TEMPLATE, "<|eot_id|>"), ("paper-llama2", LLAMA2_TEMPLATE, "</s>")],
)
def test_paper_config_runs_end_to_end(tmp_path: Path, config: str, template: str, end: str) -> None:
    save_model(tmp_path / "model", template=template, end=end)
    questions = [{"prompt": f"What is {a} + 1?", "answer": str(a + 1)} for a in range(12)]
    demonstrations = [{"prompt": f"What is {a} + 1?", "response": f"Answer: {a + 1}"} for a in range(96)]
    sft = write_rows(tmp_path / "sft.jsonl", demonstrations)
    tasks = [
        str(write_rows(tmp_path / "eval" / f"{name}.jsonl", questions))
        for name in ("arc_easy", "arc_challenge", "openbookqa", "siqa", "gsm8k")
    ]
    paths = (
        f"model.path={tmp_path / 'model'}",
        f"data.sft={sft}",
        f"data.prompts={write_rows(tmp_path / 'prompts.jsonl', questions)}",
        f"evaluation.tasks=[{', '.join(tasks)}]",
    )
    root = tmp_path / "store"
    run = control.start_run(root, load_run_config(config, overrides=[*paths, *COUNTS]))
    finish(root, run)
    with closing(open_reader(root)) as reader:
        checkpoints = read_run_checkpoints(reader, run.run_id, root)
        metrics = read_run_metrics(reader, run.run_id)
    assert [checkpoint.name for checkpoint in checkpoints] == ["M0", "M1", "M2", "M3"]
    with safe_open(Path(checkpoints[-1].folder) / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.bfloat16}  # noqa: SIM118
    accuracies = {metric.name for metric in metrics if metric.name.startswith("accuracy/")}
    assert accuracies == {f"accuracy/{n}" for n in ("arc_easy", "arc_challenge", "openbookqa", "siqa", "gsm8k")}
    first_z = [metric.value for metric in metrics if metric.name == "z" and metric.step == 1]
    assert len(first_z) == 2
    assert all(abs(z) < 0.05 for z in first_z), "policy and reference differ before the first update"
