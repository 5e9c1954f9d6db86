"""`python -m cream_tui`: the same as the console script."""

from cream_tui.cli import main

if __name__ == "__main__":
    main()
