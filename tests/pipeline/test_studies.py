"""Studies with real processes: stages run once, arms at once, failures, stops, and SIGKILL of whoever works."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from small_runs import SMALL, find_processes, hold_worker, is_stage, read_all, wait_until

from db.errors import LeaseHeldError
from db.queries import find_run, read_lease, read_run_stages
from db.reading import fetch_rows, open_reader
from db.rows import NewRun, NewStage, RunRow
from db.session import open_store
from db.studies import StudyArm, StudyRow, derive_study_state, find_study, read_study_arms
from db.study_writes import NewArm, create_study
from db.writes import acquire_lease, create_run, release_lease
from engine.config.load import compute_config_digest
from engine.config.shipped import find_configs_folder
from engine.config.study import load_study
from engine.errors import ConfigError
from engine.runtime.process import build_lease, is_alive
from engine.runtime.sampling_backend import resolve_backend
from engine.runtime.study_control import resume_study, start_study, stop_study
from engine.runtime.study_plan import StudyPlan, plan_study
from engine.runtime.study_runner import find_unlinked_run

STUDY = "name: small\nconfig: sandbox\nmethods: [srlm, cream]\nseeds: [0, 1]\n"


def plan(root: Path, text: str, *, jobs: int | None) -> StudyPlan:
    file = root.parent / "study.yaml"
    file.write_text(text)
    return plan_study(root, load_study(str(file), overrides=SMALL), jobs=jobs)


def look(root: Path, study: StudyRow) -> tuple[StudyRow, list[StudyArm], str]:
    with closing(open_reader(root)) as c:
        row, arms = find_study(c, study.study_id), read_study_arms(c, study.study_id)
    return row, arms, derive_study_state(row, arms, is_alive=is_alive)


def finish(root: Path, study: StudyRow, state: str = "done") -> list[StudyArm]:
    wait_until(lambda: look(root, study)[2] != "running")
    row, arms, ended = look(root, study)
    assert ended == state, [row.error, *(arm.error for arm in arms)]
    return arms


def find(root: Path, arm: StudyArm) -> RunRow:
    with closing(open_reader(root)) as c:
        return find_run(c, arm.run_name)


def count(root: Path, table: str) -> int:
    with closing(open_reader(root)) as c:
        return int(fetch_rows(c, f"SELECT count(*) FROM {table}")[0][0])


def list_spans(root: Path, arms: list[StudyArm]) -> list[tuple[float, float]]:
    runs = [find(root, arm) for arm in arms]
    return [(run.started_at or 0.0, run.finished_at or 0.0) for run in runs]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyRow, list[StudyArm]]:
    """Two methods on two seeds, two at once."""
    root = tmp_path_factory.mktemp("study") / "store"
    before = plan(root, STUDY, jobs=2)
    assert (before.n_asked, before.n_done, before.seconds) == (36, 0, None)
    study = start_study(root, before)
    arms = finish(root, study)
    wait_until(lambda: not find_processes(root))
    assert before.n_distinct == count(root, "stage")
    return root, study, arms


def test_every_distinct_stage_is_run_once(finished: tuple[Path, StudyRow, list[StudyArm]]) -> None:
    """A try of a stage is a row: as many as keys, though the arms ask for more; never three runs at once, once two."""
    root, _, arms = finished
    with closing(open_reader(root)) as c:
        keys = [row.key for arm in arms for row in read_run_stages(c, arm.run_id or "")]
    assert len(keys) == 36
    assert count(root, "attempt") == len(set(keys)) == count(root, "stage") < len(keys)
    spans = list_spans(root, arms)
    n_at_once = [sum(start <= at < end for start, end in spans) for at, _ in spans]
    assert max(n_at_once) == 2


def test_a_finished_study_starts_no_process(finished: tuple[Path, StudyRow, list[StudyArm]]) -> None:
    root, study, arms = finished
    again = plan(root, STUDY, jobs=2)
    assert again.is_done
    assert [arm.run_id for arm in again.arms] == [arm.run_id for arm in arms]
    assert (again.n_done, again.seconds) == (again.n_distinct, 0)
    assert start_study(root, again) == look(root, study)[0]
    assert find_processes(root) == []


def test_an_arm_whose_stages_are_all_there_is_done_without_a_library(
    finished: tuple[Path, StudyRow, list[StudyArm]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same matrix under another name; and fewer arms under the old one leave the other runs alone.

    Whoever loads torch finds one that cannot be loaded.
    """
    root, _, arms = finished
    (tmp_path / "torch.py").write_text("raise ImportError('nobody needs it')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    before = count(root, "attempt")
    other = plan(root, STUDY.replace("small", "other").replace("[0, 1]", "[1]"), jobs=2)
    assert [(arm.run_id, arm.n_reused, arm.n_new) for arm in other.arms] == [(None, 9, 0), (None, 9, 0)]
    made = finish(root, start_study(root, other))
    assert {arm.run_id for arm in made}.isdisjoint({arm.run_id for arm in arms})
    assert count(root, "attempt") == before

    fewer = plan(root, STUDY.replace("[0, 1]", "[1]"), jobs=2)
    assert [arm.run_name for arm in fewer.dropped] == ["small-srlm-s0", "small-cream-s0"]
    changed = start_study(root, fewer)
    assert [arm.seed for arm in look(root, changed)[1]] == [1, 1]
    assert find(root, arms[0]).state == "done"
    more = start_study(root, plan(root, STUDY, jobs=2))
    ended = finish(root, more)
    assert [arm.run_id for arm in ended] == [arm.run_id for arm in arms]  # of the same name and settings: taken back
    assert count(root, "attempt") == before


def test_a_study_that_is_killed_ends_with_the_same_rows(
    root: Path, finished: tuple[Path, StudyRow, list[StudyArm]]
) -> None:
    """One arm cannot start, since its file is gone by then: it is told, and the others do not care."""
    lost = root.parent / "lost.jsonl"
    lost.write_text("".join(f'{{"prompt": "prompt {n}"}}\n' for n in range(40)))
    text = STUDY.replace("[0, 1]", "[0]").replace("cream]", f"cream, {{name: oracle, set: {{data.prompts: {lost}}}}}]")
    prepared = plan(root, text, jobs=1)
    lost.unlink()
    study = start_study(root, prepared)

    def is_at(arm: int, label: str, *states: str) -> bool:
        found = look(root, study)[1][arm]
        return found.run_id is not None and is_stage(root, find(root, found), label, *states)

    wait_until(lambda: is_at(0, "train M2", "running"))
    worker = hold_worker(root, find(root, look(root, study)[1][0]), "train M2")
    row, arms, _ = look(root, study)
    with closing(open_reader(root)) as c:
        supervisor = read_lease(c, arms[0].run_id or "")
    assert row.lease is not None
    assert supervisor is not None
    os.kill(row.lease.pid, signal.SIGKILL)
    os.kill(supervisor.pid, signal.SIGKILL)
    worker.resume()  # to find itself alone
    wait_until(lambda: look(root, study)[2] == "stale" and not find_processes(root))

    resume_study(root, study)
    arms = finish(root, study, "failed")
    assert [arm.state for arm in arms] == ["done", "done", None]
    assert "lost.jsonl" in (arms[2].error or "")
    for arm, same in zip(arms[:2], (finished[2][0], finished[2][2]), strict=True):
        assert read_all(root, find(root, arm)) == read_all(finished[0], find(finished[0], same))


def test_no_run_starts_where_another_has_the_only_slot(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A live run of somebody else counts; here it is this process, which holds its lease and computes nothing."""
    monkeypatch.setenv("CREAM_SLOTS", "1")
    store = open_store(root)
    busy = create_run(store, NewRun("busy", "cream", 0, 1, "{}", "d", "{}", "/m", "m", "{}"), [])
    lease = build_lease(busy.run_id)
    acquire_lease(store, lease, is_alive=is_alive)
    study = start_study(root, plan(root, STUDY.replace("[0, 1]", "[0]"), jobs=2))
    time.sleep(1.5)
    assert [arm.run_id for arm in look(root, study)[1]] == [None, None]

    assert start_study(root, plan(root, STUDY.replace("[0, 1]", "[0]"), jobs=2)).study_id == study.study_id
    with pytest.raises(ConfigError, match="small is running, and its file has changed: 2 of its runs are new"):
        start_study(root, plan(root, STUDY, jobs=2))
    release_lease(store, busy.run_id, lease.token, state="done", exit_code=0)
    wait_until(lambda: look(root, study)[1][0].run_id is not None)
    stop_study(root, study)
    assert [arm.state for arm in look(root, study)[1]] == ["stopped", None]
    wait_until(lambda: not find_processes(root))


def test_of_two_that_start_or_resume_a_study_at_once_one_finds_it_running(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process has the only slot: the study computes nothing."""
    monkeypatch.setenv("CREAM_SLOTS", "1")
    store = open_store(root)
    busy = create_run(store, NewRun("busy", "cream", 0, 1, "{}", "d", "{}", "/m", "m", "{}"), [])
    acquire_lease(store, build_lease(busy.run_id), is_alive=is_alive)

    def twice(act: Callable[[], StudyRow]) -> tuple[StudyRow, LeaseHeldError]:
        with ThreadPoolExecutor(2) as pool:
            tries = [pool.submit(act) for _ in range(2)]
        (row,) = [tried.result() for tried in tries if tried.exception() is None]
        (error,) = [error for tried in tries if (error := tried.exception()) is not None]
        assert isinstance(error, LeaseHeldError)
        return row, error

    text = STUDY.replace("[0, 1]", "[0]")
    study, _ = twice(partial(start_study, root, plan(root, text, jobs=1)))
    assert start_study(root, plan(root, text, jobs=1)).study_id == study.study_id
    stop_study(root, study)
    assert look(root, study)[2] == "stopped"
    row, error = twice(partial(resume_study, root, study))
    assert row.lease is not None
    assert f"process {row.lease.pid} on {row.lease.host} is already working on study small" in error.message
    stop_study(root, study)
    assert (root / "studies" / study.study_id / "runner.log").read_text() == ""
    wait_until(lambda: not find_processes(root))


def test_a_study_that_runs_takes_another_number_of_runs_at_once(root: Path) -> None:
    """One at a time, then two: the second begins while the first works. Asked without a number it stays at two."""
    text = STUDY.replace("[0, 1]", "[0]")
    study = start_study(root, plan(root, text, jobs=1))
    wait_until(lambda: look(root, study)[1][0].state == "running")
    time.sleep(0.5)
    assert look(root, study)[1][1].run_id is None
    more = start_study(root, plan(root, text, jobs=2))
    assert (more.study_id, more.jobs) == (study.study_id, 2)
    wait_until(lambda: look(root, study)[1][1].run_id is not None)
    assert look(root, study)[1][0].state == "running"
    assert plan(root, text, jobs=None).jobs == 2
    stop_study(root, study)
    wait_until(lambda: not find_processes(root))


def test_a_plan_made_anew_sees_another_model_in_the_same_folder(root: Path) -> None:
    folder = root.parent / "model"
    shutil.copytree(find_configs_folder() / "models" / "sandbox", folder)
    text = STUDY.replace("srlm, cream", "oracle").replace("[0, 1]", "[0]")
    text += f"set: {{model.kind: hf, model.path: {folder}}}\n"
    before = plan(root, text, jobs=1)
    (folder / "generation_config.json").write_text("{}")
    after = plan(root, text, jobs=1)
    assert set(before.arms[0].keys).isdisjoint(after.arms[0].keys)


def test_a_run_that_read_other_files_is_not_taken_back(root: Path) -> None:
    """A run of the arm's name and settings is its own only while its files, hence its stages, are what they were."""
    data = root.parent / "prompts.jsonl"
    data.write_text("".join(f'{{"prompt": "prompt {n}"}}\n' for n in range(40)))
    text = STUDY.replace("srlm, cream", "oracle").replace("[0, 1]", "[0]") + f"set: {{data.prompts: {data}}}\n"
    (made,) = plan(root, text, jobs=1).arms
    config, store = made.arm.config, open_store(root)
    digest = compute_config_digest(resolve_backend(config))
    stages = [NewStage(key, "evaluate", 0, f"stage {place}") for place, key in enumerate(made.keys)]
    run = create_run(store, NewRun(config.name, "oracle", 0, 1, "{}", digest, "{}", "/m", "m", "{}"), stages)
    study_id = create_study(store, "small", "{}", jobs=1, arms=[NewArm("oracle", "oracle", 0, config.name, "{}")])
    with closing(open_reader(root)) as reader:
        (arm,) = read_study_arms(reader, study_id)
        found = find_unlinked_run(reader, arm, config)
        assert found is not None
        assert found.run_id == run.run_id
        data.write_text("".join(f'{{"prompt": "another {n}"}}\n' for n in range(40)))
        assert find_unlinked_run(reader, arm, config) is None
