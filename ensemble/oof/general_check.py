"""What is asked of every learner, tried on a few battles: it fits, predicts and comes back."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.battles.schema import labels_of, learner_view
from ensemble.errors import EnsembleError, LearnerError
from ensemble.oof.calls import check_logits, check_same, predict_validated
from ensemble.oof.models import load_one
from ensemble.oof.preflight import quiet_context, sample, target_rows
from ensemble.plugin.contract import tolerance_of
from ensemble.plugin.faults import call_plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import BaseLearner

GENERAL_ROWS = 60
"""Battles of the config that a learner is tried on; two thirds of them are learned from."""
_ALONE = 5
FIT, LOGITS = "fit", "logits"


def general_checks(
    workspace: Workspace, spec: LearnerSpec
) -> Iterator[tuple[str, dict[str, Any] | EnsembleError]]:
    """Try a learner out; nothing of it stays.

    Parameters
    ----------
    workspace
        The run's battles and plan.
    spec
        The learner.

    Yields
    ------
    tuple
        The name of each check, and what was measured or what is wrong. Where it cannot be fitted
        or gives no logits, the rest is not asked.
    """
    with TemporaryDirectory() as place:
        trial = _Trial(workspace, spec, Path(place))
        for name, check in trial.checks().items():
            try:
                yield name, check()
            except EnsembleError as error:
                yield name, error
                if name in (FIT, LOGITS):
                    return


class _Trial:
    def __init__(self, workspace: Workspace, spec: LearnerSpec, place: Path) -> None:
        rows = sample(target_rows(workspace), GENERAL_ROWS)
        held_out = np.arange(len(rows)) % 3 == 2
        clusters = dict(workspace.plan.frame.select("id", "cluster").iter_rows())
        train = rows.filter(~held_out)
        self.spec, self.place = spec, place
        self.where = f"{spec.where}, on {len(train)} battles"
        self.battles, self.labels = learner_view(train), labels_of(train)
        self.groups = np.array([clusters[one] for one in train["id"]], dtype=np.int64)
        self.asked = learner_view(rows.filter(held_out))
        self.context = quiet_context(workspace, spec, place, len(train))
        self.pretrains = bool((workspace.plan.frame["role"] == "pretrain").any())

    def checks(self) -> dict[str, Callable[[], dict[str, Any]]]:
        return {
            FIT: self._fit,
            LOGITS: self._logits,
            "inputs": self._inputs,
            "order of rows": self._order,
            "one row alone": self._alone,
            "save and load": self._save,
            "same seed": self._again,
        }

    def _fit(self) -> dict[str, Any]:
        self.given = self._arguments()
        self.learner = self._fitted(*self.given)
        self.tolerance = tolerance_of(self.learner, self.where)
        return {"rows": len(self.battles)}

    def _logits(self) -> dict[str, Any]:
        asked = self.asked.clone()
        raw = call_plugin("predict_logits", self.where, lambda: self.learner.predict_logits(asked))
        self.logits = check_logits(raw, self.asked["id"], self.where)
        if not asked.equals(self.asked):
            raise _changed("predict_logits", "battles", self.where)
        return {"rows": len(asked)}

    def _inputs(self) -> dict[str, Any]:
        """See that a fit has left what it was given as it was."""
        names = ("battles", "labels", "sample_weight", "groups")
        for name, now, before in zip(names, self.given, self._arguments(), strict=True):
            same = now.equals(before) if name == "battles" else np.array_equal(now, before)
            if not same:
                raise _changed("fit", name, self.where)
        return {}

    def _order(self) -> dict[str, Any]:
        again = predict_validated(self.learner, self.asked.reverse(), self.where)[::-1]
        return self._compare(again, "in another order")

    def _alone(self) -> dict[str, Any]:
        """Predict a few battles each by itself."""
        rows = np.unique(np.linspace(0, len(self.asked) - 1, _ALONE).astype(int))
        parts = [predict_validated(self.learner, self.asked[[row]], self.where) for row in rows]
        again = self.logits.copy()
        again[rows] = np.concatenate(parts)
        return self._compare(again, "to a battle alone")

    def _save(self) -> dict[str, Any]:
        model = self.place / "model"
        model.mkdir()
        call_plugin("save", self.where, lambda: self.learner.save(model))
        loaded = load_one(self.spec, model, self.where)
        again = predict_validated(loaded, self.asked, self.where)
        return self._compare(again, "after save and load")

    def _again(self) -> dict[str, Any]:
        other = self._fitted(*self._arguments())
        again = predict_validated(other, self.asked, self.where)
        return self._compare(again, "after another fit with the same seed")

    def _compare(self, again: Any, what: str) -> dict[str, Any]:
        check_same(self.logits, again, self.tolerance, what, self.where)
        return {"difference": float(np.abs(self.logits - again).max(initial=0.0))}

    def _arguments(self) -> tuple[Any, ...]:
        weight = np.ones(len(self.battles))
        return self.battles.clone(), self.labels.copy(), weight, self.groups.copy()

    def _fitted(self, battles: Any, labels: Any, weight: Any, groups: Any) -> BaseLearner:
        learner: Any = self.spec.make()
        options = {"sample_weight": weight, "groups": groups, "context": self.context}
        if self.pretrains and hasattr(learner, "pretrain"):
            call_plugin(
                "pretrain", self.where, lambda: learner.pretrain(battles, labels, **options)
            )
        call_plugin("fit", self.where, lambda: learner.fit(battles, labels, **options))
        return learner  # type: ignore[no-any-return]


def _changed(verb: str, name: str, where: str) -> LearnerError:
    return LearnerError(
        f"{verb} changes the {name} that it is given", where=where, hint="work on a copy"
    )
