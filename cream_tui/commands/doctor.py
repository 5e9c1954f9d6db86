"""`doctor`: what this machine offers, whether the store is sound, and what a run would meet here.

Versions are read, nothing heavy is imported; a configuration is looked at by `doctor_config`.
"""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cream_tui import diagnostics, output
from cream_tui.output import Cell
from cream_tui.readers.run_tables import is_run_stale
from cream_tui.stores import open_run_reader
from cream_tui.units import format_bytes
from db.errors import StoreError
from db.paths import StorePaths, check_filesystem, find_store_root
from engine.errors import ExitCode

if TYPE_CHECKING:
    from cream_tui.commands.run import Changes

_PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "datasets",
    "tokenizers",
    "safetensors",
    "scipy",
    "numpy",
    "sqlmodel",
    "typer",
)
_LOW_DISK_BYTES = 1 << 30
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact; ``problem`` says what to do where it is none to live with."""

    section: str
    name: str
    value: str
    problem: str | None = None


def doctor(store: str | None, config: str | None, changes: Changes, *, as_json: bool) -> int:
    """Print what was found; exit code 2 where something keeps runs, or this one, from working."""
    root = find_store_root(store)
    findings = [*find_versions(), *find_machine(), *find_store(store, root)]
    if config is None:
        findings += find_terminal()
    else:
        from cream_tui.commands.doctor_config import examine_config

        findings += examine_config(store, config, changes)
    if as_json:
        output.print_json([_build_record(finding) for finding in findings])
    else:
        _print(findings)
    problems = [finding for finding in findings if finding.problem]
    for finding in problems:
        diagnostics.fail(f"{finding.name}: {finding.value}", finding.problem)
    return ExitCode.CONFIGURATION if problems else ExitCode.DONE


def find_versions() -> list[Finding]:
    """Python, this program and what it stands on."""
    findings = [
        Finding("versions", "python", f"{platform.python_version()}  {sys.executable}"),
        Finding(
            "versions", "cream-tui", f"{find_version('cream-tui') or 'not installed'}  {Path(__file__).parents[1]}"
        ),
        Finding("versions", "sqlite", sqlite3.sqlite_version),
    ]
    for name in _PACKAGES:
        version = find_version(name)
        problem = None if version else f"Install it: pip install {name}"
        findings.append(Finding("versions", name, version or "missing", problem))
    return findings


def find_version(name: str) -> str | None:
    """The installed version of a distribution."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def find_machine() -> list[Finding]:
    """System, cores, memory, threads and graphics."""
    n_usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    findings = [
        Finding("machine", "system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        Finding("machine", "cores", f"{n_usable} usable of {os.cpu_count()}"),
        Finding("machine", "load", ", ".join(f"{value:.1f}" for value in os.getloadavg()) + "  (1, 5, 15 min)"),
    ]
    memory = read_memory(Path("/proc/meminfo"))
    if memory is not None:
        total, available = memory
        findings.append(Finding("machine", "memory", f"{format_bytes(available)} free of {format_bytes(total)}"))
    findings.append(Finding("machine", "threads", f"{find_threads()} per process of a run (resources.threads)"))
    for name in _THREAD_VARIABLES:
        if name in os.environ:
            findings.append(Finding("machine", name, os.environ[name]))
    has_driver = Path("/proc/driver/nvidia/version").exists()
    findings.append(
        Finding("machine", "gpu", "an NVIDIA driver is loaded" if has_driver else "no NVIDIA driver: runs use the CPU")
    )
    return findings


def find_threads() -> int:
    """Threads of torch in a run whose configuration says nothing else; variables of the shell do not count there."""
    from engine.config.resources import ResourcesConfig

    return ResourcesConfig().threads


def read_memory(path: Path) -> tuple[int, int] | None:
    """Total and available bytes from Linux's table; None elsewhere."""
    try:
        lines = dict(line.split(":", 1) for line in path.read_text(encoding="ascii").splitlines() if ":" in line)
        return int(lines["MemTotal"].split()[0]) * 1024, int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def find_store(option: str | None, root: Path) -> list[Finding]:
    """The store's place, state and disk."""
    findings = [Finding("store", "folder", str(root))]
    existing = next((folder for folder in (root, *root.parents) if folder.exists()), Path("/"))
    free = shutil.disk_usage(existing).free
    low = "Free some space: a run writes checkpoints and rows." if free < _LOW_DISK_BYTES else None
    findings.append(Finding("store", "disk", f"{format_bytes(free)} free", low))
    if not os.access(existing, os.W_OK):
        findings.append(Finding("store", "access", f"{existing} is read-only", "Name another folder with --store DIR."))
    findings += _try("store", "file system", lambda: check_filesystem(root), "local")
    if not StorePaths(root).database.exists():
        return [*findings, Finding("store", "state", "none yet: cream-tui demo makes one")]
    try:
        return [*findings, *_look_into(option, root)]
    except StoreError as error:
        return [
            *findings,
            Finding("store", "state", error.message, error.hint or "Start a new store with --store DIR."),
        ]


def _look_into(option: str | None, root: Path) -> list[Finding]:
    from db.overview import read_run_overview

    with open_run_reader(option) as (_, connection):
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        check = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        runs = read_run_overview(connection)
    n_stale = sum(is_run_stale(run) for run in runs)
    n_live = sum(run.state == "running" for run in runs) - n_stale
    counts = f"{len(runs)} runs, {n_live} running" + (
        f", {n_stale} lost their process: cream-tui resume RUN" if n_stale else ""
    )
    problem = None if check == "ok" else "Restore the store from a copy."
    size = StorePaths(root).database.stat().st_size
    return [
        Finding("store", "state", f"schema {version}, {format_bytes(size)}, {check}", problem),
        Finding("store", "runs", counts),
    ]


def find_terminal() -> list[Finding]:
    """What the live view can use."""
    size = shutil.get_terminal_size()
    kind = os.environ.get("TERM", "not set")
    live = "redrawn in place" if diagnostics.is_terminal() else "one line per event"
    encoding = sys.stdout.encoding or "unknown"
    colour = "off (NO_COLOR)" if os.environ.get("NO_COLOR") else os.environ.get("COLORTERM") or "as TERM says"
    return [
        Finding("terminal", "TERM", f"{kind}, {size.columns} x {size.lines}"),
        Finding("terminal", "text", f"{encoding}, colour {colour}"),
        Finding("terminal", "live view", live),
    ]


def _try(section: str, name: str, check: Callable[[], None], value: str) -> list[Finding]:
    try:
        check()
    except StoreError as error:
        return [Finding(section, name, error.message, error.hint or "Name another folder with --store DIR.")]
    return [Finding(section, name, value)]


def _build_record(finding: Finding) -> dict[str, Any]:
    return {
        "section": finding.section,
        "name": finding.name,
        "value": finding.value,
        "ok": finding.problem is None,
        "hint": finding.problem,
    }


def _print(findings: list[Finding]) -> None:
    section = None
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        if finding.section != section:
            section = finding.section
            output.print_lines(
                [[], [Cell(section, "bold")]] if finding is not findings[0] else [[Cell(section, "bold")]]
            )
        output.print_facts(
            [(finding.name.ljust(width), Cell(finding.value, "red" if finding.problem else ""))], indent=2
        )
