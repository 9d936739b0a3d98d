"""What a learner says of itself, asked so that nonsense is told with its name.

A learner is anyone's class: an attribute of the contract may be a property that raises, or hold
what the contract does not know.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.config.plugin_files import short_name, short_names
from ensemble.errors import LearnerError
from ensemble.plugin.base import BaseLearner, Resources
from ensemble.plugin.faults import call_plugin, plugin_errors
from ensemble.storage.hashing import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.plugin.base import MetaLearner

_LEARNING = ("sample_weight", "groups", "context")
_CALLED: dict[str, tuple[int, tuple[str, ...]]] = {
    "fit": (2, _LEARNING),
    "pretrain": (2, _LEARNING),
    "predict_logits": (1, ()),
    "predict_proba": (1, ()),
    "save": (1, ()),
    "load": (1, ()),
    "check": (1, ("context",)),
    "preflight": (1, ("context",)),
    "average_models": (1, ()),
    "export": (3, ("about",)),
    "check_ids": (1, ()),
    "check_test_ids": (1, ()),
    "check_folds": (1, ()),
    "provenance": (0, ()),
}
"""How each method is called: the number of arguments by place, and the keywords."""
_FLAGS = ("trains", "takes_offset", "cheap", "symmetric")


def resources_of(learner: BaseLearner, where: str) -> Resources:
    """Ask what a fit needs.

    Raises
    ------
    LearnerError
        The learner raised, or gave no ``Resources`` of sensible numbers.
    """
    found = call_plugin("resources", where, lambda: learner.resources)
    if not isinstance(found, Resources):
        raise _nonsense("resources", f"{found!r:.60}, no Resources", where)
    optional = {"minutes": found.minutes}
    numbers: dict[str, Any] = {
        "gpus": found.gpus,
        "memory_gib": found.memory_gib,
        "disk_gib": found.disk_gib,
        "threads": found.threads,
        **{name: value for name, value in optional.items() if value is not None},
    }
    for name, value in numbers.items():
        if not _is_size(value) or (name in ("gpus", "threads") and not isinstance(value, int)):
            raise _nonsense("resources", f"{name} {value!r:.60}", where)
    return found


def dependencies_of(learner: BaseLearner, where: str) -> dict[str, Any]:
    """Ask what predictions depend on beside battles and parameters.

    Raises
    ------
    LearnerError
        The learner raised, or gave no mapping of names to JSON values and paths.
    """
    found = call_plugin("dependencies", where, lambda: learner.dependencies())
    if not isinstance(found, Mapping):
        raise _nonsense("dependencies()", f"{type(found).__name__}, no mapping", where)
    for name, value in found.items():
        if not isinstance(name, str):
            raise _nonsense("dependencies()", f"the name {name!r:.60}, no string", where)
        if not isinstance(value, Path) and not _is_json(value):
            what = f'for "{name}" a {type(value).__name__}, neither a path nor JSON'
            raise _nonsense("dependencies()", what, where)
    # A plugin that is a file counts by what it holds, wherever it lies.
    return {short_name(name): short_names(value) for name, value in found.items()}


def teachers_of(learner: BaseLearner, where: str) -> tuple[str, ...]:
    """Ask which learners teach this one.

    Raises
    ------
    LearnerError
        The learner raised, or gave no sequence of names.
    """
    found = call_plugin("teachers", where, lambda: learner.teachers)
    if not _is_sequence_of_text(found):
        raise _nonsense("teachers", f"{found!r:.60}, no sequence of names", where)
    return tuple(found)


def tolerance_of(learner: BaseLearner, where: str) -> float:
    """Ask how far logits may differ between batches.

    Raises
    ------
    LearnerError
        The learner raised, or gave no finite number of 0 or more.
    """
    found = call_plugin("batch_tolerance", where, lambda: learner.batch_tolerance)
    if not _is_size(found):
        raise _nonsense("batch_tolerance", f"{found!r:.60}", where)
    return float(found)


def told_of_fit(learner: BaseLearner, where: str) -> dict[str, list[str]]:
    """Ask what has to be known of a fit: its ``cautions`` and ``doubts``.

    Raises
    ------
    LearnerError
        The learner raised, or gave no sequence of sentences.
    """
    told: dict[str, Any] = {
        "cautions": call_plugin("cautions", where, lambda: learner.cautions),
        "doubts": call_plugin("doubts", where, lambda: learner.doubts),
    }
    for name, sentences in told.items():
        if not _is_sequence_of_text(sentences):
            raise _nonsense(name, f"{sentences!r:.60}, no sequence of sentences", where)
    return {name: list(sentences) for name, sentences in told.items()}


def contract_faults(learner: BaseLearner | MetaLearner, where: str) -> Iterator[LearnerError]:
    """Find what a learner's class says that cannot be called, or cannot be meant.

    Nothing of it is run but what it says of itself.

    Parameters
    ----------
    learner
        An instance that is not fitted.
    where
        Names it in the errors.
    """
    kind = type(learner)
    for name, call in _CALLED.items():
        fault = _call_fault(kind, name, *call)
        if fault:
            first = "battles" if isinstance(learner, BaseLearner) else "meta"
            yield LearnerError(fault, where=where, hint=_signature_hint(name, first))
    if not isinstance(getattr(kind, "version", None), str):
        yield _nonsense("version", f"{getattr(kind, 'version', None)!r:.60}, no string", where)
    if not isinstance(learner, BaseLearner):
        return
    for name in _FLAGS:
        if not isinstance(value := getattr(kind, name, None), bool):
            yield _nonsense(name, f"{value!r:.60}, neither True nor False on the class", where)
    for ask in (resources_of, dependencies_of, teachers_of, tolerance_of, told_of_fit):
        try:
            ask(learner, where)
        except LearnerError as error:
            yield error


def _call_fault(kind: type, name: str, places: int, keywords: tuple[str, ...]) -> str | None:
    """Say why a method cannot be called as it will be; None where it can, or is not there."""
    method = getattr(kind, name, None)
    if method is None:
        return None
    if not callable(method):
        return f"{name} is a {type(method).__name__}, no method"
    bound = inspect.getattr_static(kind, name)
    own = 0 if isinstance(bound, staticmethod | classmethod) else 1
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):
        return None  # compiled code that does not say
    except plugin_errors() as error:
        return f"the signature of {name} cannot be read: {error}"
    try:
        signature.bind(*[None] * (own + places), **dict.fromkeys(keywords))
    except TypeError as error:
        return f"{name} cannot be called as it will be: {error}"
    return None


def _signature_hint(name: str, first: str) -> str:
    places, keywords = _CALLED[name]
    others = {
        "save": "directory",
        "load": "directory",
        "check_ids": "ids",
        "check_test_ids": "ids",
        "check_folds": "plan",
        "average_models": "directories",
        "export": "directory, battles, logits",
    }
    shown = others.get(name, f"{first}, labels" if places > 1 else first) if places else ""
    defaults = {"sample_weight": "sample_weight=None", "groups": "groups=None"}
    named = [defaults.get(word, word) for word in keywords]
    words = ["self", *filter(None, [shown]), *(["*", *named] if named else [])]
    return f"write def {name}({', '.join(words)})"


def _nonsense(name: str, what: str, where: str) -> LearnerError:
    return LearnerError(
        f"{name} gives {what}", where=where, hint="docs/plugins.md says what it has to be"
    )


def _is_size(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0


def _is_sequence_of_text(value: object) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return False
    return all(isinstance(one, str) for one in value)


def _is_json(value: object) -> bool:
    try:
        canonical_json(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
