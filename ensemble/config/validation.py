"""What types cannot say of a config: names that clash, values that no file holds, input at risk.

Every function gives sentences, one a fault; ``ensemble.config.settings`` reports them together.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.config.privileged import privileged_faults
from ensemble.errors import nearest
from ensemble.run_dir.layout import (
    BATTLES_RECORD,
    CONFIG,
    EVENTS,
    FOLDS_RECORD,
    INPUTS,
    LEARNERS,
    LOCK,
    RUN_MARKS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.config.settings import Config, Execution, Folds, Learner, Reading, Source

_RESERVED_SOURCES = {"test"}
_RESERVED_FILES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?|.*\.", re.IGNORECASE)


def faults_of(config: Config) -> list[str]:
    """Find what is wrong in a config, whatever lies on the disk."""
    faults = [*_source_faults(config), *_learner_faults(config), *_stack_faults(config)]
    faults += privileged_faults(config)
    faults += [*_fold_faults(config.folds), *_execution_faults(config.execution)]
    folds = config.folds
    usual = type(folds).model_fields["embedding_threshold"].default
    if folds.embeddings is None and folds.embedding_threshold != usual:
        faults.append("folds.embedding_threshold is for vectors, and folds.embeddings is missing")
    for place, reading in _readings(config):
        if reading.options and reading.loader is None:
            faults.append(f"{place}.options are for a loader, and {place}.loader is missing")
        faults += _reading_faults(place, reading)
    for place, value in _free_values(config):
        faults += _value_faults(place, value)
    return faults


def _fold_faults(folds: Folds) -> Iterator[str]:
    """Find settings of folds that contradict each other, or have nothing to do."""
    if folds.scheme == "time":
        if folds.time_column is None:
            yield 'folds.scheme = "time" needs folds.time_column, which says when each row was made'
        if folds.are_given:
            yield 'folds.scheme = "time" makes folds, and folds.column or folds.file gives them'
    else:
        for name in ("time_column", "undated"):
            if getattr(folds, name) != type(folds).model_fields[name].default:
                yield f'folds.{name} is for folds.scheme = "time"'
    if folds.allow_split_clusters and not folds.are_given:
        yield "folds.allow_split_clusters is for folds that folds.column or folds.file gives"
    yield from (
        f'folds.group_columns names "{name}" twice' for name in _repeated(folds.group_columns)
    )


def _execution_faults(execution: Execution) -> Iterator[str]:
    """Find settings that the executor does not look at."""
    if execution.executor != "ray":
        if execution.address is not None:
            yield 'execution.address is of a Ray cluster, and executor is not "ray"'
        return
    if execution.devices or ":" in execution.device:
        yield 'execution: with executor = "ray" the cluster gives each fit its GPUs; name none'


def _reading_faults(place: str, reading: Reading) -> Iterator[str]:
    """Find what says twice, or not at all, where a source is."""
    if reading.hub is None and not reading.path:
        yield f"missing key {place}.path"
    if reading.hub is None and reading.revision is not None:
        yield f"{place}.revision is of a data set on the hub, and {place}.hub is missing"
    if reading.loader is not None and (reading.hub is not None or isinstance(reading.path, list)):
        yield f"{place}.loader takes one path: it reads neither a list nor a data set on the hub"


def place_faults(config: Config, path: Path | None) -> list[str]:
    """Find input files that a run would write over, since they lie in its directory.

    Parameters
    ----------
    config
        With absolute paths.
    path
        The config's own file. One that a run has written in its own directory is no fault; None
        where it is known to be that.
    """
    run = Path(config.run_dir)
    inputs = [
        (f"{place}.path", Path(path))
        for place, reading in _readings(config)
        for path in reading.paths()
    ]
    beside = {"folds.embeddings": config.folds.embeddings, "folds.file": config.folds.file}
    inputs += [(name, Path(path)) for name, path in beside.items() if path is not None]
    if path is not None and not _is_of_run(path.resolve(), run):
        inputs.insert(0, ("the config", path.resolve()))
    return [
        f"run_dir is {run}, where {name} lies ({file}): a run would write over what is there; "
        'give it a directory of its own, such as run_dir = "run"'
        for name, file in inputs
        if file.parent != run / INPUTS and (file.is_relative_to(run) or run.is_relative_to(file))
    ]


def _is_of_run(path: Path, run: Path) -> bool:
    """Say whether a config is the one that a run keeps: earlier work shows that it is one."""
    return path == run / CONFIG and all((run / mark).exists() for mark in RUN_MARKS)


def is_copied_run(config: Config, path: Path) -> bool:
    """Say whether a config is the one that a run keeps, and names another directory than its own.

    Parameters
    ----------
    config
        With absolute paths.
    path
        The config's own file, without links.
    """
    # A copy may lack the file that was the lock: not all programs copy what is hidden.
    marks = (path.parent / mark for mark in (LOCK, EVENTS, FOLDS_RECORD, LEARNERS))
    kept = path.name == CONFIG and (path.parent / BATTLES_RECORD).exists()
    return kept and any(map(Path.exists, marks)) and Path(config.run_dir) != path.parent


def _name_faults(kind: str, names: list[str]) -> Iterator[str]:
    """Find names that are files or directories, and that not every system keeps apart."""
    yield from (f'two {kind}s are called "{name}"' for name in _repeated(names))
    different = sorted(set(names))
    for one in _repeated([name.lower() for name in different]):
        alike = " and ".join(f'"{name}"' for name in different if name.lower() == one)
        yield f"{kind}s {alike} differ in case alone: some systems keep them in one directory"
    for name in different:
        if _RESERVED_FILES.fullmatch(name):
            yield f'no {kind} may be called "{name}": Windows has no file of that name'


def _source_faults(config: Config) -> Iterator[str]:
    names = [source.name for source in config.sources]
    yield from _name_faults("source", names)
    yield from (f'no source may be called "{name}"' for name in _RESERVED_SOURCES & set(names))
    if all(source.role != "target" for source in config.sources):
        yield 'no source has role = "target": folds and scores are made on the target'
    for number, source in enumerate(config.sources, 1):
        yield from _use_faults(f"sources[{number}]", source)
        yield from _labeler_faults(f"sources[{number}]", source, config)


def _use_faults(place: str, source: Source) -> Iterator[str]:
    """Find settings that the role of a source, or another setting, leaves nothing to do."""
    reasons = {
        "target": "the others are fitted to the target, and all of it is validated",
        "ignore": "its rows reach nothing",
    }
    given = {"share": source.share != 1, "reweight": source.reweight != "none"}
    if source.role in reasons:
        for key in (
            key
            for key, there in {**given, "logit_adjustment": source.logit_adjustment}.items()
            if there
        ):
            yield f'{place}.{key} makes no sense for role "{source.role}": {reasons[source.role]}'
    if source.logit_adjustment and source.reweight == "labels":
        yield (
            f'{place}: logit_adjustment = true and reweight = "labels" both make up for other '
            "label shares; choose one"
        )


def _labeler_faults(place: str, source: Source, config: Config) -> Iterator[str]:
    if source.role != "pseudo":
        if source.pseudo_labelers:
            yield f'{place}.pseudo_labelers are for role "pseudo", and the role is "{source.role}"'
        return
    if not source.pseudo_labelers:
        yield f"{place}.pseudo_labelers is missing: it names the learners that label its rows"
    yield from (
        f'{place}.pseudo_labelers names "{name}" twice'
        for name in _repeated(source.pseudo_labelers)
    )
    known = [learner.name for learner in config.learners]
    for name in sorted(set(source.pseudo_labelers) - set(known)):
        yield f'{place}.pseudo_labelers names "{name}": {nearest(name, known)}'


def _learner_faults(config: Config) -> Iterator[str]:
    yield from _name_faults("learner", [learner.name for learner in config.learners])
    for learner in config.learners:
        yield from _some_folds_faults(config, learner)


def _some_folds_faults(config: Config, learner: Learner) -> Iterator[str]:
    """Say which folds of a learner there will not be; of given ones nobody knows yet."""
    folds, n_splits = learner.folds, config.folds.n_splits
    if folds is None:
        return
    named = folds if isinstance(folds, list) else [folds - 1]
    if len(set(named)) != len(named):
        yield f'learner "{learner.name}", folds names a fold twice'
    if max(named) >= n_splits and not config.folds.are_given:
        yield (
            f'learner "{learner.name}", folds = {folds}: there are {n_splits} folds, '
            f"0 to {n_splits - 1}"
        )


def _stack_faults(config: Config) -> Iterator[str]:
    stacked = config.stack.learners
    if stacked is None:
        return
    if not stacked:
        yield "stack.learners is empty: leave it out to stack all learners"
    yield from (f'stack.learners names "{name}" twice' for name in _repeated(stacked))
    known = [learner.name for learner in config.learners]
    for name in stacked:
        if name not in known:
            yield f'stack.learners names "{name}": {nearest(name, known)}'


def _readings(config: Config) -> Iterator[tuple[str, Reading]]:
    for number, source in enumerate(config.sources, 1):
        yield f"sources[{number}]", source
    if config.test is not None:
        yield "test", config.test


def _free_values(config: Config) -> Iterator[tuple[str, Any]]:
    """Give what plugins read, and no type of ours checks."""
    for place, reading in _readings(config):
        yield f"{place}.options", reading.options
    for number, learner in enumerate(config.learners, 1):
        yield f"learners[{number}]", learner.parameters
    yield "stack.parameters", config.stack.parameters


def _value_faults(place: str, value: Any) -> list[str]:
    """Find values that JSON has not, and so no key and no stored file."""
    if isinstance(value, dict):
        return [
            fault for key, item in value.items() for fault in _value_faults(f"{place}.{key}", item)
        ]
    if isinstance(value, list):
        parts = enumerate(value, 1)
        return [fault for at, item in parts for fault in _value_faults(f"{place}[{at}]", item)]
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{place} is {value}: give a finite number"]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return [f"{place} is a number beyond 64 bits: give a smaller one"]
    if value is None or isinstance(value, str | bool | int | float):
        return []
    return [f"{place} is a {type(value).__name__}, {value}: write it as a string"]


def _repeated(names: list[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
