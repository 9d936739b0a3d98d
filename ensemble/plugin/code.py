"""What a plugin's code is, as a digest: predictions of other code are other predictions.

Of a class or function that a module brings, the text of that module counts, and of every module
of the same home that it imports: of the same package, of a package of the same distribution, or
of the same folder outside the installed ones. Of what has no file (a notebook), and of what was put
in a class's place at run time, the functions themselves count, with all that they refer to, and the
texts of modules that are not installed. Of an object counts what it holds. Comments and blank lines
count nothing. What is imported from elsewhere is known by its version at most; so is compiled code.
"""

from __future__ import annotations

from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.plugin.members import Members, is_foreign
from ensemble.plugin.modules import module_texts, text_digest
from ensemble.plugin.snapshots import qualified_name
from ensemble.storage.hashing import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MOST = 256


class _Known(NamedTuple):
    """A digest, and what it was made from, by which one sees that it is still good."""

    target: object
    bindings: list[tuple[Mapping[str, Any], str, object]]
    texts: dict[tuple[str, Path], str]
    digest: str

    @property
    def is_current(self) -> bool:
        bound = all(space.get(name) is value for space, name, value in self.bindings)
        return bound and all(text_digest(*file) == text for file, text in self.texts.items())


_KNOWN: dict[int, _Known] = {}
"""Digests by the identity of their targets. What a notebook gathers while it works, in a list say,
makes no other digest; what is bound anew, or reloaded, does."""


def code_digest(target: object) -> str | None:
    """Name the code of what a plugin brings: 64 hex digits that change with what it does.

    Parameters
    ----------
    target
        A class, with those that it inherits from; a function or method, or an object that is called
        like one, with what it holds. Of anything else nobody knows the code: None.
    """
    if not callable(target):
        return None
    known = _KNOWN.get(id(target))
    if known is None or known.target is not target or not known.is_current:
        if len(_KNOWN) >= _MOST:
            _KNOWN.clear()
        known = _KNOWN[id(target)] = _looked_at(target)
    return known.digest


def _looked_at(target: object) -> _Known:
    kind = target if isinstance(target, type | FunctionType) else type(target)
    own = Members(own=frozenset({str(kind.__module__).partition(".")[0]}))
    digest = fingerprint(_described(target, own))
    texts = {file: text_digest(*file) for file in own.files.items()}
    return _Known(target, own.bindings, texts, digest)


def _described(target: object, own: Members) -> Any:
    if isinstance(target, partial):
        return [_described(target.func, own), own.of(target.args), own.of(target.keywords)]
    if isinstance(target, MethodType):
        return [_described(target.__self__, own), target.__name__]
    if not isinstance(target, type | FunctionType):
        return [_described(type(target), own), own.state_of(target)]
    kinds = _own_kinds(target) if isinstance(target, type) else [target]
    texts: dict[str, str] = {}
    for kind in kinds:
        texts |= own.texts(kind.__module__)
    of = own.of_class if isinstance(target, type) else own.of
    members = {qualified_name(kind): of(kind) for kind in kinds}  # type: ignore[arg-type]
    return {"members": members, "modules": texts}


def _own_kinds(target: type) -> list[type]:
    return [kind for kind in target.__mro__ if not is_foreign(kind)]


def module_digest(name: str) -> str:
    """Name the code of an imported module, and of what it imports of the same home."""
    return fingerprint(module_texts(name))


def as_known(now: Mapping[str, Any], stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give a code with the secrets that nobody here knows as they were in another one.

    Parameters
    ----------
    now
        The code at hand; its ``secrets`` are None where the environment has none.
    stored
        What it is compared with.
    """
    known = (stored or {}).get("secrets", {})
    secrets = {
        place: known.get(place) if digest is None else digest
        for place, digest in now.get("secrets", {}).items()
    }
    return {**now, "secrets": secrets} if secrets else {**now}


def told_difference(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """Say in words in what two codes differ."""
    if before is None:
        return "nobody knows by what code"
    parts = []
    if before.get("distribution") != now["distribution"]:
        parts.append(f"{before.get('distribution')} then, {now['distribution']} now")
    if before.get("source") != now["source"]:
        parts.append("the plugin's code has changed")
    then, here = before.get("secrets", {}), as_known(now, before).get("secrets", {})
    changed = sorted(place for place in {*then, *here} if then.get(place) != here.get(place))
    parts += [f"the secret {place} is another" for place in changed]
    return "; ".join(parts)
