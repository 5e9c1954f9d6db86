"""What an evaluation finds out of real models: benchmarks from files, a task of lm_eval, and preference sets."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
import torch
from in_process import finish_here
from small_runs import build_config, finish
from transformers import PreTrainedModel

from cream_tui.results import read_results
from db.queries import read_evaluations, read_run_metrics, read_run_stages
from db.reading import open_reader
from db.rows import EvaluationRow, RunRow
from engine.compute.lm_eval_tasks import check_task_name, choose_batch_size, run_lm_eval_task
from engine.compute.models import load_model, load_tokenizer
from engine.compute.prompts import encode_example, encode_prompt, find_end_token_ids
from engine.config.shipped import find_configs_folder
from engine.errors import TaskError
from engine.records import Message
from engine.runtime import control
from engine.tasks.sandbox import generate_problems

SANDBOX = find_configs_folder() / "models" / "sandbox"
PROBLEMS = generate_problems(0, "test", 12)
CHOICES = ("red", "blue", "7")


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_choice_task(folder: Path) -> None:
    """A multiple-choice task of lm_eval over a file of one's own."""
    folder.mkdir(exist_ok=True)
    rows = [{"question": p.prompt, "choices": [p.answer, "17", "no"], "gold": k % 3} for k, p in enumerate(PROBLEMS)]
    write_rows(folder / "items.jsonl", rows)
    (folder / "own_choice.yaml").write_text(
        "task: own_choice\n"
        "dataset_path: json\n"
        "dataset_kwargs: {data_files: {test: items.jsonl}}\n"
        "test_split: test\n"
        "output_type: multiple_choice\n"
        'doc_to_text: "{{question}}"\n'
        'doc_to_choice: "{{choices}}"\n'
        "doc_to_target: gold\n"
        "metric_list:\n"
        "  - {metric: acc, aggregation: mean, higher_is_better: true}\n"
        "  - {metric: acc_norm, aggregation: mean, higher_is_better: true}\n"
    )


def write_generation_task(folder: Path) -> None:
    """A task that generates, with two filters, the first of which takes the last number."""
    (folder / "own_words.yaml").write_text(
        "task: own_words\n"
        "dataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: '{folder / 'items.jsonl'}'}}}}\n"
        "test_split: test\n"
        "output_type: generate_until\n"
        'doc_to_text: "Question {{question}}\\nAnswer"\n'
        'doc_to_target: "{{choices[0]}}"\n'
        "generation_kwargs: {until: ['\\n'], max_gen_toks: 12}\n"
        "filter_list:\n"
        "  - name: last\n"
        "    filter:\n"
        "      - {function: regex, group_select: -1, regex_pattern: '(\\d+)'}\n"
        "      - {function: take_first}\n"
        "  - name: raw\n"
        "    filter:\n"
        "      - {function: take_first}\n"
        "metric_list:\n"
        "  - {metric: exact_match, aggregation: mean, higher_is_better: true}\n"
    )


@pytest.fixture(scope="module")
def sandbox_model() -> PreTrainedModel:
    return load_model(SANDBOX, dtype="float32", device=torch.device("cpu"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def sum_logprob(model: PreTrainedModel, prompt: list[int], response: list[int]) -> float:
    """The oracle: one unpadded pass and a full log-softmax in float64."""
    with torch.no_grad():
        logprobs_TV = model(input_ids=torch.tensor([prompt + response])).logits[0].double().log_softmax(-1)
    return sum(float(logprobs_TV[len(prompt) - 1 + k, token]) for k, token in enumerate(response))


def test_lm_eval_chooses_the_most_likely_choice(sandbox_model: PreTrainedModel, tmp_path: Path) -> None:
    write_choice_task(tmp_path)
    tokenizer = load_tokenizer(SANDBOX)
    result = run_lm_eval_task(sandbox_model, tokenizer, "own_choice", batch_size=4, limit=None, folder=str(tmp_path))
    assert len(result.items) == len(PROBLEMS)
    for k, (item, problem) in enumerate(zip(result.items, PROBLEMS, strict=True)):
        choices = [problem.answer, "17", "no"]
        prompt = tokenizer(problem.prompt)["input_ids"]
        logprobs = []
        for choice in choices:
            whole = tokenizer(f"{problem.prompt} {choice}")["input_ids"]
            assert whole[: len(prompt)] == prompt
            logprobs.append(sum_logprob(sandbox_model, prompt, whole[len(prompt) :]))
        best = choices[logprobs.index(max(logprobs))]
        assert (item.item_id, item.prompt, item.response, item.gold) == (str(k), problem.prompt, best, choices[k % 3])
        assert item.correct == (best == choices[k % 3])
    assert result.metrics["acc"] == pytest.approx(sum(item.correct for item in result.items) / len(result.items))
    assert set(result.metrics) == {"acc", "acc_norm"}


def test_lm_eval_generates_and_counts_its_first_filter(sandbox_model: PreTrainedModel, tmp_path: Path) -> None:
    write_choice_task(tmp_path)
    write_generation_task(tmp_path)
    result = run_lm_eval_task(
        sandbox_model, load_tokenizer(SANDBOX), "own_words", batch_size=4, limit=5, folder=str(tmp_path)
    )
    assert [item.gold for item in result.items] == [problem.answer for problem in PROBLEMS[:5]]
    assert all(item.correct == (item.extracted == item.gold) for item in result.items)
    assert any(item.response != item.extracted for item in result.items)
    assert set(result.metrics) == {"exact_match:last", "exact_match:raw"}
    assert result.metrics["exact_match:last"] == pytest.approx(sum(item.correct for item in result.items) / 5)


def test_an_unknown_task_of_lm_eval_is_named_with_its_nearest() -> None:
    check_task_name("arc_easy", ["arc_easy", "gsm8k"])
    with pytest.raises(TaskError, match="lm_eval has no task arc_esay; did you mean arc_easy"):
        check_task_name("arc_esay", ["arc_easy", "gsm8k"])


def test_a_broken_task_of_lm_eval_says_which(sandbox_model: PreTrainedModel, tmp_path: Path) -> None:
    write_choice_task(tmp_path)
    (tmp_path / "items.jsonl").unlink()
    with pytest.raises(TaskError, match=r"lm_eval cannot run own_choice: .*items.jsonl"):
        run_lm_eval_task(
            sandbox_model, load_tokenizer(SANDBOX), "own_choice", batch_size=1, limit=1, folder=str(tmp_path)
        )


def test_a_batch_of_lm_eval_holds_whole_contexts() -> None:
    assert choose_batch_size(512, 32768) == 64
    assert choose_batch_size(131072, 32768) == choose_batch_size(None, 32768) == 16
    assert choose_batch_size(4096, 100) == 1


def make_pairs() -> list[dict[str, object]]:
    """Clean solutions and others, some the wrong way round; the last is far longer than the model's context."""
    pairs: list[dict[str, object]] = []
    for k, problem in enumerate(PROBLEMS):
        other = problem.solution.replace("####", "so it is ####") if k % 2 else f"#### {problem.answer}"
        chosen, rejected = (problem.solution, other) if k % 5 else (other, problem.solution)
        subset = "wordy" if k % 2 else "direct"
        pairs.append({"prompt": problem.prompt, "chosen": chosen, "rejected": rejected, "subset": subset})
    return [*pairs, {"prompt": "Why?", "chosen": "because " * 2000, "rejected": "no", "subset": "wordy"}]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRow]:
    folder = tmp_path_factory.mktemp("evaluated")
    root, own = folder / "store", folder / "own"
    write_choice_task(own)
    pairs = write_rows(folder / "pairs.jsonl", make_pairs())
    rows: list[dict[str, object]] = [
        {"question": p.prompt, "choices": {"text": [p.answer, "x y"], "label": ["A", "B"]}, "answerKey": "A"}
        for p in PROBLEMS
    ]
    arc = write_rows(folder / "arc.jsonl", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        config = build_config(
            "iterations=0",
            f"evaluation.tasks=[sandbox, {{task: arc_easy, path: {arc}}}, 'lm_eval:own_choice']",
            f"evaluation.lm_eval_tasks={own}",
            f"evaluation.preference_sets=[{pairs}]",
            "evaluation.items=13",
            "evaluation.max_new_tokens=24",
        ).model_copy(update={"name": "evaluated"})
        run = finish(root, control.start_run(root, config))  # the harness, too, in a process that has preloaded ours
    return root, run


def read_rows_of(root: Path, run: RunRow, label: str) -> list[EvaluationRow]:
    with closing(open_reader(root)) as reader:
        stage = next(s for s in read_run_stages(reader, run.run_id) if s.label == label)
        return read_evaluations(reader, stage.stage_id)


def test_every_task_has_its_rows_and_metrics(evaluated: tuple[Path, RunRow]) -> None:
    root, run = evaluated
    with closing(open_reader(root)) as reader:
        labels = [stage.label for stage in read_run_stages(reader, run.run_id)]
        metrics = {(m.label, m.name): m.value for m in read_run_metrics(reader, run.run_id) if m.stage == "evaluate"}
    assert labels == [
        *("evaluate M0", "evaluate M0 (preference)", "train M1 (SFT)"),
        *("evaluate M1", "evaluate M1 (preference)"),
    ]
    rows = read_rows_of(root, run, "evaluate M1")
    counts = {task: sum(row.task == task for row in rows) for task in ("sandbox", "arc_easy", "lm_eval:own_choice")}
    assert counts == {"sandbox": 13, "arc_easy": 12, "lm_eval:own_choice": 12}
    shares = [metrics["evaluate M1", f"accuracy/{task}"] for task in counts]
    assert metrics["evaluate M1", "accuracy"] == pytest.approx(sum(shares) / 3)
    assert metrics["evaluate M1", "acc/lm_eval:own_choice"] == shares[2]


def test_preferences_enter_no_accuracy(evaluated: tuple[Path, RunRow]) -> None:
    root, run = evaluated
    with closing(open_reader(root)) as reader:
        results = read_results(reader, run.run_id)
        metrics = {(m.label, m.name): m.value for m in read_run_metrics(reader, run.run_id)}
    assert [[task.task for task in model.tasks] for model in results] == [
        ["arc_easy", "lm_eval:own_choice", "sandbox"]
    ] * 2
    assert [(count.task, count.n_items) for model in results for count in model.preferences] == [("pairs", 12)] * 2
    for label, model in (("evaluate M0", results[0]), ("evaluate M1", results[1])):
        assert model.accuracy == pytest.approx(metrics[label, "accuracy"])
        preferred = metrics[f"{label} (preference)", "preference_accuracy/pairs"]
        assert model.preferences[0].accuracy == preferred
        assert not any(task.startswith("preference:") for task, _ in model.items)


def test_the_implicit_reward_ranks_the_pairs(evaluated: tuple[Path, RunRow]) -> None:
    """Against float64 log-softmax of the two checkpoints, each pair by itself; M0 by its mean."""
    root, run = evaluated
    tokenizer = load_tokenizer(SANDBOX)
    with closing(open_reader(root)) as reader:
        from db.queries import read_run_checkpoints

        folders = {c.name: c.folder for c in read_run_checkpoints(reader, run.run_id, root)}
        metrics = {(m.label, m.name): m.value for m in read_run_metrics(reader, run.run_id)}
    models = {name: load_model(folder, dtype="float32", device=torch.device("cpu")) for name, folder in folders.items()}
    end = find_end_token_ids(models["M0"], tokenizer)
    expected: dict[str, dict[str, bool]] = {"M0": {}, "M1": {}}
    by_sums: dict[str, dict[str, bool]] = {"M0": {}, "M1": {}}
    for pair in make_pairs()[:-1]:
        messages = (Message("user", str(pair["prompt"])),)
        prompt = list(encode_prompt(tokenizer, messages))
        scores: dict[str, list[float]] = {"M0": [], "M1": [], "M0 sum": [], "M1 sum": []}
        for side in ("chosen", "rejected"):
            response = list(encode_example(tokenizer, messages, str(pair[side]), end_token_ids=end).response)
            base, own = (sum_logprob(models[name], prompt, response) for name in ("M0", "M1"))
            scores["M0"].append(base / len(response))
            scores["M1"].append(own - base)
            scores["M0 sum"].append(base)
            scores["M1 sum"].append(own)
        for name in expected:
            expected[name][str(pair["prompt"])] = scores[name][0] > scores[name][1]
            by_sums[name][str(pair["prompt"])] = scores[f"{name} sum"][0] > scores[f"{name} sum"][1]
    for name, by_prompt in expected.items():
        rows = read_rows_of(root, run, f"evaluate {name} (preference)")
        assert {row.prompt: row.correct for row in rows} == by_prompt
        for row in rows:
            pair = next(pair for pair in make_pairs() if pair["prompt"] == row.prompt)
            assert (row.task, row.gold) == ("preference:pairs", "chosen")
            assert row.extracted == ("chosen" if row.correct else "rejected")
            assert row.response == pair[row.extracted]
            assert row.item_id.startswith(f"{pair['subset']}/")
        label = f"evaluate {name} (preference)"
        assert metrics[label, "n_skipped_pairs/pairs"] == 1
        for subset, k in (("direct", 0), ("wordy", 1)):
            own_rows = [by_prompt[problem.prompt] for problem in PROBLEMS[k::2]]
            assert metrics[label, f"preference_accuracy/pairs/{subset}"] == pytest.approx(sum(own_rows) / len(own_rows))
    assert len(set(expected["M1"].values())) == 2, "a test of one outcome alone would say little"
    assert all(expected[name] != by_sums[name] for name in expected), "plain sums of log-probs would pass as well"


def test_an_untouched_copy_prefers_nothing(root: Path, tmp_path: Path) -> None:
    """Two equal models have an implicit reward of 0 everywhere: every pair is a tie, and no tie is right."""
    pairs = write_rows(tmp_path / "pairs.jsonl", make_pairs()[:4])
    config = build_config(
        *("iterations=0", "evaluation.tasks=[]", f"evaluation.preference_sets=[{pairs}]", "sft.epochs=1"),
        *("sft.learning_rate=1e-30", "data.sft_examples=4"),
    )
    run = finish_here(root, config)
    rows = read_rows_of(root, run, "evaluate M1 (preference)")
    assert [(row.correct, row.extracted, row.response) for row in rows] == [(False, None, "")] * 4
    with closing(open_reader(root)) as reader:
        ties = {m.label: m.value for m in read_run_metrics(reader, run.run_id) if m.name == "n_ties/pairs"}
    assert ties == {"evaluate M0 (preference)": 0, "evaluate M1 (preference)": 4}


def test_a_preference_set_leaves_the_keys_of_all_other_stages(tmp_path: Path) -> None:
    from engine.plan import Segment, plan_run

    pairs = write_rows(tmp_path / "pairs.jsonl", make_pairs())
    plain, more = (build_config(*extra) for extra in ((), (f"evaluation.preference_sets=[{pairs}]",)))
    keys = [{s.label: s.key for s in plan_run([Segment(c, None)], base_digest="0" * 16)} for c in (plain, more)]
    assert {label: key for label, key in keys[1].items() if "(preference)" not in label} == keys[0]
    assert sorted(set(keys[1]) - set(keys[0])) == [f"evaluate M{t} (preference)" for t in range(3)]
