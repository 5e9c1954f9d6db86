"""A report as Markdown with its pictures as files, as code hosts show it.

Knows Markdown. Must not know what a report says. Every text is escaped; a picture has its own light paper, because a
host does not tell it the reader's colours.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from urllib.parse import quote

from cream_tui.cards.markdown import build_fence, build_table, escape
from cream_tui.report import figures
from cream_tui.report.blocks import Block, Bullets, Code, Figure, Fold, Paragraph, Report, Table
from cream_tui.text import make_visible

_COLOURS = {figures.INK: "#1a1a1a", figures.PAPER: "#ffffff"}


@dataclass(frozen=True, slots=True)
class MarkdownPage:
    """The text, and its pictures by file name."""

    text: str
    pictures: dict[str, str]


def write_markdown(report: Report, folder: str) -> MarkdownPage:
    """The page, whose pictures will lie in ``folder`` beside it."""
    pictures: dict[str, str] = {}
    parts = [f"# {escape(report.title)}\n", f"{escape(report.lead)}\n"]
    for section in report.sections:
        parts.append(f"## {escape(section.title)}\n")
        parts += [_write_block(block, folder, pictures) for block in section.blocks]
    return MarkdownPage("\n".join(parts), pictures)


def _write_block(block: Block, folder: str, pictures: dict[str, str]) -> str:
    match block:
        case Paragraph(text):
            return f"{escape(text)}\n"
        case Bullets(items):
            return "".join(f"- {escape(item)}\n" for item in items)
        case Code(text, language):
            return build_fence(text, language)
        case Fold(title, blocks):
            inner = "\n".join(_write_block(inner, folder, pictures) for inner in blocks)
            return f"<details>\n<summary>{html.escape(make_visible(title))}</summary>\n\n{inner}\n</details>\n"
        case Table():
            return _write_table(block)
        case Figure(key, title, drawing, caption):
            pictures[f"{key}.svg"] = figures.draw(
                drawing, key=key, label=make_visible(title), colours=_COLOURS, background="#ffffff"
            )
            return f"![{escape(title)}]({quote(folder)}/{key}.svg)\n\n**{escape(title)}.** {escape(caption)}\n"


def _write_table(table: Table) -> str:
    rows = [
        [f"**{escape(text)}**" if (i, k) in table.strong else escape(text) for k, text in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    return f"{build_table([escape(title) for title in table.titles], rows)}\n{escape(table.caption)}\n"
