"""Learner by fold to logits: cross-fitting, store, executors."""
