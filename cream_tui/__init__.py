"""The terminal side: command line and screens. Reads rows through db.queries, starts runs through engine.runtime."""
