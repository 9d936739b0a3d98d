"""One fit of a learner under one seed: fit, predict, save, and see that it comes back as it was."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import polars as pl

from ensemble.oof.calls import check_same, predict_validated
from ensemble.oof.kept_fit import KEPT, KeptFit, seed_key
from ensemble.oof.models import load_one
from ensemble.oof.predictions import prediction_frame
from ensemble.plugin.contract import told_of_fit, tolerance_of
from ensemble.plugin.faults import call_plugin
from ensemble.run_dir.layout import MODEL, OOF, TEST
from ensemble.run_dir.tables import write_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from ensemble.oof.rows import FoldRows, TrainingRows
    from ensemble.oof.spec import LearnerSpec
    from ensemble.plugin.base import BaseLearner, FitContext, LogitArray

_PROBED = 4
"""Battles predicted once more after a fit: in another order, and by the model as it was saved."""


class FitFacts(TypedDict):
    """What the manifest says of a fit that is known only once it is done."""

    seconds: dict[str, float]
    batch_tolerance: float
    cautions: list[str]
    doubts: list[str]


@dataclass(frozen=True)
class SeedFit:
    """One fit of a learner, under the seed of its context.

    Parameters
    ----------
    spec
        The learner.
    where
        Names learner, plugin and fold in errors.
    rows
        What it learns from and what it predicts.
    target_ids
        Ids of all target rows, which a learner that brings its own predictions may look at.
    key
        Names all that what is stored depends on: the fold's key.
    stored
        What is stored of ``OOF``, ``TEST`` and ``MODEL``.
    fit_key
        Names all that the fit depends on; it is then kept until the fold is complete. None keeps
        nothing.
    """

    spec: LearnerSpec
    where: str
    rows: FoldRows
    target_ids: list[str]
    key: str
    stored: frozenset[str] = frozenset({OOF, TEST, MODEL})
    fit_key: str | None = None

    def into(self, place: Path, context: FitContext) -> FitFacts:
        """Fit, and fill a directory with what is stored.

        Returns
        -------
        FitFacts
            Seconds of ``fit`` and ``predict``, how far the logits of a battle were allowed to
            differ between batches, and what the learner tells of its fit.

        Raises
        ------
        LearnerError
            As ``fit_fold`` says.
        """
        kept = self._kept(context)
        # The learner lives in there alone: a large model must not be in memory twice.
        probe, facts = self._fit_and_save(place, context, kept)
        if MODEL in self.stored:
            self._check_saved(place / MODEL, probe)
        return facts

    def _kept(self, context: FitContext) -> KeptFit | None:
        """Say where the fit is kept once it is done; None where it is not worth while."""
        if self.fit_key is None or context.checkpoint_directory is None:
            return None
        return KeptFit(
            self.spec,
            self.where,
            context.checkpoint_directory / KEPT,
            seed_key(self.fit_key, context.seed),
        )

    def _fit_and_save(
        self, place: Path, context: FitContext, kept: KeptFit | None
    ) -> tuple[_Probe, FitFacts]:
        self.spec.check_secrets()
        learner, seconds = self._fitted(context, kept)
        rows, clock = self.rows, time.perf_counter()
        oof = predict_validated(learner, rows.held_out, self.where, may_lack=True)
        asked = rows.asked
        test = predict_validated(learner, asked, self.where)
        seconds_of = {"fit": seconds, "predict": time.perf_counter() - clock}
        tolerance = tolerance_of(learner, self.where)
        known = np.isfinite(oof).all(axis=1)
        held_out = (rows.held_out.filter(pl.Series(known)), oof[known])
        battles, logits = held_out if known.any() else (asked, test)
        probe = _Probe.of(battles, logits, tolerance)
        self._check_order(learner, probe)
        write_table(place / OOF, prediction_frame(rows.held_out["id"], oof))
        if TEST in self.stored:
            write_table(place / TEST, prediction_frame(asked["id"], test))
        is_copied = kept is not None and kept.copy(place / MODEL)
        if MODEL in self.stored and not is_copied:
            (place / MODEL).mkdir()
            call_plugin("save", self.where, lambda: learner.save(place / MODEL))
        told = told_of_fit(learner, self.where)
        return probe, FitFacts(
            seconds=seconds_of,
            batch_tolerance=tolerance,
            cautions=told["cautions"],
            doubts=told["doubts"],
        )

    def _fitted(self, context: FitContext, kept: KeptFit | None) -> tuple[BaseLearner, float]:
        """Give the fitted learner, and the seconds that its fit took: now, or in a former run."""
        if kept is not None and (found := self._come_back(kept)) is not None:
            return found
        learner = self.spec.make()
        self._check_ids(learner)
        clock = time.perf_counter()
        self._fit(learner, context)
        seconds = time.perf_counter() - clock
        if kept is not None:
            kept.keep(learner, seconds)
            battles = self._asked()
            kept.say(battles["id"], predict_validated(learner, battles, self.where))
        return learner, seconds

    def _come_back(self, kept: KeptFit) -> tuple[BaseLearner, float] | None:
        """Give the learner that is kept; None where nobody knows that it is the one fitted."""
        found = kept.load()
        if found is None:
            return None
        battles = self._asked()
        logits = predict_validated(found[0], battles, self.where)
        is_same = kept.is_same(battles["id"], logits, tolerance_of(found[0], self.where))
        return found if is_same else None

    def _asked(self) -> pl.DataFrame:
        """Give the few battles that a learner is asked about before and after it was saved."""
        battles = self.rows.held_out if len(self.rows.held_out) else self.rows.asked
        return battles[_probed_rows(len(battles))]

    def _check_ids(self, learner: BaseLearner) -> None:
        """Let a learner that brings its own predictions refuse foreign ids."""
        if type(learner).trains:  # what is learned from is all that it may know of
            return
        if hasattr(learner, "check_ids") and len(self.rows.held_out):
            call_plugin("check_ids", self.where, lambda: learner.check_ids(self.target_ids))
        if hasattr(learner, "check_test_ids") and len(self.rows.test):
            ids = self.rows.test["id"].to_list()
            call_plugin("check_test_ids", self.where, lambda: learner.check_test_ids(ids))

    def _fit(self, learner: BaseLearner, context: FitContext) -> None:
        """Pre-train where there are rows and a way to, then fit."""
        train = self.rows.train
        if pretraining(self.spec, self.rows) == "used":
            # What teachers say is about the rows of `fit`.
            method = learner.pretrain  # type: ignore[attr-defined]
            self._learn("pretrain", method, self.rows.pretrain, replace(context, teachers={}))
            train = train.watched_apart_from(self.rows.pretrain)
        self._learn("fit", learner.fit, train, context)

    def _learn(
        self, verb: str, method: Callable[..., Any], rows: TrainingRows, context: FitContext
    ) -> None:
        # Copies: what one seed's learner does to them must not reach the next one's, nor what is
        # recorded of the fit.
        context = replace(
            context,
            offset=_copied(rows.offset),
            eval_mask=_copied(rows.eval_mask),
            teachers={name: logits.copy() for name, logits in context.teachers.items()},
        )
        options = {
            "sample_weight": rows.weight.copy(),
            "groups": rows.groups.copy(),
            "context": context,
        }
        call_plugin(
            verb, self.where, lambda: method(rows.battles.clone(), rows.labels.copy(), **options)
        )

    def _check_order(self, learner: BaseLearner, probe: _Probe) -> None:
        """Predict a few battles in another order: sorted or batch-dependent logits show."""
        again = predict_validated(learner, probe.battles, self.where)
        what = "for the same battles in another order or batch"
        check_same(probe.logits, again, probe.tolerance, what, self.where)

    def _check_saved(self, model: Path, probe: _Probe) -> None:
        """Predict them with the model as it comes back from its files: a lost head shows."""
        loaded = load_one(self.spec, model, self.where)
        again = predict_validated(loaded, probe.battles, self.where)
        check_same(probe.logits, again, probe.tolerance, "after save and load", self.where)


def pretraining(spec: LearnerSpec, rows: FoldRows) -> str:
    """Say what becomes of the rows for pre-training: ``none``, ``unsupported`` or ``used``."""
    if not len(rows.pretrain.battles):
        return "none"
    return "used" if hasattr(spec.prototype, "pretrain") else "unsupported"


@dataclass(frozen=True)
class _Probe:
    """A few battles in an order of their own, and the logits that they got."""

    battles: pl.DataFrame
    logits: LogitArray
    tolerance: float

    @classmethod
    def of(cls, battles: pl.DataFrame, logits: LogitArray, tolerance: float) -> _Probe:
        rows = _probed_rows(len(battles))
        return cls(battles[rows], logits[rows], tolerance)


def _probed_rows(battles: int) -> NDArray[np.intp]:
    spread = np.linspace(0, max(battles - 1, 0), min(_PROBED, battles))
    return np.unique(spread.astype(np.intp))[::-1]


def _copied(values: NDArray[Any] | None) -> NDArray[Any] | None:
    return None if values is None else values.copy()
