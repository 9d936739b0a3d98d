"""Whether what learners declare is there at all: on a node of the cluster, or on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ensemble.errors import LearnerError
from ensemble.oof.cluster.driver import is_fitted_here
from ensemble.oof.cluster.jobs import Need
from ensemble.oof.cluster.nodes import room_on, too_large
from ensemble.oof.workers import Task
from ensemble.plugin.contract import resources_of
from ensemble.processes import total_memory, visible_gpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ensemble.battles.held_out import HeldOut
    from ensemble.config.settings import Config, Execution
    from ensemble.oof.cluster.session import Connection
    from ensemble.oof.spec import LearnerSpec

_GIB = 2**30


@dataclass(frozen=True)
class Shortage:
    """A learner that declares more than there is.

    Parameters
    ----------
    spec, held_out
        The learner, and the first fit of it that was asked for.
    error
        What it needs, what there is, and how to mend it.
    is_fatal
        Whether it cannot be fitted; else it may do with less, as memory is declared with a margin.
    """

    spec: LearnerSpec
    held_out: HeldOut
    error: LearnerError
    is_fatal: bool


def shortages(
    config: Config, fits: Iterable[tuple[LearnerSpec, HeldOut]], cluster: Connection
) -> Iterator[Shortage]:
    """Find learners that declare more than any node has, or than this machine has.

    Parameters
    ----------
    config
        Says where fits are made.
    fits
        What is to be fitted.
    cluster
        Joined where something goes there.

    Yields
    ------
    Shortage
        At most one a learner. Errors as ``Connection.ray`` raises them.
    """
    execution = config.execution
    on_nodes = execution.executor == "ray"
    first: dict[str, Task] = {}
    for spec, held_out in fits:
        task = Task(spec, held_out)
        if not (on_nodes and is_fitted_here(task)) and not held_out.is_soup:
            first.setdefault(spec.name, task)
    nodes = cluster.nodes() if on_nodes and first else []
    gpus = cache(lambda: _gpus(execution))
    for spec, held_out, *_ in first.values():
        if not on_nodes:
            yield from _here(spec, held_out, gpus, by_need=execution.executor == "processes")
            continue
        need = Need.of(spec, execution)
        if not any(room_on(node, need) for node in nodes):
            error = too_large(need, nodes, spec.where)
            yield Shortage(spec, held_out, error, not execution.wait_for_nodes)


def _here(
    spec: LearnerSpec, held_out: HeldOut, gpus: Callable[[], int | None], *, by_need: bool
) -> Iterator[Shortage]:
    """Find what this machine lacks; only where fits begin by what they declare they cannot."""
    need, total = resources_of(spec.prototype, spec.where), total_memory()
    lacking, is_fatal = [], False
    if total is not None and need.memory_gib * _GIB > total:
        lacking.append(
            f"{need.memory_gib:.3g} GiB of memory, and this machine has {total / _GIB:.3g} GiB"
        )
        is_fatal = by_need
    visible = gpus() if need.gpus > 1 or (need.gpus and by_need) else None
    if visible is not None and need.gpus > visible:
        lacking.append(f"{_told(need.gpus)}, and this machine shows {_told(visible)}")
        # Where none is seen it may be meant for the CPU: a small model, a first try.
        is_fatal = is_fatal or (by_need and visible > 0)
    if lacking:
        mend = ', or set executor = "auto", which does not go by it' if by_need else ""
        error = LearnerError(
            f"it declares {'; and '.join(lacking)}",
            where=spec.where,
            hint=f"take a larger machine, or have it declare less in its `resources`{mend}",
        )
        yield Shortage(spec, held_out, error, is_fatal)


def _gpus(execution: Execution) -> int | None:
    """Say how many GPUs a fit can have; None where it is to have none, or is given one by name."""
    if execution.devices or execution.device not in ("auto", "cuda"):
        return None
    return len(visible_gpus())


def _told(gpus: int) -> str:
    return f"{gpus or 'no'} GPU{'s' * (gpus > 1)}"
