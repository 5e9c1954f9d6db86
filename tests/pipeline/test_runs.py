"""Whole runs through control and supervisor: equal rows, sharing, stop, crash, resume, fork."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
import yaml
from in_process import finish_here
from small_runs import (
    WAIT_S,
    build_config,
    find_processes,
    find_supervisor,
    finish,
    hold_worker,
    is_stage,
    let_end,
    read_all,
    reread,
    wait_until,
)

from db.errors import LeaseHeldError, StoreError
from db.exports import EXPORT_COLUMNS
from db.queries import (
    find_run,
    read_attempts,
    read_pairs,
    read_run_checkpoints,
    read_run_metrics,
    read_run_stages,
    read_scores,
    read_usage,
)
from db.reading import open_reader
from db.rows import RunRow
from engine.backends import VLLM_PYTHON
from engine.config.load import dump
from engine.errors import BackendError, ConfigError, TaskError
from engine.plan import Segment, StageTask, plan_run
from engine.runtime import control
from engine.runtime.stage_process import run_stage_process

BIN = Path(sys.executable).parent
SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "slurm" / "cream.sbatch"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRow]:
    """An uninterrupted run."""
    root = tmp_path_factory.mktemp("whole")
    return root, finish(root, control.start_run(root, build_config()))


def test_a_run_leaves_every_kind_of_row(whole: tuple[Path, RunRow]) -> None:
    rows = read_all(*whole)
    assert {what for what, found in rows.items() if found} == set(EXPORT_COLUMNS) - {"verdicts"}  # those are a person's
    assert len(rows["responses"]) == 24 * 5
    assert len(rows["pairs"]) == 24
    assert len(rows["evaluations"]) == 3 * 16


def test_every_stage_stores_its_measures(whole: tuple[Path, RunRow]) -> None:
    """What moved from the base is the mean of the stored rewards; z is beta times what both sides moved apart."""
    root, run = whole
    with closing(open_reader(root)) as reader:
        found = {(m.stage, m.name): m.value for m in read_run_metrics(reader, run.run_id) if m.step == 0}
        stages = {stage.label: stage.stage_id for stage in read_run_stages(reader, run.run_id)}
        scores = read_scores(reader, [stages["score t=1"]])
    rewards = [row.score for row in scores if row.scorer == "implicit:M1" and row.score is not None]
    assert found["score", "kl_base"] == pytest.approx(sum(rewards) / len(rewards))
    shift = found["train", "chosen_shift"] - found["train", "rejected_shift"]
    assert found["train", "final_z"] == pytest.approx(build_config().training.beta * shift, rel=1e-4)
    expected = {
        "sample": {"duplicate_prompt_rate", "distinct_2", "majority_answer_share", "mean_token_logprob"},
        "score": {"kl_previous_token", "reward_length_correlation", "reward_auc", "anchor_auc", "tie_rate"},
        "agree": {"tau_previous", "tau_anchor", "tau_saturated_share", "low_consistency_share"},
        "pair": {"median_margin_top2", "length_gap", "anchor_agreement_share", "low_confidence_share"},
        "evaluate": {"extraction_failure_rate", "truncated_rate"},
    }
    assert {(stage, name) for stage, names in expected.items() for name in names} <= found.keys()


def test_checkpoints_are_plain_folders(whole: tuple[Path, RunRow]) -> None:
    root, run = whole
    with closing(open_reader(root)) as reader:
        checkpoints = read_run_checkpoints(reader, run.run_id, root)
    assert [checkpoint.name for checkpoint in checkpoints] == ["M0", "M1", "M2"]
    for checkpoint in checkpoints:
        assert (Path(checkpoint.folder) / "config.json").is_file()
        assert list(Path(checkpoint.folder).glob("*.safetensors"))


def test_equal_rows_for_another_hash_seed(
    whole: tuple[Path, RunRow], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "1234")
    again = finish(root, control.start_run(root, build_config()))
    assert read_all(root, again) == read_all(*whole)


@pytest.mark.parametrize(
    ("victim", "labels"),
    [
        ("worker", ("train M1 (SFT)", "score t=1", "train M2")),
        ("supervisor", ("sample t=1", "train M2", "evaluate M2")),
    ],
)
def test_killed_again_and_again_then_resumed_gives_equal_rows(
    whole: tuple[Path, RunRow], root: Path, victim: str, labels: tuple[str, ...]
) -> None:
    run = control.start_run(root, build_config())
    for label in labels:
        worker = hold_worker(root, run, label, n_done=1)
        if victim == "worker":
            worker.kill()
        else:
            find_supervisor(root, run).kill()
            worker.resume()  # to find itself alone
        wait_until(lambda: not find_processes(root))
        control.resume_run(root, reread(root, run))
    finish(root, run)
    assert read_all(root, run) == read_all(*whole)


def test_killed_worker_is_reported_with_its_log(root: Path) -> None:
    run = control.start_run(root, build_config())
    hold_worker(root, run, "sample t=1").kill()
    ended = finish(root, run, "failed")
    assert "SIGKILL" in (ended.error or "")
    assert "stage.log" in (ended.error or "")


def test_stop_then_resume_gives_equal_rows(whole: tuple[Path, RunRow], root: Path) -> None:
    run = control.start_run(root, build_config())
    worker = hold_worker(root, run, "train M2")
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(control.stop_run, root, run)
        let_end(worker)
        assert stopped.result() == "stopped"
    wait_until(lambda: not find_processes(root))
    assert reread(root, run).exit_code == 3
    finish(root, control.resume_run(root, reread(root, run)))
    assert read_all(root, run) == read_all(*whole)


def test_a_signal_to_every_process_of_a_job_stops_the_run_and_a_resume_gives_equal_rows(
    whole: tuple[Path, RunRow], root: Path
) -> None:
    """As a batch system does at the time limit; the worker gets it first, and the supervisor a moment later."""
    run = control.start_run(root, build_config())
    worker = hold_worker(root, run, "train M2")
    others = [process for process in find_processes(root) if process != worker]
    assert len(others) > 1
    worker.terminate()
    worker.resume()
    time.sleep(0.2)
    for process in others:
        with suppress(psutil.NoSuchProcess):  # the supervisor, once told, ends those below it
            process.terminate()
    assert finish(root, run, "stopped").exit_code == 3
    wait_until(lambda: not find_processes(root))
    finish(root, control.resume_run(root, reread(root, run)))
    assert read_all(root, run) == read_all(*whole)


@pytest.mark.parametrize("order", ["stop", "job"])
def test_a_stop_while_the_libraries_load_ends_the_server_that_loads_them(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """Here that never ends: a supervisor that waited for it would be killed, and could not write how it ended."""
    begun = tmp_path / "begun"
    (tmp_path / "torch.py").write_text(
        f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(3600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    run = control.start_run(root, build_config())
    wait_until(begun.exists)
    supervisor = find_supervisor(root, run)
    (server,) = [child for child in supervisor.children() if "multiprocessing.forkserver" in " ".join(child.cmdline())]
    if order == "job":  # every process of it is told, this one first
        server.terminate()
    assert control.stop_run(root, run) == "stopped"
    assert reread(root, run).exit_code == 3
    assert not server.is_running()
    wait_until(lambda: not find_processes(root))


def test_the_batch_script_goes_on_in_the_next_job_where_the_last_one_was_stopped(
    whole: tuple[Path, RunRow], tmp_path: Path
) -> None:
    """Two jobs on two nodes: the database is carried from one to the other, the rest lies behind links."""
    config, keep = tmp_path / "small.yaml", tmp_path / "keep"
    config.write_text(yaml.safe_dump(dump(build_config())))

    def start_job(node: str) -> subprocess.Popen[bytes]:
        paths = {"CREAM_KEEP": str(keep), "SLURM_TMPDIR": str(tmp_path / node), "PATH": f"{BIN}:{os.environ['PATH']}"}
        return subprocess.Popen(["bash", str(SCRIPT), "small", str(config)], env=os.environ | paths)

    with start_job("first") as job:
        store = tmp_path / "first" / "cream-small"
        wait_until((store / "cream.db").is_file)
        wait_until(lambda: is_stage_by_label(store, "train M2", "running"))
        worker = hold_worker(store, read_small_run(store), "train M2")  # it might be over before `stop` has loaded
        job.terminate()
        let_end(worker)
        assert job.wait(WAIT_S) == 3
    with start_job("second") as job:
        assert job.wait(WAIT_S) == 0
    store = tmp_path / "second" / "cream-small"
    assert read_all(store, read_small_run(store)) == read_all(*whole)
    with closing(open_reader(keep)) as reader:
        assert find_run(reader, "small").state == "done"


def read_small_run(root: Path) -> RunRow:
    with closing(open_reader(root)) as reader:
        return find_run(reader, "small")


def is_stage_by_label(root: Path, label: str, state: str) -> bool:
    try:
        return is_stage(root, read_small_run(root), label, state)
    except StoreError:  # it is being written for the first time
        return False


def test_two_runs_share_what_is_equal_while_it_is_computed(root: Path) -> None:
    first = control.start_run(root, build_config(name="a"))
    second = control.start_run(root, build_config(name="b", method="srlm"))
    finish(root, first)
    finish(root, second)
    with closing(open_reader(root)) as reader:
        stages = [read_run_stages(reader, run.run_id) for run in (first, second)]
        n_attempts = sum(len(read_attempts(reader, run.run_id)) for run in (first, second))
    shared = {s.label for s in stages[0]} & {
        s.label for s in stages[1] if s.stage_id in {t.stage_id for t in stages[0]}
    }
    assert shared == {"evaluate M0", "train M1 (SFT)", "evaluate M1", "sample t=1", "score t=1"}
    assert n_attempts == len({s.stage_id for found in stages for s in found})


def test_without_reuse_everything_is_computed_again(whole: tuple[Path, RunRow]) -> None:
    root, first = whole
    again = finish(root, control.start_run(root, build_config(), reuse=False))
    with closing(open_reader(root)) as reader:
        ids = [{s.stage_id for s in read_run_stages(reader, run.run_id)} for run in (first, again)]
    assert not ids[0] & ids[1]
    assert again.name == "small-2"
    assert read_all(root, again) == read_all(root, first)


def test_second_resume_of_a_live_run_is_refused(root: Path) -> None:
    run = control.start_run(root, build_config())
    with pytest.raises(LeaseHeldError, match="already working"):
        control.resume_run(root, run)
    finish(root, run)


def test_fork_shares_the_start_and_changes_the_rest(whole: tuple[Path, RunRow]) -> None:
    root, parent = whole
    fork = control.fork_run(root, parent, at="M1", overrides=["training.beta=0.5"], method="srlm", name="fork")
    finish(root, fork)
    with closing(open_reader(root)) as reader:
        before, after = ({s.label: s.stage_id for s in read_run_stages(reader, run.run_id)} for run in (parent, fork))
        metrics = {m.name: m.value for m in read_run_metrics(reader, fork.run_id, names=["confidence"])}
    assert {label for label in before if before[label] == after[label]} == {
        "evaluate M0",
        "train M1 (SFT)",
        "evaluate M1",
        "sample t=1",
        "score t=1",
    }
    assert metrics == {"confidence": 1.0}
    assert (reread(root, fork).parent_run_id, reread(root, fork).fork_at) == (parent.run_id, "M1")


def test_fork_refuses_what_lies_before_it(root: Path, whole: tuple[Path, RunRow]) -> None:
    store, run = whole
    with pytest.raises(ConfigError, match="has the models"):
        control.fork_run(store, run, at="M9")
    with pytest.raises(ConfigError, match="nothing is left"):
        control.fork_run(store, run, at="M2")
    with pytest.raises(ConfigError, match="keeps its model and SFT"):
        control.fork_run(store, run, at="M1", overrides=["sft.epochs=1"])


def test_a_fork_is_checked_as_a_new_run_is(whole: tuple[Path, RunRow], monkeypatch: pytest.MonkeyPatch) -> None:
    store, run = whole
    monkeypatch.delenv(VLLM_PYTHON, raising=False)
    with pytest.raises(BackendError, match="vLLM is not installed here"):
        control.fork_run(store, run, at="M1", overrides=["sampling.backend=vllm"])
    with pytest.raises(ConfigError, match="leaves no room for a prompt"):
        control.fork_run(store, run, at="M1", overrides=["sampling.max_new_tokens=100000"])


def test_own_prompts_and_a_changed_file(root: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    lines = [{"prompt": f"{a} + {a + 1}", "answer": str(2 * a + 1)} for a in range(12)]
    prompts.write_text("\n".join(map(json.dumps, lines)))
    config = build_config(f"data.prompts={prompts}", "data.prompts_per_iteration=12", f"evaluation.tasks=[{prompts}]")
    run = control.start_run(root, config)
    worker = hold_worker(root, run, "train M1 (SFT)")
    prompts.write_text("\n".join(map(json.dumps, lines[::-1])))
    worker.resume()
    ended = finish(root, run, "failed")
    assert "changed" in (ended.error or ""), "what is there now would be stored under the key of what was there"
    assert is_stage(root, run, "train M1 (SFT)", "done")
    ended = finish(root, control.resume_run(root, ended), "failed")
    assert "changed" in (ended.error or "")
    prompts.write_text("\n".join(map(json.dumps, lines)))
    assert finish(root, control.resume_run(root, ended)).error is None


def test_too_few_prompts_are_refused_before_the_run(root: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "1 + 1"}\n{"prompt": "1 + 1"}\n')
    with pytest.raises(TaskError, match=r"1 distinct prompts.*need 24"):
        control.start_run(root, build_config(f"data.prompts={prompts}"))
    assert not root.exists()


def test_fork_keeps_its_prompts_and_sft(whole: tuple[Path, RunRow]) -> None:
    store, run = whole
    with pytest.raises(ConfigError, match="meet prompts again"):
        control.fork_run(store, run, at="M1", overrides=["data.prompts_per_iteration=12"])
    with pytest.raises(ConfigError, match="keeps its model and SFT"):
        control.fork_run(store, run, at="M1", overrides=["data.sft_examples=5"])


def test_skip_leaves_methods_without_agreement_alone(root: Path) -> None:
    config = build_config("scoring.first_iteration=skip", "evaluation.tasks=[]", method="srlm")
    run = finish(root, control.start_run(root, config))
    with closing(open_reader(root)) as reader:
        metrics = {m.name: m.value for m in read_run_metrics(reader, run.run_id)}
    assert metrics["confidence"] == 1.0
    assert metrics["n_pairs"] > 0
    assert "tau_previous" not in metrics
    assert "tau_anchor" in metrics


def test_sft_as_reference_of_the_loss_is_the_model_that_scoring_calls_m1(root: Path) -> None:
    """All pairs are one batch: z of the first step is the mean of beta times what M2 has gained on M1."""
    config = build_config(
        "iterations=2",
        "evaluation.tasks=[]",
        "data.prompts_per_iteration=12",
        "training={dpo_reference: sft, batch_size: 12, epochs: 4, beta: 0.5, learning_rate: 1e-3, warmup_ratio: 0}",
    )
    run = finish(root, control.start_run(root, config))
    with closing(open_reader(root)) as reader:
        stages = {stage.label: stage.stage_id for stage in read_run_stages(reader, run.run_id)}
        sums = {
            (row.scorer, row.prompt_id, row.k): row.sum_logprob for row in read_scores(reader, [stages["score t=2"]])
        }
        pairs = [pair for pair in read_pairs(reader, stages["pair t=2"]) if pair.skip_reason is None]
        metrics = {
            m.name: m.value for m in read_run_metrics(reader, run.run_id) if (m.label, m.step) == ("train M3", 1)
        }
    gains = [
        sums["implicit:M2", pair.prompt_id, k] - sums["implicit:M1", pair.prompt_id, k]
        for pair in pairs
        for k in (pair.chosen_k, pair.rejected_k)
    ]
    margins = [chosen - rejected for chosen, rejected in zip(gains[::2], gains[1::2], strict=True)]
    assert abs(sum(margins)) > 1e-3
    assert metrics["z"] == pytest.approx(0.5 * sum(margins) / len(margins), abs=1e-4)


def test_a_key_in_an_error_reaches_neither_the_row_nor_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that fails of a folder whose name a variable holds that looks like a key."""
    monkeypatch.setenv("SOME_TOKEN", "vault-123456")
    spec, log = plan_run([Segment(build_config(), None)], base_digest="M0")[0], tmp_path / "log"
    task = StageTask(str(tmp_path / "store"), "run", "token", 1, spec, {}, "/nowhere/vault-123456", str(log))
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run_stage_process, args=(task, sender))
    process.start()
    outcome = receiver.recv()
    process.join()
    assert "cannot load a tokenizer from /nowhere/***" in outcome.error and outcome.exit_code == process.exitcode
    assert "/nowhere/***" in log.read_text() and "vault-123456" not in log.read_text() + outcome.error


@pytest.mark.parametrize(("method", "scorer"), [("oracle", "oracle"), ("random", "random")])
def test_other_rankings_share_all_model_passes(whole: tuple[Path, RunRow], method: str, scorer: str) -> None:
    root, first = whole
    run = finish_here(root, build_config("evaluation.tasks=[]", method=method, name=method))
    with closing(open_reader(root)) as reader:
        own = {s.label: s.stage_id for s in read_run_stages(reader, run.run_id)}
        others = {s.label: s.stage_id for s in read_run_stages(reader, first.run_id)}
    assert {label for label in own if own[label] == others.get(label)} == {
        "train M1 (SFT)",
        "sample t=1",
        "score t=1",
    }
    rewards = read_all(root, run)["rewards"]
    by_scorer = {scorer: {row[1:3]: row[-2] for row in rewards if row[3] == scorer} for scorer in (scorer, "aggregate")}
    assert by_scorer[scorer] == by_scorer["aggregate"]


def test_what_a_run_takes_is_recorded_beside_it(whole: tuple[Path, RunRow]) -> None:
    """Every two seconds, or seldomer where the machine is busy; the supervisor alone never holds so much memory."""
    root, run = whole
    with closing(open_reader(root)) as reader:
        samples = read_usage(reader, run.run_id)
    ended = reread(root, run)
    assert ended.started_at is not None and ended.finished_at is not None
    took = ended.finished_at - ended.started_at
    assert max(1, took / 6 - 1) <= len(samples) <= took / 2 + 1
    assert max(sample.rss_bytes for sample in samples) > 200 * 2**20
    assert min(sample.cpu_percent for sample in samples) >= 0
    assert max(sample.cpu_percent for sample in samples) > 1
