"""What the driver's program says of GPUs, and what of it counts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ensemble.plugin.suggestion import Gpu, Machine
from ensemble.setup.machine import find_machine, told_machine

if TYPE_CHECKING:
    from pathlib import Path

TWO = "0, GPU-aa11, NVIDIA H100 80GB HBM3, 81559, 9.0\n1, GPU-bb22, Tesla T4, 15360, 7.5\n"
H100 = Gpu("NVIDIA H100 80GB HBM3", 81559 / 1024, (9, 0))
T4 = Gpu("Tesla T4", 15.0, (7, 5))


@pytest.fixture(autouse=True)
def no_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def driver(directory: Path, monkeypatch: pytest.MonkeyPatch, says: str, code: int = 0) -> None:
    """Put a program in the place of the driver's."""
    program = directory / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{says}END\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [(None, (H100, T4)), ("1", (T4,)), ("GPU-aa", (H100,)), ("", ()), ("-1", ())],
)
def test_gpus_are_those_that_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, gpus: tuple[Gpu, ...]
) -> None:
    driver(tmp_path, monkeypatch, TWO)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_machine().gpus == gpus


@pytest.mark.parametrize(
    ("says", "code"), [("No devices were found\n", 6), ("0, GPU-x, Odd, [N/A], 9.0\n", 0), ("", 0)]
)
def test_a_driver_without_gpus_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, code: int
) -> None:
    driver(tmp_path, monkeypatch, says, code)
    assert find_machine().gpus == ()


def test_an_old_driver_tells_no_capability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, "0, GPU-x, Tesla K80, 11441, [N/A]\n")
    assert find_machine().gpus[0].capability is None


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    machine = find_machine()
    assert machine.gpus == ()
    assert machine.cores >= 1


def test_a_machine_is_told_in_a_line() -> None:
    assert told_machine(Machine(1)) == "1 core, no GPU"
    assert told_machine(Machine(8, 60.2, (T4,))) == "8 cores, Tesla T4 with 15 GiB"
    assert told_machine(Machine(8, 31.0)) == told_machine(Machine(8, 60.2)), "a config is the same"
