"""Where a store lies and what lies where in it. Light: no sqlmodel, no sqlalchemy. Creates nothing."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from db.errors import StoreError

STORE_VARIABLE = "CREAM_STORE"
DEFAULT_FOLDER = ".cream"
MOUNTINFO = Path("/proc/self/mountinfo")

# The write-ahead log shares memory between processes through a file, which these cannot do across machines.
NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "lustre", "beegfs", "gpfs"}
    | {"ceph", "fuse.ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs"}
)


@dataclass(frozen=True, slots=True)
class StorePaths:
    """The layout of a store; every path is absolute where ``root`` is."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "cream.db"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def checkpoint_folder(self, digest: str) -> Path:
        return self.checkpoints / digest

    def run_folder(self, run_id: str) -> Path:
        return self.root / "runs" / run_id

    def supervisor_log(self, run_id: str) -> Path:
        return self.run_folder(run_id) / "supervisor.log"

    def attempt_log(self, run_id: str, number: int) -> Path:
        """The log of the attempt with this running number within the run, from 1."""
        return self.run_folder(run_id) / "attempts" / str(number) / "stage.log"

    def study_folder(self, study_id: str) -> Path:
        """The log of a study's process."""
        return self.root / "studies" / study_id

    def work_folder(self, stage_key: str) -> Path:
        """Snapshots and staging of a stage; safe to delete when no lease is live."""
        return self.root / "work" / stage_key


def find_store_root(option: str | Path | None = None) -> Path:
    """The absolute store folder: the option, else $CREAM_STORE, else .cream in the current folder."""
    chosen = option or os.environ.get(STORE_VARIABLE) or DEFAULT_FOLDER
    # Not resolve(): a link to a store keeps the name that the user gave it.
    return Path(os.path.abspath(Path(chosen).expanduser()))  # noqa: PTH100


def check_filesystem(root: Path, mountinfo: Path | None = None) -> None:
    """Passes where SQLite's write-ahead log is safe; a system without a mount table passes too.

    Raises:
        StoreError: the folder lies on a network file system.
    """
    try:
        lines = (mountinfo or MOUNTINFO).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    kind = _find_filesystem_type(os.path.realpath(root), lines)
    if kind in NETWORK_TYPES:
        raise StoreError(
            f"the store {root} lies on a network file system ({kind}), where SQLite can lose rows",
            hint="name a folder on a local disk with --store DIR or $CREAM_STORE",
        )


def _find_filesystem_type(folder: str, lines: list[str]) -> str | None:
    best, kind = -1, None
    for line in lines:
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        mount_point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        inside = mount_point == "/" or folder == mount_point or folder.startswith(mount_point + "/")
        if inside and len(mount_point) >= best:  # equal: the later mount covers the earlier one
            best, kind = len(mount_point), right.split(" ")[0]
    return kind
