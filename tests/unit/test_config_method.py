"""Methods: put together from parts, checked against each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.load import apply_overrides, config_from_json, load_method, load_run_config
from engine.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "key", "part"),
    [
        ("{name: cream, scorers: [implicit:current]}", "method.agreement.against", "is not among"),
        ("{name: cream, scorers: [implicit:previous]}", "method.aggregate.scorers", "is not among"),
        ("{name: cream, scorers: []}", "method.scorers", "a list of at least 1"),
        ("{name: srlm, scorers: [implicit:current, implicit:current]}", "method.scorers", "twice"),
        ("{name: srlm, scorers: [implicit:curent]}", "method.scorers.0", "Did you mean implicit:current?"),
        ("{name: cream, confidence: {kind: fixed}}", "method.confidence.value", "from 0 to 1"),
        ("{name: cream, confidence: {kind: fixed, value: 1.5}}", "method.confidence.value", "at most 1"),
        ("{name: cream, confidence: {value: 0.5}}", "method.confidence.value", "only for kind fixed"),
        ("{name: cream, confidence: {shrinkage: 0.5}}", "method.confidence.shrinkage", "only for kind per_prompt"),
        ("{name: srlm, confidence: {kind: mean}}", "method.confidence.kind", "needs an agreement"),
        ("{name: cream, agreement: null}", "method.confidence.kind", "needs an agreement"),
        ("{name: cream, agreement: {against: implicit:current}}", "method.agreement.against", "the same"),
        ("{name: cream, agreement: {measure: spearman, ties: tau_b}}", "method.agreement.ties", "Kendall"),
        ("{name: cream, agreement: {measure: kendal}}", "method.agreement.measure", "Did you mean kendall?"),
        (
            "{name: cream, aggregate: {scorers: [implicit:current, implicit:previous]}}",
            "method.aggregate.scorers",
            "mean",
        ),
        ("{name: cream, losses: x}", "method.losses", "did you mean method.loss?"),
        ("{name: cream, loss: signed}", "method.loss", "a mapping"),
        ("{name: cream, loss: {kind: sigmoid}}", "method.loss.kind", "'soft_label', 'signed'"),
        ("{name: cream, loss: {kl_weight: -0.1}}", "method.loss.kl_weight", "at least 0"),
        ("{name: ensemble-mean, aggregate: {kind: lcb}}", "method.aggregate.k", "is needed for kind lcb"),
        ("{name: ensemble-lcb, aggregate: {k: null}}", "method.aggregate.k", "is needed for kind lcb"),
        ("{name: ensemble-lcb, aggregate: {k: -1.0}}", "method.aggregate.k", "at least 0"),
        ("{name: ensemble-min, aggregate: {k: 0.5}}", "method.aggregate.k", "only for kinds lcb and uwo"),
        ("{name: srlm, aggregate: {length_penalty: -0.1}}", "method.aggregate.length_penalty", "at least 0"),
        ("{name: cream, confidence: {permuted: true}}", "method.confidence.permuted", "only for kind per_prompt"),
        ("{name: cream, confidence: {kind: votes}}", "method.confidence.kind", "needs the scorer votes"),
        ("{name: srlm, pairs: {min_consistency: 0.5}}", "method.pairs.min_consistency", "needs an agreement"),
        ("{name: cream, pairs: {min_consistency: 1.5}}", "method.pairs.min_consistency", "at most 1"),
        ("{name: srlm, pairs: {min_margin: -1.0}}", "method.pairs.min_margin", "at least 0"),
        ("{name: srlm, pairs: {strategy: max_rand}}", "method.pairs.strategy", "Did you mean max_random?"),
        ("{name: srlm, pairs: {rejected: base}}", "method.pairs.rejected", "'policy', 'sft'"),
        ("{confidence: {kind: one}, name: null}", "method.name", "text"),
        ("3", "method", "a mapping"),
    ],
)
def test_refused(override: str, key: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run_config("sandbox", overrides=[f"method={override}"])
    assert caught.value.key == key
    assert part.lower() in str(caught.value).lower()


def test_overrides_hold_over_the_method_file() -> None:
    config = load_run_config("sandbox", method="cream-dynamic", overrides=["method.confidence.shrinkage=0.5"])
    assert config.method.name == "cream-dynamic"
    assert (config.method.confidence.kind, config.method.confidence.shrinkage) == ("per_prompt", 0.5)
    assert config.method.agreement is not None


def test_a_changed_method_survives_the_store_and_a_fork() -> None:
    config = load_run_config("sandbox", overrides=["method={name: cream, agreement: null, confidence: {kind: one}}"])
    stored = config_from_json(config.model_dump_json())
    assert stored.method.agreement is None
    assert apply_overrides(stored, seed=4).method == config.method
    assert apply_overrides(stored, method="smoothing").method == load_method("smoothing")


def test_a_whole_method_needs_no_file() -> None:
    method = "{name: mine, scorers: [random], aggregate: {kind: single, scorers: [random]}, confidence: {kind: one}}"
    assert load_run_config("sandbox", overrides=[f"method={method}"]).method.name == "mine"


def test_a_broken_method_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "cream.yaml").write_text("name: cream\nscorers: 3\n")
    run = tmp_path / "run.yaml"
    run.write_text(
        "name: a\nmodel: {kind: sandbox}\nmethod: cream\n"
        "data: {sft: sandbox, prompts: sandbox, prompts_per_iteration: 1}\n"
    )
    monkeypatch.setenv("CREAM_CONFIGS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"methods/cream\.yaml: "):
        load_run_config(str(run))
    monkeypatch.setenv("CREAM_CONFIGS", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="CREAM_CONFIGS"):
        load_run_config(str(run))
