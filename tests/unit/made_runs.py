"""Four made-up runs with their settings and metrics, for the tests of filters and of the list of runs."""

from __future__ import annotations

from cream_tui.readers.run_records import RunFacts, RunRecord, build_run_records, load_settings
from db.overview import RunOverview
from db.run_facts import RunHealth

NOW = 1_000_000.0
DAY = 86400.0


def make_run(name: str, **values: object) -> RunOverview:
    defaults: dict[str, object] = dict.fromkeys(RunOverview.__dataclass_fields__)
    defaults |= {
        "run_id": f"id-{name}",
        "name": name,
        "method": "cream",
        "seed": 0,
        "state": "done",
        "iterations": 3,
        "created_at": NOW - DAY / 2,
        "tags": (),
        "iteration": 3,
        "n_stages": 10,
        "n_stages_done": 10,
        "fraction_done": 1.0,
        "note": "",
        "is_baseline": False,
    }
    return RunOverview(**(defaults | values))  # type: ignore[arg-type]


RUNS = [
    make_run("sweep-2", method="cream", accuracy=0.75, tags=("best", "Sweep"), tau_previous=0.9, confidence=0.95),
    make_run("sweep-10", method="srlm", accuracy=0.654, seed=1, tags=("sweep",), created_at=NOW - 3 * DAY),
    make_run("lost", method="srlm", state="running", iteration=2, fraction_done=0.4, note="why did it stop?"),
    make_run("child", method="oracle", state="failed", parent_run_id="id-sweep-2", is_baseline=True, accuracy=0.7),
]
CONFIGS = {
    "sweep-2": '{"training": {"beta": 0.1, "learning_rate": 1e-6}, "sft": {"learning_rate": 1e-4}, "model": {"path": '
    "null}}",
    "sweep-10": '{"training": {"beta": 2.0, "learning_rate": 1e-5}, "sft": {"learning_rate": 1e-4}}',
    "lost": '{"training": {"beta": 2, "gradient_checkpointing": false}, "method": {"scorers": ["implicit:current"]}}',
    "child": "no json",
}
FACTS = RunFacts(
    settings={f"id-{name}": load_settings(text) for name, text in CONFIGS.items()},
    metrics={"loss": {"id-sweep-2": 0.2, "id-sweep-10": 0.6}},
    metric_names=("loss", "accuracy/sandbox"),
)


def build_records(runs: list[RunOverview]) -> list[RunRecord]:
    health = {"id-lost": RunHealth(0.005, 0.5), "id-sweep-2": RunHealth(0.9, 0.1)}
    return build_run_records(runs, now=NOW, is_stale=lambda run: run.name == "lost", health=health)


RECORDS = build_records(RUNS)
