"""Colours of the app: dark, light, high contrast; Textual brings the terminal's own palette (ansi-dark, ansi-light).

Knows Textual's theme class. Must not know widgets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from textual.theme import Theme

DARK, LIGHT, CONTRAST, ANSI_DARK, ANSI_LIGHT = "cream-dark", "cream-light", "cream-contrast", "ansi-dark", "ansi-light"
THEME_NAMES = (DARK, LIGHT, CONTRAST, ANSI_DARK, ANSI_LIGHT)

THEMES = (
    Theme(
        name=DARK,
        primary="#e5c890",
        secondary="#8caaee",
        accent="#e5c890",
        foreground="#d9d5cc",
        background="#17171b",
        surface="#1d1d22",
        panel="#28282f",
        success="#8fc27c",
        warning="#e5a84b",
        error="#e67c73",
        dark=True,
        variables={"footer-key-foreground": "#e5c890", "block-cursor-text-style": "none", "border": "#4a4a55"},
    ),
    Theme(
        name=LIGHT,
        primary="#8a5a00",
        secondary="#2457a6",
        accent="#8a5a00",
        foreground="#302c26",
        background="#fbf8f1",
        surface="#f4efe4",
        panel="#e9e2d2",
        success="#2f6f2f",
        warning="#8f5200",
        error="#b3261e",
        dark=False,
        variables={"footer-key-foreground": "#8a5a00", "block-cursor-text-style": "none", "border": "#b9ae98"},
    ),
    Theme(
        name=CONTRAST,
        primary="#ffd75f",
        secondary="#5fd7ff",
        accent="#ffd75f",
        foreground="#ffffff",
        background="#000000",
        surface="#000000",
        panel="#1c1c1c",
        success="#5fff5f",
        warning="#ffd700",
        error="#ff5f5f",
        dark=True,
        variables={"footer-key-foreground": "#ffd75f", "block-cursor-text-style": "bold", "border": "#ffffff"},
    ),
)


def choose_theme(wished: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The theme to begin with: without colour where NO_COLOR asks for it, else the wished one, else by the background.

    Terminals that say so put the colours of text and background into COLORFGBG, as 15;0.
    """
    if environment.get("NO_COLOR"):
        return ANSI_DARK
    if wished in THEME_NAMES:
        return wished
    background = environment.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT if background in ("7", "15") else DARK
