"""How optimistic the nested cross-validated score of a stack is.

::

    python benchmarks/nested_bias.py             # 10 repeats of 2,000 battles
    python benchmarks/nested_bias.py --quick     # a small look

Nested cross-validation keeps a candidate from seeing the labels of the fold that it is scored on.
It does not keep the base learners of the other folds from having seen them. What that is worth is
measured here, on generated battles: each candidate's nested score is compared with its score on
fresh labelled battles of the same world, which nobody has seen.

- ``optimism``: fresh minus nested, with the same models. Fresh rows are predicted by each fold's
  base learners and the candidate fitted on the other folds, without averaging over folds.
- ``deployed``: fresh minus nested, with what a run delivers: the candidate fitted on all folds, and
  base logits averaged over the folds' models. Negative: the run does better than its score.

- ``beyond``: optimism of a candidate beyond the mean optimism of the base learners, paired by
  repeat. Base learners' out-of-fold scores are honest by construction, so that their optimism is
  the luck of the rows drawn, which a candidate shares: what is left is the candidate's own.

All scores are log losses above that of the true label distribution on the same rows and labels.
That has the same mean difference as the plain log losses and much less noise.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from machine import describe_machine

from ensemble.battles.duplicates import find_duplicates
from ensemble.battles.folds import SourceAwareGroupKFold
from ensemble.battles.generated import TRUTH_COLUMNS, best_log_loss, generate_battles
from ensemble.battles.schema import learner_view
from ensemble.plugin.base import CLASSES, FitContext
from ensemble.stacking.assemble import meta_features
from ensemble.stacking.candidates import Candidate, simple_candidates
from ensemble.stacking.scoring import row_log_loss, softmax
from plugins.handcrafted import Handcrafted
from plugins.lightgbm_stacker import LightGBMStacker
from plugins.tfidf import Tfidf

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.plugin.base import BaseLearner, FloatArray, IntArray, LogitArray, MetaFeatures

FOLDS = 5
THREADS = 2
FRESH_SEED = 1_000_000
STACK_FEATURES = ("conversation",)
LEARNERS: dict[str, Callable[[], BaseLearner]] = {
    # Faster than the defaults: what is measured is a difference, not how good the learners are.
    "length": lambda: Handcrafted(features=["length"], n_models=2, learning_rate=0.1),
    "handcrafted": lambda: Handcrafted(n_models=2, learning_rate=0.1),
    "tfidf": Tfidf,
}


@dataclass(frozen=True)
class Sample:
    """Battles, their drawn labels ``(n, 3)`` and their true distributions ``(n, 3)``."""

    battles: pl.DataFrame
    labels: FloatArray
    truth: FloatArray

    @classmethod
    def draw(cls, rows: int, seed: int) -> Sample:
        """Draw target battles of the generated world."""
        drawn = generate_battles(target_rows=rows, external_rows=0, test_rows=0, seed=seed)
        labels = drawn.target.select(CLASSES).to_numpy().astype(np.float64)
        truth = drawn.truth.select(TRUTH_COLUMNS).to_numpy()
        return cls(learner_view(drawn.target), labels, truth)

    def regret(self, probabilities: FloatArray) -> FloatArray:
        """Give each row's log loss above that of the truth, with the drawn label."""
        own = row_log_loss(self.labels, probabilities)
        return np.asarray(own - row_log_loss(self.labels, self.truth))

    def expected_regret(self, probabilities: FloatArray) -> float:
        """Give the same in expectation over labels: for rows whose labels nobody has seen."""
        best = best_log_loss(pl.DataFrame(self.truth, schema=list(TRUTH_COLUMNS)))
        return float(row_log_loss(self.truth, probabilities).mean()) - best


@dataclass(frozen=True)
class BaseLogits:
    """Level 1: OOF logits ``(n, 3)`` a learner, and each fold's logits of fresh rows."""

    folds: IntArray
    clusters: IntArray
    oof: list[LogitArray]
    fresh: list[list[LogitArray]]
    """``fresh[fold][learner]``: ``(m, 3)``."""


def cross_fit(sample: Sample, fresh: Sample, seed: int) -> BaseLogits:
    """Fit every learner on every fold's training side."""
    found = find_duplicates(sample.battles).clusters
    clusters = sample.battles.join(found, on="id", maintain_order="left")["cluster"].to_numpy()
    splitter = SourceAwareGroupKFold(FOLDS, seed=seed)
    folds = splitter.assign(clusters, sample.labels).astype(np.int64)
    oof = [np.full((len(folds), 3), np.nan, dtype=np.float32) for _ in LEARNERS]
    outside: list[list[LogitArray]] = []
    for fold in range(FOLDS):
        train, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        outside.append([])
        for logits, make in zip(oof, LEARNERS.values(), strict=True):
            context = FitContext(seed=seed * FOLDS + fold, threads=THREADS)
            learner = make().fit(
                sample.battles[train],
                sample.labels[train],
                groups=clusters[train],
                context=context,
            )
            logits[held_out] = learner.predict_logits(sample.battles[held_out])
            outside[-1].append(learner.predict_logits(fresh.battles))
    return BaseLogits(folds, clusters, oof, outside)


def measure(rows: int, fresh_rows: int, seed: int) -> dict[str, dict[str, float]]:
    """Score base learners and candidates once: name to nested, fresh and deployed regrets."""
    sample, fresh = Sample.draw(rows, seed), Sample.draw(fresh_rows, FRESH_SEED + seed)
    base = cross_fit(sample, fresh, seed)
    scores = {
        name: _score_learner(index, base, sample, fresh) for index, name in enumerate(LEARNERS)
    }
    names = list(LEARNERS)
    meta = meta_features(sample.battles, names, base.oof, STACK_FEATURES, None)
    by_fold = [
        meta_features(fresh.battles, names, logits, STACK_FEATURES, None) for logits in base.fresh
    ]
    for candidate in _candidates():
        scores[candidate.name] = _score_candidate(candidate, meta, by_fold, base, sample, fresh)
    return scores


def _candidates() -> list[Candidate]:
    stack = Candidate("lightgbm", 4, LightGBMStacker, simple=False)
    return [*simple_candidates(len(LEARNERS)), stack]


def _score_learner(index: int, base: BaseLogits, sample: Sample, fresh: Sample) -> dict[str, float]:
    outside = [logits[index] for logits in base.fresh]
    return {
        "nested": float(sample.regret(softmax(base.oof[index])).mean()),
        "fresh": _mean_by_fold(base, [fresh.expected_regret(softmax(z)) for z in outside]),
        "deployed": fresh.expected_regret(softmax(np.mean(outside, axis=0))),
    }


def _score_candidate(
    candidate: Candidate,
    meta: MetaFeatures,
    by_fold: list[MetaFeatures],
    base: BaseLogits,
    sample: Sample,
    fresh: Sample,
) -> dict[str, float]:
    nested, outside = np.full((len(meta), 3), np.nan), []
    for fold in range(FOLDS):
        rows = np.flatnonzero(base.folds != fold)
        model = candidate.make().fit(
            meta.take(rows),
            sample.labels[rows],
            groups=base.clusters[rows],
            context=FitContext(seed=fold, threads=THREADS),
        )
        held_out = np.flatnonzero(base.folds == fold)
        nested[held_out] = model.predict_proba(meta.take(held_out))
        outside.append(fresh.expected_regret(model.predict_proba(by_fold[fold])))
    final = candidate.make().fit(
        meta, sample.labels, groups=base.clusters, context=FitContext(seed=FOLDS, threads=THREADS)
    )
    return {
        "nested": float(sample.regret(nested).mean()),
        "fresh": _mean_by_fold(base, outside),
        "deployed": fresh.expected_regret(final.predict_proba(_averaged(by_fold))),
    }


def _averaged(by_fold: list[MetaFeatures]) -> MetaFeatures:
    """Average the logits of all folds' models; the features are the same in each."""
    first = by_fold[0]
    logits = np.mean([meta.logits for meta in by_fold], axis=0).astype(np.float32)
    return type(first)(
        logits,
        first.learners,
        first.features,
        first.feature_names,
        first.feature_swap,
        first.feature_sign,
    )


def _mean_by_fold(base: BaseLogits, values: list[float]) -> float:
    """Weigh folds by their rows, as the nested score does."""
    return float(np.average(values, weights=np.bincount(base.folds, minlength=FOLDS)))


def summarize(repeats: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Give mean and standard error over repeats of each difference, by name."""
    tables = {
        name: {key: np.array([r[name][key] for r in repeats]) for key in scores}
        for name, scores in repeats[0].items()
    }
    luck = np.mean([tables[name]["fresh"] - tables[name]["nested"] for name in LEARNERS], axis=0)
    summary = {}
    for name, table in tables.items():
        optimism = table["fresh"] - table["nested"]
        differences = {
            "optimism": optimism,
            "beyond": optimism - luck,
            "deployed": table["deployed"] - table["nested"],
        }
        row = {"nested": float(table["nested"].mean()), "fresh": float(table["fresh"].mean())}
        for key, values in differences.items():
            row[key] = float(values.mean())
            row[f"{key}_se"] = float(values.std(ddof=1) / np.sqrt(len(values)))
        summary[name] = row
    return summary


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000, help="battles of a repeat")
    parser.add_argument("--fresh-rows", type=int, default=8000, help="fresh battles of a repeat")
    parser.add_argument("--repeats", type=int, default=10, help="2 or more")
    parser.add_argument("--quick", action="store_true", help="400 battles, 600 fresh, 2 repeats")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows, fresh_rows, count = (
        (400, 600, 2) if asked.quick else (asked.rows, asked.fresh_rows, asked.repeats)
    )
    start = time.perf_counter()
    summary = summarize([measure(rows, fresh_rows, seed) for seed in range(count)])
    if asked.json:
        print(json.dumps(summary, indent=2))
        return
    print(f"{count} repeats of {rows} battles, {fresh_rows} fresh; log loss above the truth's")
    columns = ("optimism", "beyond", "deployed")
    print(f"{'':16}{'nested':>9}{'fresh':>9}" + "".join(f"{name:>18}" for name in columns))
    for name, row in summary.items():
        cells = "".join(f"{row[key]:+10.4f} ±{row[f'{key}_se']:.4f}" for key in columns)
        print(f"{name:16}{row['nested']:9.4f}{row['fresh']:9.4f}{cells}")
    print(f"{time.perf_counter() - start:.0f} s on {describe_machine()}")


if __name__ == "__main__":
    main()
