"""Estimators of scikit-learn by name: found, made with their parameters, and looked at."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from contextlib import contextmanager
from importlib.metadata import packages_distributions, version
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.errors import ConfigError, LearnerError, nearest
from ensemble.plugin.code import code_digest
from ensemble.plugin.faults import call_plugin
from ensemble.plugin.modules import digest_of, is_fileless, is_local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

_KEY = 'parameter "estimator"'
_LENGTHS, _FEW = ("n_estimators", "max_iter"), 10
"""Parameters that say how long a fit takes, and how much of it is enough to try it."""
_NO_PROBABILITIES = (
    "take one with predict_proba; for one that has decision_function alone, name a function "
    '("my_pipelines.py:make") that returns sklearn.calibration.CalibratedClassifierCV around it'
)


def resolve(reference: str) -> Any:
    """Find what a reference names.

    Parameters
    ----------
    reference
        ``"package.module.Name"``, ``"package.module:Name"`` or ``"file.py:Name"``: a class, a
        function that returns an estimator, or an estimator.

    Raises
    ------
    ConfigError
        It cannot be found or imported.
    """
    place, attribute = _parts(reference)
    in_file = place.endswith(".py")
    module = module_of_file(Path(place)) if in_file else _imported(place, reference)
    try:
        return attrgetter(attribute)(module)
    except AttributeError as error:
        names = [name for name in dir(module) if not name.startswith("_")]
        raise ConfigError(
            f'{place} has no "{attribute}"', where=_KEY, hint=nearest(attribute, names)
        ) from error


def check_reference(reference: str) -> None:
    """Refuse what cannot be a reference, without an import.

    Raises
    ------
    ValueError
        It names no module.
    """
    place, attribute = _parts(reference)
    if not (place and attribute):
        raise ValueError(
            f'estimator "{reference}" names no module: give "package.module.Class", '
            '"package.module:function" or "file.py:function"'
        )


def module_of_file(path: Path) -> ModuleType:
    """Import a file, under a name that says its content: ``"stem_<8 hex digits>"``.

    Raises
    ------
    ConfigError
        There is no such file, or it raises.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", where=_KEY)
    name = file_module_name(path)
    if name not in sys.modules:
        module = _spec_of(name, path)
        sys.modules[name] = module
        try:
            with _beside(path):
                _run(f"{path}", lambda: module.__spec__.loader.exec_module(module))  # type: ignore[union-attr]
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def file_module_name(path: Path) -> str:
    """Name the module that a file is imported as; comments do not change it."""
    return f"{path.stem}_{digest_of(path.read_bytes())[:8]}"


def make_estimator(reference: str, parameters: Mapping[str, Any]) -> Any:
    """Make an estimator that is not fitted.

    Parameters
    ----------
    reference
        As ``resolve`` takes it.
    parameters
        Keywords of the class or function, or parameters of the estimator that it gives, those of
        its parts too (``"tfidf__min_df"``). A list is given as a tuple where the default is one.

    Raises
    ------
    ConfigError
        It cannot be found, is no estimator, or does not know a parameter.
    """
    target = resolve(reference)
    if not isinstance(target, type) and hasattr(target, "get_params"):
        from sklearn.base import clone

        made, keywords = clone(target), {}
    else:
        keywords = _keywords(target, parameters, reference)
        made = _run(reference, lambda: target(**keywords))
    if not (hasattr(made, "get_params") and hasattr(made, "fit")):
        raise ConfigError(
            f'"{reference}" gives a {type(made).__name__}, no estimator of scikit-learn',
            where=_KEY,
            hint="name a classifier, or a function that returns one that is not fitted",
        )
    rest = {name: value for name, value in parameters.items() if name not in keywords}
    known = made.get_params(deep=True)
    _refuse_unknown(rest, {*known, *_names(target)}, reference)
    return made.set_params(
        **{name: _as_default(value, known[name]) for name, value in rest.items()}
    )


def check_classifier(estimator: Any, reference: str) -> None:
    """Refuse what gives no probabilities of classes.

    Raises
    ------
    ConfigError
        It is a regressor, something else, or a classifier without ``predict_proba``.
    """
    from sklearn.base import is_classifier, is_regressor

    if not is_classifier(estimator):
        kind = "a regressor" if is_regressor(estimator) else "no classifier"
        raise ConfigError(
            f'"{reference}" is {kind}: classes of battles need a classifier',
            where=_KEY,
            hint="take its classifier, such as sklearn.ensemble.ExtraTreesClassifier",
        )
    if not hasattr(estimator, "predict_proba"):
        raise ConfigError(
            f'"{reference}" has no predict_proba as it is set', where=_KEY, hint=_NO_PROBABILITIES
        )


def seed_estimator(estimator: Any, seed: int) -> Any:
    """Set every ``random_state`` that is None, those of parts too; gives the estimator."""
    free = [
        name
        for name, value in estimator.get_params(deep=True).items()
        if name.rpartition("__")[2] == "random_state" and value is None
    ]
    return estimator.set_params(**dict.fromkeys(free, seed % 2**32))


def shortened(estimator: Any) -> Any:
    """Set numbers of trees and of steps to a few, where an estimator is only tried; gives it."""
    long = {
        name: _FEW
        for name, value in estimator.get_params(deep=True).items()
        if name.rpartition("__")[2] in _LENGTHS and isinstance(value, int) and value > _FEW
    }
    return estimator.set_params(**long)


def weight_keyword(estimator: Any) -> str | None:
    """Name the keyword by which ``fit`` takes weights of rows; None where it takes none."""
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        inner = weight_keyword(last)
        return inner and f"{name}__{inner}"
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None


def identity(reference: str, estimator: Any) -> dict[str, Any]:
    """Say as JSON what an estimator's code is.

    Returns
    -------
    dict[str, Any]
        ``reference``, without directories; ``versions`` of the distributions that its parts are
        from; ``code``, digests of what is in no installed distribution.
    """
    place, attribute = _parts(reference)
    parts = [resolve(reference), *_parts_of(estimator)]
    modules = {_module(part): part for part in parts}
    installed = {name.partition(".")[0] for name in modules if not _is_own(name)}
    own = sorted({str(code_digest(_kind(part))) for part in parts if _is_own(_module(part))})
    return {
        "reference": f"{Path(place).name if place.endswith('.py') else place}:{attribute}",
        "versions": _versions({"sklearn", *installed}),
        "code": own,
    }


def _parts(reference: str) -> tuple[str, str]:
    place, colon, attribute = reference.rpartition(":")
    if not colon:
        place, _, attribute = reference.rpartition(".")
    return place, attribute


def _imported(module: str, reference: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise ConfigError(f'"{reference}" cannot be imported: {error}', where=_KEY) from error
        raise ConfigError(
            f'"{reference}" cannot be imported: there is no module "{error.name}"',
            where=_KEY,
            hint="install it, or give a file as the config sees it: file.py:name",
        ) from error


def _run(what: str, action: Callable[[], Any]) -> Any:
    """Run what a reference names; what it raises is the config's fault."""
    try:
        return call_plugin(what, _KEY, action)
    except LearnerError as error:
        raise ConfigError(error.message, where=error.where, hint=error.hint) from error


def _spec_of(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None:
        raise ConfigError(f"{path} cannot be imported", where=_KEY)
    return importlib.util.module_from_spec(spec)


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Let a file import its neighbors."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _names(target: Any) -> list[str]:
    """Name the keywords of a class or function."""
    if not callable(target):
        return []
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return []
    return [name for name, one in signature.parameters.items() if one.kind in kinds]


def _keywords(target: Any, parameters: Mapping[str, Any], reference: str) -> dict[str, Any]:
    if not callable(target):
        raise ConfigError(
            f'"{reference}" is a {type(target).__name__}: neither a class nor a function',
            where=_KEY,
        )
    names = _names(target)
    if isinstance(target, type):
        _refuse_unknown([n for n in parameters if "__" not in n], names, reference)
    defaults = (
        {n: p.default for n, p in inspect.signature(target).parameters.items()} if names else {}
    )
    return {n: _as_default(v, defaults[n]) for n, v in parameters.items() if n in names}


def _as_default(value: Any, default: Any) -> Any:
    return tuple(value) if isinstance(value, list) and isinstance(default, tuple) else value


def _refuse_unknown(given: Any, known: Any, reference: str) -> None:
    for name in given:
        if name not in known:
            raise ConfigError(
                f'"{reference}" has no parameter "{name}"',
                where='parameter "parameters"',
                hint=nearest(name, known),
            )


def _parts_of(estimator: Any) -> list[Any]:
    nested = estimator.get_params(deep=True).values()
    return [estimator, *(part for part in nested if hasattr(part, "get_params"))]


def _kind(part: Any) -> Any:
    return part if isinstance(part, type) or not hasattr(part, "get_params") else type(part)


def _module(part: Any) -> str:
    return str(_kind(part).__module__)


def _is_own(module: str) -> bool:
    return is_local(module) or is_fileless(module)


def _versions(packages: set[str]) -> dict[str, str]:
    distributions = packages_distributions()
    names = {name for package in packages for name in distributions.get(package, ())}
    return {name: version(name) for name in sorted(names)}
