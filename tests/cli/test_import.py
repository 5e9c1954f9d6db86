"""`import`: the authors' result files and preference data become runs that every reader understands."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata

from cream_tui.commands import import_results
from db.pair_browse import read_pair_rows
from db.pair_detail import read_pair_detail
from db.queries import find_run, read_agreements, read_run_stages
from db.reading import open_reader
from engine.config.load import config_from_json

N = 5
N_PROMPTS = 9


def make_results(seed: int = 0, *, has_reference: bool = False) -> dict[str, dict[str, Any]]:
    """What infer.py, rewarding.py (twice) and cal_consistency.py write, their formulas written out.

    Source: github.com/Raibows/CREAM, infer.py, rewarding.py, cal_consistency.py.
    """
    rng = random.Random(seed)
    files: dict[str, dict[str, Any]] = {"sampling": {}, "current": {}, "previous": {}, "dpo": {}}
    for i in range(N_PROMPTS):
        name, prompt = f"uuid-{i}", [{"role": "user", "content": f"What is {i} + 1?"}]
        texts = [f"Response {k} of {i}. #### {rng.randrange(9)}" for k in range(N)]
        talks = [[*prompt, {"role": "assistant", "content": text}] for text in texts]
        files["sampling"][name] = {"prompt": prompt, "responses": texts}
        for which in ("current", "previous"):
            score = [rng.uniform(-90, -5) for _ in texts]
            is_implicit = which == "current" or has_reference
            ref = [rng.uniform(-90, -5) for _ in texts] if is_implicit else [0] * N
            item = {"prompt": prompt, "response": talks, "score": score, "ref_score": ref}
            files[which][name] = item | {"reward": [a - b for a, b in zip(score, ref, strict=True)]}
        ours, theirs = files["current"][name]["reward"], files["previous"][name]["reward"]
        tau, _ = kendalltau(rankdata(ours, method="ordinal"), rankdata(theirs, method="ordinal"))
        best, worst = talks[int(np.argmax(ours))], talks[int(np.argmin(ours))]
        files["dpo"][name] = {"prompt": prompt, "selected": best, "rejected": worst, "consistency": (tau + 1) / 2}
    return files


def write(folder: Path, files: dict[str, Any]) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=4))
    return {name: str(folder / f"{name}.json") for name in files}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def run_import(call: Callable[..., Any], store: Path) -> Callable[..., Any]:
    return lambda *words: call("import", *words, "--store", str(store))


def test_the_authors_files_give_their_pairs_and_their_taus(
    tmp_path: Path, store: Path, run_import: Callable[..., Any]
) -> None:
    """Their consistency is the rate of our tau, since no score is tied; likelihoods are found whatever the order."""
    files = make_results()
    paths = write(tmp_path / "files", files)
    done = run_import(*(paths[name] for name in ("previous", "sampling", "current", "dpo")), "--name", "theirs")
    assert done.code == 0 and f"{N_PROMPTS} prompts, {N_PROMPTS * N} responses, {N_PROMPTS} pairs" in done.stderr
    with closing(open_reader(store)) as c:
        run = find_run(c, "theirs")
        assert (run.state, run.method, run.iterations) == ("done", "imported", 1)
        assert config_from_json(run.config_json).sampling.n == N
        stages = {stage.name: stage for stage in read_run_stages(c, run.run_id)}
        assert {stage.state for stage in stages.values()} == {"done"}
        agreements = {row.prompt_id: row for row in read_agreements(c, [stages["agree"].stage_id])}
        ids = [row[0] for row in c.execute("SELECT pair_id FROM pair ORDER BY pair_id")]
        for view, item in zip(read_pair_rows(c, run.run_id, ids), files["dpo"].values(), strict=True):
            assert [view.chosen, view.rejected] == [item[side][-1]["content"] for side in ("selected", "rejected")]
            assert view.consistency_rate == item["consistency"]
            assert agreements[view.prompt_id].consistency_rate == pytest.approx(item["consistency"])
            assert agreements[view.prompt_id].against == "mean_loglik:M0"
            assert view.confidence is None and view.chosen_n_tokens is None
        detail = read_pair_detail(c, run.run_id, ids[0])
    assert detail is not None
    first = files["current"]["uuid-0"]
    assert [response.current for response in detail.responses] == first["reward"]
    assert [response.previous for response in detail.responses] == files["previous"]["uuid-0"]["reward"]
    assert detail.view.margin == pytest.approx(max(first["reward"]) - min(first["reward"]))


def test_without_a_dpo_file_our_rule_makes_the_same_pairs(
    tmp_path: Path, run_import: Callable[..., Any], call: Callable[..., Any], store: Path
) -> None:
    files = make_results(1)
    paths = write(tmp_path / "files", files)
    run_import(paths["current"], paths["previous"], "--name", "ours")
    pairs = json.loads(call("pairs", "ours", "--limit", "0", "--json", "--store", str(store)).stdout)
    found = {(pair["chosen"], pair["rejected"]) for pair in pairs}
    assert found == {
        (item["selected"][-1]["content"], item["rejected"][-1]["content"]) for item in files["dpo"].values()
    }


def test_a_later_iteration_must_be_named_and_compares_two_implicit_rewards(
    tmp_path: Path, run_import: Callable[..., Any], store: Path
) -> None:
    paths = write(tmp_path / "files", make_results(2, has_reference=True))
    chosen = [paths[name] for name in ("sampling", "current", "previous", "dpo")]
    refused = run_import(*chosen)
    assert refused.code == 2 and "say which with --iteration" in refused.stderr
    assert run_import(*chosen, "--iteration", "2", "--name", "second").code == 0
    with closing(open_reader(store)) as c:
        run = find_run(c, "second")
        stages = {stage.name: stage for stage in read_run_stages(c, run.run_id)}
        rows = read_agreements(c, [stages["agree"].stage_id])
    assert run.iterations == 2 and stages["pair"].iteration == 2
    assert {(row.scorer, row.against) for row in rows} == {("implicit:M2", "implicit:M1")}
    swapped = run_import(*(paths[name] for name in ("previous", "current", "dpo")), "--iteration", "2")
    assert swapped.code == 2 and "give the rewarding file of the current model first" in swapped.stderr


def test_the_same_files_are_one_run(tmp_path: Path, run_import: Callable[..., Any], call: Callable[..., Any]) -> None:
    paths = write(tmp_path / "files", make_results(3))
    words = (paths["sampling"], paths["current"], "--json")
    first, second = (json.loads(run_import(*words, *more).stdout) for more in ((), ("--name", "other")))
    assert (first["is_new"], second["is_new"]) == (True, False)
    assert first["run_id"] == second["run_id"] and first["name"] == "sampling"
    store = str(tmp_path / "store")
    assert call("rm", "sampling", "--yes", "--store", store).code == 0
    again = json.loads(run_import(*words).stdout)
    assert again["is_new"] and again["n_pairs"] == N_PROMPTS
    assert call("pairs", again["run_id"], "--store", store).stdout.startswith("#1")


def test_an_imported_run_is_read_and_judged_but_never_continued(
    tmp_path: Path, run_import: Callable[..., Any], call: Callable[..., Any], store: Path
) -> None:
    paths = write(tmp_path / "files", make_results(4))
    run_import(*paths.values(), "--name", "theirs", "--model", "llama3-sft", "--tag", "old")
    at = ("--store", str(store))
    for words in (("resume", "theirs"), ("fork", "theirs", "--at", "M1"), ("run", "--from", "theirs", "--dry-run")):
        refused = call(*words, *at)
        assert refused.code == 2 and "theirs was imported from files: there is nothing to" in refused.stderr
    refused = call("export", "theirs", "--what", "checkpoint", "-o", str(tmp_path / "model"), "--store", str(store))
    assert refused.code == 2 and "theirs has no model yet, or was imported without one" in refused.stderr
    shown = call("show", "theirs", *at).stdout
    assert "imported" in shown and f"{paths['dpo']} (pairs)" in shown and "model  folder" not in shown
    assert call("judge", "theirs", "1", "swap", *at).code == 0
    verdicts = call("export", "theirs", "--what", "verdicts", *at).stdout.splitlines()
    assert len(verdicts) == 2 and "swap" in verdicts[1]
    assert "length unknown" in call("pairs", "theirs", *at).stdout
    assert "llama3-sft" in call("ls", "--json", *at).stdout or "theirs" in call("ls", *at).stdout
    responses = call("export", "theirs", "--what", "responses", "--format", "jsonl", *at).stdout.splitlines()
    assert len(responses) == N_PROMPTS * N
    unknown = ("token_ids", "prompt_token_ids", "n_tokens", "finish_reason", "sampled_logprob", "correct")
    assert all(json.loads(line)[name] is None for line in responses for name in unknown)
    run_import(paths["current"], "--name", "other")
    assert call("compare", "theirs", "other", *at).code == 0


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--name", "n" * 81), "no run can be called so"),
        (("--iteration", "9" * 14), "iterations count from 1, to 2147483647 at the most"),
        (("--model", "a\u200eb"), "--model: holds a control character"),
        ((), "its name holds a control character"),
    ],
)
def test_names_that_no_run_can_hold_are_refused(
    tmp_path: Path, run_import: Callable[..., Any], more: tuple[str, ...], reason: str
) -> None:
    file = "plain.json" if more else "a\u200eb.json"
    (tmp_path / file).write_text(json.dumps(make_results()["sampling"]))
    done = run_import(str(tmp_path / file), *more)
    assert done.code == 2 and reason in done.stderr


def test_spaces_around_a_models_label_are_left_out(tmp_path: Path, store: Path, run_import: Callable[..., Any]) -> None:
    paths = write(tmp_path / "files", make_results())
    assert run_import(paths["sampling"], "--model", " llama ").code == 0
    with closing(open_reader(store)) as c:
        assert config_from_json(find_run(c, "latest").config_json).model.path == "llama"


PREFERENCES: list[dict[str, Any]] = [
    {"prompt": "Why?", "chosen": "Light.", "rejected": "So.", "score_chosen": 8.5, "score_rejected": 3},
    {
        "prompt": "ignored beside whole conversations",
        "chosen": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
        "rejected": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "go"}],
        "margin": 2.0,
    },
    {
        "chosen": "\n\nHuman: a?\n\nAssistant: b\n\nHuman: c?\n\nAssistant: good",
        "rejected": "\n\nHuman: a?\n\nAssistant: b\n\nHuman: c?\n\nAssistant: gone",
    },
    {"chosen": "The capital is Paris.", "rejected": "The capital is Rome."},
    {"prompt": "Why?", "chosen": "again", "rejected": "asked"},
]
READ = [
    ("Why?", "Light.", "So.", 5.5),
    ("hi", "hello", "go", 2.0),
    ("user: a?\nassistant: b\nuser: c?", "good", "gone", None),
    ("The capital is", " Paris.", " Rome.", None),
]


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_preference_data_of_every_shape(
    tmp_path: Path, store: Path, run_import: Callable[..., Any], call: Callable[..., Any], ending: str
) -> None:
    path = tmp_path / f"data.{ending}"
    rows = PREFERENCES
    if ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif ending == "json":
        path.write_text(json.dumps(rows))
    else:  # one type a column: the rows of text
        import pyarrow
        import pyarrow.parquet

        rows = [row for row in PREFERENCES if isinstance(row["chosen"], str)]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    done = run_import(str(path))
    assert done.code == 0 and "1 rows ask what an earlier row asks" in done.stderr
    pairs = json.loads(call("pairs", "data", "--limit", "0", "--json", "--store", str(store)).stdout)
    wanted = [entry for entry in READ if ending != "parquet" or entry[0] != "hi"]
    assert [(pair["prompt"], pair["chosen"], pair["rejected"], pair["margin"]) for pair in pairs] == wanted


def test_what_was_exported_can_be_imported(
    tmp_path: Path, store_root: Path, run_import: Callable[..., Any], call: Callable[..., Any], store: Path
) -> None:
    """Our own pairs in TRL's format, the first of each prompt: the same texts, margins and confidences."""
    target = str(tmp_path / "pairs.jsonl")
    call("export", "demo-cream", "-o", target, "--store", str(store_root))
    assert run_import(target).code == 0
    columns = ("prompt", "chosen", "rejected", "margin", "confidence", "consistency_rate")
    lists = []
    for root, name in ((store_root, "demo-cream"), (store, "pairs")):
        printed = call("export", name, "--format", "jsonl", "--store", str(root)).stdout.splitlines()
        lists.append([[json.loads(line)[column] for column in columns] for line in printed])
    first = {row[0]: row for row in reversed(lists[0])}
    assert lists[1] and sorted(lists[1]) == sorted(first.values())


@pytest.mark.parametrize(
    ("names", "change", "words"),
    [
        (["sampling"], lambda f: f["sampling"]["uuid-3"].pop("responses"), "item 'uuid-3': responses must be a list"),
        (["sampling", "current"], lambda f: f["current"]["uuid-3"]["reward"].pop(), "item 'uuid-3': reward must be a"),
        (
            ["sampling", "current"],
            lambda f: f["sampling"]["uuid-3"]["responses"].__setitem__(1, "other"),
            "item 'uuid-3': response 1 is not that of",
        ),
        (
            ["current", "dpo"],
            lambda f: f["dpo"]["uuid-3"].update(selected="other"),
            "item 'uuid-3': selected is none of the responses",
        ),
        (["current", "dpo"], lambda f: f["dpo"]["uuid-3"].update(consistency=7.0), "lie between 0 and 1, found 7.0"),
        (["sampling", "dpo"], lambda f: None, "item 'uuid-0': no rewards of this item"),
        (["previous", "previous2"], lambda f: f.update(previous2=f["previous"]), "has reference scores"),
        (["sampling", "sampling2"], lambda f: f.update(sampling2=f["sampling"]), "one sampling file too many"),
        (["odd"], lambda f: f.update(odd={"a": {"b": 1}}), "item 'a': neither preference data nor a result"),
    ],
)
def test_a_bad_file_leaves_no_run(
    tmp_path: Path,
    store: Path,
    run_import: Callable[..., Any],
    names: list[str],
    change: Callable[[Any], Any],
    words: str,
) -> None:
    files = make_results(5)
    change(files)
    paths = write(tmp_path / "files", files)
    done = run_import(*(paths[name] for name in names))
    assert done.code == 2 and words in done.stderr and str(tmp_path / "files") in done.stderr
    assert done.stderr.count("error:") == 1
    assert not (store / "cream.db").exists()


def test_a_fault_in_the_middle_of_writing_leaves_nothing(
    tmp_path: Path, store: Path, run_import: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from db import imports

    paths = write(tmp_path / "files", make_results(6))
    fill, filled = imports._fill_stage, []

    def fail_at_the_third(*arguments: Any) -> None:
        filled.append(arguments)
        if len(filled) == 3:
            raise KeyboardInterrupt
        fill(*arguments)

    monkeypatch.setattr(imports, "_fill_stage", fail_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        import_results.import_results(str(store), tuple(paths.values()), import_results.Wish(), as_json=False)
    with closing(open_reader(store)) as c:
        for table in ("run", "stage", "response", "prompt", "score"):
            assert c.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0, table


def test_missing_rewards_are_missing_and_equal_responses_are_one_item(
    tmp_path: Path, store: Path, run_import: Callable[..., Any]
) -> None:
    """A NaN of the file has a reason and is in no pair; equal texts scored in other batches count once in tau."""
    files = make_results(7)
    item = files["current"]["uuid-0"]
    item["reward"][0], item["score"][0] = float("nan"), None
    twin = files["sampling"]["uuid-1"]["responses"][0]
    files["sampling"]["uuid-1"]["responses"][1] = twin
    for which in ("current", "previous"):
        files[which]["uuid-1"]["response"][1][-1]["content"] = twin
    paths = write(tmp_path / "files", files)
    assert run_import(paths["sampling"], paths["current"], paths["previous"], "--name", "odd").code == 0
    with closing(open_reader(store)) as c:
        rows = c.execute("SELECT n, n_distinct FROM agreement ORDER BY agreement_id LIMIT 2").fetchall()
        missing = c.execute("SELECT k, missing_reason FROM score WHERE score IS NULL AND scorer = 'implicit:M1'")
        assert [tuple(row) for row in missing] == [(0, "not in the file")]
        chosen = c.execute("SELECT chosen_k, rejected_k FROM pair ORDER BY pair_id LIMIT 1").fetchone()
    assert [tuple(row) for row in rows] == [(4, 4), (5, 4)]
    assert 0 not in tuple(chosen)
