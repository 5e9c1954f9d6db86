"""Writes runs into a store as an engine would, for the tests of this folder."""

from __future__ import annotations

import json
import os
from dataclasses import replace

from db import writes
from db.queries import open_reader, read_run_stages
from db.rows import (
    AgreementRow,
    CheckpointRow,
    EvaluationRow,
    Lease,
    MetricRow,
    NewRun,
    NewStage,
    PairRow,
    PromptRow,
    ResponseRow,
    RunRow,
    SampledPromptRow,
    ScoreRow,
    StageDataRow,
    StageRow,
)
from db.session import Store
from engine.runtime.process import build_lease

N_PROMPTS = 4
N_ITEMS = 40
BASE = ("/models/m0", "m0")
SHARED = ("evaluate M0", "train M1 (SFT)", "evaluate M1", "sample t=1", "score t=1")
# Everything that once broke a CSV reader or a terminal: quotes, line ends, NA, empty, escapes, C1, bidi, zero width.
NASTY = (
    'NA, "quoted"\r\nline\nend ',
    "",
    "\x1b]52;c;cm0gLXJm\x07 \x1b[2J\x9b31m clear",
    "[bold red]markup[/] \u202egnihton\u2066 \u200bzero\ufeff\x7f\x00nul",
    "=1+1\ttab 'single' \\ back",
)
# What a terminal must never get from a text.
DANGEROUS = ("\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\u200b", "\ufeff", "\x7f", "\x00", "\r")


def plan(own: str, iterations: int = 2) -> list[NewStage]:
    names: list[tuple[str, int, str]] = [
        ("evaluate", 0, "evaluate M0"),
        ("train", 0, "train M1 (SFT)"),
        ("evaluate", 0, "evaluate M1"),
    ]
    for t in range(1, iterations + 1):
        names += [(name, t, f"{name} t={t}") for name in ("sample", "score", "agree", "pair")]
        names += [("train", t, f"train M{t + 1}"), ("evaluate", t, f"evaluate M{t + 1}")]
    return [
        NewStage(key=f"{'shared' if label in SHARED else own}-{label}", name=name, iteration=iteration, label=label)
        for name, iteration, label in names
    ]


def new_run(
    name: str,
    method: str = "cream",
    tags: tuple[str, ...] = (),
    iterations: int = 2,
    base: tuple[str, str] = BASE,
    seed: int = 0,
) -> NewRun:
    config = {
        "name": name,
        "seed": seed,
        "iterations": iterations,
        "method": {"name": method},
        "training": {"beta": 2.0},
    }
    return NewRun(
        name=name,
        method=method,
        seed=seed,
        iterations=iterations,
        config_json=json.dumps(config),
        config_digest=f"digest-{method}",
        lineage_json="[]",
        base_folder=base[0],
        base_digest=base[1],
        provenance_json="{}",
        tags=tags,
    )


class Recorder:
    """Writes a run as an engine would: claims each stage, writes its rows, finishes it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def record(
        self,
        name: str,
        method: str = "cream",
        *,
        tags: tuple[str, ...] = (),
        texts: tuple[str, ...] = (),
        last_label: str | None = None,
        accuracies: tuple[float, ...] = (0.5, 0.7, 0.8, 0.6),
        is_live: bool = False,
        base: tuple[str, str] = BASE,
        seed: int = 0,
        turns: dict[str, list[dict[str, str]]] | None = None,
    ) -> RunRow:
        """Record a run up to the stage ``last_label``, else to its end; its supervisor is gone, or this process."""
        run = writes.create_run(
            self.store, new_run(name, method, tags, base=base, seed=seed), plan(f"{method}{seed or ''}")
        )
        dead = Lease(run.run_id, f"token-{run.run_id}", os.getpid(), 1.0, "elsewhere", 5.0)
        lease = build_lease(run.run_id) if is_live else dead
        writes.acquire_lease(self.store, lease, is_alive=lambda _: False)
        for stage in self._read_stages(run.run_id):
            claim = writes.claim_stage(
                self.store, stage.stage_id, run_id=run.run_id, token=lease.token, is_alive=lambda _: False
            )
            if claim.status == "claimed":
                rows = _build_rows(stage.name, stage.label, stage.iteration, texts, accuracies)
                rows = [_give_turns(row, turns or {}) for row in rows]
                attempt = writes.start_attempt(self.store, stage.stage_id, run.run_id)
                writes.write_stage_rows(
                    self.store, stage.stage_id, lease.token, rows, n_done=len(rows), n_total=len(rows), unit="rows"
                )
                if stage.label == last_label:
                    return run
                writes.finish_attempt(self.store, attempt.attempt_id, exit_code=0)
                writes.finish_stage(self.store, stage.stage_id, lease.token)
        writes.release_lease(self.store, run.run_id, lease.token, state="done", exit_code=0)
        return run

    def _read_stages(self, run_id: str) -> list[StageRow]:
        connection = open_reader(self.store.paths.root)
        try:
            return read_run_stages(connection, run_id)
        finally:
            connection.close()


def _give_turns(row: StageDataRow, turns: dict[str, list[dict[str, str]]]) -> StageDataRow:
    if isinstance(row, PromptRow) and row.prompt_id in turns:
        return replace(row, messages_json=json.dumps(turns[row.prompt_id]))
    return row


def _build_rows(
    name: str, label: str, t: int, texts: tuple[str, ...], accuracies: tuple[float, ...]
) -> list[StageDataRow]:
    texts = texts or ("1 + 1 = 2. #### 2", "#### 3")
    prompts = [f"p{t}-{n}" for n in range(N_PROMPTS)]
    rows: list[StageDataRow] = []
    if name == "evaluate":
        model = int(label.rsplit("M", 1)[1])
        n_right = round(accuracies[model] * N_ITEMS)
        for n in range(N_ITEMS):
            rows.append(EvaluationRow("sandbox", f"i{n}", "q", texts[n % len(texts)], "2", "2", n < n_right, 3, "end"))
        rows.append(MetricRow("accuracy", 0, n_right / N_ITEMS))
    elif name == "train":
        rows += [MetricRow("loss", step, 0.7 - 0.1 * step) for step in range(1, 4)]
        rows.append(CheckpointRow(f"{label}-digest", "m0", f"checkpoints/{label[6:8]}", 10, 100))
        rows.append(MetricRow("changed_share", 0, 0.0042 if label == "train M3" else 0.97))
    elif name == "sample":
        for n, prompt in enumerate(prompts):
            rows.append(PromptRow(prompt, texts[n % len(texts)], "[]", "2", "sandbox"))
            rows.append(SampledPromptRow(prompt, n, (1, 2)))
            rows += [
                ResponseRow(prompt, k, texts[(n + k) % len(texts)], (5, k), "end", -1.25 / 3, "2", k == 0)
                for k in range(2)
            ]
        rows.append(MetricRow("mean_n_tokens", 0, 2.0))
    elif name == "score":
        rows += [
            ScoreRow(prompt, k, f"implicit:M{t}", f"M{t}", "M0", -1.0, -2.0, 2, 0.1 + 0.2 - k, None)
            for prompt in prompts
            for k in range(2)
        ]
        rows.append(MetricRow("n_missing", 0, 3.0 if t == 2 else 0.0))
    elif name == "agree":
        rows += [
            AgreementRow(prompt, "kendall", f"implicit:M{t}", against, 1 / 3, 2 / 3, 5, 5, None)
            for prompt in prompts
            for against in dict.fromkeys((f"implicit:M{t - 1}" if t > 1 else "mean_loglik:M0", "mean_loglik:M0"))
        ]
        tau = 0.5 if t == 1 else 0.93
        rows += [MetricRow("tau_previous", 0, tau), MetricRow("tau_anchor", 0, 0.5 if t == 1 else 0.1)]
        rows += [MetricRow("consistency_rate", 0, (tau + 1) / 2), MetricRow("tau_previous_se", 0, 0.02)]
    elif name == "pair":
        rows += [PairRow(prompt, 0, 1, 0.3, -0.7, 1.0, 2 / 3, 0.75, None) for prompt in prompts[:-1]]
        rows.append(PairRow(prompts[-1], None, None, None, None, None, None, None, "equal scores"))
        values = {"n_pairs": 3, "confidence": 0.75, "n_right": 2, "n_inverted": 1, "label_accuracy": 2 / 3}
        rows += [MetricRow(key, 0, float(value)) for key, value in values.items()]
        rows += [MetricRow("chosen_n_tokens", 0, 10.0 * t), MetricRow("rejected_n_tokens", 0, 9.0)]
    return rows
