"""The whole study: every source that is not the target, from what is cheap to know to what is dear.

Each source has one sealed file, ``RUN/sources/<source>.json``. Its parts are kept as long as what
they were made from is the same, and fits as long as their keys are, so that the same command again
does nothing, and one that was interrupted goes on.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.prepared import read_pairs
from ensemble.battles.split import read_split_summary
from ensemble.errors import ArtifactError
from ensemble.oof.fold_key import VERSION as CROSSFIT_VERSION
from ensemble.oof.workspace import open_workspace
from ensemble.run_dir.layout import STUDIES
from ensemble.run_dir.reporter import Reporter
from ensemble.sources.ablation import Bench
from ensemble.sources.columns import feature_sets
from ensemble.sources.describe import describe, is_one_sided
from ensemble.sources.effect import compare_sides, fits_of, measure_effect
from ensemble.sources.likeness import likeness_warnings
from ensemble.sources.overlap import Links, overlap
from ensemble.sources.rows import take_rows, usable_rows, with_hashed_sides
from ensemble.sources.settings import StudySettings, folds_of, learner_of, sources_of
from ensemble.sources.shift import STEPS, measure_shift
from ensemble.sources.variants import variants_of
from ensemble.sources.verdict import decide
from ensemble.storage.hashing import fingerprint
from ensemble.storage.json_files import read_checksummed, write_checksummed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ensemble.config.settings import Config
    from ensemble.oof.workspace import Workspace
    from ensemble.sources.rows import SourceRows

VERSION = 4
"""Raise it when the same rows and settings come to give other results."""

_HINT = "run `ensemble sources CONFIG` again"


@dataclass(frozen=True)
class SourceStudy:
    """What is known of one source. All parts are JSON; ``docs/sources.md`` says what is in them.

    Parameters
    ----------
    name, role
        Of the source, as in the config.
    description
        ``source`` and ``target``: what each holds.
    overlap
        Rows that say the same as others, and rows that the fold plan cuts.
    shift
        How the source differs from the target; None where it was not asked for.
    effect
        What it does to the log loss on the target.
    verdict
        ``word``, ``recommended``, ``sentence``.
    warnings
        Signs that its rows are the target's own, and what leaves every score unproven.
    """

    name: str
    role: str
    description: dict[str, Any]
    overlap: dict[str, Any]
    shift: dict[str, Any] | None
    effect: dict[str, Any]
    verdict: dict[str, Any]
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """Give all of it as one JSON object."""
        return asdict(self)


def study_sources(
    config: Config,
    reporter: Reporter | None = None,
    settings: StudySettings = StudySettings(),  # noqa: B008 - frozen
) -> list[SourceStudy]:
    """Study the sources of a config whose battles are prepared and split.

    Parameters
    ----------
    config
        The config. What it says of a source's role, weight and the like does not matter: a source
        of role ``ignore`` is studied as any.
    reporter
        Told of progress; None shows nothing.
    settings
        Learner, folds, rows, treatments.

    Returns
    -------
    list[SourceStudy]
        In the order of the config.

    Raises
    ------
    ConfigError
        There is no such learner, fold or source, or none beside the target.
    ArtifactError
        ``prepare`` or ``split`` has not been run.
    LearnerError
        The learner fails on the target alone.
    """
    names = sources_of(config, settings.sources)
    workspace = open_workspace(config)
    reporter = reporter or Reporter(workspace.run)
    folds = folds_of(workspace.plan, settings.folds)
    alone = take_rows(workspace, None, settings.rows)
    spec = learner_of(config, settings.learner)
    bench = Bench(workspace.run / STUDIES / "fits", spec, folds, alone)
    links = Links.of(workspace.plan, read_pairs(workspace.run))
    target = describe(workspace.battles.filter(pl.col("role") == "target"))
    roles = {source.name: source.role for source in config.sources}
    return [
        _Job(config, workspace, bench, settings, reporter, name).run(roles[name], target, links)
        for name in names
    ]


def read_study(run: Path, source: str) -> dict[str, Any] | None:
    """Read what was stored of a source; None where it has not been studied.

    Raises
    ------
    ArtifactError
        The file is damaged.
    """
    path = run / STUDIES / f"{source}.json"
    return read_checksummed(path, hint=_HINT) if path.exists() else None


@dataclass(frozen=True)
class _Job:
    """The study of one source."""

    config: Config
    workspace: Workspace
    bench: Bench
    settings: StudySettings
    reporter: Reporter
    name: str

    def run(self, role: str, target: dict[str, Any], links: Links) -> SourceStudy:
        """Put the parts together, and store them; what is there under its key is only read."""
        whole = take_rows(self.workspace, self.name, self.settings.rows, labeled=False)
        shift = self._shift(whole) if self.settings.shift else None
        unlabeled = whole.rows_without_label
        material = take_rows(self.workspace, self.name, self.settings.rows) if unlabeled else whole
        own = describe(self.workspace.battles.filter(pl.col("source") == self.name))
        effect = {**self._effect(material), **self._rows(material)}
        if effect["measured"] and is_one_sided(own):
            effect["sides"] = self._sides(material)
        description, linked = {"source": own, "target": target}, overlap(links, self.name)
        study = SourceStudy(
            name=self.name,
            role=role,
            description=description,
            overlap=linked,
            shift=shift,
            effect=effect,
            verdict=decide(self.name, effect),
            warnings=[
                *likeness_warnings(description, linked, shift, effect),
                *filter(None, [read_split_summary(self.workspace.run).doubt]),
            ],
        )
        self._write(study)
        self.reporter.event("source studied", source=self.name, verdict=study.verdict["word"])
        for text in study.warnings:
            self.reporter.log(f"warning: {self.name}: {text}")
        self.reporter.log(study.verdict["sentence"])
        return study

    def _shift(self, whole: SourceRows) -> dict[str, Any]:
        features = [feature_set.identity() for feature_set in feature_sets()]

        def measure(tell: Callable[[str], None]) -> dict[str, Any]:
            cache = self.workspace.cache_directory / STUDIES
            return measure_shift(whole.workspace, self.name, cache, tell)

        return self._part("shift", {**whole.key, "features": features}, STEPS, measure)

    def _effect(self, material: SourceRows) -> dict[str, Any]:
        spec, asked = self.bench.spec, self.settings
        steps = fits_of(asked, len(self.bench.folds))
        return self._part(
            f"effect-{spec.name}",
            self._made_from(material),
            steps,
            lambda tell: measure_effect(self.bench, material, self.config, asked, tell),
        )

    def _made_from(self, material: SourceRows) -> dict[str, Any]:
        spec, asked = self.bench.spec, self.settings
        return {
            **material.key,
            "alone": self.bench.alone.key,
            "learner": spec.key_parts(),
            "name": spec.name,
            "crossfit": CROSSFIT_VERSION,
            "seed": self.workspace.seed,
            "folds": self.bench.folds,
            "treatments": [asdict(variant) for variant in variants_of(asked.treatments)],
            "seeds": [asked.least_seeds, asked.most_seeds],
            "resamples": asked.resamples,
            "curve": asked.curve,
        }

    def _sides(self, material: SourceRows) -> dict[str, Any]:
        hashed = with_hashed_sides(material)
        return self._part(
            f"sides-{self.bench.spec.name}",
            {**self._made_from(material), "hashed": hashed.key},
            fits_of(replace(self.settings, curve=False), len(self.bench.folds)),
            lambda tell: compare_sides(self.bench, material, self.config, self.settings, tell),
        )

    def _rows(self, material: SourceRows) -> dict[str, Any]:
        """Count the rows that folds learn from, of those that they could learn from."""
        folds = self.bench.folds
        measured = usable_rows(material.workspace, self.name, folds)
        usable = usable_rows(self.workspace, self.name, folds)
        return {
            "source_rows": int(np.any(measured, axis=0).sum()),
            "usable_rows": int(np.any(usable, axis=0).sum()),
            "rows_by_fold": [int(rows.sum()) for rows in measured],
        }

    def _part(
        self,
        part: str,
        made_from: dict[str, Any],
        steps: int,
        make: Callable[[Callable[[str], None]], dict[str, Any]],
    ) -> dict[str, Any]:
        """Read a part that was made from the same, or make and store it."""
        path = self._directory / "parts" / self.name / f"{part}.json"
        key = fingerprint({"version": VERSION, **made_from})
        try:
            stored = read_checksummed(path, hint=_HINT)
        except ArtifactError:  # not there, or damaged: it is made anew
            stored = {}
        kind = part.partition("-")[0]
        if stored.get("key") == key:
            self.reporter.log(f"{self.name}  {kind}  kept")
            return dict(stored["part"])
        started = time.perf_counter()
        with self._telling(kind, steps) as tell:
            made = make(tell)
        write_checksummed(path, {"key": key, "part": made})
        seconds = time.perf_counter() - started
        self.reporter.event("source measured", source=self.name, part=kind, seconds=seconds)
        self.reporter.log(f"{self.name}  {kind}  measured in {seconds:,.0f} s")
        return made

    @contextmanager
    def _telling(self, kind: str, steps: int) -> Iterator[Callable[[str], None]]:
        """Show what is being done, and how much of it is done."""
        told: set[str] = set()
        with self.reporter.progress(f"{self.name}, {kind}") as progress:

            def tell(what: str) -> None:
                progress(min(len(told) / steps, 1.0), what)
                told.add(what)

            yield tell

    @property
    def _directory(self) -> Path:
        return self.workspace.run / STUDIES

    def _write(self, study: SourceStudy) -> None:
        """Store the study with what it was made on; leave the file alone where it says so."""
        made_on = {"data": self.workspace.data_key, "plan": self.workspace.plan.fingerprint}
        content = {**made_on, **study.to_json()}
        try:
            same = read_study(self.workspace.run, self.name) == content
        except ArtifactError:
            same = False
        if not same:
            write_checksummed(self._directory / f"{self.name}.json", content)
