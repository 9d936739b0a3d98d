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
from scipy import stats
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from ensemble.stacking.logits import centered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ensemble.plugin.base import BoolArray, FloatArray, IntArray, MetaFeatures

SIZES = (1, 4, 16)
"""Numbers of neighbors a fold."""

ALPHA = 0.05
"""How often a leak is found in a run where there is none; shared among all tests of the run."""

CONFIDENCE = 0.95
"""One-sided: how sure the bound of a leak that was found is."""

_DEVIATIONS = float(stats.norm.ppf(CONFIDENCE))
"""Standard errors up to that end."""

QUERIES = 10_000
"""Most battles whose neighbors are sought; all battles can be neighbors."""

MOST_LOCATIONS = 10
"""Learners whose logits are searched with all battles; of more, those that a quick look finds."""
_GLANCED = 2_000
"""Most battles of that quick look, and the number of neighbors there."""
_GLANCED_SIZE = 4

_SPARE = 4
"""Further neighbors in the own fold, for those that are of the battle's own cluster."""

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

    Of more than ``MOST_LOCATIONS`` learners, the logits of that many are tested as locations: those
    at which a quick look, with fewer battles, finds the largest statistics. All that were looked at
    count as tests. And each learner is left out of the location of all the others together with
    those that are most like it. Every learner is tested.
    """
    tested = tuple(name for name in meta.learners if name in set(learners))
    logits = _within_folds(centered(meta.logits), folds)
    places = list(_locations(meta, logits, tested))
    count = len(SIZES) * sum(place.signs(name) for place in places for name in tested)
    if not count:
        return Leakage(0.0, (), None, 0.0, 0.0, 0, tested)
    rows = np.arange(len(labels))
    if len(rows) > QUERIES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, QUERIES, replace=False))
    columns = [meta.learners.index(name) for name in tested]
    logits = logits if tested == meta.learners else np.ascontiguousarray(logits[:, columns])
    asked = _Asked(logits, tested, labels, folds, clusters, rows, threads)
    found = [test for place in _promising(places, asked) for test in _tests(place, asked)]
    threshold = float(stats.norm.isf(ALPHA / count))
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


def _locations(meta: MetaFeatures, logits: FloatArray, tested: Sequence[str]) -> Iterator[Location]:
    """Give every part of what the meta-learner sees: single ones, all, all but the tested one's."""
    features = _filled(meta.features)
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


class _Asked(NamedTuple):
    """Whose logits are tested, and with which battles; as ``find_leakage`` takes them."""

    logits: FloatArray
    learners: Sequence[str]
    labels: FloatArray
    folds: IntArray
    clusters: IntArray
    rows: IntArray
    threads: int


def _promising(places: list[Location], asked: _Asked) -> list[Location]:
    """Leave out those of many learners' logits at which a quick look finds little."""
    single = [place for place in places if len(place.learners) == 1]
    if len(single) <= MOST_LOCATIONS:
        return places
    few = asked._replace(rows=asked.rows[:: -(-len(asked.rows) // _GLANCED)])
    strength = {
        place.name: max(abs(t.statistic) for t in _tests(place, few, (_GLANCED_SIZE,), left=False))
        for place in single
    }
    weakest = sorted(strength, key=strength.__getitem__)[:-MOST_LOCATIONS]
    return [place for place in places if place.name not in set(weakest)]


def _tests(
    place: Location, asked: _Asked, sizes: Sequence[int] = SIZES, *, left: bool = True
) -> Iterator[_Test]:
    """Test each learner at one location with each number of neighbors.

    Parameters
    ----------
    place
        The location.
    asked
        What is tested.
    sizes
        Numbers of neighbors.
    left
        Whether what a location of logits leaves open is tested for a negative influence.
    """
    _, _, labels, folds, clusters, rows, threads = asked
    shares = labels.mean(axis=0)
    spread = np.diag(shares) - np.outer(shares, shares)
    x = _scaled(np.hstack(place.parts))
    neighbors, usable = _neighbors(x, folds, clusters, rows, threads)
    kept = rows[usable]
    count = max(len(kept), 1)
    surprise = (labels - shares)[kept]
    number = np.unique(clusters[kept], return_inverse=True)[1]
    by_cluster = csr_matrix((np.ones(len(kept)), (number, np.arange(len(kept)))))
    contrasts = _Contrasts.at(place, x, asked, left=left)
    for size in sizes:
        compare = _comparison(neighbors, (len(rows), len(labels)), size)[usable]
        contrast = _within_folds(contrasts.of(compare), folds[kept])
        products = np.einsum("nc,nwc->nw", surprise, contrast)
        influence = products.sum(axis=0) / count
        errors = np.sqrt(((by_cluster @ (products - influence)) ** 2).sum(axis=0)) / count
        variances = np.einsum("nwc,nwd->wcd", contrast, contrast).reshape(-1, 9) @ spread.ravel()
        influence = influence if place.learners else np.abs(influence)
        found = zip(contrasts.learners, influence, errors, variances / count, strict=True)
        for learner, *figures in found:
            yield _judged(learner, place.name, *map(float, figures))


@dataclass(frozen=True)
class _Contrasts:
    """The logits whose contrasts are tested at one location.

    Parameters
    ----------
    learners
        Whose they are; those that are tested for a negative influence too come twice.
    logits
        ``(n, n_tested, 3)``.
    both
        Which of ``n_tested`` come a second time, with what the location leaves open.
    x, slopes
        The location ``(n, d)``, fold's means removed, and for each fold its rows and the linear
        regression ``(d, n_both, 3)`` of the logits on it.
    """

    learners: Sequence[str]
    logits: FloatArray
    both: Sequence[int] = ()
    x: FloatArray | None = None
    slopes: Sequence[tuple[IntArray, FloatArray]] = ()

    @classmethod
    def at(cls, place: Location, x: FloatArray, asked: _Asked, *, left: bool) -> _Contrasts:
        """Take the learners that are tested at a location."""
        here = [i for i, learner in enumerate(asked.learners) if place.signs(learner)]
        every = len(here) == len(asked.learners)
        logits = asked.logits if every else np.ascontiguousarray(asked.logits[:, here])
        learners = [asked.learners[i] for i in here]
        if not (place.learners and left):
            return cls(learners, logits)
        both = [i for i, learner in enumerate(learners) if place.signs(learner) == 2]
        x = _within_folds(x, asked.folds)
        folds = [np.flatnonzero(asked.folds == fold) for fold in np.unique(asked.folds)]
        slopes = [(rows, _slope(x[rows], logits[rows])[:, both]) for rows in folds]
        return cls([*learners, *(learners[i] for i in both)], logits, both, x, slopes)

    def of(self, compare: csr_matrix) -> FloatArray:
        """Compare neighbors: ``(lines, len(learners), 3)`` for ``(lines, n)`` weights of rows."""
        flat = self.logits.reshape(len(self.logits), -1)
        found = (compare @ flat).reshape(-1, *self.logits.shape[1:])
        if self.x is None:
            return np.asarray(found)
        # What the location tells is taken out behind the comparison: it has few columns.
        by_columns = compare.tocsc()
        told = sum(
            np.tensordot(by_columns[:, rows] @ self.x[rows], slope, axes=1)
            for rows, slope in self.slopes
        )
        left = found[:, self.both] - told
        # What is left of the logits stands behind them, for the negative sign.
        return np.concatenate([found, -left], axis=1)


def _slope(x: FloatArray, logits: FloatArray) -> FloatArray:
    """Regress logits ``(n, k, 3)`` on a location ``(n, d)``: ``(d, k, 3)``."""
    inverse = np.linalg.pinv(x, rcond=np.finfo(np.float64).eps * len(x))
    return np.asarray(np.tensordot(inverse, logits, axes=1))


def _judged(learner: str, location: str, size: float, error: float, variance: float) -> _Test:
    """Turn an influence, its standard error and the contrast's variance into a test."""
    if error <= 0 or variance <= 0:
        return _Test(learner, location, 0.0, 0.0)
    upper = max(size + _DEVIATIONS * error, 0.0)
    return _Test(learner, location, size / error, upper**2 / (2 * variance))


class _Fold(NamedTuple):
    """Neighbors in one fold: of the rows of other folds, and of its own.

    Parameters
    ----------
    inside
        ``(len(rows),)`` mask of the rows that are of the fold.
    other, own
        Their neighbors, nearest first; those of ``own`` that are of another cluster come first.
    there
        How many of each line of ``own`` are.
    share
        Part that the fold has in the mean over other folds.
    """

    inside: BoolArray
    other: IntArray
    own: IntArray
    there: IntArray
    share: float


def _neighbors(
    x: FloatArray, folds: IntArray, clusters: IntArray, rows: IntArray, threads: int
) -> tuple[list[_Fold], BoolArray]:
    """Find neighbors in each fold, and mark the rows that have one in their own."""
    found, usable = [], np.ones(len(rows), dtype=bool)
    numbers = np.unique(folds)
    for fold in numbers:
        members = np.flatnonzero(folds == fold)
        tree = cKDTree(x[members])
        inside = folds[rows] == fold
        other = members[_nearest(tree, x[rows[~inside]], max(SIZES), threads)]
        own = members[_nearest(tree, x[rows[inside]], max(SIZES) + _SPARE, threads)]
        foreign = clusters[own] != clusters[rows[inside]][:, None]
        own = np.take_along_axis(own, np.argsort(~foreign, axis=1, kind="stable"), axis=1)
        there = foreign.sum(axis=1)
        usable[inside] = there > 0
        found.append(_Fold(inside, other, own, there, 1 / max(len(numbers) - 1, 1)))
    return found, usable


def _comparison(neighbors: Sequence[_Fold], shape: tuple[int, int], size: int) -> csr_matrix:
    """Weigh neighbors in other folds against those in the own: a sparse ``(queries, n)``."""
    lines, columns, weights = [], [], []
    for fold in neighbors:
        other, own = fold.other[:, :size], fold.own[:, :size]
        there = np.arange(own.shape[1]) < np.maximum(fold.there, 1)[:, None]
        for inside, found, used, share in (
            (~fold.inside, other, np.full(other.shape, True), fold.share),
            (fold.inside, own, there, -1.0),
        ):
            counts = used.sum(axis=1)
            lines.append(np.repeat(np.flatnonzero(inside), counts))
            columns.append(found[used])
            weights.append(np.repeat(share / counts, counts))
    entries = np.concatenate(weights), (np.concatenate(lines), np.concatenate(columns))
    return csr_matrix(entries, shape=shape)


def _nearest(tree: cKDTree, points: FloatArray, count: int, threads: int) -> IntArray:
    """Find the nearest of a tree's points: ``(len(points), at most count)`` indices into it."""
    count = min(count, tree.n)
    found = tree.query(points, k=count, workers=threads)[1]
    return np.asarray(found, dtype=np.int64).reshape(len(points), count)


def _scaled(columns: FloatArray) -> FloatArray:
    """Standardize columns; of many, keep the first principal components."""
    spread = columns.std(axis=0)
    scaled = (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    if scaled.shape[1] <= _DIMENSIONS:
        return np.asarray(scaled)
    axes = np.linalg.eigh(scaled.T @ scaled)[1][:, ::-1]
    return np.asarray(scaled @ axes[:, :_DIMENSIONS])


def _within_folds(values: FloatArray, folds: IntArray) -> FloatArray:
    """Take each fold's mean out: folds differ in class shares, and so do their models."""
    within = np.array(values, dtype=np.float64)
    for fold in np.unique(folds):
        rows = folds == fold
        within[rows] -= within[rows].mean(axis=0)
    return within


def _filled(features: FloatArray | Any) -> FloatArray:
    """Put the column's median where a feature is undefined."""
    filled = np.array(features, dtype=np.float64)
    for column in filled.T:
        missing = ~np.isfinite(column)
        column[missing] = np.median(column[~missing]) if not missing.all() else 0.0
    return filled
