"""What a source does to the log loss on the target, by the way it is trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ensemble.errors import DataError, LearnerError
from ensemble.sources.evidence import Arm, Effect, effects
from ensemble.sources.trials import PLAIN, curve_trials, trials_of
from ensemble.stacking.scoring import bootstrap_means, estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ensemble.sources.bench import Bench
    from ensemble.sources.material import Material
    from ensemble.sources.settings import StudySettings
    from ensemble.sources.trials import Trial

NEAR_ZERO = 4.0
"""Standard errors from 0 within which an effect gets more seeds. So far above what decides that
looking twice changes the rate of errors by next to nothing."""


@dataclass
class _Measured:
    """Arms of one source so far, and why others are not measured."""

    bench: Bench
    material: Material
    tell: Callable[[str], None]
    arms: dict[str, Arm] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def measure(self, trials: Sequence[Trial], seeds: int) -> None:
        """Fit treatments with so many seeds; what is there already is only read."""
        learner = self.bench.spec.make()
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

    def baseline(self, seeds: int) -> Arm:
        return self.bench.baseline(range(seeds), self._teller("target alone"))

    def _teller(self, name: str) -> Callable[[str], None]:
        return lambda text: self.tell(f"{name}, {text}")


def measure_effect(
    bench: Bench, material: Material, settings: StudySettings, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Fit the learner with and without a source, and compare.

    Parameters
    ----------
    bench
        Learner, folds and the target alone.
    material
        The target with the source.
    settings
        Treatments, seeds, resamples.
    tell
        Told what is being fitted, before each fit.

    Returns
    -------
    dict[str, Any]
        The ``effect`` of a study, as ``docs/sources.md`` has it.
    """
    rows = len(material.part(of_source=True))
    without = {"rows_without_label": material.rows_without_label}
    facts = {**bench.facts(), "source_rows": rows, **without}
    if not rows:
        return {"measured": False, "reason": "the source has no labelled rows", **facts}
    trials = trials_of(settings.treatments)
    done = _Measured(bench, material, tell)
    done.measure(trials, settings.least_seeds)
    base, found = _compare(done, trials, settings, settings.least_seeds)
    near = [trial for trial in trials if trial.name in found and _is_near(found[trial.name])]
    if near and settings.seeds > settings.least_seeds:
        done.measure(near, settings.seeds)
        base, found = _compare(done, trials, settings, settings.seeds)
    return {
        "measured": bool(found),
        "reason": None if found else "no treatment could be fitted",
        **facts,
        "resamples": settings.resamples,
        "baseline": _described_baseline(bench, base, settings),
        "treatments": [_described(trial, done, found) for trial in trials],
        "curve": _curve(done, base, settings) if settings.curve else [],
    }


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
    return abs(effect.gain.mean) <= NEAR_ZERO * effect.error


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
