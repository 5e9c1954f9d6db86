"""`export --what checkpoint` and `--what dataset` on recorded stores: what is in the folders, and what is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from recording import Recorder

from db.exports import EXPORT_COLUMNS, iterate_export
from db.queries import find_run, open_reader, read_run_checkpoints, read_runs
from db.session import open_store
from engine.config.shipped import find_configs_folder
from engine.errors import CheckpointError

SANDBOX = find_configs_folder() / "models" / "sandbox"
CONVERSATION = [
    {"role": "user", "content": "1 + 1?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "and 1?"},
]


def record_with_models(root: Path) -> Path:
    """Record a run, with files where its checkpoints would lie; the folder of M0 stays away."""
    Recorder(open_store(root)).record("demo")
    with closing(open_reader(root)) as reader:
        found = read_run_checkpoints(reader, find_run(reader, "latest").run_id, root)
    for checkpoint in found[1:]:
        folder = Path(checkpoint.folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "manifest.json"):
            (folder / name).write_text("{}")
        (folder / "model.safetensors").write_text(checkpoint.name)
        (folder / "optimizer.pt").write_text("no part of a model")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with model folders; read only."""
    return record_with_models(tmp_path_factory.mktemp("models") / "store")


@pytest.mark.parametrize(("reference", "model"), [("demo", "M3"), ("demo/M2", "M2")])
def test_the_folder_holds_the_model_and_a_card(
    call: Callable, root: Path, tmp_path: Path, reference: str, model: str
) -> None:
    target = tmp_path / "new" / "folder"
    called = call("export", reference, "--what", "checkpoint", "-o", str(target), "--store", str(root))
    assert called.code == 0, called.stderr
    assert {path.name for path in target.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    assert (target / "model.safetensors").read_text() == model
    assert f"# demo {model}" in (target / "README.md").read_text()
    assert list(target.parent.iterdir()) == [target]


def test_the_card_tells_numbers_with_intervals_and_lineage(call: Callable, root: Path, tmp_path: Path) -> None:
    call("export", "demo", "--what", "checkpoint", "-o", str(tmp_path / "m"), "--store", str(root))
    card = (tmp_path / "m" / "README.md").read_text()
    assert "| M2 | 80.0 | 65.2–89.5 |" in card  # Wilson's interval of 32 in 40
    assert "| M3 | M2 on 3 pairs that M2 made | `train M3-digest` |" in card
    assert "beta: 2.0" in card


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("demo/M7",), "there are M0, M1, M2, M3"),
        (("demo/M0",), "no model lies in"),
        (("demo", "--merge"), "a whole model, not an adapter"),
        (("nowhere",), "no run 'nowhere'"),
    ],
)
def test_what_cannot_be_exported_is_one_message(
    call: Callable, root: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    called = call("export", *words, "--what", "checkpoint", "-o", str(tmp_path / "m"), "--store", str(root))
    assert called.code == 2 and message.lower() in called.stderr.lower()
    assert not (tmp_path / "m").exists()


def test_an_existing_folder_is_never_written_into(call: Callable, root: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    for what in ("checkpoint", "dataset"):
        called = call("export", "demo", "--what", what, "-o", str(tmp_path), "--store", str(root))
        assert called.code == 2 and "is there already" in called.stderr
    called = call("export", "demo", "--what", "checkpoint", "--store", str(root))
    assert called.code == 2 and "-o FOLDER" in called.stderr


def test_nothing_is_exported_into_the_store_where_gc_would_take_it(call: Callable, root: Path) -> None:
    for what in ("checkpoint", "dataset"):
        target = root / "checkpoints" / "mine"
        called = call("export", "demo", "--what", what, "-o", str(target), "--store", str(root))
        assert called.code == 2 and "lies in the store" in called.stderr
        assert not target.exists()


def test_datasets_loads_the_pairs_as_conversations(call: Callable, nasty_root: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    target = tmp_path / "pairs"
    assert call("export", "a", "--what", "dataset", "-o", str(target), "--store", str(nasty_root)).code == 0
    loaded = load_dataset(str(target), cache_dir=str(tmp_path / "cache"), split="train")
    with closing(open_reader(nasty_root)) as reader:
        rows = list(iterate_export(reader, "pairs", find_run(reader, "a")))
    kept = [
        row for row in (dict(zip(EXPORT_COLUMNS["pairs"], row, strict=True)) for row in rows) if not row["skip_reason"]
    ]
    assert len(kept) == len(loaded) == 6
    by_id = {(record["iteration"], record["prompt_id"]): record for record in loaded}
    for row in kept:
        record = by_id[row["iteration"], row["prompt_id"]]
        assert record["prompt"] == [{"role": "user", "content": row["prompt"]}]
        assert record["chosen"] == [{"role": "assistant", "content": row["chosen"]}]
        assert record["rejected"] == [{"role": "assistant", "content": row["rejected"]}]
        assert {name: record[name] for name in ("margin", "confidence", "verdict", "chosen_correct")} == {
            name: row[name] for name in ("margin", "confidence", "verdict", "chosen_correct")
        }
        assert record["label_correct"] is True  # k = 0, the chosen one, is right and k = 1 is not


def test_a_card_shows_no_prompt_and_obeys_no_name(call: Callable, nasty_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(nasty_root, root)
    (root / "checkpoints" / "M2").mkdir(parents=True)
    (root / "checkpoints" / "M2" / "config.json").write_text("{}")
    with closing(open_reader(root)) as reader:
        run_id = read_runs(reader)[0].run_id
    for what, model in (("dataset", ""), ("checkpoint", "/M2")):
        target = tmp_path / what
        assert call("export", f"{run_id}{model}", "--what", what, "-o", str(target), "--store", str(root)).code == 0
        card = (target / "README.md").read_text()
        assert "\x1b" not in card and "\u202e" not in card
        assert r"\[red\]x\[/\]" in card.splitlines()[card.splitlines().index("---", 1) + 2]
        assert "quoted" not in card and str(root) not in card and "/models/m0" not in card


def test_pairs_of_conversations_are_messages_in_jsonl(call: Callable, recorder: Recorder, tmp_path: Path) -> None:
    """One prompt of several turns makes messages of all: a column has one type."""
    recorder.record("demo", turns={"p1-0": CONVERSATION})
    root = recorder.store.paths.root
    called = call("export", "demo", "--format", "jsonl", "--store", str(root))
    records = {(r["iteration"], r["prompt_id"]): r for r in map(json.loads, called.stdout.splitlines())}
    assert records[1, "p1-0"]["prompt"] == CONVERSATION
    assert records[1, "p1-0"]["chosen"] == [{"role": "assistant", "content": "1 + 1 = 2. #### 2"}]
    assert records[2, "p2-0"]["prompt"][0]["role"] == "user" and len(records[2, "p2-0"]["prompt"]) == 1
    csv = call("export", "demo", "--format", "csv", "--store", str(root)).stdout
    assert csv.splitlines()[0] == ",".join(EXPORT_COLUMNS["pairs"])


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the sandbox's M0 whose last checkpoint is a LoRA adapter that changes what it computes."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    root = tmp_path_factory.mktemp("adapted") / "store"
    Recorder(open_store(root)).record("lora", base=(str(SANDBOX), "m0"))
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(SANDBOX), config)
    wrapped.save_pretrained(str(root / "checkpoints" / "M3"))
    AutoTokenizer.from_pretrained(SANDBOX).save_pretrained(root / "checkpoints" / "M3")
    return root


def test_an_adapter_is_exported_alone_or_merged(call: Callable, adapted: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    for options, target in (((), tmp_path / "adapter"), (("--merge",), tmp_path / "merged")):
        called = call("export", "lora", "--what", "checkpoint", *options, "-o", str(target), "--store", str(adapted))
        assert called.code == 0, called.stderr
    assert not list((tmp_path / "merged").glob("adapter*"))
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    ids = torch.arange(20)[None]
    with torch.no_grad():
        base = AutoModelForCausalLM.from_pretrained(SANDBOX)(ids).logits
        wrapped = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(SANDBOX), str(tmp_path / "adapter"))
        alone = wrapped(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(ids).logits
    torch.testing.assert_close(merged, alone, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(merged, base, atol=1e-2)
    assert "library_name: peft" in (tmp_path / "adapter" / "README.md").read_text()
    assert "PeftModel.from_pretrained" in (tmp_path / "adapter" / "README.md").read_text()
    assert "library_name: transformers" in (tmp_path / "merged" / "README.md").read_text()


def test_an_adapter_that_does_not_fit_is_one_message(adapted: Path, tmp_path: Path) -> None:
    from engine.compute.merge_adapter import merge_adapter

    broken = tmp_path / "broken"
    shutil.copytree(adapted / "checkpoints" / "M3", broken)
    (broken / "adapter_model.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError) as caught:
        merge_adapter(SANDBOX, broken, dtype="float32")
    assert str(broken) in caught.value.message
