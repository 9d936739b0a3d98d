"""Whether a stored fold was made as the config would have it made now: its key, part by part.

A key says only that something differs. Here is said what; and a file that is not here, since a run
moves where base weights and prediction files do not, is told apart from one that has changed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.config.plugin_files import short_name, short_names
from ensemble.config.source_settings import SourceSettings
from ensemble.errors import ConfigError, EnsembleError
from ensemble.oof.dependencies import labelers, resolve_sources
from ensemble.oof.fold_key import APART, VERSION
from ensemble.plugin.code import as_known, told_difference
from ensemble.plugin.contract import dependencies_of
from ensemble.plugin.parameters import path_parameters
from ensemble.redact import without_secrets
from ensemble.storage.directories import hash_dependency
from ensemble.storage.hashing import canonical_json, fingerprint, hash_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ensemble.oof.spec import LearnerSpec

_SHOWN = 60
"""Characters of a value that a difference shows."""
_NOTHING = object()


@dataclass(frozen=True)
class Compared:
    """How what made a fold differs from what would make it now.

    Parameters
    ----------
    different
        What differs, with both values, in words.
    absent
        What it depends on that is not here, so that it was not compared.
    unproven
        Why the rest could not be compared: the plugin is not here, or does not answer.
    code
        In what the code of the plugin differs, which may matter or not; empty where in nothing.
    kept
        Whether the user has said that it does not matter.
    """

    different: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    unproven: str = ""
    code: str = ""
    kept: bool = False


def compare_key(
    made_by: Mapping[str, Any],
    spec: LearnerSpec,
    shared: Mapping[str, Any],
    *,
    files: bool = True,
) -> Compared:
    """Hold the parts of a stored fold's key against the config.

    Parameters
    ----------
    made_by
        ``key_parts`` of the fold's manifest.
    spec
        The learner as the config has it.
    shared
        As ``fold_key`` takes it. What a fold holds out is not compared here: its place says so.
    files
        Whether the content of files is compared too.
    """
    try:
        different = list(_differing(made_by, spec, shared))
        apart, absent = _files(made_by, spec) if files else ([], [])
    except ConfigError as error:
        return Compared(different=(f"the config's parameters are refused: {error.message}",))
    except EnsembleError as error:
        given = tuple(given_differences(made_by, spec.plugin, spec.parameters))
        return Compared(different=given, unproven=error.message)
    code, kept = _code(made_by, spec)
    return Compared((*different, *apart), tuple(absent), code=code, kept=kept)


def given_differences(
    made_by: Mapping[str, Any], plugin: str, parameters: Mapping[str, Any]
) -> Iterator[str]:
    """Say in what a fold differs from the plugin and the parameters that a config writes out."""
    if made_by.get("plugin") != short_name(plugin):
        yield _told("plugin", made_by.get("plugin"), short_name(plugin))
        return
    stored = made_by.get("parameters", {})
    by_content = {*made_by.get("dependencies", {}), *made_by.get("files", {})}
    for name, value in short_names(without_secrets(dict(parameters))).items():
        if name in by_content and name not in stored:
            continue
        if name not in stored or not _same(stored[name], value):
            yield _told(name, stored.get(name, _NOTHING), value)


def _differing(
    made_by: Mapping[str, Any], spec: LearnerSpec, shared: Mapping[str, Any]
) -> Iterator[str]:
    settings = spec.settings()
    stored, now = made_by.get("parameters", {}), settings.pop("parameters")
    uses = {name: SourceSettings(**use) for name, use in shared["uses"].items()}
    own = {name: asdict(use) for name, use in resolve_sources(spec, uses).items()}
    plain = {"crossfit": VERSION, **settings, **shared} | {"uses": {}}
    for name, value in plain.items():
        if name not in ("uses", "code", APART) and not _same(made_by.get(name), value):
            yield _told(name, made_by.get(name, _NOTHING), value)
    yield from told_differences("", stored, now)
    yield from told_differences("source ", made_by.get("uses", {}), own)
    asked = {
        "teachers": sorted(teacher.name for teacher in spec.teachers()),
        "labelers": {
            name: sorted(one.name for one in named) for name, named in labelers(spec, uses).items()
        },
    }
    known = {
        "teachers": sorted(made_by.get("teachers", {})),
        "labelers": {name: sorted(k) for name, k in made_by.get("labelers", {}).items()},
    }
    yield from told_differences("", known, asked)
    columns = shared[APART]["columns"]
    stored_columns = made_by.get("privileged", {})
    if columns is None:  # nobody has read them: names are all that can be compared
        stored_columns = dict.fromkeys(stored_columns)
    yield from told_differences(
        "privileged ",
        stored_columns,
        {name: (columns or {}).get(name) for name in spec.privileged},
    )


def _code(made_by: Mapping[str, Any], spec: LearnerSpec) -> tuple[str, bool]:
    """Say in what the code of the plugin differs, and whether it is kept all the same."""
    stored, now = made_by.get("code"), spec.code()
    if _same(stored, as_known(now, stored)):
        return "", False
    told = told_difference(stored, now)
    kept = _same(stored, as_known(spec.kept.stands_for(now), stored))
    return f"{told}, and the user says that it gives the same" if kept else told, kept


def told_differences(what: str, stored: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Say what each value was and is that differs; ``what`` stands before its name."""
    for name in dict.fromkeys([*stored, *now]):
        before, after = stored.get(name, _NOTHING), now.get(name, _NOTHING)
        if not _same(before, after):
            yield _told(f"{what}{name}", before, after)


def _files(made_by: Mapping[str, Any], spec: LearnerSpec) -> tuple[list[str], list[str]]:
    """Compare files and other dependencies: those that have changed, and those not here."""
    learner = spec.prototype
    found = without_secrets(dependencies_of(learner, f'learner "{spec.name}"'))
    now: dict[str, Any] = {
        name: _hash(value) if isinstance(value, Path) else value for name, value in found.items()
    }
    paths = path_parameters(learner)
    files: dict[str, Any] = {
        name: [hash_tree(path) for path in places]
        for name, places in paths.items()
        if name not in found
    }
    changed: list[str] = []
    absent: list[str] = []
    for stored, present in (
        (made_by.get("dependencies", {}), now),
        (made_by.get("files", {}), files),
    ):
        for name in dict.fromkeys([*stored, *present]):
            before, after = stored.get(name), present.get(name)
            if _same(before, after):
                continue
            gone = after is None or (isinstance(after, list) and None in after)
            (absent if gone and before is not None else changed).append(name)
    return [f"{name} has another content" for name in changed], absent


def _hash(path: Path) -> str | None:
    try:
        return hash_dependency(path)
    except OSError:
        return None


def _same(first: Any, second: Any) -> bool:
    if first is _NOTHING or second is _NOTHING:
        return first is second
    try:
        return fingerprint(first) == fingerprint(second)
    except (TypeError, ValueError):
        return bool(first == second)


def _told(name: str, before: Any, after: Any) -> str:
    return f"{name} was {_shown(before)}, and now is {_shown(after)}"


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return "not there"
    try:
        text = canonical_json(value)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}\N{HORIZONTAL ELLIPSIS}"
