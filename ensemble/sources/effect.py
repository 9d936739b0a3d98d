"""What a source does to the log loss on the target, by the way it is trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ensemble.errors import DataError, LearnerError
from ensemble.evaluation.bootstrap import bootstrap_means
from ensemble.evaluation.intervals import estimate
from ensemble.sources.evidence import Arm, Effect, effects
from ensemble.sources.rows import with_hashed_sides
from ensemble.sources.variants import PLAIN, curve_trials, trials_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ensemble.config.settings import Config
    from ensemble.sources.ablation import Bench
    from ensemble.sources.rows import Material
    from ensemble.sources.settings import StudySettings
    from ensemble.sources.variants import Trial

NEAR_ZERO = 4.0
"""Standard errors from 0 within which an effect gets more seeds. So far above what decides that
looking twice changes the rate of errors by next to nothing."""
WORTH_MORE_FITS = 0.2
"""Part of a gain's variance that is due to fits from which more seeds are fitted: below it, twice
as many would make its interval narrower by less than a twentieth. Variances alone decide, not what
was gained, so that the rate of errors stays as it is."""


@dataclass
class _Measured:
    """Arms of one source so far, and why others are not measured."""

    bench: Bench
    material: Material
    config: Config
    tell: Callable[[str], None]
    arms: dict[str, Arm] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def measure(self, trials: Sequence[Trial], seeds: int) -> None:
        """Fit treatments with so many seeds; what is there already is only read."""
        self._fit_beside(trials, seeds)
        learner = self.bench.spec.prototype
        for trial in trials:
            if obstacle := trial.obstacle(learner):
                self.reasons[trial.name] = obstacle
                continue
            try:
                self.arms[trial.name] = self.bench.treated(
                    self.material, trial, range(seeds), self._teller(trial.name)
                )
            except (DataError, LearnerError) as error:
                self.reasons[trial.name] = error.message

    def _fit_beside(self, trials: Sequence[Trial], seeds: int) -> None:
        learner = self.bench.spec.prototype
        possible = [trial for trial in trials if not trial.obstacle(learner)]
        arms = [(self.bench.alone, None), *((self.material, trial) for trial in possible)]
        self.bench.fit_beside(self.config, arms, range(seeds), self.tell)

    def baseline(self, seeds: int) -> Arm:
        return self.bench.baseline(range(seeds), self._teller("target alone"))

    def _teller(self, name: str) -> Callable[[str], None]:
        return lambda text: self.tell(f"{name}, {text}")


def measure_effect(
    bench: Bench,
    material: Material,
    config: Config,
    settings: StudySettings,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Fit the learner with and without a source, and compare.

    Parameters
    ----------
    bench
        Learner, folds and the target alone.
    material
        The target with the source.
    config
        Says how many fits go on beside each other.
    settings
        Treatments, seeds, resamples.
    tell
        Told what is being fitted, before each fit.

    Returns
    -------
    dict[str, Any]
        The ``effect`` of a study, as ``docs/sources.md`` has it.
    """
    without = {"rows_without_label": material.rows_without_label}
    facts = {**bench.facts(), **without}
    if not len(material.part(of_source=True)):
        return {"measured": False, "reason": "the source has no labeled rows", **facts}
    trials = trials_of(settings.treatments)
    done = _Measured(bench, material, config, tell)
    if settings.curve:  # all that is certain to be needed, so that no core waits
        done.measure([*trials, *curve_trials()], settings.least_seeds)
    base, found = _in_two_looks(done, trials, settings)
    return {
        "measured": bool(found),
        "reason": None if found else "no treatment could be fitted",
        **facts,
        "resamples": settings.resamples,
        "baseline": _described_baseline(bench, base, settings),
        "treatments": [_described(trial, done, found) for trial in trials],
        "curve": _curve(done, base, settings) if settings.curve else [],
    }


def compare_sides(
    bench: Bench,
    material: Material,
    config: Config,
    settings: StudySettings,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Measure a one-sided source with its sides drawn by a hash, and beside those that it has.

    Parameters
    ----------
    bench, material, config, settings, tell
        As in ``measure_effect``; the sides are those of the file.

    Returns
    -------
    dict[str, Any]
        ``treatments`` with sides by hash, as in ``measure_effect``; ``compared``, the treatment by
        which both are compared; ``gain`` of the hash over the file, with its 95% interval;
        ``better``: ``hash``, ``file``, or None where neither is shown to be.
    """
    trials = trials_of(settings.treatments)
    by_file = _Measured(bench, material, config, tell)
    by_hash = _Measured(bench, with_hashed_sides(material), config, tell)
    _, found = _in_two_looks(by_hash, trials, settings)
    treatments = [_described(trial, by_hash, found) for trial in trials]
    both = [trial for trial in trials if trial.name in found]
    by_file.measure(both[:1], settings.least_seeds)
    if not both or both[0].name not in by_file.arms:
        return {"treatments": treatments, "compared": None, "gain": None, "better": None}
    name = both[0].name
    (gain,) = effects(
        by_file.arms[name], [by_hash.arms[name]], bench.clusters(), resamples=settings.resamples
    )
    better = "hash" if gain.low > 0 else "file" if gain.high < 0 else None
    estimated = {"mean": gain.gain.mean, "low": gain.low, "high": gain.high}
    return {"treatments": treatments, "compared": name, "gain": estimated, "better": better}


def _in_two_looks(
    done: _Measured, trials: Sequence[Trial], settings: StudySettings
) -> tuple[Arm, dict[str, Effect]]:
    """Measure with few seeds, and with more what they may decide."""
    done.measure(trials, settings.least_seeds)
    base, found = _compare(done, trials, settings, settings.least_seeds)
    near = [trial for trial in trials if trial.name in found and _is_near(found[trial.name])]
    if near and settings.seeds > settings.least_seeds:
        done.measure(near, settings.seeds)
        base, found = _compare(done, trials, settings, settings.seeds)
    return base, found


def fits_of(settings: StudySettings, folds: int) -> int:
    """Count the fits of one source, at most: for the progress."""
    arms = 1 + len(trials_of(settings.treatments))
    curve = len(curve_trials()) * settings.least_seeds if settings.curve else 0
    return folds * (arms * settings.seeds + curve)


def _compare(
    done: _Measured, trials: Sequence[Trial], settings: StudySettings, seeds: int
) -> tuple[Arm, dict[str, Effect]]:
    """Measure what could be fitted against the target alone."""
    base = done.baseline(seeds)
    names = [trial.name for trial in trials if trial.name in done.arms]
    found = effects(
        base,
        [done.arms[name] for name in names],
        done.bench.clusters(),
        resamples=settings.resamples,
    )
    return base, dict(zip(names, found, strict=True))


def _is_near(effect: Effect) -> bool:
    """Say whether more fits can decide: it is near zero, and uncertain by its fits."""
    uncertain = effect.fit_error**2 > WORTH_MORE_FITS * effect.error**2
    return uncertain and abs(effect.gain.mean) <= NEAR_ZERO * effect.error


def _described_baseline(bench: Bench, base: Arm, settings: StudySettings) -> dict[str, Any]:
    losses = base.mean
    drawn = bootstrap_means(losses[:, None], bench.clusters(), resamples=settings.resamples)
    score = estimate(losses, drawn[:, 0])
    return {"log_loss": score.mean, "low": score.low, "high": score.high, "seeds": len(base.losses)}


def _described(trial: Trial, done: _Measured, found: dict[str, Effect]) -> dict[str, Any]:
    effect = found.get(trial.name)
    if effect is None:
        return {"name": trial.name, "measured": False, "reason": done.reasons[trial.name]}
    arm = done.arms[trial.name]
    return {
        "name": trial.name,
        "measured": True,
        "log_loss": float(arm.mean.mean()),
        "gain": effect.gain.to_json(),
        "simultaneous": {"low": effect.low, "high": effect.high},
        "error": effect.error,
        "fit_error": effect.fit_error,
        "seeds": len(arm.losses),
        **trial.advice(),
    }


def _curve(done: _Measured, base: Arm, settings: StudySettings) -> list[dict[str, Any]]:
    """Measure parts of the source, simply mixed in; each interval is for its point alone."""
    trials = curve_trials()
    done.measure(trials, settings.least_seeds)
    whole = [trial for trial in trials_of(None) if trial.name == PLAIN]
    if PLAIN not in done.arms and PLAIN not in done.reasons:
        done.measure(whole, settings.least_seeds)
    there = [trial for trial in (*trials, *whole) if trial.name in done.arms]
    found = effects(
        base,
        [done.arms[trial.name] for trial in there],
        done.bench.clusters(),
        resamples=settings.resamples,
    )
    return [
        {"share": 0.0, "log_loss": float(base.mean.mean()), "gain": None},
        *(
            {
                "share": trial.use.share,
                "log_loss": float(done.arms[trial.name].mean.mean()),
                "gain": effect.gain.to_json(),
            }
            for trial, effect in zip(there, found, strict=True)
        ),
    ]
