"""What a source does to the log loss on the target, by the way it is trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ensemble.errors import DataError, LearnerError
from ensemble.evaluation.bootstrap import bootstrap_means
from ensemble.evaluation.intervals import estimate
from ensemble.sources.evidence import Arm, Effect, effects
from ensemble.sources.rows import with_hashed_sides
from ensemble.sources.variants import PLAIN, curve_variants, variants_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ensemble.config.settings import Config
    from ensemble.sources.ablation import Bench
    from ensemble.sources.rows import SourceRows
    from ensemble.sources.settings import StudySettings
    from ensemble.sources.variants import SourceVariant

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
    material: SourceRows
    config: Config
    tell: Callable[[str], None]
    arms: dict[str, Arm] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def measure(self, variants: Sequence[SourceVariant], seeds: int) -> None:
        """Fit treatments with so many seeds; what is there already is only read."""
        self._fit_beside(variants, seeds)
        learner = self.bench.spec.prototype
        for variant in variants:
            if obstacle := variant.obstacle(learner):
                self.reasons[variant.name] = obstacle
                continue
            try:
                self.arms[variant.name] = self.bench.treated(
                    self.material, variant, range(seeds), self._teller(variant.name)
                )
            except (DataError, LearnerError) as error:
                self.reasons[variant.name] = error.message

    def _fit_beside(self, variants: Sequence[SourceVariant], seeds: int) -> None:
        learner = self.bench.spec.prototype
        possible = [variant for variant in variants if not variant.obstacle(learner)]
        arms = [(self.bench.alone, None), *((self.material, variant) for variant in possible)]
        self.bench.fit_beside(self.config, arms, range(seeds), self.tell)

    def baseline(self, seeds: int) -> Arm:
        return self.bench.baseline(range(seeds), self._teller("target alone"))

    def _teller(self, name: str) -> Callable[[str], None]:
        return lambda text: self.tell(f"{name}, {text}")


def measure_effect(
    bench: Bench,
    material: SourceRows,
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
    variants = variants_of(settings.treatments)
    done = _Measured(bench, material, config, tell)
    if settings.curve:  # all that is certain to be needed, so that no core waits
        done.measure([*variants, *curve_variants()], settings.least_seeds)
    base, found = _in_two_looks(done, variants, settings)
    return {
        "measured": bool(found),
        "reason": None if found else "no treatment could be fitted",
        **facts,
        "resamples": settings.resamples,
        "baseline": _described_baseline(bench, base, settings),
        "treatments": [_described(variant, done, found) for variant in variants],
        "curve": _curve(done, base, settings) if settings.curve else [],
    }


def compare_sides(
    bench: Bench,
    material: SourceRows,
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
    variants = variants_of(settings.treatments)
    by_file = _Measured(bench, material, config, tell)
    by_hash = _Measured(bench, with_hashed_sides(material), config, tell)
    _, found = _in_two_looks(by_hash, variants, settings)
    treatments = [_described(variant, by_hash, found) for variant in variants]
    both = [variant for variant in variants if variant.name in found]
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
    done: _Measured, variants: Sequence[SourceVariant], settings: StudySettings
) -> tuple[Arm, dict[str, Effect]]:
    """Measure with few seeds, and with more what they may decide."""
    done.measure(variants, settings.least_seeds)
    base, found = _compare(done, variants, settings, settings.least_seeds)
    near = [
        variant for variant in variants if variant.name in found and _is_near(found[variant.name])
    ]
    if near and settings.seeds > settings.least_seeds:
        done.measure(near, settings.seeds)
        base, found = _compare(done, variants, settings, settings.seeds)
    return base, found


def fits_of(settings: StudySettings, folds: int) -> int:
    """Count the fits of one source, at most: for the progress."""
    arms = 1 + len(variants_of(settings.treatments))
    curve = len(curve_variants()) * settings.least_seeds if settings.curve else 0
    return folds * (arms * settings.seeds + curve)


def _compare(
    done: _Measured, variants: Sequence[SourceVariant], settings: StudySettings, seeds: int
) -> tuple[Arm, dict[str, Effect]]:
    """Measure what could be fitted against the target alone."""
    base = done.baseline(seeds)
    names = [variant.name for variant in variants if variant.name in done.arms]
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


def _described(variant: SourceVariant, done: _Measured, found: dict[str, Effect]) -> dict[str, Any]:
    effect = found.get(variant.name)
    if effect is None:
        return {"name": variant.name, "measured": False, "reason": done.reasons[variant.name]}
    arm = done.arms[variant.name]
    return {
        "name": variant.name,
        "measured": True,
        "log_loss": float(arm.mean.mean()),
        "gain": effect.gain.to_json(),
        "simultaneous": {"low": effect.low, "high": effect.high},
        "error": effect.error,
        "fit_error": effect.fit_error,
        "seeds": len(arm.losses),
        **variant.advice(),
    }


def _curve(done: _Measured, base: Arm, settings: StudySettings) -> list[dict[str, Any]]:
    """Measure parts of the source, simply mixed in; each interval is for its point alone."""
    variants = curve_variants()
    done.measure(variants, settings.least_seeds)
    whole = [variant for variant in variants_of(None) if variant.name == PLAIN]
    if PLAIN not in done.arms and PLAIN not in done.reasons:
        done.measure(whole, settings.least_seeds)
    there = [variant for variant in (*variants, *whole) if variant.name in done.arms]
    found = effects(
        base,
        [done.arms[variant.name] for variant in there],
        done.bench.clusters(),
        resamples=settings.resamples,
    )
    return [
        {"share": 0.0, "log_loss": float(base.mean.mean()), "gain": None},
        *(
            {
                "share": variant.use.share,
                "log_loss": float(done.arms[variant.name].mean.mean()),
                "gain": effect.gain.to_json(),
            }
            for variant, effect in zip(there, found, strict=True)
        ),
    ]
