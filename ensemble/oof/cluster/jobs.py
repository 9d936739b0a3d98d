"""Jobs for nodes: what a fit needs there, as JSON and files by content, and which machine it asks.

A run directory on a node holds battles and plan, and the fits of the learners that are asked. Files
that parameters name, and plugins that are files, lie in the node's depot; a config that travels
names them there.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.config.plugin_files import changed_names, split_reference, with_files
from ensemble.oof.cluster.remote import toolkit
from ensemble.oof.cluster.shipment import NODE, tree_place
from ensemble.oof.crossfit import fold_checkpoint
from ensemble.oof.dependencies import fitted_before
from ensemble.oof.fold_key import fold_key
from ensemble.oof.teaching import asked_fits
from ensemble.oof.worker_process import label_of, request_of
from ensemble.plugin.contract import resources_of
from ensemble.plugin.files import current_snapshot
from ensemble.plugin.parameters import path_parameters, plain
from ensemble.run_dir.layout import (
    BATTLES,
    BATTLES_RECORD,
    CORRECTIONS,
    FOLDS,
    FOLDS_RECORD,
    METADATA,
)
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from ensemble.config.settings import Config, Execution
    from ensemble.oof.cluster.shipment import Shipment
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workers import Task
    from ensemble.oof.workspace import Workspace

CHECKPOINT_SECONDS = 30.0
"""Between two checkpoints that a node sends."""
_ABSENT = f"{NODE}absent"


class Need(NamedTuple):
    """What a fit asks of a node: CPUs, GPUs, bytes of memory."""

    cpus: int
    gpus: int
    memory: int

    @classmethod
    def of(cls, spec: LearnerSpec, execution: Execution) -> Need:
        """Take what a learner declares; threads and a device that the config sets come first."""
        declared = resources_of(spec.prototype, spec.where)
        memory = int(declared.memory_gib * 2**30)
        threads = execution.threads or declared.threads or 1
        return cls(threads, execution.gpus_for(declared.gpus), memory)

    def told(self) -> str:
        """Say it in words."""
        gpus = f"{self.gpus} GPU{'s' * (self.gpus > 1)}, " if self.gpus else ""
        return f"{self.cpus} CPUs, {gpus}{self.memory / 2**30:.3g} GiB of memory"


@dataclass
class Job:
    """A fit that a node is asked for.

    Parameters
    ----------
    task
        The fit, with the time that it has.
    key, parts
        Of the fold.
    need
        What it asks of a node.
    directory, checkpoint
        Where the fold and its checkpoint are in the run.
    died
        How often its process has died, or Ray's with it.
    lost
        How often its node was lost.
    """

    task: Task
    key: str
    parts: dict[str, Any]
    need: Need
    directory: Path
    checkpoint: Path
    died: int = 0
    lost: int = 0
    asked: Task = field(init=False)
    """The fit as it was asked for: each time that it is tried, less time is left."""

    def __post_init__(self) -> None:
        self.asked = self.task

    @property
    def label(self) -> str:
        """Names it for a reader."""
        return label_of(self.task.spec, self.task.held_out)


@dataclass
class JobMaker:
    """Makes jobs of the fits of one run.

    Parameters
    ----------
    config
        Of the run.
    workspace
        Of the run.
    shipment
        Takes the files that jobs need.
    """

    config: Config
    workspace: Workspace
    shipment: Shipment
    _plugins: dict[str, str] = field(default_factory=dict)
    _trees: dict[str, dict[str, str]] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)

    def job(self, task: Task) -> Job:
        """Make a job of a fit."""
        spec, held_out = task.spec, task.held_out
        key, parts = fold_key(spec, held_out, self.workspace.shared_key())
        return Job(
            task,
            key,
            parts,
            Need.of(spec, self.config.execution),
            self.workspace.store.directory(spec.name, held_out),
            fold_checkpoint(self.workspace, spec, held_out),
        )

    def described(self, job: Job) -> tuple[dict[str, Any], set[str]]:
        """Describe a job as it is now: its checkpoint may have come on.

        Returns
        -------
        tuple
            JSON, and the SHA-256 of all files that are in it.

        Raises
        ------
        EnsembleError
            A file that it needs cannot be read.
        """
        spec, run = job.task.spec, self.workspace.run
        self._used.clear()
        told: dict[str, Any] = {
            "label": job.label,
            "time_limit": spec.time_limit,
            "toolkit": toolkit(),
            "gpus": job.need.gpus,
            "lasting": type(spec.prototype).cheap and not job.need.gpus,
            "every": CHECKPOINT_SECONDS,
            "config": self._config(job.need),
            "request": self._request(job),
            "inputs": self._inputs,
            "folds": self._folds(spec, job.task),
            "rows": {"of": self._rows_name, "files": self._rows(spec)},
            "checkpoint": {
                "place": job.checkpoint.relative_to(run).as_posix(),
                "files": self.shipment.directory(job.checkpoint),
            },
            "result": job.directory.relative_to(run).as_posix(),
        }
        told["trees"] = [self._trees[place] for place in sorted(self._used)]
        listings = [told["inputs"], told["folds"], told["rows"]["files"]]
        listings += [told["checkpoint"]["files"], *told["trees"]]
        return told, {digest for files in listings for digest in files.values()}

    @cached_property
    def _inputs(self) -> dict[str, str]:
        run = self.workspace.run
        names = [BATTLES, BATTLES_RECORD, FOLDS, FOLDS_RECORD]
        names += [CORRECTIONS] if self.workspace.corrections is not None else []
        names += [METADATA] if self.workspace.privileged is not None else []
        return {name: self.shipment.file(run / name) for name in names}

    @cached_property
    def _rows_name(self) -> str:
        return fingerprint([self.workspace.data_key, self.workspace.plan.fingerprint])[:32]

    def _rows(self, spec: LearnerSpec) -> dict[str, str]:
        """Give what is kept of single rows, so that a node need not make it again."""
        place = self.workspace.cache_directory / spec.cache_name
        return self.shipment.directory(place, f"{spec.cache_name}/") if place.is_dir() else {}

    def _config(self, need: Need) -> dict[str, Any]:
        folds = self.config.folds
        given = {"file": _ABSENT} if folds.file is not None else {}
        execution = self.config.execution
        device = "cuda" if execution.device.startswith("cuda") else execution.device
        own = {"threads": need.cpus, "device": device, "executor": "in-process", "address": None}
        changed = {
            "run_dir": f"{NODE}run",
            "observers": [],
            "folds": folds.model_copy(update=given),
            "execution": execution.model_copy(update={**own, "workers": 0}),
        }
        config = with_files(self.config, self._plugin_place).model_copy(update=changed)
        return config.model_dump(mode="json")

    def _plugin_place(self, path: str) -> str:
        """Give the place of a plugin's file in a node's depot; its source travels as read."""
        if path not in self._plugins:
            snapshot = current_snapshot(Path(path))
            files = {
                place.relative_to(snapshot.root).as_posix(): self.shipment.data(
                    snapshot.texts[name]
                )
                for name, place in snapshot.paths.items()
            }
            main = snapshot.paths[snapshot.main].relative_to(snapshot.root).as_posix()
            self._plugins[path] = self._tree(files, main)
        self._used.add(self._plugins[path])
        return self._plugins[path]

    def _tree(self, files: dict[str, str], inside: str) -> str:
        place = tree_place(files, inside)
        self._trees[place] = files
        self._used.add(place)
        return place

    def _request(self, job: Job) -> dict[str, Any]:
        spec, held_out = job.task.spec, job.task.held_out
        needed = {one.name for one in self._asked(spec)} | {spec.name}
        request = request_of(spec, held_out)
        known = {spec.name: spec, **spec.peers}
        for entry in request["specs"]:
            one = known[entry[0]]
            entry[1] = self._named(entry[1])
            entry[2] = changed_names(entry[2], self._named)
            if one.name in needed:
                given, entry[6] = self._paths(one)
                entry[2] = {**entry[2], **given}
        return {**request, "key": job.key, "parts": job.parts}

    def _named(self, name: str) -> str:
        found = split_reference(name)
        return f"{self._plugin_place(str(found[0]))}:{found[1]}" if found else name

    def _paths(self, spec: LearnerSpec) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give the parameters that are paths: as the config has them, and as a node does."""
        learner = spec.prototype
        names = path_parameters(learner)
        given, told = {}, spec.all_parameters()
        for name in names:
            if name in told and name not in spec.parameters:
                given[name] = told[name]
        return given, {
            name: self._moved(plain(getattr(learner, name)), names[name]) for name in names
        }

    def _moved(self, value: Any, paths: list[Path]) -> Any:
        places = {str(path): path for path in paths}
        if isinstance(value, str):
            return self._file_place(places[value]) if value in places else value
        if isinstance(value, dict):
            return {key: self._moved(item, paths) for key, item in value.items()}
        return [self._moved(item, paths) for item in value] if isinstance(value, list) else value

    def _file_place(self, path: Path) -> str:
        if split_reference(str(path)):
            return self._named(str(path))
        if path.is_dir():
            return self._tree(self.shipment.directory(path, f"{path.name}/"), path.name)
        if path.is_file():
            return self._tree({path.name: self.shipment.file(path)}, path.name)
        matching = [Path(name) for name in sorted(glob.glob(str(path)))]  # noqa: PTH207
        if matching:
            files = {one.name: self.shipment.file(one) for one in matching if one.is_file()}
            return self._tree(files, path.name)
        return str(path)

    def _folds(self, spec: LearnerSpec, task: Task) -> dict[str, str]:
        """Give the fits of the learners that this one asks."""
        files: dict[str, str] = {}
        workspace = self.workspace
        for one, held_out in asked_fits(spec, task.held_out, workspace.uses, workspace.shape):
            place = workspace.store.directory(one.name, held_out)
            prefix = f"{place.relative_to(workspace.run).as_posix()}/"
            files |= self.shipment.directory(place, prefix)
        return files

    def _asked(self, spec: LearnerSpec) -> list[LearnerSpec]:
        """Find the learners whose fits, or whose content, this one's key depends on."""
        found: list[LearnerSpec] = []
        waiting = [spec]
        while waiting:
            new = fitted_before(waiting.pop(), self.workspace.uses)
            waiting += [one for one in new if one not in found]
            found += [one for one in new if one not in found]
        return found
