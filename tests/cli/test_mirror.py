"""`mirror`: what each tracker then has, read back with the tracker's own reader; nothing twice, no key in a message."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from recording import Recorder

from db.queries import find_run, open_reader, read_run_metrics, read_run_stages
from db.session import open_store
from engine.config.tracking import TRACKERS, check_trackers
from engine.errors import ConfigError
from engine.runtime.points import Point, build_points

QUIET = {"WANDB_MODE": "offline", "MLFLOW_ENABLE_ASYNC_LOGGING": "false"}
AXES = ("/step", "/index")
READ_TRACKIO = """
import json, sys
from trackio.sqlite_storage import SQLiteStorage
json.dump(SQLiteStorage.get_logs("cream-tui", sys.argv[1]), sys.stdout)
"""
# A .wandb file is a LevelDB log behind seven bytes: blocks of 32 KiB, in them chunks of checksum, length, kind and
# data; kind 1 is a whole record, 2 to 4 its first, middle and last chunk.
READ_WANDB = """
import json, struct, sys
from pathlib import Path
from wandb.proto.wandb_internal_pb2 import Record

def scan(data):
    at, parts = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        if kind == 0:
            return
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""

found = []
for file in sorted(Path(sys.argv[1]).rglob("*.wandb")):
    for data in scan(file.read_bytes()):
        record = Record.FromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            found.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
json.dump(found, sys.stdout)
"""
READ_MLFLOW = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
(run,) = client.search_runs([client.get_experiment_by_name("cream-tui").experiment_id])
series = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
points = [(m.key, m.step, m.value) for history in series.values() for m in history]
json.dump({"points": points, "params": run.data.params, "status": run.info.status}, sys.stdout)
"""


def read(script: str, *arguments: str, **env: str) -> object:
    """What a tracker's own reader prints, in a process of its own: their settings come from the environment."""
    import os

    command = [sys.executable, "-P", "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, check=True, env=os.environ | env, timeout=300)
    return json.loads(done.stdout)


def read_tensorboard(root: Path, name: str) -> list[tuple[str, int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(root / "trackers" / "tensorboard" / name), size_guidance={"scalars": 0}).Reload()
    return [(tag, event.step, event.value) for tag in found.Tags()["scalars"] for event in found.Scalars(tag)]


def read_trackio(root: Path, name: str) -> list[tuple[str, int, float]]:
    rows = read(READ_TRACKIO, name, TRACKIO_DIR=str(root / "trackers" / "trackio"), HF_HUB_OFFLINE="1")
    assert isinstance(rows, list)
    return [(key, row["step"], value) for row in rows for key, value in row.items() if key.count("/")]


def read_wandb(root: Path, name: str) -> list[tuple[str, int, float]]:
    rows = read(READ_WANDB, str(root / "trackers" / "wandb"))
    assert isinstance(rows, list)
    found = []
    for row in rows:
        (step,) = [value for key, value in row.items() if key.endswith(AXES)]
        found += [(key, step, value) for key, value in row.items() if key[0] != "_" and not key.endswith(AXES)]
    return found


def read_mlflow(root: Path, name: str) -> list[tuple[str, int, float]]:
    uri = (root / "trackers" / "mlflow").as_uri()
    found = read(READ_MLFLOW, uri, MLFLOW_ALLOW_FILE_STORE="true", MLFLOW_DISABLE_TELEMETRY="true")
    assert isinstance(found, dict)
    assert found["params"]["config.training.beta"] == "2.0"
    assert found["status"] == "FINISHED"
    return [tuple(point) for point in found["points"]]


WATCHED_SOCKETS = """
import os, socket
def note(address):
    with open(os.environ["CALLS"], "a") as file:
        print(address, file=file)
find, connect = socket.getaddrinfo, socket.socket.connect
def watch_find(host, *rest, **more):
    note(host)
    return find(host, *rest, **more)
def watch_connect(self, address):
    if self.family != socket.AF_UNIX:
        note(address)
    return connect(self, address)
socket.getaddrinfo, socket.socket.connect = watch_find, watch_connect
"""
READERS = {"tensorboard": read_tensorboard, "trackio": read_trackio, "wandb": read_wandb, "mlflow": read_mlflow}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two iterations, mirrored to all trackers by the tests of this module."""
    root = tmp_path_factory.mktemp("mirrored") / "store"
    Recorder(open_store(root)).record("demo", tags=("first",))
    return root


def list_points(root: Path) -> list[Point]:
    with closing(open_reader(root)) as reader:
        run_id = find_run(reader, "demo").run_id
        return build_points(read_run_metrics(reader, run_id), read_run_stages(reader, run_id))


def find_name(root: Path) -> str:
    with closing(open_reader(root)) as reader:
        return f"demo-{find_run(reader, 'demo').run_id}"


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_gets_every_point_once_and_nobody_else_is_told(
    call: Callable, root: Path, tmp_path: Path, tracker: str
) -> None:
    """Somebody is logged in to the hub, and the network may be used: still no library speaks to another machine."""
    (tmp_path / "sitecustomize.py").write_text(WATCHED_SOCKETS)
    watched = {"PYTHONPATH": str(tmp_path), "CALLS": str(tmp_path / "calls"), "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_x"}
    expected = sorted((point.name, point.step, point.value) for point in list_points(root))
    assert len(expected) > 40
    for n_new in (len(expected), 0):
        called = call("mirror", "demo", "--to", tracker, "--json", "--store", str(root), env=QUIET | watched)
        assert called.code == 0, called.stderr
        assert json.loads(called.stdout)["n_points"] == n_new
    assert not (tmp_path / "calls").exists()
    found = sorted(READERS[tracker](root, find_name(root)))
    assert [point[:2] for point in found] == [point[:2] for point in expected]
    assert [point[2] for point in found] == pytest.approx([point[2] for point in expected], rel=1e-6)


def test_a_mirror_goes_on_where_the_last_one_ended(call: Callable, recorder: Recorder) -> None:
    root = recorder.store.paths.root
    recorder.record("demo", last_label="evaluate M2")
    first = json.loads(call("mirror", "demo", "--to", "tensorboard", "--json", "--store", str(root)).stdout)
    early = len(list_points(root))
    assert first["n_points"] == early
    # Another run on the same stages finishes them: they are the first run's too.
    recorder.record("other", seed=0)
    last = json.loads(call("mirror", "demo", "--to", "tensorboard", "--json", "--store", str(root)).stdout)
    assert last["n_points"] == len(list_points(root)) - early > 0
    names = [point[:2] for point in read_tensorboard(root, find_name(root))]
    assert len(names) == len(set(names)) == len(list_points(root))


def test_a_tracker_that_fails_is_one_message_without_its_key(call: Callable, root: Path) -> None:
    """The server's address holds a password, and nobody listens there."""
    env = {"MLFLOW_TRACKING_URI": "http://ann:s3cret-word@127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with closing(open_reader(root)) as reader:
        folder = root / "runs" / find_run(reader, "demo").run_id / "trackers"
    (folder / "mlflow.json").unlink(missing_ok=True)
    called = call("mirror", "demo", "--to", "mlflow", "--store", str(root), env=QUIET | env)
    assert called.code == 5
    errors = [line for line in called.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "mlflow: metrics are not mirrored" in errors[0]
    assert "s3cret-word" not in called.stderr and "Traceback" not in called.stderr
    log = (folder / "mlflow.log").read_text()
    assert "Traceback" in log and "s3cret-word" not in log


def test_an_unknown_tracker_names_the_nearest(call: Callable, root: Path) -> None:
    called = call("mirror", "demo", "--to", "tensorbord", "--store", str(root))
    assert called.code == 2 and "did you mean tensorboard" in called.stderr


@pytest.fixture
def left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder on the path that is no library, as wandb leaves one where it runs."""
    (tmp_path / "no_such_tracker").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    return "no_such_tracker"


def test_a_missing_library_is_refused_with_the_way_out(left_behind: str) -> None:
    for name in (left_behind, "nor_this_one"):
        with pytest.raises(ConfigError) as caught:
            check_trackers([name])
        assert f"pip install 'cream-tui[{name}]'" in str(caught.value)
