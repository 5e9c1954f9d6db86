"""The parts of a report, before anybody says whether it is HTML or Markdown. Pure.

Texts are plain and untrusted: who writes a format escapes them. A drawing is data that ``figures`` knows how to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cream_tui.report.drawings import Drawing

NOT_COMPUTABLE = "not computable, because "


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """Sentences, each for itself."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as texts, each row as long as the titles.

    Attributes:
        n_heads: Columns from the left that name the row; all others are numbers, on the right.
        strong: Places (row, column) that stand out.
        is_text: Whether the other columns are texts, on the left.
    """

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    n_heads: int = 1
    strong: frozenset[tuple[int, int]] = frozenset()
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with what it shows, of how many, and which interval.

    Attributes:
        key: Its name in files and links, of small letters and dashes.
    """

    key: str
    title: str
    drawing: Drawing
    caption: str


@dataclass(frozen=True, slots=True)
class Code:
    """Lines as they are, as of a configuration."""

    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Fold:
    """What is there for those who look for it."""

    title: str
    blocks: tuple[Block, ...]


Block: TypeAlias = Paragraph | Bullets | Table | Figure | Code | Fold


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands below it; ``key`` is its address in the page."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A report in full; ``lead`` says in a few words what it is of."""

    title: str
    lead: str
    sections: tuple[Section, ...]


def list_figures(blocks: Sequence[Block]) -> list[Figure]:
    """The figures, folded ones too, in their order."""
    found: list[Figure] = []
    for block in blocks:
        if isinstance(block, Figure):
            found.append(block)
        elif isinstance(block, Fold):
            found += list_figures(block.blocks)
    return found
