"""The one door to trackers: trackio, Weights & Biases, TensorBoard, MLflow. Each is imported when it is opened.

Knows points and a tracker's own library. Must not know the store. Keys, servers and projects come from the environment
variables of each tracker; without one that says otherwise everything stays in a folder, and nothing leaves the machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from engine.runtime.points import Point

PROJECT = "cream-tui"
_MOST_MLFLOW_PARAMS = 100
_MOST_MLFLOW_LETTERS = 6000
# Set for the mirror's process alone, where the person has not: no tracker calls home by itself.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # mlflow's own 7 keep a dead server's user waiting for minutes
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
}


@dataclass(frozen=True, slots=True)
class MirroredRun:
    """What a tracker is told of a run.

    Attributes:
        remote_id: The id that the tracker gave it when it was first mirrored.
        facts: JSON-ready: its configuration, method, seed, versions.
    """

    run_id: str
    name: str
    tags: tuple[str, ...]
    facts: Mapping[str, Any]
    remote_id: str | None = None


class TrackerLink(Protocol):
    """A run of a tracker; ``place`` is where a person finds it."""

    remote_id: str
    place: str

    def log(self, points: Sequence[Point]) -> None: ...

    def finish(self, state: str) -> None:
        """End it; ``state`` is that of the run: done, failed, stopped or running where its process is gone."""
        ...


def open_tracker(name: str, run: MirroredRun, folder: Path) -> TrackerLink:
    """Begin a run of a tracker, or go on with it; ``folder`` is the tracker's own in the store.

    Raises:
        Exception: whatever the tracker's library raises.
    """
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    builders: dict[str, Callable[[MirroredRun, Path], TrackerLink]] = {
        "trackio": _Trackio,
        "wandb": _Wandb,
        "tensorboard": _Tensorboard,
        "mlflow": _Mlflow,
    }
    return builders[name](run, folder)


class _Tensorboard:
    def __init__(self, run: MirroredRun, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        self.remote_id = f"{run.name}-{run.run_id}"
        root = Path(os.environ.get("TENSORBOARD_LOGGING_DIR") or folder)
        self.place = str(root / self.remote_id)
        self._writer = EventFileWriter(self.place)
        if run.remote_id is None:
            self._write_text("run", json.dumps(run.facts, indent=1, ensure_ascii=False))

    def log(self, points: Sequence[Point]) -> None:
        for point in points:
            value = self._summary.Value(tag=point.name, simple_value=point.value)
            self._writer.add_event(
                self._event(wall_time=point.at, step=point.step, summary=self._summary(value=[value]))
            )
        self._writer.flush()

    def finish(self, state: str) -> None:
        self._writer.close()

    def _write_text(self, tag: str, text: str) -> None:
        from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

        block = "\n".join(f"    {line}" for line in text.split("\n"))  # Markdown's way to say: as it is
        tensor = TensorProto(
            dtype="DT_STRING",
            string_val=[block.encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        value = self._summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)
        self._writer.add_event(self._event(step=0, summary=self._summary(value=[value])))


class _Trackio:
    def __init__(self, run: MirroredRun, folder: Path) -> None:
        is_remote = os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL")
        os.environ.setdefault("TRACKIO_DIR", str(folder))
        if not is_remote:
            os.environ["HF_HUB_OFFLINE"] = "1"  # else it asks the hub who is logged in
        import trackio

        self.remote_id = f"{run.name}-{run.run_id}"  # runs are told apart by name
        self.place = is_remote or os.environ["TRACKIO_DIR"]
        self._run = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT") or PROJECT,
            name=self.remote_id,
            config={**run.facts, "tags": list(run.tags)},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, points: Sequence[Point]) -> None:
        for _, step, values in _group(points):
            self._run.log(values, step=step)

    def finish(self, state: str) -> None:
        self._run.finish()


class _Wandb:
    def __init__(self, run: MirroredRun, folder: Path) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self.remote_id = run.run_id
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            id=self.remote_id,
            name=run.name,
            resume="allow",
            tags=[tag[:64] for tag in run.tags],
            config=dict(run.facts),
            dir=os.environ.get("WANDB_DIR") or str(folder),
            # The process is the mirror's: its code, machine and console say nothing of the run.
            settings=wandb.Settings(
                console="off", disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True
            ),
        )
        self.place = self._run.url or str(Path(self._run.dir).parent)
        self._known: set[str] = set()

    def log(self, points: Sequence[Point]) -> None:
        for axis, step, values in _group(points):
            for name in values.keys() - self._known:
                self._run.define_metric(name, step_metric=axis)
            self._known |= values.keys()
            self._run.log({axis: step, **values})

    def finish(self, state: str) -> None:
        self._run.finish(exit_code=1 if state == "failed" else 0)


class _Mlflow:
    def __init__(self, run: MirroredRun, folder: Path) -> None:
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            os.environ["MLFLOW_TRACKING_URI"] = folder.as_uri()
            # Its own database store needs more than mlflow-skinny brings.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric = Metric
        self._client = MlflowClient()
        self.place = _hide_login(os.environ["MLFLOW_TRACKING_URI"])
        if run.remote_id is not None:
            self.remote_id = run.remote_id
            self._client.update_run(self.remote_id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        tags = {"cream_run_id": run.run_id, **{f"tag.{index}": tag for index, tag in enumerate(run.tags)}}
        self.remote_id = self._client.create_run(experiment_id, tags=tags, run_name=run.name).info.run_id
        params = [Param(key, value[:_MOST_MLFLOW_LETTERS]) for key, value in _flatten(run.facts)]
        for start in range(0, len(params), _MOST_MLFLOW_PARAMS):
            self._client.log_batch(self.remote_id, params=params[start : start + _MOST_MLFLOW_PARAMS])

    def log(self, points: Sequence[Point]) -> None:
        metrics = [self._metric(point.name, point.value, int(point.at * 1000), point.step) for point in points]
        self._client.log_batch(self.remote_id, metrics=metrics)

    def finish(self, state: str) -> None:
        status = {"done": "FINISHED", "failed": "FAILED"}.get(state, "KILLED")
        self._client.set_terminated(self.remote_id, status)


def _group(points: Sequence[Point]) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Points of one axis and step together, in their order."""
    ordered = sorted(points, key=lambda point: point.axis)
    for (axis, step), found in groupby(ordered, key=lambda point: (point.axis, point.step)):
        yield axis, step, {point.name: point.value for point in found}


def _flatten(facts: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _hide_login(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
