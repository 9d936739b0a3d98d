"""Columns computed from single battles, one file a family."""
