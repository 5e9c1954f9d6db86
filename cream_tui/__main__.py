"""The console script, and `python -m cream_tui`: the app where nothing else is asked for, else the command line.

Typer, of which the bare program has no need, would take a tenth of the time to the app's first frame.
"""

import sys

from cream_tui.launch import leave, run_guarded


def main() -> None:
    """Start."""
    if sys.argv[1:]:
        from cream_tui import cli

        cli.main()
    else:
        from cream_tui.app_start import start_app

        leave(run_guarded(lambda: start_app(None)))


if __name__ == "__main__":
    main()
