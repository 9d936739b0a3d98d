"""A close look at the predictions that matter most: the chosen candidate's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ensemble.evaluation.calibration import confusion, reliability
from ensemble.evaluation.ties import number_of_classes
from ensemble.report import tables
from ensemble.report.text import TEXT_LIMIT

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.evaluation.calibration import Reliability
    from ensemble.oof.eval_set import EvalSet
    from ensemble.plugin.base import FloatArray
    from ensemble.report.tables import Predictions
    from ensemble.run_dir.stack_records import Verdict

WORST = 15
"""How many badly predicted battles are shown."""

_TITLES = {"prompt": "Prompt", "response_a": "Response A", "response_b": "Response B"}


@dataclass(frozen=True)
class Text:
    """One text of a battle, cut for the page.

    Parameters
    ----------
    title
        Prompt, response A or response B.
    turns
        One item a turn; None for a turn that was null in the input.
    characters_left_out
        How much was cut.
    """

    title: str
    turns: tuple[str | None, ...]
    characters_left_out: int


@dataclass(frozen=True)
class WorstBattle:
    """A battle that was predicted badly.

    Parameters
    ----------
    id, source, fold
        Which one.
    loss
        Its log loss, nats.
    label, probabilities
        In ``CLASSES`` order.
    texts
        Prompt and responses; empty where the table of battles does not have them.
    """

    id: str
    source: str
    fold: int
    loss: float
    label: tuple[float, ...]
    probabilities: tuple[float, ...]
    texts: tuple[Text, ...]


@dataclass(frozen=True)
class SelectedModel:
    """The predictions that the report looks at most closely.

    Parameters
    ----------
    name
        The chosen candidate, or the best learner so far.
    is_chosen
        Whether a verdict chose it.
    log_loss
        From the predictions themselves.
    reliability, confusion, worst
        See ``ensemble.evaluation.calibration``.
    """

    name: str
    is_chosen: bool
    log_loss: float
    reliability: tuple[Reliability, ...]
    confusion: FloatArray
    worst: tuple[WorstBattle, ...]

    @property
    def accuracy(self) -> float:
        """Share of the labels that the most probable class meets."""
        return float(self.confusion.trace() / self.confusion.sum())

    @property
    def majority(self) -> float:
        """The accuracy of always naming the most frequent class."""
        return float(self.confusion.sum(axis=1).max() / self.confusion.sum())


def read_chosen(run: Path, verdict: Verdict | None, target: EvalSet | None) -> Predictions | None:
    """Read the predictions of the candidate that the verdict chose; None where there is none."""
    if verdict is None or target is None:
        return None
    return tables.read_stacked(run, verdict.chosen, target)


def collect_selected(
    run: Path,
    target: EvalSet | None,
    stacked: Predictions | None,
    learners: list[Predictions],
    *,
    ties: bool,
) -> SelectedModel | None:
    """Look closely at the chosen candidate, or at the best learner while there is none."""
    measured = [p for p in learners if np.isfinite(p.losses).any()]
    best = min(measured, key=lambda p: float(np.nanmean(p.losses)), default=None)
    predictions = stacked or best
    if target is None or predictions is None or not np.isfinite(predictions.losses).any():
        return None
    classes = number_of_classes(ties=ties)
    labels, probabilities = target.labels[:, :classes], predictions.probabilities[:, :classes]
    return SelectedModel(
        name=predictions.name,
        is_chosen=stacked is not None,
        log_loss=float(np.nanmean(predictions.losses)),
        reliability=reliability(labels, probabilities, target.clusters),
        confusion=confusion(labels, probabilities),
        worst=_worst(run, target, predictions, classes),
    )


def _worst(
    run: Path, target: EvalSet, predictions: Predictions, classes: int
) -> tuple[WorstBattle, ...]:
    """Take the battles with the highest loss."""
    measured = np.flatnonzero(np.isfinite(predictions.losses))
    order = measured[np.argsort(-predictions.losses[measured], kind="stable")][:WORST]
    rows = target.rows[order].rows(named=True)
    texts = tables.read_texts(run, [row["id"] for row in rows])
    return tuple(
        WorstBattle(
            id=row["id"],
            source=row["source"],
            fold=row["fold"],
            loss=float(predictions.losses[i]),
            label=tuple(target.labels[i, :classes].tolist()),
            probabilities=tuple(predictions.probabilities[i, :classes].tolist()),
            texts=tuple(_cut(_TITLES[name], turns) for name, turns in texts[row["id"]].items()),
        )
        for i, row in zip(order, rows, strict=True)
    )


def _cut(title: str, turns: list[str | None]) -> Text:
    """Keep the first characters of a text over all its turns, and count the rest."""
    kept: list[str | None] = []
    room = TEXT_LIMIT
    for turn in turns:
        if room > 0:
            kept.append(None if turn is None else turn[:room])
        room -= len(turn or "")
    return Text(title, tuple(kept), max(0, -room))
