"""What was checked of a learner: by its own check on a few battles, and by its stored models.

Nothing is written. What has not been fitted is said to be so, and counts as nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.held_out import REFIT, SOUP, HeldOut
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.errors import EnsembleError
from ensemble.oof.calls import check_same, predict_validated
from ensemble.oof.fold_key import fold_key
from ensemble.oof.origins import is_complete
from ensemble.oof.predictions import read_logits
from ensemble.plugin.base import FitContext
from ensemble.plugin.contract import tolerance_of
from ensemble.plugin.faults import call_plugin
from ensemble.run_dir.layout import OOF, TEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ensemble.battles.held_out import FoldLike
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace

OWN, PREFLIGHT = "own check", "before any fit"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked, or could not be.

    Parameters
    ----------
    learner
        Its name.
    what
        ``"before any fit"``, ``"own check"``, the name of a check that suits every learner, or the
        fold whose stored model was asked.
    ok
        True where it holds, False where it does not, None where there was nothing to check.
    detail
        In words: why not, or why nothing.
    measured
        What the check measured.
    warning
        Whether it holds, and ``detail`` says what its author should know all the same.
    """

    learner: str
    what: str
    ok: bool | None
    detail: str = ""
    measured: dict[str, Any] = field(default_factory=dict)
    warning: bool = False

    def line(self) -> str:
        """Give it as a line of text."""
        mark = {True: "ok  ", False: "FAIL", None: "--  "}[self.ok]
        mark = "warn" if self.warning else mark
        told = ", ".join(f"{name} {_short(value)}" for name, value in self.measured.items())
        return f"{mark}  {self.learner}, {self.what}: {self.detail or told or 'holds'}"

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON."""
        return asdict(self)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def stored_findings(workspace: Workspace, spec: LearnerSpec, rows: int) -> Iterator[Finding]:
    """Ask stored models for what they predicted: each fold's, the refit's and the soup.

    Parameters
    ----------
    workspace
        The run's battles and plan.
    spec
        The learner.
    rows
        How many battles each is asked for: from the shortest to the longest.
    """
    for fold in range(workspace.plan.n_splits):
        yield _stored(workspace, spec, fold, rows)
    for whole in () if spec.privileged else (REFIT, SOUP):
        found = _stored(workspace, spec, whole, rows)
        if found.ok is not None:
            yield found


def own_finding(workspace: Workspace, spec: LearnerSpec, rows: int) -> Finding | None:
    """Have a learner check itself on so many battles of the run; None where it has no check."""
    spec.check_secrets()
    own = getattr(spec.make(), "check", None)
    return None if own is None else _own(workspace, spec, own, rows)


def _own(
    workspace: Workspace, spec: LearnerSpec, own: Callable[..., dict[str, Any]], rows: int
) -> Finding:
    target = _spread(workspace.battles.filter(pl.col("role") == "target"), rows)
    battles = workspace.view(target, spec.privileged)
    where = f'learner "{spec.name}" (plugin "{spec.plugin_name}"), own check'
    with TemporaryDirectory() as cache:
        context = FitContext(
            cache_directory=Path(cache),
            device=workspace.device,
            threads=workspace.threads,
            ties=workspace.ties,
            privileged=spec.privileged,
        )
        try:
            measured = call_plugin("check", where, lambda: dict(own(battles, context=context)))
        except EnsembleError as error:
            return Finding(spec.name, OWN, False, str(error))
    return Finding(spec.name, OWN, True, measured=measured)


def _stored(workspace: Workspace, spec: LearnerSpec, fold: FoldLike, rows: int) -> Finding:
    """Predict a few battles with a stored model, as they were predicted when it was fitted."""
    held_out = HeldOut.of(fold)
    what = held_out.label
    directory = workspace.store.directory(spec.name, fold)
    key, _ = fold_key(spec, fold, workspace.shared_key())
    if not is_complete(directory, key):
        return Finding(spec.name, what, None, "not fitted with these settings")
    is_whole = not held_out.folds
    asked = workspace.test_rows() if is_whole else _held_out(workspace, held_out)
    if not len(asked):
        return Finding(spec.name, what, None, "there is no row that it has predicted")
    path = directory / (TEST if is_whole else OOF)
    known = np.isfinite(read_logits(path, asked["id"])).all(axis=1)
    if not known.any():
        return Finding(spec.name, what, None, "there is no row that it has predicted")
    chosen = _spread(asked.filter(pl.Series(known)), rows)
    battles = workspace.view(chosen, spec.privileged)
    stored = read_logits(path, battles["id"])
    where = f'learner "{spec.name}" (plugin "{spec.plugin_name}"), {what}'
    try:
        model = workspace.store.load(spec, fold)
        found = predict_validated(model, battles, where)
        check_same(stored, found, tolerance_of(model, where), "than it has stored", where)
    except EnsembleError as error:
        return Finding(spec.name, what, False, str(error))
    gap = float(np.abs(found - stored).max())
    return Finding(spec.name, what, True, measured={"rows": len(battles), "difference": gap})


def _held_out(workspace: Workspace, fold: HeldOut) -> pl.DataFrame:
    return workspace.battles.filter(workspace.plan.held_out(fold))


def _spread(battles: pl.DataFrame, rows: int) -> pl.DataFrame:
    """Take some battles, evenly from the shortest to the longest."""
    lengths = pl.sum_horizontal(pl.col(c).list.join("").str.len_bytes() for c in TEXT_COLUMNS)
    ordered = battles.sort(lengths, "id")
    chosen = np.unique(np.linspace(0, len(battles) - 1, min(rows, len(battles))).astype(int))
    return ordered[chosen]
