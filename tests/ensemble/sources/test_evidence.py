import numpy as np
import pytest

from ensemble.evaluation.bootstrap import bootstrap_means
from ensemble.sources.evidence import Arm, effects


def _arms(
    rng: np.random.Generator, gains: list[float], *, seeds: int = 2, noise: float = 0.0
) -> tuple[Arm, list[Arm], np.ndarray]:
    """Losses with a known gain, and a fit's own noise that is common to the rows of a fold."""
    rows, folds = 400, np.repeat(np.arange(4), 100)
    base = rng.gamma(4.0, 0.25, rows)

    def arm(gain: float) -> Arm:
        own = rng.normal(0, noise, (seeds, 4))[:, folds]
        return Arm(base - gain + rng.normal(0, 0.05, rows) + own, folds)

    return arm(0.0), [arm(gain) for gain in gains], np.arange(rows) // 2


def test_gains_are_what_was_planted_and_intervals_hold_them() -> None:
    base, arms, clusters = _arms(np.random.default_rng(0), [0.05, -0.05, 0.0])
    found = effects(base, arms, clusters, resamples=1000)
    assert [effect.gain.mean for effect in found] == pytest.approx([0.05, -0.05, 0], abs=0.01)
    assert found[0].low > 0
    assert found[1].high < 0
    assert found[2].low < 0 < found[2].high


def test_simultaneous_intervals_are_wider_the_more_is_tried() -> None:
    base, arms, clusters = _arms(np.random.default_rng(1), [0.0] * 8)
    one, many = (effects(base, arms[:n], clusters, resamples=2000)[0] for n in (1, 8))
    assert many.gain.mean == pytest.approx(one.gain.mean)
    assert many.high - many.low > 1.2 * (one.high - one.low)


def test_noise_of_fits_that_the_bootstrap_cannot_see_widens_intervals() -> None:
    base, arms, clusters = _arms(np.random.default_rng(2), [0.0], noise=0.05, seeds=3)
    (effect,) = effects(base, arms, clusters, resamples=2000)
    gains = (base.mean - arms[0].mean)[:, None]
    by_rows = bootstrap_means(gains, clusters, resamples=2000).std()
    assert effect.fit_error > 3 * by_rows
    assert effect.error == pytest.approx(np.hypot(by_rows, effect.fit_error), rel=0.1)


def test_errors_are_at_most_as_frequent_as_promised() -> None:
    """Nothing is there: over many draws, few families of three treatments show anything."""
    wrong = 0
    for draw in range(200):
        rng = np.random.default_rng(1000 + draw)
        base, arms, clusters = _arms(rng, [0.0] * 3, noise=0.02, seeds=2)
        found = effects(base, arms, clusters, resamples=300, seed=draw)
        wrong += any(not effect.low <= 0 <= effect.high for effect in found)
    assert wrong <= 16  # 8%: 5% and two standard errors of 200 draws


def test_one_seed_is_refused() -> None:
    base, arms, clusters = _arms(np.random.default_rng(3), [0.0], seeds=1)
    with pytest.raises(ValueError, match="one seed only"):
        effects(base, arms, clusters, resamples=100)


def test_what_changes_nothing_has_an_effect_of_nothing() -> None:
    base, _, clusters = _arms(np.random.default_rng(4), [])
    same = Arm(np.stack([base.losses[0]] * 2), base.folds)
    (effect,) = effects(same, [same], clusters, resamples=100)
    assert (effect.gain.mean, effect.low, effect.high, effect.error) == (0, 0, 0, 0)
