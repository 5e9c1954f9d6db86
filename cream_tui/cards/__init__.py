"""Cards of what leaves the store: models and data sets, in Markdown with a head in YAML."""
