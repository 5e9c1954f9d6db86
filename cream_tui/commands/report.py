"""`report`: a study or runs as one file for people without the store."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cream_tui import diagnostics
from cream_tui.export_formats import write_whole, writing
from cream_tui.report.blocks import Report, list_figures
from cream_tui.stores import open_run_reader
from cream_tui.units import format_quantity
from engine.errors import ExitCode

_FIGURES = "-figures"


def report(store: str | None, references: Sequence[str], target: str | None, *, baseline: str | None = None) -> int:
    """Write the report in the format that the file's ending names."""
    path, write = _choose_format(target)
    from cream_tui.report.figures import check_library

    check_library()
    from cream_tui.report.reading import read_report_data
    from cream_tui.report.sections import build_report

    chosen = [] if baseline is None else ["--baseline", baseline]
    command = shlex.join(["cream-tui", "report", *references, *chosen, "-o", path.name])
    with _showing() as show:
        show("reading the runs")
        with open_run_reader(store) as (_, connection):
            data = read_report_data(connection, references, baseline=baseline)
        runs = format_quantity(len(data.runs), "run")
        show(f"comparing {runs}")
        content = build_report(data, now=time.time(), command=command)
        n_figures = len(list_figures([block for section in content.sections for block in section.blocks]))
        show(f"drawing {format_quantity(n_figures, 'figure')} of {runs}")
        with writing(path):
            write(content, path)
    diagnostics.narrate(f"{runs}: {path}")
    return ExitCode.DONE


@contextmanager
def _showing() -> Iterator[Callable[[str], None]]:
    """Shows what is being done in a line of the terminal, which goes when all is done; elsewhere nothing."""
    if not diagnostics.is_terminal():
        yield lambda _: None
        return
    with diagnostics.build_console().status("") as status:
        yield status.update


def _choose_format(target: str | None) -> tuple[Path, Callable[[Report, Path], None]]:
    """The file, and what writes its format.

    Raises:
        UsageProblem: No file was named, or its ending is of neither format.
    """
    if target is None:
        raise diagnostics.UsageProblem("report needs a file to write", "Say where: -o report.html or -o report.md.")
    path = Path(target)
    formats = {".html": _write_html, ".htm": _write_html, ".md": _write_markdown}
    write = formats.get(path.suffix.lower())
    if write is None:
        raise diagnostics.UsageProblem(f"-o {target}: a report is HTML or Markdown", "End the name in .html or .md.")
    if not path.parent.is_dir():
        raise diagnostics.UsageProblem(f"-o {target}: there is no folder {path.parent}", "Make it, or name another.")
    if path.is_dir():
        raise diagnostics.UsageProblem(f"-o {target}: is a folder", "Name a file in it.")
    return path, write


def _write_html(content: Report, path: Path) -> None:
    from cream_tui.report.page import write_page

    write_whole(path, [write_page(content)])


def _write_markdown(content: Report, path: Path) -> None:
    """The pictures first, so that the page never names one that is not there."""
    from cream_tui.report.markdown_page import write_markdown

    folder = path.with_name(path.stem + _FIGURES)
    page = write_markdown(content, folder.name)
    folder.mkdir(exist_ok=True)
    for name, text in page.pictures.items():
        write_whole(folder / name, [text, "\n"])
    write_whole(path, [page.text])
