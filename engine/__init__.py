"""The engine of cream-tui: configuration, method, computation, storage and control of runs."""
