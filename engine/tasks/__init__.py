"""Prompts, examples and verifiers. Torch-free."""
