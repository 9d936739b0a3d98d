"""What is checked: a class, an instance, or a name that a plugin has registered."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.config.plugin_files import absolute_name, short_name
from ensemble.errors import EnsembleError, LearnerError
from ensemble.plugin.base import BaseLearner, MetaLearner
from ensemble.plugin.manager import get_manager
from ensemble.plugin.parameters import build, plain_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ensemble.oof.spec import LearnerSpec


@dataclass(frozen=True)
class Subject:
    """A learner or meta-learner, and how instances of it are made.

    Parameters
    ----------
    name
        For findings.
    where
        For errors.
    kind
        Its class.
    create
        Makes an instance that is not fitted.
    given
        Parameters that it is made with, defaults left out; None where they cannot be told.
    """

    name: str
    where: str
    kind: type
    create: Callable[[], Any]
    given: Mapping[str, Any]

    def make(self) -> Any:
        """Make an instance that is not fitted."""
        return self.create()

    def with_parameters(self, **parameters: Any) -> Subject:
        """Give the same with other values of some parameters."""
        given = {**self.given, **parameters}
        return Subject(
            self.name, self.where, self.kind, _maker(self.kind, given, self.where), given
        )

    def origin(self) -> dict[str, Any] | None:
        """Say how another process makes it: where its class is, and its parameters.

        Returns
        -------
        dict or None
            None where no other process can import it: it is defined in a function or a notebook.
        """
        module = sys.modules.get(self.kind.__module__)
        try:
            same = attrgetter(self.kind.__qualname__)(module) is self.kind
            file = inspect.getsourcefile(self.kind)
        except (AttributeError, TypeError, OSError):
            return None
        if not same or file is None or not Path(file).is_file():
            return None
        return {
            "module": self.kind.__module__,
            "qualname": self.kind.__qualname__,
            "file": str(Path(file).resolve()),
            "parameters": plain_parameters(self.make()),
        }


def subject_of(
    target: object, parameters: Mapping[str, Any] | None = None, base: type = BaseLearner
) -> Subject:
    """Say what is checked.

    Parameters
    ----------
    target
        A class, an instance (its parameters are taken), or a registered name.
    parameters
        Of the constructor, in place of the defaults, or of those of an instance.
    base
        ``BaseLearner`` or ``MetaLearner``.

    Raises
    ------
    LearnerError
        It is none of these.
    UnknownNameError, PluginError
        Nothing is registered under the name, or it cannot be imported.
    """
    given = dict(parameters or {})
    if isinstance(target, str):
        name, kind = short_name(target), _registered(absolute_name(target), base)
    elif isinstance(target, type):
        name, kind = target.__name__, target
    else:
        name, kind = type(target).__name__, type(target)
    if not issubclass(kind, base):
        raise LearnerError(
            f"{kind.__name__} is no {base.__name__}",
            where=f"{kind.__module__}.{kind.__qualname__}",
            hint=f"derive it from ensemble.{base.__name__}: class {kind.__name__}({base.__name__})",
        )
    where = f'{"learner" if base is BaseLearner else "meta-learner"} "{name}"'
    if not isinstance(target, str | type):
        return _of_instance(target, name, where, given)
    return Subject(name, where, kind, _maker(kind, given, where), given)


def subject_of_spec(spec: LearnerSpec) -> Subject:
    """Say how a learner of a config is made; the errors name it as the config does."""
    return Subject(spec.name, spec.where, type(spec.prototype), spec.make, dict(spec.parameters))


def _registered(name: str, base: type) -> type:
    manager = get_manager()
    registry: Any = manager.base_learners if base is BaseLearner else manager.meta_learners
    kind: type = registry.get(name)
    return kind


def _maker(kind: type, given: Mapping[str, Any], where: str) -> Callable[[], Any]:
    return lambda: build(kind, given, where=where)


def _of_instance(target: Any, name: str, where: str, given: dict[str, Any]) -> Subject:
    """Make others like an instance, from the parameters that it says it was made with."""
    try:
        known = plain_parameters(target)
        build(type(target), known | given, where=where)
    except EnsembleError:  # the checks of parameters say what is wrong with them
        values = {
            key: getattr(target, key)
            for key in inspect.signature(type(target)).parameters
            if hasattr(target, key)
        }
        return Subject(name, where, type(target), lambda: type(target)(**values | given), given)
    given = known | given
    return Subject(name, where, type(target), _maker(type(target), given, where), given)


def is_meta(target: object) -> bool:
    """Say whether a class or instance is a meta-learner."""
    kind = target if isinstance(target, type) else type(target)
    return issubclass(kind, MetaLearner)
