"""The store: SQLite rows of runs, stages and everything they produced. A leaf; knows neither engine nor cream_tui."""
