"""Bodies of the commands, one module for what belongs together; each is imported when its command runs."""
