"""Memory is that of the container or job, in whichever kind of control group and however deep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ensemble import control_groups, processes
from ensemble.control_groups import MemoryBound, memory_bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Fake = Callable[..., None]

MIB = 1 << 20
NO_LIMIT = "9223372036854771712"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Give a function that writes what Linux says of this process, and the files of groups."""
    monkeypatch.setattr(control_groups, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(control_groups, "_GROUPS", tmp_path / "self")

    def write(own: str | None, files: Mapping[str, str]) -> None:
        if own is not None:
            (tmp_path / "self").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def _second(place: str, limit: int, used: int, files: int = 0) -> dict[str, str]:
    return {
        f"{place}memory.max": f"{limit}\n",
        f"{place}memory.current": f"{used}\n",
        f"{place}memory.stat": f"anon {used - files}\ninactive_file {files}\n",
    }


def _first(place: str, limit: str, used: int, files: int = 0) -> dict[str, str]:
    return {
        f"memory/{place}memory.limit_in_bytes": f"{limit}\n",
        f"memory/{place}memory.usage_in_bytes": f"{used}\n",
        f"memory/{place}memory.stat": f"inactive_file 1\ntotal_inactive_file {files}\n",
    }


def test_a_container_has_what_its_own_group_says(fake: Fake) -> None:
    fake("0::/\n", _second("", 4096 * MIB, 1000 * MIB))
    assert memory_bounds() == [MemoryBound(4096 * MIB, 1000 * MIB)]


def test_files_that_are_kept_in_memory_leave_it_free(fake: Fake) -> None:
    """Whoever reads as many files as there is memory had nothing free, and one worker."""
    fake("0::/\n", _second("", 4096 * MIB, 4090 * MIB, files=3000 * MIB))
    assert memory_bounds() == [MemoryBound(4096 * MIB, 1090 * MIB)]


def test_a_job_is_bound_by_all_groups_that_it_lies_in(fake: Fake) -> None:
    files = _second("slurm/job_7/", 2048 * MIB, 500 * MIB) | {"slurm/memory.max": "max\n"}
    fake("0::/slurm/job_7/step_0\n", {**files, "slurm/job_7/step_0/memory.max": "max\n"})
    assert memory_bounds() == [MemoryBound(2048 * MIB, 500 * MIB)]


def test_the_first_kind_of_groups_is_read_too(fake: Fake) -> None:
    own = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/docker/abc\n"
    fake(own, _first("", str(1024 * MIB), 300 * MIB, files=100 * MIB))
    assert memory_bounds() == [MemoryBound(1024 * MIB, 200 * MIB)], "a container sees it as root"
    fake(own, _first("", NO_LIMIT, 5000 * MIB) | _first("docker/abc/", str(512 * MIB), MIB))
    assert memory_bounds() == [MemoryBound(512 * MIB, MIB)]


@pytest.mark.parametrize(
    ("own", "files"),
    [
        (None, {}),
        ("", {}),
        ("0::/\n", {"memory.max": "max\n", "memory.current": "5\n"}),
        ("0::/../../elsewhere\n", {}),
        ("nonsense\n0::/\n", {"memory.max": "4096\n", "memory.current": "none\n"}),
        ("0::/\n", {"memory.max": "4096\n"}),
    ],
)
def test_what_cannot_be_read_bounds_nothing(
    fake: Fake, own: str | None, files: Mapping[str, str]
) -> None:
    fake(own, files)
    assert memory_bounds() == []


def test_without_proc_the_roots_are_looked_at(fake: Fake) -> None:
    fake(None, _second("", 64 * MIB, MIB) | _first("", str(32 * MIB), MIB))
    assert memory_bounds() == [MemoryBound(32 * MIB, MIB), MemoryBound(64 * MIB, MIB)]


def test_what_is_free_and_what_there_is_are_those_of_the_tightest_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bounds = [MemoryBound(90 * MIB, 10 * MIB), MemoryBound(50 * MIB, 60 * MIB)]
    monkeypatch.setattr(processes, "memory_bounds", lambda: bounds)
    assert processes.free_memory() == 0, "more is in use than may be: a limit was lowered"
    assert processes.total_memory() == 50 * MIB
