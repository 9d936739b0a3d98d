from __future__ import annotations

import numpy as np
import pytest

from ensemble import MetaFeatures
from ensemble.stacking import contrasts
from ensemble.stacking.leakage import MOST_LOCATIONS, Leakage, _alike, find_leakage
from ensemble.stacking.neighbors import Battles, Neighbors
from ensemble.storage.hashing import canonical_json

FOLDS = 5


def shares_without(
    keys: np.ndarray, labels: np.ndarray, folds: np.ndarray, softening: float = 1.0
) -> np.ndarray:
    """Logits of label shares by key, each fold's from the rows of the other folds."""
    logits = np.empty((len(keys), 3))
    for fold in range(FOLDS):
        other = folds != fold
        size = keys.max() + 1
        counts = np.column_stack([np.bincount(keys[other], y[other], size) for y in labels.T])
        shares = counts[keys] + softening * labels[other].mean(axis=0)
        shares /= shares.sum(axis=1, keepdims=True)
        logits[folds == fold] = np.log(shares)[folds == fold]
    return logits


class World:
    """Coin flips in topics, learned by label shares; a feature or other logits tell the topic."""

    def __init__(self, seed: int, rows: int = 2000, topics: int = 400) -> None:
        rng = np.random.default_rng(seed)
        self.topics = rng.integers(topics, size=rows)
        self.labels = np.eye(3)[rng.integers(3, size=rows)]
        self.folds = rng.permutation(np.arange(rows) % FOLDS)
        self.clusters = np.arange(rows)
        self.opinion = rng.normal(size=(topics, 3))[self.topics]
        self.noise = rng.normal(size=(rows, 3))
        self.shares = shares_without(self.topics, self.labels, self.folds)

    def find(
        self, logits: dict[str, np.ndarray], features: np.ndarray, tested: list[str] | None = None
    ) -> Leakage:
        count = features.shape[1]
        meta = MetaFeatures(
            np.stack(list(logits.values()), axis=1).astype(np.float32),
            tuple(logits),
            features.astype(np.float32),
            tuple(f"f{i}" for i in range(count)),
            np.arange(count),
            np.ones(count, np.float32),
        )
        names = list(logits) if tested is None else tested
        return find_leakage(meta, self.labels, self.folds, self.clusters, names)

    @property
    def number(self) -> np.ndarray:
        return np.asarray(self.topics * 7919 % 1009, dtype=np.float64)[:, None]

    @property
    def nothing(self) -> np.ndarray:
        return np.empty((len(self.topics), 0))


def test_label_shares_are_found_where_a_feature_tells_the_topic() -> None:
    world = World(0)
    found = world.find({"shares": world.shares}, world.number)
    assert (found.learners, found.location) == (("shares",), "feature f0")
    assert found.nats > 0.03
    assert found.statistic > 10 > found.threshold
    canonical_json(found.to_json())


def test_label_shares_are_found_where_another_learner_tells_the_topic() -> None:
    world = World(1)
    found = world.find({"shares": world.shares, "opinion": world.opinion}, world.nothing)
    assert found.learners == ("shares",)
    assert found.location in ("logits of opinion", "logits of shares")
    assert found.nats > 0.02


def test_a_feature_among_many_tells_the_topic() -> None:
    world = World(2)
    features = np.hstack([np.tile(world.noise, 5), world.number])
    assert world.find({"shares": world.shares}, features).location == "feature f15"


@pytest.mark.slow
@pytest.mark.parametrize("teller", ["opinion", "feature"])
def test_a_leak_among_many_learners_is_found(teller: str) -> None:
    world = World(3)
    rng = np.random.default_rng(3)
    many = {f"l{i}": world.opinion * 0 + rng.normal(size=world.noise.shape) for i in range(30)}
    logits = {**many, "shares": world.shares}
    if teller == "opinion":
        logits |= {"opinion": world.opinion}
    features = world.number if teller == "feature" else world.nothing
    found = world.find(logits, features)
    assert "shares" in found.learners
    assert found.tested == tuple(logits)


@pytest.mark.slow
def test_a_weak_leak_among_many_learners_is_found() -> None:
    """As large as a stack's gain: the logits of one learner tell the topic, among two dozen."""
    world = World(7, rows=6000, topics=3000)
    rng = np.random.default_rng(7)
    decoys = {f"l{i}": rng.normal(size=world.noise.shape) for i in range(24)}
    weak = 0.4 * world.shares + decoys["l0"]
    found = world.find({**decoys, "shares": weak, "opinion": world.opinion}, world.nothing)
    assert (found.learners, found.location) == (("shares",), "logits of opinion")
    assert 0.001 < found.nats < 0.02
    assert found.threshold < found.statistic < 3 * found.threshold


@pytest.mark.parametrize("leak", [True, False])
def test_standard_errors_of_a_sample_decide_nothing(
    leak: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(6, rows=2500, topics=800)
    logits = {"opinion": world.opinion, "noise": world.noise}
    if leak:
        logits["shares"] = world.shares + world.noise
    monkeypatch.setattr(contrasts, "SAMPLE", 10_000)
    exact = world.find(logits, world.number)
    monkeypatch.setattr(contrasts, "SAMPLE", 500)
    sampled = world.find(logits, world.number)
    assert (sampled.learners, sampled.location) == (exact.learners, exact.location)
    assert sampled.nats == pytest.approx(exact.nats, rel=1e-9)
    assert bool(exact.learners) == leak
    if leak:
        assert sampled.statistic == pytest.approx(exact.statistic, rel=1e-9)


def test_logits_that_differ_in_few_rows_are_not_taken_for_constant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(8, rows=2500, topics=400)
    few = np.isin(world.topics, np.arange(3))[:, None]
    rare = np.where(few, 20 * world.shares, 0.0)
    monkeypatch.setattr(contrasts, "SAMPLE", 10_000)
    exact = world.find({"rare": rare}, world.number)
    monkeypatch.setattr(contrasts, "SAMPLE", 20)
    sampled = world.find({"rare": rare}, world.number)
    assert exact.statistic > 2
    assert sampled.statistic == pytest.approx(exact.statistic, rel=1e-9)


def test_alike_learners_stand_for_one_another() -> None:
    rng = np.random.default_rng(0)
    kinds = [rng.normal(size=(50, 2)) for _ in range(MOST_LOCATIONS)]
    planes = [kinds[i % MOST_LOCATIONS] + 0.01 * rng.normal(size=(50, 2)) for i in range(30)]
    names = [f"l{i}" for i in range(30)]
    groups = _alike(planes, names)
    assert len(groups) == MOST_LOCATIONS
    assert sorted(name for group in groups.values() for name in group) == sorted(names)
    for chosen, group in groups.items():
        assert chosen in group
        assert len({int(name[1:]) % MOST_LOCATIONS for name in group}) == 1


def test_only_the_learners_that_are_asked_for_are_tested() -> None:
    world = World(3)
    logits = {"shares": world.shares, "opinion": world.opinion}
    found = world.find(logits, world.number, ["opinion"])
    assert (found.tested, found.learners, found.nats) == (("opinion",), (), 0.0)
    nobody = world.find(logits, world.number, [])
    assert (nobody.tests, nobody.nats) == (0, 0.0)


def test_logits_of_a_model_that_never_saw_the_fold_leak_nothing() -> None:
    """The same shares, learned from other rows: as local, as noisy, and honest."""
    world = World(4)
    others = World(5)
    logits = np.empty((len(world.topics), 3))
    for fold in range(FOLDS):  # as far apart from fold to fold as those of cross-fitting
        kept = others.folds != fold
        counts = np.column_stack(
            [np.bincount(others.topics[kept], y[kept], 400) for y in others.labels.T]
        )
        shares = counts[world.topics] + 0.3
        held_out = world.folds == fold
        logits[held_out] = np.log(shares / shares.sum(axis=1, keepdims=True))[held_out]
    found = world.find({"shares": logits}, world.number)
    assert (found.nats, found.learners, found.location) == (0.0, (), None)


def test_a_learner_that_turns_labels_around_is_found_by_a_feature() -> None:
    world = World(6)
    assert world.find({"contrary": -world.shares}, world.number).nats > 0.03


def test_a_learner_that_turns_labels_around_is_found_by_another_learner() -> None:
    world = World(9)
    logits = {"contrary": -0.3 * world.shares, "opinion": world.opinion}
    found = world.find(logits, world.nothing)
    assert (found.learners, found.location) == (("contrary",), "logits of opinion")
    assert found.nats > 0.03


@pytest.mark.parametrize("sign", [1, -1])
def test_what_tells_the_topic_may_be_spread_over_other_learners(sign: int) -> None:
    """Neither part tells it alone, and the tested learner's own logits only blur it."""
    world = World(10)
    rng = np.random.default_rng(11)
    parts = [rng.normal(size=(20, 3))[half] for half in (world.topics // 20, world.topics % 20)]
    logits = {"shares": sign * world.shares, "one": parts[0], "two": parts[1]}
    found = world.find(logits, world.nothing)
    assert (found.learners, found.location) == (("shares",), "all logits but those of shares")
    assert found.nats > 0.03
    features = (world.topics % 20).astype(np.float64)[:, None]
    found = world.find({name: logits[name] for name in ("shares", "one")}, features)
    assert found.location == "all features and logits but those of shares"


def test_a_learner_that_goes_along_with_one_that_learned_leaks_nothing() -> None:
    """Logits that know no label, beside those of a regression that fits the same signal."""
    found = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        world = World(seed, rows=600)
        x = rng.normal(size=(600, 3))
        fixed = x[:, :1] * np.array([0.5, -0.5, 0.0])
        draws = fixed - np.log(-np.log(rng.random((600, 3))))  # Gumbel: the softmax of the signal
        world.labels = np.eye(3)[draws.argmax(axis=1)]
        fitted = np.empty((600, 3))
        for fold in range(FOLDS):
            kept = world.folds != fold
            weights = np.linalg.lstsq(x[kept], world.labels[kept], rcond=None)[0]
            fitted[~kept] = 3 * x[~kept] @ weights
        logits = {"fixed": fixed + 0.05 * rng.normal(size=(600, 3)), "fitted": fitted}
        found += world.find(logits, world.nothing, ["fixed"]).nats > 0
    assert found <= 3  # 1 expected; 4 or more has a chance of 2%


def test_neighbors_of_the_own_cluster_count_for_nothing() -> None:
    """Each battle twice, its label too: nearest by far to its twin, of which no fold has both."""
    world = World(7, rows=1000)
    for name in ("topics", "labels", "folds", "clusters", "noise"):
        setattr(world, name, np.repeat(getattr(world, name), 2, axis=0))
    signal = world.labels + world.noise  # knows its own label, which no honest learner does
    found = world.find({"signal": signal}, world.noise)
    assert found.nats == 0.0


def test_missing_features_and_constant_ones_are_taken() -> None:
    world = World(8)
    features = np.hstack([world.number, np.full_like(world.number, np.nan)])
    features[::7, 0] = np.nan
    found = world.find({"shares": world.shares}, np.hstack([features, np.ones((2000, 1))]))
    assert found.location == "feature f0"


@pytest.mark.slow
def test_noise_is_found_to_leak_in_about_one_run_of_twenty() -> None:
    found = 0
    for seed in range(60):
        world = World(seed, rows=600)
        logits = {"a": world.noise, "b": 0.3 * world.opinion}
        found += world.find(logits, np.hstack([world.number, world.noise])).nats > 0
    assert found <= 7  # 3 expected at most; 8 or more has a chance of 1% at a rate of 5%


def test_neighbors_that_are_equally_near_are_drawn_alike_in_all_folds() -> None:
    rng = np.random.default_rng(0)
    rows = np.arange(400)
    x, folds = rng.integers(0, 3, 400).astype(float)[:, None], rows // 100
    labels = np.eye(3)[rng.integers(0, 3, 400)]
    found = Neighbors.of(x, Battles(labels, folds, rows, rows, 1)).found
    for fold in range(4):
        for value in range(3):
            alike = x[:, 0] == value
            near = {
                own: set(found[alike & ((folds == fold) == own), fold].ravel().tolist())
                for own in (True, False)
            }
            # One takes the place of the battle itself.
            assert len(near[True] - near[False]) <= 1
