"""What figures are made of: numbers with names, and how many seeds and items they are of. Pure; draws nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A mean with its interval; None where there is no interval, and ``n`` seeds."""

    x: float
    y: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of one arm by x; ``slot`` is the arm's place among all arms, so that it keeps its colour."""

    title: str
    slot: int
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class CurvePanel:
    """Curves on shared axes; the title is empty where there is one panel."""

    title: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """Panels of curves over the models.

    Attributes:
        x_titles: The text below each x, which counts from ``first_x``.
        is_percent: Whether values are shares, to be shown as percent.
    """

    panels: tuple[CurvePanel, ...]
    x_titles: tuple[str, ...]
    first_x: int
    x_title: str
    y_title: str
    is_percent: bool = False


@dataclass(frozen=True, slots=True)
class Bars:
    """A distribution beside its null: shares at evenly spaced values from -1 to 1, each sums to 1.

    Attributes:
        mean: Of the values.
        n: How many prompts.
    """

    centres: tuple[float, ...]
    shares: tuple[float, ...]
    null: tuple[float, ...]
    mean: float
    n: int


@dataclass(frozen=True, slots=True)
class BarGrid:
    """Distributions in rows and columns; None where there are no data."""

    row_titles: tuple[str, ...]
    column_titles: tuple[str, ...]
    cells: tuple[tuple[Bars | None, ...], ...]
    x_title: str


@dataclass(frozen=True, slots=True)
class ReliabilityLine:
    """Share of right labels by predicted probability; points with their intervals, ``n`` labels in each."""

    title: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class ReliabilityGrid:
    """One panel per arm with a line per iteration, the last one the darkest."""

    panels: tuple[tuple[str, tuple[ReliabilityLine, ...]], ...]
    x_title: str
    y_title: str


@dataclass(frozen=True, slots=True)
class PathStep:
    """A model at two measures."""

    title: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Path:
    """The way of one arm from model to model."""

    title: str
    slot: int
    steps: tuple[PathStep, ...]


@dataclass(frozen=True, slots=True)
class Paths:
    """Ways of arms, one panel each."""

    paths: tuple[Path, ...]
    x_title: str
    y_title: str


Drawing: TypeAlias = Curves | BarGrid | ReliabilityGrid | Paths
