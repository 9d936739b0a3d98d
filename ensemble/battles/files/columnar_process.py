"""Reads a Parquet file in a process of its own, and says how large it is in memory.

This file is run by itself: it imports Polars alone.
"""

from __future__ import annotations

import json
import sys

import polars as pl


def main() -> None:
    """Read the file and the columns that are named by the arguments."""
    frame = pl.read_parquet(sys.argv[1], columns=json.loads(sys.argv[2]), glob=False)
    sys.stdout.write(str(frame.estimated_size()))


if __name__ == "__main__":
    main()
