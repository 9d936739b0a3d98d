"""What this machine has to compute with. GPUs are asked for by their driver's own program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.plugin.suggestion import Gpu, Machine
from ensemble.processes import available_cores, free_memory, gpu_table, visible_among

if TYPE_CHECKING:
    from collections.abc import Iterator


def find_machine() -> Machine:
    """Say what this process may use: cores, free memory, GPUs.

    Notes
    -----
    ``CUDA_VISIBLE_DEVICES`` is honored. Without ``nvidia-smi`` there is no GPU.
    """
    free = free_memory()
    return Machine(
        cores=available_cores(),
        memory_gib=None if free is None else free / 2**30,
        gpus=tuple(_gpus(gpu_table())),
    )


def told_machine(machine: Machine) -> str:
    """Describe a machine in a few words: what of it stays as it is, as free memory does not."""
    cores = f"{machine.cores} core" + "s" * (machine.cores != 1)
    gpus = [f"{gpu.name} with {gpu.memory_gib:.0f} GiB" for gpu in machine.gpus] or ["no GPU"]
    return ", ".join([cores, *gpus])


def _gpus(output: str) -> Iterator[Gpu]:
    """Read the driver's table; a line that says something else is no GPU."""
    rows = [[cell.strip() for cell in line.split(",")] for line in output.splitlines()]
    known = [row for row in rows if len(row) == 5 and row[3].replace(".", "", 1).isdigit()]
    visible = visible_among({row[0]: row[1] for row in known})
    for _, uuid, name, memory, capability in known:
        if uuid in visible:
            yield Gpu(name, float(memory) / 1024, _capability(capability))


def _capability(text: str) -> tuple[int, int] | None:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
