"""Fits of one learner under several seeds, averaged; each is kept until all are there.

A fit that is killed goes on at the seed that it was in: those before are verified and taken as they
are, and the one that was under way has a checkpoint directory of its own. Where code that predicts
was changed meanwhile, those before predict again, with the models that they have.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from ensemble.errors import ArtifactError
from ensemble.oof.kept_fit import KEPT, link
from ensemble.oof.models import mean_logits, seed_name
from ensemble.oof.predictions import prediction_frame, read_logits
from ensemble.run_dir.layout import MODEL, OOF, OOF_SEEDS
from ensemble.run_dir.tables import read_table, write_table
from ensemble.storage.atomic import make_directory, remove
from ensemble.storage.directories import atomic_directory, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from ensemble.oof.fitting import FitFacts, SeedFit
    from ensemble.plugin.base import FitContext


def fit_seeds(
    fit: SeedFit, place: Path, context: FitContext, seeds: Sequence[int], checkpoint: Path
) -> FitFacts:
    """Fit a learner once for each seed, and fill a directory with the means of their logits.

    Parameters
    ----------
    fit
        The fit.
    place
        The directory: as one fit fills it, but for the model, of which there is one in
        ``model/seed-<s>/`` for each seed. ``OOF_SEEDS`` has the logits of each.
    context
        Of the fits.
    seeds
        The seed of each fit. With one alone, the directory is filled by that fit.
    checkpoint
        Where seeds that are done are kept, and where each has its own checkpoint directory. With
        one seed alone, this is its checkpoint directory.

    Returns
    -------
    FitFacts
        Seconds summed over seeds; the largest tolerance; what is told of any of them.
    """
    if len(seeds) == 1:
        return fit.into(place, replace(context, seed=seeds[0], checkpoint_directory=checkpoint))
    parts = [checkpoint / "fitted" / seed_name(number) for number in range(len(seeds))]
    facts = []
    for number, (seed, part) in enumerate(zip(seeds, parts, strict=True)):
        own = checkpoint / seed_name(number)
        make_directory(own)
        told = _share_of_progress(context.progress, number, len(seeds))
        seeded = replace(context, seed=seed, checkpoint_directory=own, progress=told)
        facts.append(_fit_once(fit, part, seeded))
        _forget_all_but_the_fit(own)
    _join(parts, place, fit.stored)
    seconds = [each["seconds"] for each in facts]
    return {
        "seconds": {name: sum(each[name] for each in seconds) for name in seconds[0]},
        "batch_tolerance": max(each["batch_tolerance"] for each in facts),
        "cautions": [*dict.fromkeys(text for each in facts for text in each["cautions"])],
        "doubts": [*dict.fromkeys(text for each in facts for text in each["doubts"])],
    }


def _fit_once(fit: SeedFit, part: Path, context: FitContext) -> FitFacts:
    """Fit one seed, unless it is there, whole, and made under the fold's key."""
    try:
        stored = read_manifest(part)
        if stored["key"] == fit.key:
            return _facts(stored)
    except (ArtifactError, KeyError):
        pass
    manifest: dict[str, Any] = {"key": fit.key}
    with atomic_directory(part, manifest) as place:
        manifest.update(fit.into(place, context))
    return _facts(manifest)


def _facts(manifest: Mapping[str, Any]) -> FitFacts:
    return {
        "seconds": dict(manifest["seconds"]),
        "batch_tolerance": manifest["batch_tolerance"],
        "cautions": list(manifest["cautions"]),
        "doubts": list(manifest["doubts"]),
    }


def _forget_all_but_the_fit(checkpoint: Path) -> None:
    """Leave the fit that is kept, whose files are those of the part: it may predict again."""
    for path in sorted(checkpoint.glob("*")):
        if path.name != KEPT:
            remove(path)


def _join(parts: Sequence[Path], place: Path, stored: frozenset[str]) -> None:
    """Write mean logits, those of each seed, and all models."""
    for name in sorted(stored - {MODEL}):
        tables = [read_table(part / name) for part in parts]
        ids = tables[0]["id"]
        logits = mean_logits([read_logits(part / name, ids) for part in parts])
        write_table(place / name, prediction_frame(ids, logits))
        if name == OOF:
            numbered = [t.insert_column(1, _numbers(i, t)) for i, t in enumerate(tables)]
            write_table(place / OOF_SEEDS, pl.concat(numbered))
    if MODEL in stored:
        for part in parts:
            shutil.copytree(part / MODEL, place / MODEL / part.name, copy_function=link)


def _numbers(seed: int, table: pl.DataFrame) -> pl.Series:
    return pl.Series("seed", [seed] * len(table), dtype=pl.Int32)


def _share_of_progress(
    progress: Callable[..., None], number: int, seeds: int
) -> Callable[..., None]:
    """Let one seed's fit tell of its share of the whole."""

    def tell(done: float, message: str = "") -> None:
        progress((number + done) / seeds, f"seed {number} {message}".rstrip())

    return tell
