"""Processes: control starts a detached supervisor, which runs each stage in a process of its own."""
