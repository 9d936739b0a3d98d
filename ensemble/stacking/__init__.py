"""Logits to probabilities: candidates, nested cross-validation, verdict."""
