"""The deep audit: stored models are asked again for what is stored of their predictions.

Hashes show that files are those that were written together. This shows that they belong together: a
model of another fold, a table of other predictions or a stack of other logits does not give again
what is stored, whatever hashes and manifests say.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ensemble.audit.audit import audit_run
from ensemble.audit.checks import CheckList, told_error
from ensemble.audit.fits import fits_of, joint_fits_of
from ensemble.audit.holdout import ask_holdout
from ensemble.audit.privileged import ONLY_TEACHERS
from ensemble.battles.labels import WINNER_COLUMN
from ensemble.battles.prepared import read_battles
from ensemble.battles.schema import learner_view
from ensemble.config.load import load_run_config
from ensemble.errors import ArtifactError, ConfigError, EnsembleError
from ensemble.failure import Failure
from ensemble.oof.calls import predict_validated
from ensemble.oof.predictions import read_logits
from ensemble.oof.soup import averaged_logits
from ensemble.oof.workspace import open_workspace
from ensemble.plugin.base import CLASSES
from ensemble.plugin.contract import tolerance_of
from ensemble.run_dir.layout import (
    CANDIDATES,
    OOF,
    OOF_CANDIDATES,
    STACK,
    SUBMISSION,
    TEST,
    TRIES,
    VERDICT,
)
from ensemble.run_dir.stack_files import peek_manifest, read_candidates, read_verdict
from ensemble.run_dir.tables import read_table
from ensemble.stacking.assemble import meta_features
from ensemble.stacking.build import make_stack
from ensemble.stacking.calls import predict_validated as predict_stack
from ensemble.stacking.left_out import as_stacked
from ensemble.stacking.listed import load_stack
from ensemble.stacking.made_from import read_stack_manifest, stacked_folds
from ensemble.stacking.remember import scored_by
from ensemble.stacking.settings import learner_specs, meta_learner_factory, stacked_specs
from ensemble.stacking.tries import TryStore
from ensemble.submission.forms import form_for, submission_frame
from ensemble.submission.parse import read_submission

if TYPE_CHECKING:
    from ensemble.audit.fits import Fit
    from ensemble.audit.result import Audit
    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import FloatArray, LogitArray
    from ensemble.submission.forms import Form

DEEP_ROWS = 32
"""Held-out, and test, rows that each stored model is asked for."""
_TOLERANCE = 1e-4
"""Of probabilities of a stack that is fitted anew or asked again, on this machine or another."""


def audit_deep(run: Path, rows: int = DEEP_ROWS) -> Audit:
    """Audit a run, and ask its stored models again.

    Parameters
    ----------
    run
        The run directory.
    rows
        How many held-out, and test, rows each stored model is asked for; the stack is made anew
        from the stored logits, of all rows.

    Returns
    -------
    Audit
        As ``audit_run``, with a check more for each stored model. A model whose plugin is not
        installed, or that cannot be loaded, is unproven.

    Raises
    ------
    ArtifactError, ConfigError
        As ``audit_run``.
    """
    plain = audit_run(run)
    ledger = CheckList(
        list(plain.checks), **{name: list(getattr(plain, name)) for name in plain.LISTS}
    )
    config = load_run_config(run, is_judged=True)
    try:
        workspace = open_workspace(config)
    except (ArtifactError, ConfigError):
        return plain  # the config describes other battles: that has failed already
    _ask_models(config, workspace, rows, ledger)
    if (run / STACK).exists():
        _ask_stack(config, workspace, rows, ledger)
    return replace(plain.of(ledger, plain.subject), deep=True)


def _ask_models(config: Config, workspace: Workspace, rows: int, ledger: CheckList) -> None:
    """Ask all models; those that may see no privileged column have to do without any."""
    without: dict[str, bool] = {}
    for spec in learner_specs(config):
        joint = joint_fits_of(workspace.store, spec.name)
        for fit in (*fits_of(spec.name, config, workspace.plan.n_splits), *joint):
            holds = _ask_again(workspace, spec, fit, rows, ledger)
            if holds is not None and not spec.privileged:
                without[fit.name] = holds
    if workspace.privileged is not None:
        odd = [name for name, holds in without.items() if not holds]
        title = f"{ONLY_TEACHERS}: all others predict what is stored without them"
        ledger.settle(title, ", ".join(odd), f"{len(without)} models")


def _ask_again(
    workspace: Workspace, spec: LearnerSpec, fit: Fit, rows: int, ledger: CheckList
) -> bool | None:
    """Predict a sample with a stored model, and hold it against what is stored.

    None where it could not be asked.
    """
    store = workspace.store
    directory = store.directory(spec.name, fit.held_out)
    if not directory.exists() or (fit.held_out.is_joint and not _keeps_model(directory)):
        return None  # noted as missing, or no model is kept of it
    title = f"{fit.name}: its model predicts what is stored"
    held_out = workspace.battles.filter(_is_held_out(workspace, fit))
    samples = {OOF: _sample(_askable(spec, directory, held_out), rows)}
    if not fit.held_out.is_joint and not spec.privileged:
        others = pl.concat([workspace.test_rows(), workspace.holdout_rows()])
        samples[TEST] = _sample(others, rows)
    try:
        model = store.load(spec, fit.held_out)
        gaps = {
            name: _gap(
                read_logits(directory / name, battles["id"]),
                predict_validated(
                    model, workspace.view(battles, spec.privileged), f"{fit.name}, {name}"
                ),
            )
            for name, battles in samples.items()
            if len(battles)
        }
        tolerance = tolerance_of(model, fit.name)
        if fit.held_out.is_soup:
            del model  # before the folds' models come into memory
            found = averaged_logits(store, spec, samples[TEST])
            gaps["averaged anew"] = _gap(read_logits(directory / TEST, samples[TEST]["id"]), found)
    except EnsembleError as error:
        ledger.note(ledger.unproven, f"{fit.name}, model: {told_error(error)}")
        return None
    odd = [
        f"{name} differs by up to {gap:.3g}" for name, gap in gaps.items() if not gap <= tolerance
    ]
    told = f"{', '.join(odd)} (allowed: {tolerance:.3g})" if odd else None
    asked = ", ".join(f"{len(rows)} rows of {name}" for name, rows in samples.items() if len(rows))
    asked += "; averaged anew" if fit.held_out.is_soup else ""
    ledger.settle(title, told, asked)
    return told is None


def _is_held_out(workspace: Workspace, fit: Fit) -> pl.Series:
    frame = workspace.plan.frame
    folds = list(fit.held_out.folds)
    return frame.select(pl.col("fold").is_in(folds).fill_null(value=False)).to_series()


def _askable(spec: LearnerSpec, directory: Path, held_out: pl.DataFrame) -> pl.DataFrame:
    """Leave out rows of which a learner that brings its predictions has none."""
    if type(spec.prototype).trains:
        return held_out
    try:
        logits = read_logits(directory / OOF, held_out["id"])
    except ArtifactError:
        return held_out  # damaged, which the plain audit has said
    return held_out.filter(pl.Series(np.isfinite(logits).all(axis=1)))


def _keeps_model(directory: Path) -> bool:
    """Say whether a pair fit has kept its model: where others asked it for labels or logits."""
    try:
        return bool(peek_manifest(directory)["key_parts"].get("keeps_model", False))
    except (ArtifactError, LookupError, TypeError, AttributeError):
        return False  # damaged, which the plain audit has said


def _sample(battles: pl.DataFrame, rows: int) -> pl.DataFrame:
    """Take rows that nobody can foresee: what is forged must not be able to spare them."""
    chosen = np.random.default_rng().permutation(len(battles))[:rows]
    return learner_view(battles[np.sort(chosen)])


def _gap(stored: FloatArray | LogitArray, again: FloatArray | LogitArray) -> float:
    """Give the greatest difference; infinite where a row is not stored."""
    if not len(stored):
        return 0.0
    if not np.isfinite(stored).all():
        return float("inf")
    return float(np.abs(stored - again).max())


def _ask_stack(config: Config, workspace: Workspace, rows: int, ledger: CheckList) -> None:
    """Make the stack anew beside the stored one, and ask the stored one for the submission."""
    title = "stack: made anew from the stored logits, it is the stored one"
    try:
        stack = read_stack_manifest(workspace.run)
        config, workspace = as_stacked(config, stack), workspace.with_folds(stacked_folds(stack))
        faults = _made_anew(config, workspace)
    except EnsembleError as error:
        ledger.note(ledger.unproven, f"stack: {told_error(error)}")
    except (LookupError, TypeError, ValueError) as error:
        ledger.fail(title, f"a file of it says something unexpected: {error}")
    else:
        ledger.settle(title, "; ".join(faults), "scores, verdict and predictions of all candidates")
    if (workspace.run / SUBMISSION).exists():
        _ask_submission(config, workspace, rows, ledger)
    ask_holdout(config, workspace, read_battles(workspace.run)[0], ledger)


def _made_anew(config: Config, workspace: Workspace) -> list[str]:
    stored = workspace.run / STACK
    names = [spec.name for spec in stacked_specs(config)]
    with TemporaryDirectory() as place:
        again = Path(place) / STACK
        made_by = peek_manifest(stored)
        same = {name: made_by[name] for name in ("key", "key_parts")}
        asked = {**same, "learners": names, "unproven": []}
        make_stack(
            config,
            workspace,
            again,
            asked,
            tries=_copied_tries(workspace, Path(place)),
            failed=[Failure(**one) for one in made_by.get("failed", ())],
        )
        faults = []
        for file, keys in (
            (OOF_CANDIDATES, ("candidate", "id")),
            (OOF, ("id",)),
        ):
            first, second = (
                read_table(directory / file, [*keys, *CLASSES]).sort(keys)
                for directory in (stored, again)
            )
            if not _same_predictions(first, second, keys):
                faults.append(f"{file} differs")
        faults += _differing_numbers(stored, again)
        if not _same_models(config, workspace, again):
            faults.append("a model differs")
    return faults


def _copied_tries(workspace: Workspace, place: Path) -> TryStore:
    """Copy what the run remembers: a stack that is made anew is no further try."""
    if (workspace.run / TRIES).exists():
        copytree(workspace.run / TRIES, place / TRIES)
    return TryStore(place, scored_by(workspace))


def _same_predictions(first: pl.DataFrame, second: pl.DataFrame, keys: tuple[str, ...]) -> bool:
    if not first.select(keys).equals(second.select(keys)):
        return False
    one, other = (frame.select(CLASSES).to_numpy().astype(np.float64) for frame in (first, second))
    return bool(np.allclose(one, other, rtol=0, atol=_TOLERANCE, equal_nan=True))


def _differing_numbers(stored: Path, again: Path) -> list[str]:
    """Hold the verdict and the scores against those made anew."""
    one, other = (read_verdict(directory) for directory in (stored, again))
    faults = [
        f"{VERDICT} has another {key}"
        for key in ("chosen", "metric", "rule", "best_simple")
        if one[key] != other[key]
    ]
    tables = [
        {entry["name"]: entry["log_loss"] for entry in read_candidates(d)["candidates"]}
        for d in (stored, again)
    ]
    if tables[0].keys() != tables[1].keys() or any(
        abs(loss - tables[1][name]) > _TOLERANCE for name, loss in tables[0].items()
    ):
        faults.append(f"{CANDIDATES} has other scores")
    return faults


def _same_models(config: Config, workspace: Workspace, again: Path) -> bool:
    """Ask all stored candidates and those made anew for the same rows."""
    target = workspace.eval_set
    names = [spec.name for spec in stacked_specs(config)]
    logits = [workspace.store.oof(name, target) for name in names]
    whole = np.asarray(~np.isnan(np.stack(logits, axis=1)).any(axis=(1, 2)))
    meta = meta_features(
        target.rows, names, logits, config.stack.features, None, ties=config.task.ties
    ).take(whole)
    factory = meta_learner_factory(config)
    stored = workspace.run / STACK
    for entry in read_verdict(again)["candidates"]:
        one, other = (
            predict_stack(load_stack(place, factory, entry["name"]), meta, "the stack")
            for place in (stored, again)
        )
        if not np.allclose(one, other, rtol=0, atol=_TOLERANCE):
            return False
    return True


def _ask_submission(config: Config, workspace: Workspace, rows: int, ledger: CheckList) -> None:
    """Ask the stored stack for a sample of the submission, from the stored test logits."""
    title = "submission: the stored stack predicts it"
    test = workspace.test_rows()
    asked = _sample(test, rows)
    names = [spec.name for spec in stacked_specs(config)]
    try:
        logits = [
            workspace.store.test_logits(name, config.models_of(name), asked["id"]) for name in names
        ]
        meta = meta_features(
            asked, names, logits, config.stack.features, None, ties=config.task.ties
        )
        model = load_stack(workspace.run / STACK, meta_learner_factory(config))
        again = predict_stack(model, meta, "the stack, on the test rows")
        written = read_submission(workspace.run / SUBMISSION)
    except EnsembleError as error:
        ledger.note(ledger.unproven, f"submission: {told_error(error)}")
        return
    joined = asked.select("id").join(written, on="id", how="left", maintain_order="left")
    fault = _submission_fault(form_for(config.task), joined, again)
    if set(written["id"]) != set(test["id"]):
        fault = "it has other rows than the test set"
    ledger.settle(title, fault, f"{len(asked)} rows")


def _submission_fault(form: Form, stored: pl.DataFrame, again: FloatArray) -> str | None:
    """Hold stored rows of a submission against predictions of them, ``(n, 3)``."""
    if not {*form.columns} <= {*stored.columns}:
        return f"it has not the columns {', '.join(form.columns)}"
    asked = submission_frame(form, stored["id"], again)
    if not form.is_winner:
        names = form.columns[1:]
        gap = _gap(stored.select(names).to_numpy(), asked.select(names).to_numpy())
        return f"it differs by up to {gap:.3g}" if gap > _TOLERANCE else None
    first, second = np.sort(again, axis=1)[:, :-3:-1].T
    sure = first - second > _TOLERANCE  # nobody can tell which of two equal ones was first
    other = (stored[WINNER_COLUMN] != asked[WINNER_COLUMN]).fill_null(value=True).to_numpy()
    wrong = int((other & sure).sum())
    return f"{wrong:,} of {len(stored):,} rows name another winner" if wrong else None
