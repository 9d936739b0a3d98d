"""Estimators of scikit-learn, made from what a config says, and looked at."""

from __future__ import annotations

import inspect
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.errors import ConfigError, nearest
from ensemble.plugin.code import code_digest, module_digest
from ensemble.plugin.modules import is_fileless, is_local
from ensemble_plugins.sklearn_references import module_name, parts_of, resolve, run_named

if TYPE_CHECKING:
    from collections.abc import Mapping

_LENGTHS, _FEW = ("n_estimators", "max_iter"), 10
"""Parameters that say how long a fit takes, and how much of it is enough to try it."""
_NO_PROBABILITIES = (
    "take one with predict_proba; for one that has decision_function alone, name a function "
    '("my_pipelines.py:make") that returns sklearn.calibration.CalibratedClassifierCV around it'
)


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
        made = run_named(reference, lambda: target(**keywords))
    if not (hasattr(made, "get_params") and hasattr(made, "fit")):
        raise ConfigError(
            f'"{reference}" gives a {type(made).__name__}, no estimator of scikit-learn',
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
            hint="take its classifier, such as sklearn.ensemble.ExtraTreesClassifier",
        )
    if not hasattr(estimator, "predict_proba"):
        raise ConfigError(
            f'"{reference}" has no predict_proba as it is set', hint=_NO_PROBABILITIES
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
    place, attribute = parts_of(reference)
    home, parts = module_name(reference), [resolve(reference), *_nested(estimator)]
    own = {code_digest(_kind(part)) for part in parts if _is_own(_module(part))}
    own |= {module_digest(home)} if _is_own(home) else set()
    packages = {_module(part).partition(".")[0] for part in parts if not _is_own(_module(part))}
    return {
        "reference": f"{Path(place).name if place.endswith('.py') else place}:{attribute}",
        "versions": _versions({"sklearn", *packages}),
        "code": sorted(map(str, own)),
    }


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
                hint=nearest(name, known),
            )


def _nested(estimator: Any) -> list[Any]:
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
