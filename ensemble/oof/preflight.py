"""What of a learner can be known to fail before it is fitted: files, ids, columns, the disk.

Nothing is learned and no weights are read, so that it costs next to nothing. What a class says of
itself is looked at before, in ``plugin.contract``.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.privileged import missing_by_source
from ensemble.battles.schema import labels_of, learner_view
from ensemble.errors import ArtifactError, ConfigError, DataError, EnsembleError
from ensemble.oof.calls import predict_validated
from ensemble.oof.origins import other_models
from ensemble.oof.provenance import check_brought_folds
from ensemble.plugin.base import FitContext
from ensemble.plugin.contract import resources_of, teachers_of
from ensemble.plugin.faults import call_plugin
from ensemble.plugin.parameters import path_parameters
from ensemble.run_dir.stack_files import peek_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ensemble.battles.held_out import FoldLike
    from ensemble.oof.fold_key import FitKeys
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import BaseLearner, LogitArray

    Task = tuple[LearnerSpec, FoldLike]

SAMPLE_ROWS = 6
"""Battles that columns and tokenizers are tried on."""
_ROW_BYTES = 32
"""Of a stored prediction, with its id."""
_GIB = 2**30


def unfinished(workspace: Workspace, tasks: Iterable[Task]) -> list[Task]:
    """Give the fits that are not there under their keys; the hashes of files are not looked at."""
    keys = workspace.fit_keys()
    return [task for task in tasks if not _is_there(workspace, keys, *task)]


def learner_faults(
    workspace: Workspace,
    spec: LearnerSpec,
    validate: Callable[[str, LogitArray], None] = lambda *_: None,
) -> list[str]:
    """Find what will fail whatever is learned.

    Parameters
    ----------
    workspace
        The run's battles and plan.
    spec
        The learner; its parameters are sound.
    validate
        ``validate(name, logits)`` raises where predictions of the target that come from outside
        cannot be meant.

    Returns
    -------
    list of str
        Errors as they are printed, each with learner and, where a file is wrong, its parameter.
    """
    learner = spec.make()  # its own code is asked, which may change it
    with TemporaryDirectory() as cache:
        checks = list(_checks(workspace, spec, learner, Path(cache)))
        faults = [told for check in checks if (told := _fault(spec, learner, check))]
        faults += _told_labels(workspace, spec)
        if not faults and not type(learner).trains:
            outside = _fault(spec, learner, lambda: validate(spec.name, _brought(workspace, spec)))
            faults += [outside] if outside else []
    return faults


def privileged_doubts(workspace: Workspace, spec: LearnerSpec) -> Iterator[str]:
    """Say what a user should know of a learner's privileged columns: gaps, and near labels."""
    rows = workspace.battles.filter(workspace.training(None))
    view = workspace.view(rows, spec.privileged)
    for column, counts in missing_by_source(rows["source"], view).items():
        told = [f"{n:,} rows of {source}" for source, n in counts.items() if n]
        if told:
            yield f"{spec.name}: {' and '.join(told)} have no {column}"
    for leak in workspace.label_leaks(spec.privileged):
        if not leak.is_certain:
            yield f"{spec.name}: the privileged {leak.sentence}: is it made from labels?"


def _told_labels(workspace: Workspace, spec: LearnerSpec) -> list[str]:
    """Refuse privileged columns that are the label in other words."""
    return [
        str(
            ConfigError(
                f"the privileged {leak.sentence}: a teacher that sees it has nothing to teach",
                where=f'learner "{spec.name}", privileged',
                hint="leave it out",
            )
        )
        for leak in workspace.label_leaks(spec.privileged)
        if leak.is_certain
    ]


def disk_faults(workspace: Workspace, tasks: Sequence[Task]) -> list[str]:
    """Say where the disk has clearly no room for what is to be fitted.

    Counted are predictions, and what learners say that a model takes (``Resources.disk_gib``).
    """
    needed = sum(fit_bytes(workspace, spec, fold) for spec, fold in tasks)
    free = shutil.disk_usage(workspace.run).free
    if needed <= free:
        return []
    told = EnsembleError(
        f"the disk has {free / _GIB:.3g} GiB left, and what is to be fitted takes "
        f"{needed / _GIB:.3g} GiB or more",
        where=str(workspace.run),
        hint="free space, or give the run a run_dir on another disk",
    )
    return [str(told)]


def sample(battles: pl.DataFrame, rows: int = SAMPLE_ROWS) -> pl.DataFrame:
    """Take a few battles from all over a table."""
    spread = np.linspace(0, max(len(battles) - 1, 0), min(rows, len(battles)))
    return battles[np.unique(spread.astype(int))]


def quiet_context(workspace: Workspace, spec: LearnerSpec, cache: Path, rows: int) -> FitContext:
    """Give a context for trying a learner out: what it keeps is thrown away.

    Parameters
    ----------
    workspace, spec
        Of which run, and for which learner.
    cache
        An empty directory.
    rows
        How many battles are learned from; teachers say nothing of them.
    """
    checkpoint = cache / "checkpoint"
    checkpoint.mkdir(exist_ok=True)
    names = teachers_of(spec.prototype, spec.where)
    return FitContext(
        cache_directory=cache,
        checkpoint_directory=checkpoint,
        device=workspace.device,
        threads=workspace.threads,
        teachers={name: np.zeros((rows, 3), dtype=np.float32) for name in names},
        ties=workspace.ties,
        privileged=spec.privileged,
    )


def _is_there(workspace: Workspace, keys: FitKeys, spec: LearnerSpec, fold: FoldLike) -> bool:
    directory = workspace.store.directory(spec.name, fold)
    try:
        manifest = peek_manifest(directory)
    except ArtifactError:
        return False
    key, _ = keys.of(spec, fold)
    return manifest.get("key") == key and not list(other_models(directory, manifest))


def _checks(
    workspace: Workspace, spec: LearnerSpec, learner: Any, cache: Path
) -> Iterator[Callable[[], Any]]:
    target, test = target_rows(workspace), workspace.test_rows()
    if not type(learner).trains:
        if hasattr(learner, "check_ids"):
            yield lambda: learner.check_ids(workspace.target_ids())
        if hasattr(learner, "check_test_ids") and len(test):
            yield lambda: learner.check_test_ids(test["id"].to_list())
        yield lambda: check_brought_folds(workspace, learner, spec.where)
    if hasattr(learner, "preflight"):
        few = sample(target) if spec.privileged else pl.concat([sample(target), sample(test)])
        battles = workspace.view(few, spec.privileged)
        context = quiet_context(workspace, spec, cache, 0)
        yield lambda: learner.preflight(battles, context=context)


def _fault(spec: LearnerSpec, learner: BaseLearner, check: Callable[[], Any]) -> str | None:
    try:
        call_plugin("preflight", spec.where, check)
    except EnsembleError as error:
        place = _place(spec, learner, error.where or "")
        return str(type(error)(error.message, where=place, hint=error.hint))
    return None


def _place(spec: LearnerSpec, learner: BaseLearner, where: str) -> str:
    """Name the learner where an error does not, and the parameter that gives a wrong file."""
    if f'"{spec.name}"' in where:
        return where
    keys = [
        name
        for name, paths in path_parameters(learner).items()
        if any(str(path) in where for path in paths)
    ]
    named = [f'learner "{spec.name}"', *(f"{key} =" for key in keys[:1])]
    return f"{', '.join(named)} {where}" if keys else ", ".join([*named, *filter(None, [where])])


def _brought(workspace: Workspace, spec: LearnerSpec) -> LogitArray:
    """Ask a learner that learns nothing for its predictions of the target, ``(n, 3)``.

    NaN where it has none, and where no fold asks for any.
    """
    learner: Any = spec.make()
    target, ids = target_rows(workspace), workspace.target_ids()
    few = sample(target)
    if hasattr(learner, "check_ids"):
        call_plugin("check_ids", spec.where, lambda: learner.check_ids(ids))
    with TemporaryDirectory() as cache:
        context = quiet_context(workspace, spec, Path(cache), len(few))
        call_plugin(
            "fit",
            spec.where,
            lambda: learner.fit(learner_view(few), labels_of(few), context=context),
        )
        _check_holdout(workspace, learner, spec)
        unscored = workspace.plan.frame.filter(workspace.plan.unscored())["id"]
        asked = ~target["id"].is_in(unscored.implode())
        logits = np.full((len(target), 3), np.nan, dtype=np.float32)
        rows = learner_view(target.filter(asked))
        logits[asked] = predict_validated(learner, rows, spec.where, may_lack=True)
        return logits


def _check_holdout(workspace: Workspace, learner: BaseLearner, spec: LearnerSpec) -> None:
    """Refuse predictions that lack rows of the hold-out: the last score needs all of them."""
    kept = learner_view(workspace.holdout_rows())
    logits = predict_validated(learner, kept, spec.where, may_lack=True)
    lacking = kept["id"].filter(pl.Series(np.isnan(logits).any(axis=1)))
    if len(lacking):
        shown = ", ".join(lacking.head(5))
        raise DataError(
            f"{len(lacking):,} rows of the hold-out have no prediction: {shown}",
            where=spec.where,
            hint="give predictions of them too, or set folds.holdout = 0",
        )


def target_rows(workspace: Workspace) -> pl.DataFrame:
    """Battles that are learned from and scored on."""
    return workspace.battles.filter(pl.col("role") == "target")


def fit_bytes(workspace: Workspace, spec: LearnerSpec, fold: FoldLike) -> float:
    """Say how many bytes a fit takes on the disk: predictions, and what it says of its model."""
    held_out = int(workspace.plan.held_out(fold).sum())
    asked = len(workspace.test_rows()) + len(workspace.holdout_rows())
    rows = (held_out + asked) * _ROW_BYTES
    model = resources_of(spec.prototype, spec.where).disk_gib * _GIB
    return spec.seeds * (rows + model)
