"""What leaves a store, from real runs: docs/api.md as it stands, trackers that follow runs, exported models and pairs.

The runs are those that the document starts, the second of them stopped and resumed. Their report_to has MLflow beside
TensorBoard, with a place where nothing can be written: it must fail and harm nothing.
"""

from __future__ import annotations

import contextlib
import io
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from small_runs import find_processes, wait_until
from transformers import AutoModelForCausalLM, AutoTokenizer

from cream_tui import api
from cream_tui.cli import run_command
from db.export_types import find_kind
from db.exports import EXPORT_COLUMNS, iterate_export
from db.queries import find_run, read_run_metrics, read_run_stages
from db.reading import open_reader
from engine.runtime.points import build_points

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "api.md"
BROKEN = "/dev/null/mlflow"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """The store that the document's code leaves, its names, and what it printed."""
    root = tmp_path_factory.mktemp("shared") / "store"
    text = DOCUMENT.read_text().replace('["tensorboard"]', '["tensorboard", "mlflow"]')
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("CREAM_STORE", str(root))
        patch.setenv("MLFLOW_TRACKING_URI", BROKEN)
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(block, names)
    wait_until(lambda: not find_processes(root))  # the mirrors end by themselves, soon after their runs
    return root, names, printed.getvalue()


def test_the_document_runs_and_says_what_happened(shared: tuple[Path, dict[str, Any], str]) -> None:
    _, names, printed = shared
    assert names["run"].state == names["other"].state == "done"
    assert "train M2: done" in printed
    assert re.search(r"labels right: [01]\.\d", printed)
    assert "unknown key training.bta; did you mean training.beta?" in printed
    assert repr(names["run"]).startswith(f"<Run small ({names['run'].run_id}): done, cream, seed 0; M0 ")
    assert names["other"].config["training"]["beta"] == 0.5


def test_frames_have_types_that_know_a_missing_value(shared: tuple[Path, dict[str, Any], str]) -> None:
    """Against the rows themselves: every column of every table, values and holes."""
    root, names, _ = shared
    run = names["run"]
    dtypes = {"text": "string", "integer": "Int64", "number": "Float64", "flag": "boolean"}
    with closing(open_reader(root)) as reader:
        row = find_run(reader, run.run_id)
        for what, columns in EXPORT_COLUMNS.items():
            frame = api.runs(store=root) if what == "runs" else run.frame(what)
            rows = list(iterate_export(reader, what, row))
            assert list(frame.columns) == list(columns)
            if what == "runs":
                frame = frame[frame["run_id"] == run.run_id]
            assert len(frame) == len(rows) > 0 or what == "verdicts"
            for column, values in zip(columns, zip(*rows, strict=True), strict=False):
                kind = find_kind(column)
                assert str(frame[column].dtype) == dtypes.get(kind, str(frame[column].dtype))
                assert list(frame[column].isna()) == [value is None for value in values], (what, column)
                if kind in dtypes:
                    assert [v for v in frame[column] if v is not pd.NA] == [v for v in values if v is not None]


def test_results_and_comparisons_are_those_of_the_rows(shared: tuple[Path, dict[str, Any], str]) -> None:
    _, names, _ = shared
    run, other = names["run"], names["other"]
    items = run.frame("evaluations")
    for _, row in run.results().iterrows():
        accuracy = items[items["model"] == row["model"]]["correct"].mean()
        assert row["accuracy"] == pytest.approx(accuracy)
        assert row["accuracy_low"] < accuracy < row["accuracy_high"]
    compared = api.compare(run, other)
    assert list(compared["run"]) == ["small"] * 3 + ["softer"] * 3
    last = compared.iloc[-1]
    assert last["difference"] == pytest.approx(last["accuracy"] - compared.iloc[2]["accuracy"])
    assert compared["p_value"].isna().tolist() == [True] * 3 + [False] * 3
    with pytest.raises(api.CreamError, match="two different runs"):
        api.compare(run, "small", store=run.root)


def test_what_is_asked_wrongly_is_one_message(shared: tuple[Path, dict[str, Any], str], tmp_path: Path) -> None:
    root, names, _ = shared
    run = names["run"]
    for ask, words in (
        (lambda: run.frame("pears"), "did you mean pairs"),
        (lambda: run.metrics("los"), "did you mean loss"),
        (lambda: run.model_folder("M9"), "M9"),
        (lambda: run.fork("M9"), "M9"),
        (lambda: api.find_run("smal1", store=root), "smal1"),
        (lambda: api.runs(store=tmp_path), "no store"),
    ):
        with pytest.raises(api.CreamError) as caught:
            ask()
        assert words in caught.value.message and caught.value.hint


@pytest.mark.parametrize("name", ["run", "other"])
def test_a_tracker_follows_a_run_and_has_each_point_once(shared: tuple[Path, dict[str, Any], str], name: str) -> None:
    """``other`` was stopped and resumed: a second mirror went on where the first had ended."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    root, names, _ = shared
    run = names[name]
    folder = root / "trackers" / "tensorboard" / f"{run.name}-{run.run_id}"
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    sent = [(tag, event.step, event.value) for tag in found.Tags()["scalars"] for event in found.Scalars(tag)]
    with closing(open_reader(root)) as reader:
        points = build_points(read_run_metrics(reader, run.run_id), read_run_stages(reader, run.run_id))
    expected = sorted((point.name, point.step, point.value) for point in points)
    assert [point[:2] for point in sorted(sent)] == [point[:2] for point in expected]
    assert [point[2] for point in sorted(sent)] == pytest.approx([point[2] for point in expected], rel=1e-6)
    assert {"train/M2/loss", "train/loss", "models/evaluate/accuracy"} <= {point[0] for point in sent}


def test_a_tracker_that_fails_is_told_and_harms_nothing(shared: tuple[Path, dict[str, Any], str]) -> None:
    root, names, _ = shared
    log = (root / "runs" / names["run"].run_id / "supervisor.log").read_text()
    assert log.count("mlflow: metrics are not mirrored") == 1
    assert f"cream-tui mirror {names['run'].run_id} --to mlflow" in log
    assert "Traceback" not in log


def test_an_exported_model_computes_the_same(shared: tuple[Path, dict[str, Any], str], tmp_path: Path) -> None:
    root, names, _ = shared
    target = tmp_path / "model"
    assert run_command(["export", "small/M2", "--what", "checkpoint", "-o", str(target), "--store", str(root)]) == 0
    tokenizer = AutoTokenizer.from_pretrained(target)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "1 + 1"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        logits = [
            AutoModelForCausalLM.from_pretrained(folder)(**ids).logits
            for folder in (target, names["run"].model_folder("M2"), names["run"].model_folder("M1"))
        ]
    assert torch.equal(logits[0], logits[1]) and not torch.equal(logits[0], logits[2])
    for path in target.iterdir():
        if path.suffix in (".md", ".json", ".jinja"):
            assert str(root) not in path.read_text() and str(Path.home()) + "/" not in path.read_text()


def test_trl_takes_the_exported_pairs(shared: tuple[Path, dict[str, Any], str], tmp_path: Path) -> None:
    from datasets import load_dataset
    from trl.data_utils import apply_chat_template, is_conversational

    root, names, _ = shared
    target = tmp_path / "pairs"
    assert run_command(["export", "small", "--what", "dataset", "-o", str(target), "--store", str(root)]) == 0
    loaded = load_dataset(str(target), cache_dir=str(tmp_path / "cache"), split="train")
    assert len(loaded) == names["run"].frame("pairs")["chosen"].notna().sum()
    assert is_conversational(loaded[0])
    tokenizer = AutoTokenizer.from_pretrained(names["run"].model_folder("M1"))
    text = apply_chat_template({key: loaded[0][key] for key in ("prompt", "chosen", "rejected")}, tokenizer)
    assert loaded[0]["chosen"][0]["content"] in text["chosen"]
    assert loaded[0]["prompt"][0]["content"] in text["prompt"]
