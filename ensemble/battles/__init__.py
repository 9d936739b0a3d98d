"""Rows in: schema, loading, sources, duplicates, folds, swap, features."""
