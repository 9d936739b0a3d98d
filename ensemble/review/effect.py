"""What changed labels do to the log loss on the target, so that nobody cleans by belief.

The same learner is fitted on the run's folds with and without the changes, under several seeds, and
both are scored on all target rows with the labels that their file has: a row that is left out of
training is scored all the same.

``measure_list`` takes a list as it is. A person has filled it in, but predictions chose its rows,
and those of one fold were made by models that had learned from the others: what is measured is then
a little too good. ``measure_share`` is exact: for each fold, the rows to leave out are chosen by
models that have seen neither that fold nor the rows themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.corrections import CORRECTION_SCHEMA, corrections_of
from ensemble.battles.held_out import HeldOut
from ensemble.battles.schema import labels_of
from ensemble.errors import DataError
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.workspace import open_workspace
from ensemble.run_dir.layout import REVIEW
from ensemble.sources.ablation import fold_losses
from ensemble.sources.evidence import Arm, effects
from ensemble.sources.settings import learner_of
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ensemble.config.settings import Config
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace
    from ensemble.sources.evidence import Effect

    Told = Callable[[str], None]

SEEDS = 3
"""Fits of each fold, with and without the changes."""
SHARES = (0.01, 0.03, 0.1)
"""Shares of a fold's training rows that are left out, the most contradicted first."""


def measure_list(config: Config, path: Path, learner: str | None, tell: Told) -> dict[str, Any]:
    """Measure what a list of the target's labels does.

    Parameters
    ----------
    config
        Of a run whose battles are prepared and split.
    path
        The list, as ``labels`` of the target would name it.
    learner
        A learner of the config; None is the proxy of source studies.
    tell
        Told what is being fitted.

    Returns
    -------
    dict[str, Any]
        ``rows`` that it leaves out and relabels; ``gain`` with its 95% interval, nats a battle,
        positive is better; ``exact`` (false); ``learner``, ``seeds``.

    Raises
    ------
    DataError
        As ``read_corrections``; or the list keeps every row.
    """
    bench = _Bench.of(config, learner, tell)
    sources = [
        source.model_copy(update={"labels": str(path) if source.role == "target" else None})
        for source in config.sources
    ]
    changes = corrections_of(config.model_copy(update={"sources": sources}), bench.alone.battles)
    if changes is None or not len(changes):
        raise DataError(
            "the list changes no row", where=str(path), hint="fill in its column action"
        )
    changed = replace(bench.alone, corrections=changes)
    name = fingerprint(changes.write_json())[:16]
    arm = bench.arm(f"list-{name}", lambda _fold, _seed: changed)
    (effect,) = effects(bench.baseline(), [arm], bench.clusters)
    left_out = int(changes["label_a"].is_null().sum())
    return {
        "rows": {"excluded": left_out, "relabeled": len(changes) - left_out},
        "exact": False,
        **bench.facts(),
        "gain": effect.gain.to_json(),
    }


def measure_shares(config: Config, learner: str | None, tell: Told) -> dict[str, Any]:
    """Measure what comes of leaving out the most contradicted rows of each fold's training.

    Parameters
    ----------
    config, learner, tell
        As in ``measure_list``.

    Returns
    -------
    dict[str, Any]
        ``shares``: for each of ``SHARES`` its ``gain``, whose intervals hold all at once with 95%;
        ``exact`` (true); ``learner``, ``seeds``. Where folds are blocks of time, the first is not
        scored: nobody has predicted the rows that it learns from.
    """
    bench = _Bench.of(config, learner, tell, with_suspects=True)
    suspects = {fold: bench.suspects(fold) for fold in bench.folds}

    def without(share: float) -> Callable[[int, int], Workspace]:
        def changed(fold: int, _seed: int) -> Workspace:
            ids = suspects[fold]
            return replace(bench.alone, corrections=_left_out(ids[: round(share * len(ids))]))

        return changed

    arms = [bench.arm(f"share-{share:g}", without(share)) for share in SHARES]
    found = effects(bench.baseline(), arms, bench.clusters)
    return {
        "exact": True,
        **bench.facts(),
        "shares": [
            _simultaneous(share, effect) for share, effect in zip(SHARES, found, strict=True)
        ],
    }


@dataclass(frozen=True)
class _Bench:
    alone: Workspace
    spec: LearnerSpec
    tell: Told
    folds: tuple[int, ...]

    @classmethod
    def of(
        cls, config: Config, learner: str | None, tell: Told, *, with_suspects: bool = False
    ) -> _Bench:
        workspace = replace(open_workspace(config), corrections=None)
        first = int(with_suspects and workspace.plan.is_ordered)
        folds = tuple(range(first, workspace.plan.n_splits))
        return cls(workspace, learner_of(config, learner), tell, folds)

    @property
    def scored(self) -> pl.DataFrame:
        """Rows that are scored: ``id``, ``cluster``, ``fold``."""
        frame = self.alone.plan.frame
        return frame.filter(pl.col("fold").is_in(self.folds)).select("id", "cluster", "fold")

    @property
    def clusters(self) -> Any:
        return self.scored["cluster"].to_numpy()

    def facts(self) -> dict[str, Any]:
        return {"learner": self.spec.name, "seeds": SEEDS, "scored_rows": len(self.scored)}

    def baseline(self) -> Arm:
        return self.arm("as-they-are", lambda _fold, _seed: self.alone)

    def arm(self, name: str, workspace: Callable[[int, int], Workspace]) -> Arm:
        """Fit all folds under each seed; fits are kept in the run, by name and key."""
        losses = [
            fold_losses(
                lambda fold, seed=seed: self._at(workspace(fold, seed), name, seed),  # type: ignore[misc]
                self.spec,
                self.scored,
                lambda text, seed=seed: self.tell(f"{name}, seed {seed}, {text}"),  # type: ignore[misc]
            )
            for seed in range(SEEDS)
        ]
        return Arm(np.stack(losses), self.scored["fold"].to_numpy())

    def suspects(self, fold: int) -> list[str]:
        """Order a fold's training rows of the target, the most contradicted first.

        The models that say so have seen neither the fold nor the row. Rows that no fold holds out,
        the first of time, are not among them.
        """
        place, doubts = self._at(self.alone, "pairs", 0), []
        learned = self.alone.training(fold, ("target",))
        for other in range(self.alone.plan.n_splits):
            asked = self.alone.plan.held_out(other) & learned
            if not asked.any():
                continue
            pair = HeldOut.of(sorted((fold, other)))
            self.tell(f"{pair.label}")
            fit_fold(place, self.spec, pair)
            rows = self.alone.battles.filter(asked)
            logits = place.store.predicted(self.spec.name, pair, rows["id"])
            losses = row_log_loss(labels_of(rows), softmax(logits))
            doubts.append(pl.DataFrame({"id": rows["id"], "doubt": losses}))
        return pl.concat(doubts).sort("doubt", "id", descending=[True, False])["id"].to_list()

    def _at(self, workspace: Workspace, name: str, seed: int) -> Workspace:
        """Keep fits apart, and name what they learn from: corrections are no part of a key."""
        corrections = workspace.corrections
        data = workspace.data_key
        if corrections is not None:
            data = fingerprint([data, corrections.write_json()])
        return replace(
            workspace,
            run=self.alone.run / REVIEW / name / f"seed-{seed}",
            seed=workspace.seed + seed,
            cache=workspace.cache_directory,
            data_key=data,
        )


def _left_out(ids: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"id": ids}, schema={"id": pl.String}).select(
        "id",
        *(
            pl.lit(None, kind).alias(name)
            for name, kind in CORRECTION_SCHEMA.items()
            if name != "id"
        ),
    )


def _simultaneous(share: float, effect: Effect) -> dict[str, Any]:
    gain = {"mean": effect.gain.mean, "low": effect.low, "high": effect.high}
    return {"share": share, "gain": gain}
