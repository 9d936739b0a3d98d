"""The constructor and its parameters: stored as given, in a config and back, at no cost."""

from __future__ import annotations

import inspect
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from ensemble.config.settings import LEARNER_KEYS
from ensemble.errors import EnsembleError, LearnerError
from ensemble.plugin.base import BaseLearner
from ensemble.plugin.contract import contract_faults
from ensemble.plugin.members import is_foreign
from ensemble.plugin.modules import imported_from_elsewhere
from ensemble.plugin.parameters import build, plain_parameters
from ensemble.testing.checks import CautionError, Check
from ensemble.testing.watch import watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ensemble.testing.subjects import Subject

_DEAR = 2.0
"""Seconds of a constructor that does too much."""
_VARIADIC = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
_MUTABLE = (list, dict, set, bytearray)


def _parameters(kind: type) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind).parameters


def _fault(trial: Any, message: str, hint: str) -> LearnerError:
    return LearnerError(message, where=trial.where, hint=hint)


def constructor(trial: Any) -> dict[str, Any]:
    """See that a constructor names its parameters, shares no default, and does nothing else."""
    subject: Subject = trial.subject
    for name, parameter in _parameters(subject.kind).items():
        _check_parameter(trial, name, parameter)
    subject.make()  # what is imported for the first time is not its cost
    started = time.perf_counter()
    with watching() as watch:
        subject.make()
    seconds = time.perf_counter() - started
    _check_cost(trial, seconds, [*map(str, watch.outside())], watch.connected)
    return {"parameters": len(_parameters(subject.kind)), "seconds": seconds}


def _check_parameter(trial: Any, name: str, parameter: inspect.Parameter) -> None:
    if parameter.kind in _VARIADIC:
        star = "**" if parameter.kind is inspect.Parameter.VAR_KEYWORD else "*"
        raise _fault(
            trial,
            f"the constructor takes {star}{name}: its parameters cannot be told, "
            "and a config cannot set them",
            "name each parameter, with its type and a default",
        )
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise _fault(
            trial,
            f'parameter "{name}" is taken by position alone, and a config gives keywords',
            "take the / out of the constructor's signature",
        )
    if isinstance(parameter.default, _MUTABLE):
        kind = type(parameter.default).__name__
        raise _fault(
            trial,
            f'the default of parameter "{name}" is a {kind}, which all instances share',
            "use a tuple, or None and make it in fit",
        )
    if issubclass(trial.subject.kind, BaseLearner) and name in LEARNER_KEYS:
        raise _fault(
            trial,
            f'the constructor has a parameter "{name}", which is a key of every [[learners]] table',
            "give the parameter another name",
        )


def _check_cost(trial: Any, seconds: float, written: list[str], connected: list[str]) -> None:
    hint = "store the parameters, and do the work in fit"
    if written:
        raise _fault(trial, f"the constructor writes files: {', '.join(written)}", hint)
    if connected:
        raise _fault(trial, f"the constructor opens a connection: {connected[0]}", hint)
    if seconds > _DEAR:
        raise _fault(
            trial,
            f"the constructor takes {seconds:.1f} s, and at most {_DEAR:g} s was expected: "
            "instances are made for every listing and every fold",
            hint,
        )


def stored_as_given(trial: Any) -> dict[str, Any]:
    """See that each parameter is an attribute of its own name, with the value that was given."""
    subject: Subject = trial.subject
    plain_parameters(subject.make())
    refused = 0
    for name, parameter in _parameters(subject.kind).items():
        known = getattr(subject.make(), name)
        if parameter.default is not inspect.Parameter.empty and name not in subject.given:
            _check_stored(trial, name, parameter.default, known)
        for value in _others(known):
            try:
                made = subject.kind(**{**_values(subject), name: value})
            except Exception:
                refused += 1  # a value that is out of range may be refused
                continue
            _check_stored(trial, name, value, getattr(made, name, None))
    return {"refused": refused} if refused else {}


def _values(subject: Subject) -> dict[str, Any]:
    made = subject.make()
    return {name: getattr(made, name) for name in subject.given}


def _others(value: Any) -> list[Any]:
    """Give other values of the type of one."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    if isinstance(value, float):
        return [value / 2 if value else 0.25]
    if isinstance(value, tuple):
        return [value[:1]]
    return []


def _check_stored(trial: Any, name: str, given: Any, stored: Any) -> None:
    same = stored is given or (type(stored) is type(given) and bool(stored == given))
    if not same:
        raise _fault(
            trial,
            f'parameter "{name}" is not stored as given: {given!r:.60} was given, and the '
            f"attribute is {stored!r:.60}",
            f"write self.{name} = {name} in the constructor, and convert or fill it in in fit",
        )


def in_toml(trial: Any) -> dict[str, Any]:
    """Write the parameters as a config has them, read them, and make the learner from that."""
    subject: Subject = trial.subject
    plain = plain_parameters(subject.make())
    parameters = _parameters(subject.kind)
    table = {name: value for name, value in plain.items() if value is not None}
    for name in plain.keys() - table.keys():
        if parameters[name].default is not None:
            raise _fault(
                trial,
                f'parameter "{name}" is None, which TOML cannot say, and its default is another',
                "let None be the default, or use another value for it",
            )
    try:
        read = tomllib.loads(tomli_w.dumps(table))
        again = plain_parameters(build(subject.kind, read, where=trial.where))
    except (TypeError, ValueError) as error:
        raise _fault(
            trial,
            f"the parameters cannot be written to TOML: {error}",
            "use strings, finite numbers, booleans, lists and tables",
        ) from error
    except EnsembleError as error:
        raise _fault(
            trial,
            f"the parameters do not come back from a config: {error.message}",
            "annotate each parameter with the type of its default",
        ) from error
    changed = [name for name in plain if again[name] != plain[name]]
    if changed:
        name = changed[0]
        raise _fault(
            trial,
            f'parameter "{name}" comes back from a config as {again[name]!r:.60}, '
            f"not {plain[name]!r:.60}",
            f"annotate {name} with the type of its values",
        )
    return {"parameters": len(table)}


def contract(trial: Any) -> dict[str, Any]:
    """See that methods can be called as they will be, and attributes are what they should."""
    faults = list(contract_faults(trial.subject.make(), trial.where))
    if faults:
        told = "; ".join(f"{fault.message} ({fault.hint})" for fault in faults)
        raise _fault(trial, told, "docs/plugins.md has the signatures")
    return _tolerance(trial.subject.make())


def _tolerance(learner: Any) -> dict[str, Any]:
    """Show a tolerance that is not the default."""
    tolerance = getattr(learner, "batch_tolerance", BaseLearner.batch_tolerance)
    if tolerance == BaseLearner.batch_tolerance:
        return {}
    return {"batch_tolerance": tolerance, "default": BaseLearner.batch_tolerance}


def unchanged_by_fit(trial: Any) -> dict[str, Any]:
    """See that a fit leaves the parameters as they were: they are in the key of its fold."""
    before, after = plain_parameters(trial.subject.make()), plain_parameters(trial.learner)
    changed = [name for name in before if before[name] != after[name]]
    if changed:
        name = changed[0]
        raise _fault(
            trial,
            f'fit changes the parameter "{name}" from {before[name]!r:.60} to {after[name]!r:.60}',
            f"keep what is fitted under another name, such as self.{name}_",
        )
    return {}


def files_are_paths(trial: Any) -> dict[str, Any]:
    """See that what names a file is a path: other parameters count by their text alone."""
    made = trial.subject.make()
    for name in _parameters(trial.subject.kind):
        for text in _texts_in(getattr(made, name)):
            if _is_file(text):
                raise CautionError(
                    f'parameter "{name}" is a text, {text!r:.60}, that names a file: another '
                    "content makes no fit anew, and another working directory has another file; "
                    f"annotate {name} with Path, which counts by content and starts at the config"
                )
    return {}


def imports_counted(trial: Any) -> dict[str, Any]:
    """See that all code of the plugin's author is known, so that a change of it is noticed."""
    kinds = [kind for kind in trial.subject.kind.__mro__ if not is_foreign(kind)]
    for name, path in imported_from_elsewhere(kind.__module__ for kind in kinds).items():
        raise CautionError(
            f"it imports {name}, which is {path}, neither installed nor in the plugin's own "
            "folder: a change there makes no fit anew, and a run keeps no copy of it; put it "
            "beside the plugin, or raise the class attribute version when it changes"
        )
    return {}


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _texts_in(item)
    elif isinstance(value, Mapping):
        yield from _texts_in([*value.values()])


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a text that no file can be called by
        return False


CHECKS = (
    Check("contract", contract, fast=True),
    Check("constructor", constructor, fast=True),
    Check("parameters stored as given", stored_as_given, fast=True),
    Check("parameters in a config", in_toml, fast=True),
    Check("files in parameters", files_are_paths, fast=True),
    Check("imports", imports_counted, fast=True),
)
