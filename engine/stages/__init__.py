"""Stages: rows -> compute -> rows, in batches. Each is a function of a ``StageContext``."""
