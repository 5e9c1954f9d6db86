"""Studies in a real store: references, links to runs, leases, and one namespace with runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from cream_tui.readers.run_tables import RunTableReader
from cream_tui.readers.study_records import WAITING
from db.errors import LeaseHeldError, LeaseLostError, RunNotFoundError, StoreError
from db.plan_reads import find_free_name
from db.queries import find_run
from db.reading import open_reader
from db.rows import Lease, NewStage, RunRow
from db.session import Store
from db.studies import (
    StudyRow,
    derive_study_state,
    find_exact_run_or_study,
    find_run_or_study,
    find_study,
    list_studies,
    read_arm_configs,
    read_study_arms,
    read_study_stages,
)
from db.study_writes import (
    NewArm,
    acquire_study_lease,
    create_study,
    delete_study,
    end_study,
    release_study_lease,
    renew_study_lease,
    replace_arms,
    request_study_stop,
    set_arm_error,
    set_arm_run,
)
from db.writes import acquire_lease, create_run, delete_run, release_lease

ARMS = [
    NewArm(arm=arm, method=arm, seed=seed, run_name=f"quick-{arm}-s{seed}", config_json=f'{{"seed": {seed}}}')
    for arm in ("srlm", "cream")
    for seed in (0, 1)
]


def is_alive(_: Lease) -> bool:
    return True


def is_dead(_: Lease) -> bool:
    return False


def make_lease(study_id: str, token: str = "t1") -> Lease:
    return Lease(study_id, token, pid=100, pid_started_at=1.0, host="here", heartbeat_at=5.0)


def make_study(store: Store, name: str = "quick") -> str:
    return create_study(store, name, "{}", jobs=2, arms=ARMS)


def read(store: Store, study_id: str) -> StudyRow:
    with closing(open_reader(store.paths.root)) as c:
        return find_study(c, study_id)


def test_arms_come_back_in_their_order_with_the_state_of_their_runs(
    store: Store, new_run: Callable[..., Any], new_plan: Callable[[str], list[NewStage]]
) -> None:
    study_id = make_study(store)
    run = create_run(store, new_run("quick-srlm-s0-2"), new_plan("own"))
    set_arm_error(store, study_id, 0, "did not start")
    set_arm_run(store, study_id, 0, run.run_id)
    set_arm_error(store, study_id, 1, "no such file")
    with closing(open_reader(store.paths.root)) as c:
        arms = read_study_arms(c, study_id)
        assert read_arm_configs(c, study_id)[3] == '{"seed": 1}'
    assert [(arm.arm, arm.seed) for arm in arms] == [("srlm", 0), ("srlm", 1), ("cream", 0), ("cream", 1)]
    assert [(arm.run_name, arm.run_id, arm.state, arm.error) for arm in arms[:3]] == [
        ("quick-srlm-s0-2", run.run_id, "queued", None),
        ("quick-srlm-s1", None, None, "no such file"),
        ("quick-cream-s0", None, None, None),
    ]
    delete_run(store, run.run_id, is_alive=is_dead)
    with closing(open_reader(store.paths.root)) as c:
        assert read_study_arms(c, study_id)[0].run_id is None


def test_a_shared_stage_is_one_stage_of_the_study(
    store: Store, new_run: Callable[..., Any], new_plan: Callable[[str], list[NewStage]]
) -> None:
    """Two runs of ten stages that share their first five: fifteen stages."""
    study_id = make_study(store)
    for position, own in enumerate(("one", "two")):
        set_arm_run(store, study_id, position, create_run(store, new_run(own), new_plan(own)).run_id)
    with closing(open_reader(store.paths.root)) as c:
        stages = read_study_stages(c, study_id)
    assert [stage.n_arms for stage in stages] == [2] * 5 + [1] * 10
    assert sum(stage.n_arms for stage in stages) == 20


def test_a_study_and_a_run_never_share_a_name(store: Store, new_run: Callable[..., Any]) -> None:
    create_run(store, new_run("taken"), [])
    with pytest.raises(StoreError, match="a run is called taken"):
        make_study(store, "taken")
    make_study(store, "quick")
    assert create_run(store, new_run("quick"), []).name == "quick-2"
    with closing(open_reader(store.paths.root)) as c:
        assert find_free_name(c, "quick") == "quick-3"


def test_a_reference_finds_the_study_of_that_name_then_runs_then_the_start_of_a_study(
    store: Store, new_run: Callable[..., Any]
) -> None:
    study_id = make_study(store)
    runs = [create_run(store, new_run(arm.run_name), []) for arm in ARMS]
    with closing(open_reader(store.paths.root)) as c:
        for reference in ("quick", study_id, "qui"):
            found = find_run_or_study(c, reference)
            assert isinstance(found, StudyRow)
            assert found.study_id == study_id
        for reference in ("quick-cream-s1", runs[3].run_id, "latest"):
            found = find_run_or_study(c, reference)
            assert isinstance(found, RunRow)
            assert found.run_id == runs[3].run_id
        with pytest.raises(RunNotFoundError, match="no run or study 'nothing'"):
            find_run_or_study(c, "nothing")
        with pytest.raises(RunNotFoundError, match="no study 'quik'") as caught:
            find_study(c, "quik")
    assert caught.value.hint == f"nearest: study quick ({study_id})"


def test_the_runs_of_a_study_do_not_stand_in_its_way(store: Store, new_run: Callable[..., Any]) -> None:
    """Whether one of its runs has begun, or two; a run of another name does."""
    study_id = make_study(store)
    for name in ("quick-srlm-s0", "quick-srlm-s1"):
        create_run(store, new_run(name), [])
        with closing(open_reader(store.paths.root)) as c:
            found = find_run_or_study(c, "qui")
            assert isinstance(found, StudyRow) and found.study_id == study_id
            assert isinstance(find_run_or_study(c, "quick-srlm-s0"), RunRow)
    create_run(store, new_run("quicker"), [])
    told = "'qui' is the start of 1 study and 3 runs"
    with closing(open_reader(store.paths.root)) as c, pytest.raises(RunNotFoundError, match=told):
        find_run_or_study(c, "qui")


def test_only_a_whole_name_or_id_is_removed_or_stopped(store: Store, new_run: Callable[..., Any]) -> None:
    """A start of either finds the same run or study elsewhere; here the message names it."""
    study_id = make_study(store)
    run = create_run(store, new_run("alone"), [])
    with closing(open_reader(store.paths.root)) as c:
        for whole in ("quick", study_id):
            found = find_exact_run_or_study(c, whole)
            assert isinstance(found, StudyRow) and found.study_id == study_id
        for whole in ("alone", run.run_id):
            found = find_exact_run_or_study(c, whole)
            assert isinstance(found, RunRow) and found.run_id == run.run_id
        for start, named in (
            ("qu", f"study quick ({study_id})"),
            (study_id[:6], f"study quick ({study_id})"),
            ("alon", f"alone ({run.run_id})"),
            (run.run_id[:4], f"alone ({run.run_id})"),
            ("latest", f"alone ({run.run_id})"),
        ):
            assert find_run_or_study(c, start) is not None
            with pytest.raises(RunNotFoundError, match="is no whole name or id") as caught:
                find_exact_run_or_study(c, start)
            assert caught.value.hint == f"it may mean {named}"
        with pytest.raises(RunNotFoundError, match="no run or study 'aloen'") as caught:
            find_exact_run_or_study(c, "aloen")
        assert caught.value.hint == f"nearest: alone ({run.run_id})"


def test_the_first_letters_of_an_id_are_no_reference(store: Store, new_run: Callable[..., Any]) -> None:
    """The name of what is gone may begin like the id of something else; ids have small letters, these names none."""
    study_id, run = make_study(store, "QUICK"), create_run(store, new_run("ALONE"), [])
    with closing(open_reader(store.paths.root)) as c:
        for find, key in ((find_run, run.run_id), (find_study, study_id), (find_run_or_study, run.run_id)):
            assert find(c, key[:4]) == find(c, key)
            for n in (1, 2, 3):
                with pytest.raises(RunNotFoundError):
                    find(c, key[:n])


def test_a_study_in_place_of_a_run_is_answered_with_its_runs(store: Store, new_run: Callable[..., Any]) -> None:
    study_id = make_study(store)
    run = create_run(store, new_run("quick-srlm-s0"), [])
    with closing(open_reader(store.paths.root)) as c:
        with pytest.raises(RunNotFoundError, match="quick is a study, and this takes one run") as caught:
            find_run(c, "quick")
        assert caught.value.hint == "none of its runs has begun"
        set_arm_run(store, study_id, 0, run.run_id)
        with pytest.raises(RunNotFoundError, match="quick is a study") as caught:
            find_run(c, study_id)
        assert caught.value.hint == f"name one of its runs: quick-srlm-s0 ({run.run_id})"


def test_what_several_start_with_names_studies_too(store: Store, new_run: Callable[..., Any]) -> None:
    ids = [make_study(store, name) for name in ("beta-a", "beta-b")]
    runs = [create_run(store, new_run(name), []).run_id for name in ("bet-1", "bet-2")]
    listed = f"study beta-a ({ids[0]}), study beta-b ({ids[1]}), bet-1 ({runs[0]}), bet-2 ({runs[1]})"
    with closing(open_reader(store.paths.root)) as c:
        with pytest.raises(RunNotFoundError, match="'bet' is the start of 2 studies and 2 runs") as caught:
            find_run_or_study(c, "bet")
        assert caught.value.hint == f"name one of {listed}"
        with pytest.raises(RunNotFoundError, match="no run or study 'beat-a'") as caught:
            find_run_or_study(c, "beat-a")
        assert f"study beta-a ({ids[0]})" in str(caught.value.hint)


def test_one_live_process_holds_a_study(store: Store) -> None:
    study_id = make_study(store)
    acquire_study_lease(store, make_lease(study_id), is_alive=is_alive)
    with pytest.raises(LeaseHeldError, match="process 100 on here is already working on study quick"):
        acquire_study_lease(store, make_lease(study_id, "t2"), is_alive=is_alive)
    for change in (
        lambda: replace_arms(store, study_id, "{}", jobs=1, arms=[], is_alive=is_alive),
        lambda: delete_study(store, study_id, is_alive=is_alive),
    ):
        with pytest.raises(LeaseHeldError):
            change()
    assert not renew_study_lease(store, study_id, "t1", 6.0)
    request_study_stop(store, study_id)
    assert renew_study_lease(store, study_id, "t1", 7.0)
    acquire_study_lease(store, make_lease(study_id, "t2"), is_alive=is_dead)
    assert not renew_study_lease(store, study_id, "t2", 8.0)  # what was asked of the dead one is forgotten
    with pytest.raises(LeaseLostError):
        renew_study_lease(store, study_id, "t1", 9.0)
    release_study_lease(store, study_id, "t2", error="the disk is full")
    ended = read(store, study_id)
    assert (ended.lease, ended.error) == (None, "the disk is full")
    assert ended.finished_at is not None


def test_how_a_study_stands(store: Store, new_run: Callable[..., Any]) -> None:
    study_id = make_study(store)

    def state(alive: Callable[[Lease], bool] = is_alive) -> str:
        with closing(open_reader(store.paths.root)) as c:
            return derive_study_state(find_study(c, study_id), read_study_arms(c, study_id), is_alive=alive)

    assert state() == "queued"
    acquire_study_lease(store, make_lease(study_id), is_alive=is_alive)
    assert (state(), state(is_dead)) == ("running", "stale")
    end_study(store, study_id)
    assert state() == "stopped"
    set_arm_error(store, study_id, 2, "no such file")
    assert state() == "failed"


def test_a_study_stays_while_one_of_its_runs_has_a_live_process(store: Store, new_run: Callable[..., Any]) -> None:
    """Its own process may be gone: then its live runs go on, and the study is not taken away from above them."""
    study_id = make_study(store)
    run = create_run(store, new_run("quick-srlm-s0"), [])
    set_arm_run(store, study_id, 0, run.run_id)
    acquire_lease(store, make_lease(run.run_id), is_alive=is_alive)
    with pytest.raises(LeaseHeldError, match="already working on run quick-srlm-s0"):
        delete_study(store, study_id, is_alive=is_alive)
    assert read(store, study_id).study_id == study_id
    delete_study(store, study_id, is_alive=is_dead)


@pytest.mark.parametrize(("state", "shown"), [("queued", "queued"), ("done", WAITING)])
def test_a_run_that_its_study_has_not_noted_yet_is_found_by_name_while_it_begins(
    store: Store, new_run: Callable[..., Any], state: str, shown: str
) -> None:
    """One that has ended is an earlier run of that name, which read other files: the arm still waits."""
    study_id = make_study(store)
    acquire_study_lease(store, make_lease(study_id), is_alive=is_alive)
    run = create_run(store, new_run("quick-srlm-s0"), [])
    if state == "done":
        acquire_lease(store, make_lease(run.run_id), is_alive=is_alive)
        release_lease(store, run.run_id, "t1", state="done", exit_code=0)
    with closing(open_reader(store.paths.root)) as c:
        (study,) = RunTableReader().read(c).studies
    assert study.states[0] == shown
    assert set(study.states[1:]) == {WAITING}


def test_removed_studies_leave_their_runs(store: Store, new_run: Callable[..., Any]) -> None:
    study_id = make_study(store)
    run = create_run(store, new_run("quick-srlm-s0"), [])
    set_arm_run(store, study_id, 0, run.run_id)
    delete_study(store, study_id, is_alive=is_alive)
    with closing(open_reader(store.paths.root)) as c:
        assert list_studies(c) == []
        found = find_run_or_study(c, "quick-srlm-s0")
        assert isinstance(found, RunRow)
