"""A study file: which runs come of it, and the one message for what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.load import load_run_config
from engine.config.shipped import list_shipped
from engine.config.study import MAX_RUNS, load_study, parse_seeds
from engine.errors import ConfigError


def write(folder: Path, text: str) -> str:
    path = folder / "study.yaml"
    path.write_text("name: trial\nconfig: sandbox\n" + text)
    return str(path)


def test_a_study_is_the_product_of_methods_settings_and_seeds_with_seeds_inside(tmp_path: Path) -> None:
    """2 methods x 2 betas x 2 seeds; set, then a method's own settings, then varied ones, then overrides win."""
    file = write(
        tmp_path,
        "methods: [srlm, {name: cream, set: {training: {epochs: 3}, method.confidence.c_map: exact}}]\n"
        "seeds: [4, 7]\nset: {training.epochs: 5, iterations: 6}\nvary: {training.beta: [0.5, 2.0]}\n",
    )
    study = load_study(file, overrides=["iterations=2"])
    assert [(arm.title, arm.seed) for arm in study.arms] == [
        ("srlm beta=0.5", 4),
        ("srlm beta=0.5", 7),
        ("srlm beta=2.0", 4),
        ("srlm beta=2.0", 7),
        ("cream epochs=3 c_map=exact beta=0.5", 4),
        ("cream epochs=3 c_map=exact beta=0.5", 7),
        ("cream epochs=3 c_map=exact beta=2.0", 4),
        ("cream epochs=3 c_map=exact beta=2.0", 7),
    ]
    expected = load_run_config(
        "sandbox",
        method="cream",
        seed=7,
        name="trial-cream-epochs=3-c_map=exact-beta=2.0-s7",
        overrides=["training.epochs=3", "method.confidence.c_map=exact", "training.beta=2.0", "iterations=2"],
    )
    assert study.arms[-1].config == expected
    assert study.arms[0].config.training.epochs == 5.0
    assert study.config.set == {"training.epochs": 5, "iterations": 2}


def test_a_baseline_is_an_arm_and_changes_none(tmp_path: Path) -> None:
    text = "methods: [srlm, cream]\nvary: {training.beta: [0.5, 2.0]}\n"
    plain = load_study(write(tmp_path, text))
    named = load_study(write(tmp_path, f"{text}baseline: cream beta=2.0\n"))
    assert (plain.config.baseline, named.config.baseline) == (None, "cream beta=2.0")
    assert named.arms == plain.arms
    assert load_study("anchored").config.baseline == "cream-anchored"


def test_seeds_may_be_a_range(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, "methods: [srlm]\nseeds: {from: 3, count: 4}\n"))
    assert [arm.seed for arm in study.arms] == [3, 4, 5, 6]
    assert [arm.config.name for arm in study.arms] == [f"trial-srlm-s{seed}" for seed in range(3, 7)]


def test_a_study_starts_from_another_run_under_a_name_of_its_own(tmp_path: Path) -> None:
    file = write(tmp_path, "methods: [srlm]\n")
    assert load_study(file, config="sandbox-gentle").name == "trial-sandbox-gentle"
    named = load_study(file, config="sandbox-gentle", name="mine")
    assert (named.name, named.arms[0].config.name) == ("mine", "mine-srlm-s0")
    assert named.arms[0].config.training == load_run_config("sandbox-gentle").training


def test_paths_of_a_study_mean_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "one"}\n')
    (tmp_path / "own.yaml").write_text("extends: sandbox\nname: own\n")
    file = tmp_path / "study.yaml"
    file.write_text("name: trial\nconfig: own.yaml\nmethods: [srlm]\nset: {data.prompts: prompts.jsonl}\n")
    (arm,) = load_study(str(file)).arms
    assert arm.config.data.prompts.path == str(tmp_path / "prompts.jsonl")


def test_long_titles_give_run_names_that_fit_and_differ(tmp_path: Path) -> None:
    values = ", ".join(f"[{'x' * 60}{n}]" for n in range(3))
    file = write(tmp_path, f"methods: [srlm]\nseeds: [1, 2]\nvary: {{evaluation.tasks: [{values}]}}\n")
    with pytest.raises(ConfigError, match=r"evaluation\.tasks"):  # no such task: but the names came first
        load_study(file)
    names = [f"a/{'y' * 70}{n}.jsonl" for n in range(3)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"prompt": "one"}\n')
    study = load_study(write(tmp_path, f"methods: [srlm]\nseeds: [1, 2]\nvary: {{data.prompts: {names}}}\n"))
    run_names = [arm.config.name for arm in study.arms]
    assert len(set(run_names)) == 6
    assert max(map(len, run_names)) == 80


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("methods: [srlm, crem]\n", ["unknown method crem; did you mean cream?"]),
        ("methods: [srlm]\nset: {training.bta: 1}\n", ["unknown key training.bta; did you mean training.beta?"]),
        ("methods: [srlm]\nvary: {training.bta: [1]}\n", ["unknown key training.bta"]),
        ("methods: [{name: srlm, set: {zzz: 1}}]\n", ["unknown key zzz"]),
        (
            "methods: [[srlm]]\n",
            ["methods.0 = ['srlm'] is neither a method's name nor a mapping with name and set"],
        ),
        ("methods: srlm\n", ["methods = 'srlm': expected a list\nWrite [srlm]."]),
        ("methods: [srlm]\nseeds: 0-4\n", ["seeds = '0-4' is neither a list nor a mapping with from and count"]),
        ("methods: [{nme: srlm}]\n", ["unknown key methods.0.nme; did you mean methods.0.name?"]),
        ("method: [srlm]\n", ["unknown key method; did you mean methods?"]),
        ("methods: [srlm]\nset: {training.beta: x}\n", ["training.beta = 'x': expected a number"]),
        ("methods: []\n", ["methods is empty: no run would start"]),
        ("methods: [srlm]\nseeds: []\n", ["seeds is empty: no run would start"]),
        ("methods: [srlm]\nvary: {training.beta: []}\n", ["vary.training.beta is empty: no run would start"]),
        ("methods: [srlm]\nseeds: {from: 0, count: 0}\n", ["seeds.count = 0 is no whole number from 1"]),
        ("methods: [srlm]\nseeds: {start: 0, count: 2}\n", ["seeds.start is no key here"]),
        ("methods: [srlm]\nseeds: [0, 1, 0]\n", ["seeds: 0 stands there twice"]),
        ("methods: [srlm]\nseeds: [-1]\n", ["a number of at least 0"]),
        ("methods: [srlm]\nseeds: [true]\n", ["a whole number"]),
        ("methods: [srlm]\nseeds: {from: 4294967295, count: 2}\n", ["a number of at most 4294967295"]),
        ("methods: [cream, srlm, cream]\n", ["two arms are called `cream`"]),
        ("methods: [srlm]\nvary: {training.beta: [0.5, 0.5]}\n", ["vary.training.beta: 0.5 stands there twice"]),
        (
            "methods: [srlm, {name: srlm, set: {training.beta: 2.0}}]\nseeds: [0, 1]\n",
            ["the arms `srlm` and `srlm beta=2.0` are the same run with seed 0"],
        ),
        (
            "methods: [srlm, cream]\nvary: {training.beta: [0.5, 2]}\nbaseline: cream\n",
            [
                "baseline cream: no arm is called so",
                "There are srlm beta=0.5, srlm beta=2, cream beta=0.5, cream beta=2.",
            ],
        ),
        ("methods: [srlm]\nbaseline: [srlm]\n", ["baseline"]),
        ("methods: [srlm]\nvary: {seed: [0, 1]}\n", ["vary.seed: a study has `seeds` for that"]),
        ("methods: [srlm]\nvary: {method: [srlm, cream]}\n", ["vary.method: a study has `methods` for that"]),
        ("methods: [srlm]\nset: {name: x}\n", ["set.name: a study has `name` for that"]),
        ("methods: [srlm]\nset: {vary: {training.beta: [1]}}\n", ["set.vary.training.beta: a study has `vary` for"]),
        ("methods: [srlm]\nvary: {training.beta: 0.5}\n", ["vary.training.beta = 0.5: expected a list", "[0.5]"]),
        ("methods: [srlm]\nset: {'training beta': 1}\n", ["'training beta' is no key"]),
        (
            "methods: [srlm]\nset: {training.beta: 1, training: {beta: 2}}\n",
            ["set: training.beta stands there twice"],
        ),
        (
            "methods: [srlm]\nseeds: {from: 0, count: 1001}\nvary: {training.beta: [0.5, 2.0]}\n",
            [f"makes 2002 runs; at most {MAX_RUNS}"],
        ),
        ("methods: [srlm]\nvary: [training.beta]\n", ["vary = ['training.beta']: expected a mapping of keys"]),
    ],
)
def test_what_is_wrong_is_one_message_with_the_file(tmp_path: Path, text: str, parts: list[str]) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_study(file)
    assert caught.value.message.startswith(f"{file}: ")
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "methods: [srlm, 3]\nseeds: [0, -1]\njobs: 4\nset: {training: {bta: 1, epochs: x}}\n",
            [
                "unknown key jobs. Keys: name, config, methods, seeds, baseline, set, vary",
                "methods.1 = 3 is neither a method's name nor a mapping with name and set. "
                "For example: methods: [srlm]",
                "seeds.1 = -1: expected a number of at least 0",
            ],
        ),
        (
            "methods: [srlm, cream]\nseeds: 3\nbaseline: crem\nset: {training: {bta: 1, epochs: x}, name: x}\n",
            [
                "seeds = 3 is neither a list nor a mapping with from and count",
                "set.name: a study has `name` for that. Write it as name into the study's file.",
                "unknown key training.bta; did you mean training.beta?",
                "training.epochs = 'x': expected a number",
            ],
        ),
        (
            "methods: [crem, {name: srlm, set: {iteratons: 1}}]\nvary: {seed: [1], training.beta: [0.5, 0.5]}\n",
            [
                "vary.seed: a study has `seeds` for that. Write it as seeds into the study's file.",
                "vary.training.beta: 0.5 stands there twice",
                "unknown method crem; did you mean cream?",
                "unknown key iteratons; did you mean iterations?",
            ],
        ),
        (
            "methods: []\nseeds: []\nvary: {training.beta: 0.5, iterations: []}\n",
            [
                "methods is empty: no run would start. For example: methods: [srlm, cream]",
                "vary.training.beta = 0.5: expected a list of values. Write [0.5], or move it to set.",
                "vary.iterations is empty: no run would start",
                "seeds is empty: no run would start. For example: seeds: [0, 1]",
            ],
        ),
    ],
)
def test_all_that_is_wrong_is_told_a_line_each_with_the_file(tmp_path: Path, text: str, told: list[str]) -> None:
    """What follows from another problem is not: a baseline among arms that are not known, an arm of a wrong method."""
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_study(file)
    assert str(caught.value).splitlines() == [f"{file}: {line}" for line in told]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("./none.yaml", "no such file: FOLDER/none.yaml"),
        ("sandbx", "no configuration sandbx"),
        ("quick", "quick is a study, not a run"),
    ],
)
def test_a_study_of_no_run_is_told_with_its_file(tmp_path: Path, config: str, told: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f"name: a\nconfig: {config}\nmethods: [srlm]\n")
    with pytest.raises(ConfigError) as caught:
        load_study(str(file))
    assert caught.value.message == f"{file}: config: {told.replace('FOLDER', str(tmp_path))}"
    with pytest.raises(ConfigError, match=r"--config: no configuration sandbx"):
        load_study("quick", config="sandbx")


def test_a_study_file_is_no_run_and_a_folder_is_neither(tmp_path: Path) -> None:
    file = write(tmp_path, "methods: [srlm]\n")
    with pytest.raises(ConfigError, match="is a study file") as caught:
        load_run_config(str(file))
    assert caught.value.hint == f"start it with: cream-tui sweep {file}"
    with pytest.raises(ConfigError, match="is a folder, not a study file"):
        load_study(str(tmp_path))


def test_a_wrong_override_names_its_option(tmp_path: Path) -> None:
    file = write(tmp_path, "methods: [srlm]\n")
    with pytest.raises(ConfigError, match=r"--set: unknown key training\.bta"):
        load_study(file, overrides=["training.bta=1"])
    with pytest.raises(ConfigError, match=r"--set\.baseline: a study has `baseline` for that"):
        load_study(file, overrides=["baseline=srlm"])
    with pytest.raises(ConfigError, match=r"--name: name = 'a/b' holds a path separator"):
        load_study(file, name="a/b")


@pytest.mark.parametrize("override", ["seed=3", "method.name=cream", "method=cream", "method={name: cream}", "name=x"])
def test_an_override_cannot_say_what_the_matrix_says(tmp_path: Path, override: str) -> None:
    """Every run would have one seed, method or name, under the titles of others."""
    key = override.partition("=")[0].removesuffix(".name")
    with pytest.raises(ConfigError, match=rf"^--set\.{key}.*: a study has `{key}s?` for that") as caught:
        load_study(write(tmp_path, "methods: [srlm]\nseeds: [0, 1]\n"), overrides=[override])

    ways = {
        "seed": "Write --seeds 3.",
        "name": "Write --name x.",
        "method": "Write it as methods into the study's file.",
    }
    assert caught.value.hint == ways[key]


def test_a_title_names_the_value_that_holds(tmp_path: Path) -> None:
    file = write(tmp_path, "methods: [srlm, {name: cream, set: {training.beta: 0.5}}]\n")
    arms = load_study(file, overrides=["training.beta=1.0"]).arms
    assert [(arm.title, arm.config.training.beta) for arm in arms] == [("srlm", 1.0), ("cream beta=1.0", 1.0)]


def test_a_huge_matrix_is_refused_before_it_is_spelled_out(tmp_path: Path) -> None:
    keys = ("beta", "epochs", "learning_rate", "weight_decay", "max_grad_norm", "warmup_ratio", "batch_size")
    varied = "".join(f"  training.{key}: {list(range(1, 51))}\n" for key in keys)
    with pytest.raises(ConfigError, match=f"makes {50**7} runs; at most"):
        load_study(write(tmp_path, f"methods: [srlm]\nvary:\n{varied}"))


def test_an_unknown_study_lists_those_that_are_shipped() -> None:
    with pytest.raises(ConfigError) as caught:
        load_study("quik")
    assert "Did you mean quick?" in str(caught.value)


@pytest.mark.parametrize("name", ["/nowhere/quik.yaml", "quik.yml", "quik.json", "./quik"])
def test_what_looks_like_a_path_is_no_such_file(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^no such file: .*quik") as caught:
        load_study(name)
    assert "Did you mean" not in str(caught.value)


def test_what_is_shipped() -> None:
    """Every shipped study parses; its methods are told apart, and the confirmation has its controls."""
    sizes = {name: len(load_study(name).arms) for name in list_shipped("sweeps")}
    assert sizes == {"anchored": 100, "paper-table": 15, "quick": 6, "reviewers": 115}
    assert {"anchored-permuted", "anchored-mean", "fixed-65"} < {arm.title for arm in load_study("anchored").arms}
    assert {arm.config.iterations for arm in load_study("reviewers").arms} == {5}


@pytest.mark.parametrize(("text", "seeds"), [("3", [3]), ("0-2", [0, 1, 2]), ("5, 0-1", [5, 0, 1])])
def test_seeds_of_the_command_line(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "4-2", "1-", "1;2", "\u0663"])
def test_what_are_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--seeds .* are no seeds"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("0-999999999999", f"are too many: a study has at most {MAX_RUNS} runs"),
        (f"0-{MAX_RUNS - 1},{MAX_RUNS}", "are too many"),
        ("99999999999", "the largest seed is 4294967295"),
    ],
)
def test_seeds_beyond_a_limit_are_told_the_limit(text: str, part: str) -> None:
    assert len(parse_seeds(f"0-{MAX_RUNS - 1}")) == MAX_RUNS
    with pytest.raises(ConfigError, match=part):
        parse_seeds(text)


def test_a_seed_of_the_command_line_stands_there_once() -> None:
    with pytest.raises(ConfigError, match=r"--seeds '0-2,1': 1 stands there twice"):
        parse_seeds("0-2,1")


def test_seeds_of_the_command_line_replace_those_of_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "methods: [srlm]\nseeds: [1, 2]\n")
    assert [arm.seed for arm in load_study(file, seeds=[7, 8]).arms] == [7, 8]
    with pytest.raises(ConfigError, match="seeds: 7 stands there twice"):
        load_study(file, seeds=[7, 7])
