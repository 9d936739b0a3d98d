"""Names the machine that a benchmark runs on, so that its figures can be read."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe_machine() -> str:
    """Give processor, cores, Python and the versions that decide the speed."""
    import lightgbm
    import numpy as np
    import polars as pl

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = f"polars {pl.__version__}, numpy {np.__version__}, lightgbm {lightgbm.__version__}"
    return f"{_processor()}, {cores} cores, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
