"""Prompts and tokens: from battles to what a model reads."""
