"""Whether a model is of the folds that a stack was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.battles.held_out import HeldOut
from ensemble.errors import ArtifactError
from ensemble.oof.fold_key import fold_name
from ensemble.oof.origins import origin_of
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ensemble.oof.store import FoldStore


def check_model_origin(
    store: FoldStore,
    manifest: Mapping[str, Any],
    made_from: Mapping[str, Mapping[str, str]],
    where: str,
) -> None:
    """Check that a model is of the folds that the stack was made from.

    A fold is one of them, a refit is their like, and a soup is the mean of all of them.
    """
    is_soup = HeldOut.of(manifest["fold"]).is_soup
    known = _averaged(manifest) == made_from if is_soup else _is_like(store, manifest, made_from)
    if not known:
        raise ArtifactError(
            "a model is not one that the stack was made from",
            where=where,
            hint="run `ensemble run CONFIG` to its end",
        )


def _averaged(manifest: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Name the folds that a soup is the mean of, as a stack names them."""
    models = manifest["models"].items()
    return {name: {part: one[part] for part in ("key", "oof")} for name, one in models}


def _is_like(
    store: FoldStore, manifest: Mapping[str, Any], made_from: Mapping[str, Mapping[str, str]]
) -> bool:
    origin = origin_of(manifest)
    folds = [store.read(manifest["learner"], HeldOut.named(name)) for name in made_from]
    known = {name: one["key"] for name, one in made_from.items()}
    is_there = {fold_name(one["fold"]): one["key"] for one in folds} == known
    is_of_stack = made_from.get(fold_name(manifest["fold"]), origin) == origin
    return is_of_stack and is_there and _are_alike(store, [manifest, *folds])


def _are_alike(store: FoldStore, manifests: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether fits differ in nothing but what they hold out, and so do those that they asked.

    Not every fit asks a teacher: in the order of time, there may be nobody to speak of its rows.
    """
    bases: dict[tuple[str, ...], set[str]] = {}
    for manifest in manifests:
        for asked, base in _bases(store, manifest, ()):
            bases.setdefault(asked, set()).add(base)
    return all(len(found) == 1 for found in bases.values())


def _bases(
    store: FoldStore, manifest: Mapping[str, Any], asked: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Name what a fit was made from, and what each of those that it asked was, whoever did."""
    parts, at = manifest["key_parts"], HeldOut.of(manifest["fold"])
    apart = ("fold", "keeps_model", "teachers", "labelers")
    yield asked, fingerprint({name: part for name, part in parts.items() if name not in apart})
    others = [
        (("teacher", name), HeldOut.named(fit), key)
        for name, keys in parts["teachers"].items()
        for fit, key in keys.items()
    ]
    others += [
        ((source, name), at, key)
        for source, keys in parts["labelers"].items()
        for name, key in keys.items()
    ]
    for what, fit, key in others:
        there = store.read(what[1], fit)
        if there["key"] == key:
            yield from _bases(store, there, (*asked, *what))
        else:  # one that is no longer the one that was asked is like no other
            yield (*asked, *what), key
