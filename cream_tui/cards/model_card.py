"""The card of an exported model: what it is, how to load it, where it comes from, its numbers, its settings. Pure."""

from __future__ import annotations

from cream_tui.cards.facts import CardFacts
from cream_tui.cards.markdown import build_fence, build_head, build_table, escape
from cream_tui.output import Cell
from cream_tui.result_table import RESULT_COLUMNS, build_legend, build_result_rows, build_task_rows, list_tasks
from cream_tui.views.launch_yaml import encode_yaml
from db.rows import RunCheckpoint

PAPER = "https://arxiv.org/abs/2410.12735"
TAGS = ["cream-tui", "self-rewarding", "preference", "dpo"]


def build_model_card(facts: CardFacts, model: RunCheckpoint, *, is_adapter: bool, has_template: bool) -> str:
    """The text of README.md beside the weights."""
    run = facts.run
    head = {
        "base_model": facts.base_model,
        "library_name": "peft" if is_adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": [*TAGS, run.method, *(["lora"] if is_adapter else [])],
    }
    title = f"# {escape(run.name)} {model.name}\n"
    intro = _describe(facts, model, is_adapter=is_adapter)
    parts = [
        title,
        intro,
        "## Load it\n",
        build_fence(_show_loading(facts, is_adapter=is_adapter, has_template=has_template), "python"),
        "## Where it comes from\n",
        _build_lineage(facts, model),
        "## Data\n",
        _describe_data(facts, model),
        "## Numbers\n",
        _build_numbers(facts, model),
        "## Settings\n",
        build_fence(encode_yaml(facts.config), "yaml"),
        f"Seed {run.seed}; digest of the settings `{run.config_digest}`.\n",
        "## Versions\n",
        build_table(["package", "version"], [(escape(name), escape(found)) for name, found in facts.packages.items()]),
    ]
    return build_head(head) + "\n" + "\n".join(parts)


def _describe(facts: CardFacts, model: RunCheckpoint, *, is_adapter: bool) -> str:
    run, index = facts.run, int(model.name[1:])
    what = "A LoRA adapter" if is_adapter else "A causal language model"
    if index == 0:
        how = "the model that the run began from"
    elif index == 1 and facts.counts.get(0):
        how = "tuned on demonstrations (SFT)"
    else:
        how = "trained on preference pairs that the model before it made and ranked itself"
    lines = [
        f"{what}: {model.name} of the {escape(run.method.upper() if run.method.islower() else run.method)} run "
        f"{escape(run.name)}, {how}. M0 is {escape(facts.base_title)}.",
        "",
        f"Made with cream-tui {escape(facts.packages.get('cream-tui', ''))}".rstrip() + ", which implements "
        f"[CREAM]({PAPER}) and its baselines: how far the rankings of the current and of the previous model agree "
        "decides how much a self-given label is trusted.",
        "",
        "Its licence follows from those of M0 and of the data; neither is known to the program that wrote this card.",
        "",
    ]
    return "\n".join(lines)


def _show_loading(facts: CardFacts, *, is_adapter: bool, has_template: bool) -> str:
    lines = ["from transformers import AutoModelForCausalLM, AutoTokenizer", "", 'folder = "."  # this one']
    if is_adapter:
        base = facts.base_model or "the folder of M0"
        lines[0] = "from peft import PeftModel\n" + lines[0]
        lines += [
            f"model = AutoModelForCausalLM.from_pretrained({base!r})",
            "model = PeftModel.from_pretrained(model, folder)",
        ]
    else:
        lines.append("model = AutoModelForCausalLM.from_pretrained(folder)")
    lines.append("tokenizer = AutoTokenizer.from_pretrained(folder)")
    if has_template:
        lines += [
            'messages = [{"role": "user", "content": "..."}]',
            "inputs = tokenizer.apply_chat_template(",
            '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True',
            ")",
        ]
    else:
        lines.append('inputs = tokenizer("User: ...\\nAssistant:", return_tensors="pt")')
    lines += [
        "ids = model.generate(**inputs, max_new_tokens=256)",
        'print(tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :]))',
    ]
    return "\n".join(lines)


def _build_lineage(facts: CardFacts, model: RunCheckpoint) -> str:
    rows = []
    for checkpoint in facts.list_models(model.name):
        index = int(checkpoint.name[1:])
        iteration = index - 1
        if index == 0:
            how = escape(facts.base_title)
        elif index == 1:
            n = facts.counts.get(0, {}).get("n_examples")
            how = "M0 itself" if n is None else f"SFT of M0 on {n:,} demonstrations"
        else:
            n = facts.counts.get(iteration, {}).get("n_pairs")
            how = f"M{iteration} on {'' if n is None else f'{n:,} '}pairs that M{iteration} made"
        rows.append((checkpoint.name, how, f"`{checkpoint.digest}`"))
    text = build_table(["model", "made from", "digest of its files"], rows)
    if facts.run.fork_at is not None:
        text += f"\nThe run is a fork of another at {facts.run.fork_at}; it shares everything up to that model.\n"
    return text


def _describe_data(facts: CardFacts, model: RunCheckpoint) -> str:
    data, evaluation = facts.config.get("data", {}), facts.config.get("evaluation", {})
    lines = []
    if data.get("sft") is not None:
        lines.append(f"- demonstrations: {_name_source(data['sft'])}")
    n_prompts = [
        f"{found['n_prompts']:,} for M{t + 1}"
        for t, found in sorted(facts.counts.items())
        if 0 < t < int(model.name[1:]) and "n_prompts" in found
    ]
    lines.append(f"- prompts: {_name_source(data.get('prompts'))}" + (f"; {', '.join(n_prompts)}" if n_prompts else ""))
    tasks = ", ".join(escape(str(task)) for task in evaluation.get("tasks", ())) or "none"
    lines.append(f"- evaluation: {tasks}")
    lines.append("")
    lines.append("No prompt or response is copied into this card: their licences are those of the data.\n")
    return "\n".join(lines)


def _name_source(source: object) -> str:
    if isinstance(source, list):
        return ", ".join(map(_name_source, source))
    if isinstance(source, dict):
        words = [str(source[key]) for key in ("path", "subset", "split", "revision") if source.get(key)]
        return escape(" ".join(words)) or "a source of its own"
    return escape(str(source))


def _build_numbers(facts: CardFacts, model: RunCheckpoint) -> str:
    results = [found for found in facts.results if found.index <= int(model.name[1:])]
    rows = build_result_rows(results)
    if not rows:
        return "None yet.\n"
    titles = [column.title.replace("\n", " ").strip() for column in RESULT_COLUMNS]
    titles[-1] = "tokens rejected"
    text = build_table(titles, [[_show_cell(cell) for cell in row] for row in rows])
    task_rows = build_task_rows(results)
    if task_rows:
        tasks = [f"{escape(name)} %" for name in list_tasks(results)]
        text += "\n" + build_table(["model", *tasks], [[_show_cell(cell) for cell in row] for row in task_rows])
    n_items = max((sum(task.n_items for task in found.tasks) for found in results), default=0)
    notes = [
        *build_legend(results),
        f"Accuracy by exact match, greedy, on {n_items:,} items; 95 % intervals by Wilson.",
    ]
    return text + "\n" + "\n".join(escape(note) + "  " for note in notes) + "\nOne run with one seed.\n"


def _show_cell(cell: str | Cell) -> str:
    return escape((cell.text if isinstance(cell, Cell) else cell).strip())
