"""As ``preload``, with the library that holds M0 in 4 bits: the others use it only if it is there when they load."""

from __future__ import annotations

from importlib import import_module

import engine.compute  # noqa: F401  # quiets the library

import_module("bitsandbytes")
import_module("engine.runtime.preload")
