"""Run configurations: files in, checked and frozen objects out. Light: pydantic and yaml only."""
