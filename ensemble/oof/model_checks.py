"""Whether a stored model may be used: by its code, its settings and what it depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.config.plugin_files import short_name
from ensemble.errors import ArtifactError, EnsembleError
from ensemble.oof.staleness import told_differences
from ensemble.plugin.code import as_known, told_difference
from ensemble.plugin.contract import dependencies_of
from ensemble.plugin.kept_sources import kept_plugin
from ensemble.redact import without_secrets
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from ensemble.oof.spec import LearnerSpec


def by_its_source(run: Path, manifest: Mapping[str, Any], spec: LearnerSpec) -> LearnerSpec:
    """Give a learner whose plugin is a file with the source that made the model, as it is kept."""
    kept, made_by = kept_plugin(run, manifest.get("plugin_source")), manifest["key_parts"]
    if kept is None or short_name(kept) != spec.plugin_name:
        return spec
    try:
        now = spec.settings()["code"]
    except EnsembleError:  # the file is gone, or faulty by now
        now = None
    is_current = now is not None and made_by.get("code") == as_known(now, made_by.get("code"))
    return spec if is_current else replace(spec, plugin=kept)


def check_code(manifest: Mapping[str, Any], spec: LearnerSpec, directory: Path) -> None:
    """Refuse a model that other code has made: what it predicts now may be something else."""
    stored, now = manifest["key_parts"].get("code"), spec.settings()["code"]
    if stored != as_known(now, stored):
        raise ArtifactError(
            f"other code than that of now has made the model: {told_difference(stored, now)}",
            where=str(directory),
            hint=f"put that code back; add `--keep {spec.name}` where the change does not matter; "
            f"or fit anew: `ensemble run CONFIG --refit {spec.name}`",
        )


def check_settings(manifest: Mapping[str, Any], spec: LearnerSpec, directory: Path) -> None:
    """Refuse a model that was made with other settings, or that depends on what has changed."""
    if difference := _difference(manifest["key_parts"], spec):
        raise ArtifactError(
            f"the model {difference}",
            where=str(directory),
            hint=f"install {manifest['distribution']} and what it depends on as they were, or "
            "run `ensemble run CONFIG` again",
        )


def _difference(made_by: Mapping[str, Any], spec: LearnerSpec) -> str | None:
    """Say in what a stored model differs from what the config and the plugin would make now.

    Files are not looked at: a model goes where they do not.
    """
    for name, value in spec.settings().items():
        before = made_by.get(name)
        if name == "code" or before == value:
            continue
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            told = "; ".join(told_differences("", before, value))
            return f"was made with other {name} than those of the config or the plugin: {told}"
        return f"was made with {name} {before}, and the config or the installed plugin says {value}"
    found = dependencies_of(spec.prototype, spec.where)
    stored, now = made_by["dependencies"], without_secrets(found)
    for name in sorted({*stored, *now}):
        value = now.get(name)
        if not isinstance(value, Path) and fingerprint(value) != fingerprint(stored.get(name)):
            return f"depends on {name}, which has changed since it was made"
    return None
