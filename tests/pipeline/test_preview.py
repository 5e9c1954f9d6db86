"""What a dry run says beforehand is what the run then does."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from small_runs import build_config, finish

from db.queries import read_run_checkpoints, read_run_stages
from db.reading import open_reader
from engine.runtime import control
from engine.runtime.intent import prepare_fork
from engine.runtime.preview import preview_fork, preview_run


def test_a_preview_comes_true(root: Path) -> None:
    """Stages, counts and the bytes of the checkpoints; then the same run again, longer, and forked."""
    config = build_config()
    before = preview_run(root, config)
    assert {stage.status for stage in before.stages} == {"new"}
    run = finish(root, control.start_run(root, config))
    with closing(open_reader(root)) as reader:
        rows = read_run_stages(reader, run.run_id)
        models = read_run_checkpoints(reader, run.run_id, root)
    assert [stage.label for stage in before.stages] == [row.label for row in rows]
    (sample,) = [row for row in rows if row.name == "sample"]
    assert (before.n_responses, before.name) == (sample.n_total, run.name)
    assert sample.n_tokens is not None and sample.n_tokens <= before.max_tokens
    written = [Path(model.folder) for model in models if model.name != "M0"]
    assert before.n_models == len(written) == 2
    n_bytes = sum(path.stat().st_size for folder in written for path in folder.iterdir())
    assert before.checkpoint_bytes is not None and 0.95 < before.checkpoint_bytes / n_bytes < 1.05

    again = preview_run(root, config)
    assert {(stage.status, stage.run) for stage in again.stages} == {("reused", run.name)}
    longer = preview_run(root, build_config("iterations=2"))
    assert [stage.label for stage in longer.stages if stage.status == "new"][:2] == ["sample t=2", "score t=2"]
    assert longer.seconds is not None and longer.seconds > 0

    forked = prepare_fork(root, run, at="M1", overrides=("training.beta=0.25",))
    fork = preview_fork(root, run, *forked)
    assert [stage.label for stage in fork.stages if stage.status == "new"] == ["train M2", "evaluate M2"]
    ended = finish(root, control.fork_run(root, run, at="M1", overrides=("training.beta=0.25",)))
    with closing(open_reader(root)) as reader:
        owners = {row.label: row.owner_run_id for row in read_run_stages(reader, ended.run_id)}
    assert [label for label, owner in owners.items() if owner == ended.run_id] == ["train M2", "evaluate M2"]
