"""What a person should look at in a run: the diagnostics, their rules, the early warning."""
