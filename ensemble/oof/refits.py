"""Why fits that are there are made again, and what becomes of those that other code has made.

A fit under another key, or with a damaged file, is made anew, and that is said. Where nothing but
the code of its plugin differs, hours of fitting may hang on a comment: fits of learners that are
cheap are made anew, of all others the user decides.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError, ConfigError, EnsembleError
from ensemble.oof.dependencies import dependency_depth
from ensemble.oof.kept import forget, keep, read_kept, restore
from ensemble.oof.origins import other_models
from ensemble.oof.staleness import compare_key
from ensemble.plugin.code import told_difference
from ensemble.storage.directories import read_manifest
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ensemble.battles.held_out import HeldOut
    from ensemble.config.settings import Config
    from ensemble.oof.fold_key import FitKeys
    from ensemble.oof.spec import LearnerSpec
    from ensemble.oof.workspace import Workspace

    Fit = tuple[LearnerSpec, HeldOut]


@dataclass(frozen=True)
class Again:
    """A fit that is there, and is to be made anew.

    Parameters
    ----------
    spec, held_out
        Of what.
    why
        In words.
    made_by
        The code that made it, where nothing else differs.
    """

    spec: LearnerSpec
    held_out: HeldOut
    why: str
    made_by: dict[str, str] | None = None


@dataclass(frozen=True)
class Decisions:
    """What the user says of learners whose code has changed.

    Parameters
    ----------
    refit
        Names of learners whose fits by other code are made anew.
    keep
        Names of learners whose fits by other code are kept.
    """

    refit: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    def check(self, config: Config) -> None:
        """Refuse names of no learner, and a name of which both is said.

        Raises
        ------
        ConfigError
            There is one.
        """
        for name in (*self.refit, *self.keep):
            config.learner(name)
        both = sorted({*self.refit} & {*self.keep})
        if both:
            raise ConfigError(f'"{both[0]}" cannot be both refitted and kept')

    def remember(self, workspace: Workspace, fits: Callable[[], Sequence[Fit]]) -> None:
        """Write into the run what is kept; specs that are made from then on know of it.

        Parameters
        ----------
        workspace
            Of the run.
        fits
            Lists the fits that are asked for, with specs that know of what is kept by then.

        Raises
        ------
        ConfigError
            The fits of a learner that is to be kept were made by several codes, or it has none that
            other code has made. Then nothing is remembered.
        """
        before = read_kept(workspace.run)
        try:
            for name in self.refit:
                forget(workspace.run, name)
            # Who learns from another is known by what that one was: teachers first.
            specs = {spec.name: spec for spec, _ in fits()}
            order = {name: dependency_depth(spec, workspace.uses) for name, spec in specs.items()}
            for name in sorted(self.keep, key=lambda name: order.get(name, 0)):
                _keep(workspace, name, [one for one in fits() if one[0].name == name])
        except EnsembleError:
            restore(workspace.run, before)
            raise


def _keep(workspace: Workspace, name: str, fits: Sequence[Fit]) -> None:
    """Keep what other code has made of one learner."""
    where = f'learner "{name}"'
    again = list(made_again(workspace, fits))
    codes = {fingerprint(a.made_by): a.made_by for a in again if a.made_by is not None}
    if len(codes) > 1 or (codes and _has_current(workspace, fits)):
        raise ConfigError(
            "its folds were made by several codes, which cannot all be the present one",
            where=where,
            hint=f"use --refit {name}: what the present code has made stays",
        )
    for code in codes.values():
        keep(workspace.run, name, code, fits[0][0].code())
    if not codes and not _is_kept(fits):
        raise ConfigError(
            f"there is nothing to keep: {_why_nothing(workspace, fits, again)}",
            where=where,
            hint=f"leave --keep {name} out",
        )


def _is_kept(fits: Sequence[Fit]) -> bool:
    """Say whether the present code counts as another one already: the same command once more."""
    return any(spec.kept.stands_for(spec.code()) != spec.code() for spec, _ in fits[:1])


def _why_nothing(workspace: Workspace, fits: Sequence[Fit], again: Sequence[Again]) -> str:
    if again:
        return "; ".join(told_again(again))
    if not fits:
        return "no fit of it is asked for"
    stored = (workspace.store.directory(spec.name, held_out) for spec, held_out in fits)
    is_there = any(directory.exists() for directory in stored)
    return "its fits are of the present code" if is_there else "it has no fits yet"


def made_again(workspace: Workspace, fits: Iterable[Fit]) -> Iterator[Again]:
    """Find the fits that are there, and that will be made anew."""
    keys = workspace.fit_keys()
    for spec, held_out in fits:
        found = _again(workspace, keys, spec, held_out)
        if found is not None:
            yield found


def refuse_undecided(found: Sequence[Again], refit: Sequence[str]) -> None:
    """Refuse to make dear fits anew for a change of code alone, unless the user says so.

    Raises
    ------
    ConfigError
        There are such fits; says of which learners, what has changed, and what decides.
    """
    dear = [a for a in found if a.made_by is not None and not _is_cheap(a.spec)]
    open_ones = [a for a in dear if a.spec.name not in refit]
    if not open_ones:
        return
    names = dict.fromkeys(a.spec.name for a in open_ones)
    told = "\n".join(f"  {line}" for line in told_again(open_ones))
    refits, keeps = (" ".join(f"--{verb} {name}" for name in names) for verb in ("refit", "keep"))
    raise ConfigError(
        f"other code has made what is there, and may give other predictions:\n{told}",
        hint=f"add `{refits}` to make it anew, or `{keeps}` where the change does not matter",
    )


def told_again(found: Iterable[Again]) -> list[str]:
    """Say what is made anew and why, one line for each learner and reason."""
    counts = Counter(((a.spec.name, a.why), _kind(a.held_out)) for a in found)
    lines: dict[tuple[str, str], list[str]] = {}
    for (line, kind), count in counts.items():
        lines.setdefault(line, []).append(f"{count} {kind}{'s' if count > 1 else ''}")
    return [f"{name}, {' and '.join(what)}: {why}" for (name, why), what in lines.items()]


def _kind(held_out: HeldOut) -> str:
    return held_out.name.partition("-")[0]


def _is_cheap(spec: LearnerSpec) -> bool:
    kind = type(spec.prototype)
    return kind.cheap or not kind.trains


def _has_current(workspace: Workspace, fits: Iterable[Fit]) -> bool:
    """Say whether a fit is there that the present code has made."""
    keys = workspace.fit_keys()
    return any(
        (workspace.store.directory(spec.name, held_out)).exists()
        and _again(workspace, keys, spec, held_out) is None
        for spec, held_out in fits
    )


def _again(
    workspace: Workspace, keys: FitKeys, spec: LearnerSpec, held_out: HeldOut
) -> Again | None:
    directory = workspace.store.directory(spec.name, held_out)
    if not directory.exists():
        return None
    try:
        manifest = read_manifest(directory)
    except ArtifactError as error:
        return Again(spec, held_out, f"{error.message} ({error.where})")
    key, parts = keys.of(spec, held_out)
    if manifest.get("key") == key:
        other = list(other_models(directory, manifest))
        why = f"models that it is the mean of are others now: {', '.join(other)}"
        return Again(spec, held_out, why) if other else None
    made_by: dict[str, Any] = manifest.get("key_parts", {})
    if fingerprint({**made_by, "code": parts["code"]}) == key:
        told = told_difference(made_by["code"], spec.code())
        return Again(spec, held_out, told, made_by["code"])
    compared = compare_key(made_by, spec, workspace.shared_key())
    gone = [f"{name} is not here" for name in compared.absent]
    code = [compared.code] if compared.code else []
    asked = any(made_by.get(name) != parts[name] for name in ("teachers", "labelers"))
    learned = ["a learner that it learns from is another now"] if asked else []
    why = "; ".join((*code, *compared.different, *gone, *learned)) or "its key is another"
    return Again(spec, held_out, why)
