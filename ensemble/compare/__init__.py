"""Learners side by side on the same target rows: how much they differ, and where."""
