"""Reports: what a study or some runs show, as one file for people who do not have the store."""
