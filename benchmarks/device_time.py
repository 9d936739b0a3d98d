"""What takes how long on a GPU: actions, its own rate of matrix products, and kernels."""

from __future__ import annotations

import collections
import gc
import itertools
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICE = torch.device("cuda")
STARTED = time.perf_counter()


def say(*parts: object) -> None:
    """Print with the time since the start."""
    print(f"[{time.perf_counter() - STARTED:6.1f}]", *parts, flush=True)


def matrix_rate(times: int = 10) -> float:
    """Measure a dense bfloat16 matrix product, FLOP/s; over seconds the GPU lowers its clock."""
    a = torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16)
    b = torch.randn_like(a)
    return 2 * 8192**3 / timed(lambda: a @ b, times, warm=3)


def timed(action: Callable[[], object], times: int, *, warm: int = 1) -> float:
    """Give the seconds that an action takes on the device."""
    for _ in range(warm):
        action()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(times):
        action()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / times


def free() -> None:
    """Let go of what the last model held."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.compiler.reset()


def kernels(label: str, action: Callable[[], object], most: int = 14) -> None:
    """Print where the device's time goes, by kernel, and when it waits."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        action()
        torch.cuda.synchronize()
    events = [event for event in profile.events() if event.device_type.name == "CUDA"]
    events.sort(key=lambda event: event.time_range.start)
    spent: collections.Counter[str] = collections.Counter()
    for event in events:
        spent[event.name] += event.device_time
    calls = collections.Counter(event.name for event in events)
    total = sum(spent.values())
    ends = itertools.accumulate((event.time_range.end for event in events), max)
    gaps = [
        (after.time_range.start - end, before.name, after.name)
        for end, (before, after) in zip(ends, itertools.pairwise(events), strict=False)
    ]
    waited = sum(max(gap, 0) for gap, *_ in gaps)
    say(f"{label}: {len(events)} kernels {total / 1e3:.0f} ms, waits between {waited / 1e3:.0f} ms")
    for gap, before, after in sorted(gaps, reverse=True)[:3]:
        print(f"    {gap / 1e3:8.1f} ms between {before[:50]} and {after[:50]}")
    for kernel, microseconds in spent.most_common(most):
        share = f"{microseconds / total:5.1%} {calls[kernel]:5d} x"
        print(f"    {microseconds / 1e3:8.1f} ms {share} {kernel[:100]}")
