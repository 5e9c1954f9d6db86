"""A report as one HTML file that needs nothing else: no network, no script, pictures inside.

Knows HTML. Must not know what a report says. Every text passes ``_escape``; what a browser would fetch or run is
forbidden by the page itself.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from cream_tui.report import figures
from cream_tui.report.blocks import Block, Bullets, Code, Figure, Fold, Paragraph, Report, Section, Table
from cream_tui.text import make_visible

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
"""
# A narrow table breaks its numbers between a mean and its interval, not within them.
_KEPT_TOGETHER = {"–": "–\u2060", " to ": "\u00a0to\u00a0", "] ": "]\u00a0"}
_NAMESPACE = ' xmlns="http://www.w3.org/2000/svg"'


def write_page(report: Report) -> str:
    """The file's text."""
    parts = [
        _HEAD.format(title=_escape(report.title), style=_read_style()),
        f'<header>\n<h1>{_escape(report.title)}</h1>\n<p class="lead">{_escape(report.lead)}</p>\n</header>\n',
        _write_contents(report.sections),
        "<main>\n",
        *(_write_section(section) for section in report.sections),
        "</main>\n</body>\n</html>\n",
    ]
    return "".join(parts)


@cache
def _read_style() -> str:
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def _write_contents(sections: Sequence[Section]) -> str:
    links = "".join(f'<li><a href="#{section.key}">{_escape(section.title)}</a></li>\n' for section in sections)
    return f"<nav>\n<ul>\n{links}</ul>\n</nav>\n"


def _write_section(section: Section) -> str:
    blocks = "".join(map(_write_block, section.blocks))
    return f'<section id="{section.key}">\n<h2>{_escape(section.title)}</h2>\n{blocks}</section>\n'


def _write_block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{_escape(text)}</p>\n"
        case Bullets(items):
            return f"<ul>\n{''.join(f'<li>{_escape(item)}</li>{chr(10)}' for item in items)}</ul>\n"
        case Code(text):
            return f"<pre><code>{_escape(text, keep_newlines=True)}</code></pre>\n"
        case Fold(title, blocks):
            inner = "".join(map(_write_block, blocks))
            return f"<details>\n<summary>{_escape(title)}</summary>\n{inner}</details>\n"
        case Table():
            return _write_table(block)
        case Figure():
            return _write_figure(block)


def _write_table(table: Table) -> str:
    head = "".join(_write_cell(title, k, table, "th", "col") for k, title in enumerate(table.titles))
    body = "".join(_write_row(i, row, table) for i, row in enumerate(table.rows))
    return (
        f'<div class="wide">\n<table>\n<caption>{_escape(table.caption)}</caption>\n'
        f"<thead>\n<tr>{head}</tr>\n</thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n"
    )


def _write_row(i: int, row: Sequence[str], table: Table) -> str:
    cells = []
    for k, text in enumerate(row):
        is_head = k < table.n_heads
        cell = _write_cell(text, k, table, "th" if is_head else "td", "row" if is_head else None)
        cells.append(
            cell.replace(">", "><strong>", 1).replace("</", "</strong></", 1) if (i, k) in table.strong else cell
        )
    return f"<tr>{''.join(cells)}</tr>\n"


def _write_cell(text: str, k: int, table: Table, tag: str, scope: str | None) -> str:
    is_number = k >= table.n_heads and not table.is_text
    attributes = (f' scope="{scope}"' if scope else "") + (' class="number"' if is_number else "")
    escaped = _escape(text)
    for apart, together in _KEPT_TOGETHER.items() if is_number else ():
        escaped = escaped.replace(apart, together)
    return f"<{tag}{attributes}>{escaped}</{tag}>"


def _write_figure(figure: Figure) -> str:
    names = (figures.INK, figures.FAINT, figures.RULE, figures.PAPER)
    colours = dict(zip(names, ("var(--ink)", "var(--faint)", "var(--rule)", "var(--paper)"), strict=True))
    colours |= {colour: f"var(--arm-{k})" for k, colour in enumerate(figures.ARM_COLOURS)}
    svg = figures.draw(figure.drawing, key=figure.key, label=make_visible(figure.title), colours=colours)
    return (
        f'<figure id="figure-{figure.key}">\n<h3>{_escape(figure.title)}</h3>\n{svg.replace(_NAMESPACE, "", 1)}\n'
        f"<figcaption>{_escape(figure.caption)}</figcaption>\n</figure>\n"
    )


def _escape(text: str, *, keep_newlines: bool = False) -> str:
    return html.escape(make_visible(text, keep_newlines=keep_newlines))
