"""The filter grammar of runs and pairs, for the app and the command line."""
