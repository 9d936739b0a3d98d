"""Do logits know labels of the fold that a stack is scored on? A test without a refit, and a bound.

The stack for outer fold ``k`` is fitted on OOF logits of the other folds. Those come from models
that were trained on fold ``k``, so they carry labels of fold ``k``; the logits of fold ``k`` itself
do not. Near a battle ``r`` of fold ``k``, the label of ``r`` therefore moves the logits of its
neighbors in other folds and leaves those of its neighbors in fold ``k`` as they are. The test
compares the two::

    contrast(r)  = mean logits of neighbors in other folds - mean logits of neighbors in fold k
    influence    = mean over r of (label(r) - label shares) . contrast(r)

Neighbors in all folds are as near, as many and drawn alike. So where no label reaches another
battle's logits, the influence is 0 in expectation, however good or bad the learner is and however
its logits vary. Where labels do, a stack that can tell the neighborhood can read them off the
contrast; the best linear use of it gains ``influence ** 2 / (2 * variance)`` nats a battle, which
is the size of the leak. The argument needs no model of the learner: it rests on battles of
different folds being exchangeable.

Neighbors are sought in every part of what the meta-learner sees, since a stack can only use a
neighborhood that it can tell.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import special

from ensemble.stacking.contrasts import Tested, figures_at
from ensemble.stacking.logits import centered
from ensemble.stacking.neighbors import SIZES, Battles, within_folds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ensemble.plugin.base import FloatArray, IntArray, MetaFeatures

ALPHA = 0.05
"""How often a leak is found in a run where there is none; shared among all tests of the run."""

CONFIDENCE = 0.95
"""One-sided: how sure the bound of a leak that was found is."""

_DEVIATIONS = float(special.ndtri(CONFIDENCE))
"""Standard errors up to that end."""

QUERIES = 10_000
"""Most battles whose neighbors are sought; all battles can be neighbors."""

MOST_LOCATIONS = 10
"""Locations of all logits but some: of more learners, some are left out together."""

_DIMENSIONS = 6
"""Principal components of a larger part are searched: neighbors in many dimensions are far."""


@dataclass(frozen=True)
class Leakage:
    """What the test found.

    Parameters
    ----------
    nats
        Bound on what a stack can gain by it, nats a battle; 0 where no leak was found.
    learners
        Learners whose logits know labels of other folds.
    location
        By what the neighborhood of the largest leak is told.
    statistic
        The largest influence in units of its standard error, in the direction that was tested.
    threshold
        What a statistic has to exceed, for all tests of the run together.
    tests
        How many there were: over learners, locations and numbers of neighbors, twice where either
        sign counts.
    tested
        The learners that were tested: those without pair fits.
    """

    nats: float
    learners: tuple[str, ...]
    location: str | None
    statistic: float
    threshold: float
    tests: int
    tested: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


class Location(NamedTuple):
    """A part of what the meta-learner sees.

    Parameters
    ----------
    name, parts
        What it is called, and its columns in parts of ``(n, some)`` each.
    learners
        Whose logits are in it.
    only
        The learners that are tested there; all are if there is none.
    """

    name: str
    parts: tuple[FloatArray, ...]
    learners: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def signs(self, learner: str) -> int:
        """Count the signs of a learner's influence that are tested: none, positive ones, both."""
        if self.only and learner not in self.only:
            return 0
        return 1 if learner in self.learners else 2


class _Test(NamedTuple):
    learner: str
    location: str
    statistic: float
    nats: float


def find_leakage(
    meta: MetaFeatures,
    labels: FloatArray,
    folds: IntArray,
    clusters: IntArray,
    learners: Sequence[str],
    *,
    seed: int = 0,
    threads: int = 1,
) -> Leakage:
    """Test whether logits know labels of other folds, and bound what a stack can gain by it.

    Parameters
    ----------
    meta
        OOF logits of all learners and features of ``n`` battles; logits are finite.
    labels
        ``(n, 3)`` distributions.
    folds, clusters
        ``(n,)``; a cluster lies within one fold.
    learners
        Names of the learners to test: those whose logits are not made for each outer fold.
    seed
        Chooses the battles where there are more than ``QUERIES``.
    threads
        CPU threads for the search of neighbors.

    Returns
    -------
    Leakage
        A test is significant at ``ALPHA`` divided by their number (Bonferroni). The bound is the
        greatest over significant tests, each with the influence at the upper end of its one-sided
        interval of ``CONFIDENCE``.

    Notes
    -----
    Where features are the location, influence of either sign counts. Logits tell a location less
    exactly, since those of two folds are of two models: one of them learned the label, so at the
    same logit its battles are others. Where the tested logits go along with the location's, that
    makes their influence slightly negative without any leak of their own. So a negative influence
    counts only for what the location leaves open: from the tested logits, their linear regression
    on the location is taken out, in each fold by itself, since the models of two folds also differ
    in how the two go along. Where a learner's own logits are in the location, nothing is left, and
    only a positive influence counts; a location of all the others' is there for the rest.

    Measured on two regressions on the same signals (2,000 battles, 25 seeds): the influence without
    a leak is -1 to -2 standard errors on average, -5 at worst, and -0.3 to +0.2 once the regression
    is taken out, which leaves the size of leaks. The correction is linear: beside boosted trees
    with a strong signal -0.7 remain, so false alarms are more frequent than ``ALPHA`` there. In two
    such worlds a leak was found in 5 and 9 of 50 runs; in 1 and 8 without negative influences and
    without locations that leave the tested logits out.

    Every learner is tested at every location. Of more than ``MOST_LOCATIONS`` learners, each is
    left out of the location of all the others together with those that are most like it.
    """
    tested = tuple(name for name in meta.learners if name in set(learners))
    order = np.argsort(folds, kind="stable")
    folds = folds[order]
    logits = within_folds(centered(meta.logits[order]), folds)
    places = list(_locations(meta, order, logits, tested))
    count = len(SIZES) * sum(place.signs(name) for place in places for name in tested)
    if not count:
        return Leakage(0.0, (), None, 0.0, 0.0, 0, tested)
    asked = np.arange(len(labels))
    if len(asked) > QUERIES:
        asked = np.sort(np.random.default_rng(seed).choice(asked, QUERIES, replace=False))
    battles = Battles(labels[order], folds, clusters[order], asked, threads)
    columns = [meta.learners.index(name) for name in tested]
    logits = np.ascontiguousarray(logits[:, columns].transpose(2, 0, 1))
    threshold = float(-special.ndtri(ALPHA / count))
    found = [t for place in places for t in _tests(place, logits, tested, battles, threshold)]
    significant = [test for test in found if test.statistic > threshold]
    largest = max(found, key=lambda test: test.statistic)
    worst = max(significant, key=lambda test: test.nats, default=None)
    return Leakage(
        nats=worst.nats if worst else 0.0,
        learners=tuple(n for n in tested if any(test.learner == n for test in significant)),
        location=worst.location if worst else None,
        statistic=largest.statistic,
        threshold=threshold,
        tests=count,
        tested=tested,
    )


def _locations(
    meta: MetaFeatures, order: IntArray, logits: FloatArray, tested: Sequence[str]
) -> Iterator[Location]:
    """Give every part of what the meta-learner sees: single ones, all, all but the tested one's."""
    features = _filled(meta.features[order])
    planes = [logits[:, i, 1:] for i in range(logits.shape[1])]  # the third follows from two
    for i, name in enumerate(meta.feature_names):
        yield Location(f"feature {name}", (features[:, i : i + 1],))
    for name, plane in zip(meta.learners, planes, strict=True):
        yield Location(f"logits of {name}", (plane,), (name,))
    if features.shape[1] > 1:
        yield Location("all features", (features,))
    if len(planes) > 2:
        yield Location("all logits", tuple(planes), meta.learners)
    if features.shape[1]:
        yield Location("all features and logits", (features, *planes), meta.learners)
    for name, group in _alike(planes, meta.learners).items():
        others = tuple(n for n in meta.learners if n not in group)
        only = tuple(n for n in group if n in set(tested))
        if not only or not others:
            continue
        parts = tuple(p for n, p in zip(meta.learners, planes, strict=True) if n in set(others))
        told = f"those of {name}" + (" and its like" if len(group) > 1 else "")
        if len(others) > 1:
            yield Location(f"all logits but {told}", parts, others, only)
        if features.shape[1]:
            every = (features, *parts)
            yield Location(f"all features and logits but {told}", every, others, only)


def _alike(planes: Sequence[FloatArray], learners: Sequence[str]) -> dict[str, list[str]]:
    """Group learners around some that are least alike; few are each a group of its own."""
    if len(learners) <= MOST_LOCATIONS:
        return {name: [name] for name in learners}
    flat = np.stack([plane.ravel() for plane in planes]).astype(np.float32)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.where(norms > 0, norms, 1.0)
    likeness = flat @ flat.T
    chosen = [0]
    while len(chosen) < MOST_LOCATIONS:
        nearest = likeness[chosen].max(axis=0)
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
    likeness[chosen, chosen] = np.inf  # each stands for itself
    closest = likeness[chosen].argmax(axis=0)
    return {
        learners[one]: [n for n, of in zip(learners, closest, strict=True) if of == at]
        for at, one in enumerate(chosen)
    }


def _tests(
    place: Location, logits: FloatArray, tested: Sequence[str], battles: Battles, threshold: float
) -> Iterator[_Test]:
    """Test each learner at one location with each number of neighbors."""
    signs = np.array([place.signs(name) for name in tested])
    if not signs.any():
        return
    x = _scaled(np.hstack(place.parts))
    left = np.flatnonzero((signs == 2) & bool(place.learners))
    columns = Tested.at(x, logits, battles.folds, np.flatnonzero(signs), left)
    signed = bool(place.learners)
    for figures in figures_at(x, columns, battles, threshold, signed=signed):
        for learner, influence, error, variance in zip(columns.learner, *figures, strict=True):
            size = influence if signed else abs(influence)
            yield _judged(tested[learner], place.name, float(size), float(error), float(variance))


def _judged(learner: str, location: str, size: float, error: float, variance: float) -> _Test:
    """Turn an influence, its standard error and the contrast's variance into a test."""
    if error <= 0 or variance <= 0:
        return _Test(learner, location, 0.0, 0.0)
    upper = max(size + _DEVIATIONS * error, 0.0)
    return _Test(learner, location, size / error, upper**2 / (2 * variance))


def _scaled(columns: FloatArray) -> FloatArray:
    """Standardize columns; of many, keep the first principal components."""
    spread = columns.std(axis=0)
    scaled = (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    if scaled.shape[1] <= _DIMENSIONS:
        return np.asarray(scaled)
    axes = np.linalg.eigh(scaled.T @ scaled)[1][:, ::-1]
    return np.asarray(scaled @ axes[:, :_DIMENSIONS])


def _filled(features: FloatArray | Any) -> FloatArray:
    """Put the column's median where a feature is undefined."""
    filled = np.array(features, dtype=np.float64)
    for column in filled.T:
        missing = ~np.isfinite(column)
        column[missing] = np.median(column[~missing]) if not missing.all() else 0.0
    return filled
