"""Learners whose soup predicts, and how far it is from the models that it is the mean of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble.battles.held_out import SOUP
from ensemble.errors import ArtifactError
from ensemble.oof.origins import other_models
from ensemble.oof.soup_check import told_check
from ensemble.run_dir.fit_manifest import FitManifest
from ensemble.run_dir.layout import LEARNERS
from ensemble.storage.directories import MANIFEST, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.report.staleness import Asked
    from ensemble.run_dir.soup_record import SoupCheck


def read_soups(run: Path, asked: Asked) -> dict[str, SoupCheck | None]:
    """Read the checks of the soups that the config asks for; None where there is none, or stale."""
    if asked.config is None:
        return {}
    names = [one.name for one in asked.config.learners]
    wanted = [name for name in names if asked.config.models_of(name) == SOUP.name]
    return {name: _read(run / LEARNERS / name / SOUP.name, asked, name) for name in wanted}


def _read(directory: Path, asked: Asked, name: str) -> SoupCheck | None:
    try:
        content = read_manifest(directory)
        manifest = FitManifest.validated(content, directory / MANIFEST)
        is_stale = (
            asked.basis.difference(manifest)
            or list(other_models(directory, content))
            or asked.of_learner(name, manifest.key_parts)
        )
        return None if is_stale else told_check(content)
    except (ArtifactError, LookupError, ValueError):
        return None
