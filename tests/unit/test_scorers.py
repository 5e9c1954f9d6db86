"""Names of scorers, what they need, and which score stages they give a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.load import (
    apply_overrides,
    check_files,
    config_from_json,
    list_shipped_methods,
    load_run_config,
    schema,
)
from engine.config.run import RunConfig
from engine.config.scorers import FIXED
from engine.errors import ConfigError
from engine.plan import Segment, StageSpec, list_own_parts, list_scorers, plan_run
from engine.runtime.intent import check_config

DIGEST = "0123456789abcdef"


def plan(config: RunConfig) -> dict[str, StageSpec]:
    return {stage.label: stage for stage in plan_run([Segment(config, None)], base_digest=DIGEST)}


def build_method(*scorers: str, kind: str = "mean") -> str:
    listed = ", ".join(f"'{scorer}'" for scorer in scorers)
    return (
        f"method={{name: mine, scorers: [{listed}], aggregate: {{kind: {kind}, scorers: [{listed}]}}, "
        "confidence: {kind: one}}"
    )


@pytest.mark.parametrize("scorer", FIXED)
def test_every_fixed_scorer_can_be_used(scorer: str) -> None:
    assert load_run_config("sandbox", overrides=[build_method(scorer)]).method.scorers == (scorer,)


@pytest.mark.parametrize(
    ("scorer", "part"),
    [
        ("judge:curent", "Did you mean judge:current?"),
        ("implicit", "Scorers: implicit:current"),
        ("implicit:M1", "is no scorer"),
        ("reward_model:", "names no reward model"),
        ("reward_model:a-b", "letters, digits and _"),
        ("", "is no scorer"),
    ],
)
def test_a_scorer_that_is_none_is_named_with_the_nearest(scorer: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run_config("sandbox", overrides=[build_method(scorer)])
    assert (caught.value.key or "").startswith("method.scorers")
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("override", "key", "part"),
    [
        (build_method("implicit:all", kind="single"), "method.aggregate.scorers", "mean or min"),
        (
            "method={name: cream, scorers: [implicit:current, implicit:all], agreement: {against: implicit:all}}",
            "method.agreement.against",
            "compares two",
        ),
        ("scoring.reward_models={a-b: {path: x}}", "scoring.reward_models", "letters, digits and _"),
        ("scoring.reward_models.rm.paht=x", "scoring.reward_models.rm.paht", "did you mean"),
        ("scoring.reward_models.rm={path: x, logit: -1}", "scoring.reward_models.rm.logit", "at least 0"),
        ("scoring.reward_models.rm={path: x, dtype: bf16}", "scoring.reward_models.rm.dtype", "bfloat16"),
        ("scoring.reward_models.rm=3", "scoring.reward_models.rm", "a mapping"),
        ("scoring.judge.judgements=0", "scoring.judge.judgements", "at least 1"),
        ("scoring.judge.temperature=0.0", "scoring.judge.temperature", "above 0"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(override: str, key: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run_config("sandbox", overrides=[override])
    assert caught.value.key == key
    assert part in str(caught.value)


@pytest.mark.parametrize("find", [check_config, plan])
def test_a_method_with_a_reward_model_that_the_run_lacks_names_both_keys(find: Callable[[RunConfig], object]) -> None:
    config = load_run_config("sandbox", method="reward-model", overrides=["scoring.reward_models.other.path=x"])
    with pytest.raises(ConfigError) as caught:
        find(config)
    assert caught.value.key == "method.scorers"
    assert "scoring.reward_models.rm" in str(caught.value) and "has other" in str(caught.value)
    find(apply_overrides(config, overrides=["scoring.reward_models.rm.path=org/model"]))


def test_the_schema_knows_scorers_and_reward_models() -> None:
    text = json.dumps(schema())
    assert "judge:current" in text and "^reward_model:" in text
    scoring = schema()["$defs"]["ScoringConfig"]["properties"]
    assert scoring["reward_models"]["additionalProperties"] == {"$ref": "#/$defs/RewardModelConfig"}


def test_files_of_scorers_are_found_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "rm").mkdir()
    (tmp_path / "ask.txt").write_text("{prompt} {response}")
    file = tmp_path / "run.yaml"
    file.write_text(
        "extends: sandbox\nname: mine\n"
        "scoring: {judge: {prompt: ask.txt}, reward_models: {rm: {path: rm}, hub: {path: org/name}}}\n"
    )
    config = load_run_config(str(file))
    assert config.scoring.judge.prompt == str(tmp_path / "ask.txt")
    assert config.scoring.reward_models["rm"].path == str(tmp_path / "rm")
    assert config.scoring.reward_models["hub"].path == "org/name"
    check_files(config)
    assert config_from_json(config.model_dump_json()) == config


def test_another_reward_model_forgets_the_revision_of_the_one_it_replaces() -> None:
    given = ["scoring.reward_models={rm: {path: org/a, revision: abc}, other: {path: org/b}}"]
    config = load_run_config("sandbox", method="reward-model", overrides=given)
    same = apply_overrides(config, overrides=["scoring.reward_models.rm.dtype=bfloat16"])
    assert same.scoring.reward_models["rm"].revision == "abc"
    changed = apply_overrides(config, overrides=["scoring.reward_models.rm.path=org/c"])
    assert changed.scoring.reward_models["rm"].revision is None
    assert changed.scoring.reward_models["other"].path == "org/b"


def test_all_models_of_the_run_are_each_named_once() -> None:
    config = load_run_config("sandbox", method="ensemble-mean")
    roles = config.method.scorers
    assert list_scorers(config, 1, roles) == ["implicit:M1", "mean_loglik:M0"]
    assert list_scorers(config, 3, roles) == ["implicit:M1", "implicit:M2", "implicit:M3"]
    assert [list_own_parts(config, t) for t in (1, 2, 3, 4)] == [
        [],
        [],
        ["implicit:M1"],
        ["implicit:M1", "implicit:M2"],
    ]


def test_each_scorer_beyond_the_shared_passes_is_a_stage_of_its_own() -> None:
    scorers = ["judge:current", "judge:previous", "judge:base", "reward_model:rm", "oracle", "implicit:current"]
    overrides = [build_method(*scorers), "scoring.reward_models.rm.path=org/none", "iterations=2"]
    stages = plan(load_run_config("sandbox", overrides=overrides))
    parts = {stage.part: stage for stage in stages.values() if stage.name == "score" and stage.iteration == 2}
    assert list(parts) == ["", "judge:M2", "judge:M1", "judge:M0", "reward_model:rm", "oracle"]
    assert set(parts["judge:M2"].models) == {"M2"} and not parts["judge:M0"].models  # M0 is never among them
    assert not parts["reward_model:rm"].models
    assert set(parts["judge:M2"].inputs) == {"sample"}
    assert parts["judge:M2"].seed != stages["sample t=2"].seed
    pair = stages["pair t=2"]
    assert set(pair.inputs) == {"sample", "score", "agree", *parts} - {""}
    assert set(stages["agree t=2"].inputs) == {"sample", "score"}


def test_methods_that_rank_differently_share_the_passes() -> None:
    """One pass per model: an ensemble adds the older models alone, a judge its judgements alone."""
    keys = {}
    for method in ("srlm", "ensemble-mean", "ensemble-min", "srlm-judge"):
        # One iteration of training apart, what follows M2 differs by method: only the first iteration can be shared.
        keys[method] = {label: stage.key for label, stage in plan(load_run_config("sandbox", method=method)).items()}
    for label in ("sample t=1", "score t=1"):
        assert len({found[label] for found in keys.values()}) == 1
    assert set(keys["srlm-judge"]) - set(keys["srlm"]) == {
        f"score t={t} (judge:M{t})" for t in range(1, load_run_config("sandbox").iterations + 1)
    }
    own = [label for label in keys["ensemble-mean"] if label.startswith("score t=3")]
    assert own == ["score t=3", "score t=3 (implicit:M1)"]


def find_changed(before: RunConfig, after: RunConfig) -> set[str]:
    """Return the labels of the first iteration whose keys differ."""
    old, new = plan(before), plan(after)
    return {label for label in old if old[label].iteration == 1 and old[label].key != new[label].key}


@pytest.mark.parametrize(
    "override",
    [
        "scoring.judge.judgements=5",
        "scoring.judge.temperature=0.5",
        "scoring.judge.max_new_tokens=9",
        "scoring.judge.prompt=ask.txt",
    ],
)
def test_a_judges_settings_change_its_scores_and_what_follows_alone(
    override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ask.txt").write_text("{prompt} {response} Score:")
    monkeypatch.chdir(tmp_path)
    for method, changed in (
        ("srlm-judge", {"score t=1 (judge:M1)", "pair t=1", "train M2", "evaluate M2"}),
        ("srlm", set()),
    ):
        config = load_run_config("sandbox", method=method)
        assert find_changed(config, apply_overrides(config, overrides=[override])) == changed


def test_a_reward_models_content_is_in_the_key_of_its_scores(tmp_path: Path) -> None:
    folder = tmp_path / "rm"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    config = load_run_config("sandbox", method="reward-model", overrides=[f"scoring.reward_models.rm.path={folder}"])
    before = plan(config)["score t=1 (reward_model:rm)"].key
    assert plan(config)["score t=1 (reward_model:rm)"].key == before
    (folder / "config.json").write_text('{"changed": 1}')
    assert plan(config)["score t=1 (reward_model:rm)"].key != before


@pytest.mark.parametrize("method", list_shipped_methods())
def test_every_shipped_method_plans_every_iteration(method: str) -> None:
    given = ["scoring.reward_models.rm.path=org/none"] if method == "reward-model" else []
    config = load_run_config("sandbox", method=method, overrides=given)
    stages = plan(config)
    assert f"train M{config.iterations + 1}" in stages
    known = {stage.key for stage in stages.values()}
    assert all(stage.needs <= known for stage in stages.values())
