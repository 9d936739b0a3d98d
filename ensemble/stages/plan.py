"""What a config asks for before any of it starts: fits, minutes, hours of CPU and GPU, disk."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.battles.held_out import HeldOut
from ensemble.battles.load_reading import load_all
from ensemble.battles.split import n_splits_of
from ensemble.errors import ArtifactError, ConfigError, EnsembleError
from ensemble.oof.durations import Duration, Durations
from ensemble.oof.preflight import fit_bytes, unfinished
from ensemble.oof.workspace import open_workspace
from ensemble.plugin.contract import resources_of
from ensemble.processes import available_cores
from ensemble.run_dir.layout import BATTLES, BATTLES_RECORD, STACK
from ensemble.setup.durations import suggestions, summary_of
from ensemble.stacking.plugin_checks import check_plugins
from ensemble.stacking.settings import learner_specs
from ensemble.stages.budget import cheap_at_a_time, seconds_after_fits
from ensemble.stages.fit_list import fits_of
from ensemble.stages.resources import known_shortages, told
from ensemble.storage.directories import damage_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

    from ensemble.config.settings import Config
    from ensemble.oof.durations import Kind
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace

    Fit = tuple[LearnerSpec, HeldOut]

_GIB = 2**30


@dataclass(frozen=True)
class LearnerPlan:
    """What one learner asks for.

    Parameters
    ----------
    name, plugin
        Which one.
    folds, pairs, refits, soups, seeds
        Fits of each kind, and how often each is made.
    larger
        Fits without three folds or more at once, which teachers of teachers need.
    complete, missing
        Fits that are there, and that are not.
    seconds
        Of one fold, all its seeds; None where nobody knows.
    kind, basis
        Whether that is ``measured``, ``estimated`` or ``unknown``, and what it rests on.
    gpus, memory_gib
        What one fit needs.
    at_a_time
        How many fits go on at a time.
    seconds_left
        Of all that is missing, one after the other.
    cpu_hours, gpu_hours
        What is missing, of CPU cores and of GPUs.
    disk_gib
        What is missing takes on the disk.
    """

    name: str
    plugin: str
    folds: int
    pairs: int
    larger: int
    refits: int
    soups: int
    seeds: int
    complete: int
    missing: int
    seconds: float | None
    kind: Kind
    basis: str
    gpus: int
    memory_gib: float
    at_a_time: int
    seconds_left: float | None
    cpu_hours: float | None
    gpu_hours: float | None
    disk_gib: float


@dataclass(frozen=True)
class Plan:
    """What a config asks for.

    Parameters
    ----------
    run
        The run directory.
    prepared
        Whether battles and fold plan are there; without them no fit counts as complete.
    damaged
        Why they do not count, where they were there and are damaged; and each fit that is.
    executor
        Of the config.
    learners
        In its order.
    seconds_after_fits
        Of stack, submission, audit and report.
    too_large
        Learners that declare more than any node, or this machine, has; or why that is not known.
    """

    run: str
    prepared: bool
    damaged: tuple[str, ...]
    executor: str
    learners: tuple[LearnerPlan, ...]
    seconds_after_fits: float
    too_large: tuple[str, ...] = ()

    @property
    def unknown(self) -> list[str]:
        """Learners with fits to do, of which nobody knows how long they take."""
        return [one.name for one in self.learners if one.missing and one.seconds is None]

    @property
    def wall_seconds(self) -> float:
        """How long all of it takes; with unknown learners that is the least."""
        fits = sum((one.seconds_left or 0.0) / one.at_a_time for one in self.learners)
        return fits + self.seconds_after_fits

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON."""
        whole = ("folds", "pairs", "larger", "refits", "soups", "complete", "missing", "disk_gib")
        known = ("cpu_hours", "gpu_hours")
        total: dict[str, Any] = {
            key: sum(getattr(one, key) for one in self.learners) for key in whole
        }
        total |= {key: sum(getattr(one, key) or 0.0 for one in self.learners) for key in known}
        return {
            **asdict(self),
            "learners": [asdict(one) for one in self.learners],
            "total": total | {"wall_seconds": self.wall_seconds},
            "unknown": self.unknown,
        }


def make_plan(config: Config) -> Plan:
    """Say what a config asks for; nothing is written and no learner is fitted.

    Parameters
    ----------
    config
        The config.

    Raises
    ------
    ConfigError
        Faults of plugins, all reported together.
    """
    check_plugins(config)
    damaged: list[str] = []
    workspace = _workspace(config, damaged)
    n_splits, fits = n_splits_of(config), fits_of(config, learner_specs(config))
    missing = fits if workspace is None else unfinished(workspace, fits)
    if workspace is not None:
        stored = (workspace.store.directory(spec.name, fit) for spec, fit in missing)
        damaged += [f"damaged: {name}" for each in stored for name in damage_of(each)]
    left = [(spec, HeldOut.of(held_out)) for spec, held_out in missing]
    battles: list[pl.DataFrame] = [] if workspace is None else [workspace.battles]

    def rows() -> pl.DataFrame:
        if not battles:
            battles.append(load_all(config))
        return battles[0]

    durations = Durations(
        config, n_splits, suggestions(lambda: summary_of(rows(), config), n_splits)
    )
    learners = tuple(
        _learner(config, workspace, spec, fits, left, durations.of(spec))
        for spec in learner_specs(config)
    )
    run = Path(config.run_dir)
    is_done = workspace is not None and not left and (run / STACK).exists()
    after = 0.0 if is_done else seconds_after_fits(run, len(battles[0]) if battles else 0)
    executor = config.execution.executor
    return Plan(
        config.run_dir,
        workspace is not None,
        tuple(damaged),
        executor,
        learners,
        after,
        tuple(_too_large(config, left)),
    )


def _too_large(config: Config, left: Sequence[Fit]) -> Iterator[str]:
    try:
        yield from map(told, known_shortages(config, left))
    except EnsembleError as error:  # a plan needs no cluster
        yield f"nobody knows whether a node has what learners declare: {error.message}"


def _workspace(config: Config, damaged: list[str]) -> Workspace | None:
    try:
        return open_workspace(config)
    except (ArtifactError, ConfigError) as error:  # not prepared yet, or with other settings
        if any((Path(config.run_dir) / name).exists() for name in (BATTLES_RECORD, BATTLES)):
            damaged.append(f"{error.message} ({error.where})")
        return None


def _learner(
    config: Config,
    workspace: Workspace | None,
    spec: LearnerSpec,
    fits: Sequence[Fit],
    left: Sequence[Fit],
    duration: Duration,
) -> LearnerPlan:
    own = [held_out for other, held_out in fits if other.name == spec.name]
    missing = [held_out for other, held_out in left if other.name == spec.name]
    kinds = Counter(held_out.kind for held_out in own)
    fitted = [
        held_out for held_out in missing if not held_out.is_soup
    ]  # a mean costs next to nothing
    needs, cheap = resources_of(spec.prototype, spec.where), type(spec.prototype).cheap
    gpus = config.execution.gpus_for(needs.gpus)
    seconds = _sum(duration.of(held_out, n_splits_of(config)) for held_out in fitted)
    execution = config.execution
    threads = execution.threads or (
        1 if cheap and execution.executor == "auto" else execution.threads_per_fit()
    )
    bytes_ = sum(
        0.0 if workspace is None else fit_bytes(workspace, spec, held_out) for held_out in missing
    )
    models = 0.0 if workspace is not None else needs.disk_gib * spec.seeds * len(missing)
    return LearnerPlan(
        name=spec.name,
        plugin=spec.plugin_name,
        folds=kinds["fold"],
        pairs=kinds["pair"],
        larger=kinds["triple"] + kinds["folds"],
        refits=kinds["refit"],
        soups=kinds["soup"],
        seeds=spec.seeds,
        complete=len(own) - len(missing),
        missing=len(missing),
        seconds=duration.seconds,
        kind=duration.kind,
        basis=duration.basis,
        gpus=gpus,
        memory_gib=needs.memory_gib,
        at_a_time=_at_a_time(config, len(missing), cheap=cheap),
        seconds_left=seconds,
        cpu_hours=None if seconds is None else seconds * min(threads, available_cores()) / 3600,
        gpu_hours=None if seconds is None else seconds * gpus / 3600,
        disk_gib=bytes_ / _GIB + models,
    )


def _at_a_time(config: Config, missing: int, *, cheap: bool) -> int:
    slots = cheap_at_a_time(config) if cheap else config.execution.slots()
    return max(1, min(slots, missing))


def _sum(values: Any) -> float | None:
    found = list(values)
    return None if None in found else float(sum(found))
