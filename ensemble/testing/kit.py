"""The checks of each kind of plugin, as functions to call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble.config.plugin_files import absolute_name
from ensemble.errors import EnsembleError, LearnerError, UnknownNameError, nearest
from ensemble.plugin.base import BaseLearner, MetaLearner
from ensemble.plugin.feature import FeatureSet
from ensemble.plugin.manager import get_manager
from ensemble.testing.base_learners import learner_findings
from ensemble.testing.checks import closing
from ensemble.testing.feature_sets import FeatureTrial, feature_findings
from ensemble.testing.loaders import LoaderTrial, loader_findings
from ensemble.testing.meta_learners import meta_findings
from ensemble.testing.meta_trial import MetaTrial
from ensemble.testing.report import CheckReport
from ensemble.testing.subjects import subject_of
from ensemble.testing.trial import LearnerTrial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import polars as pl

    from ensemble.oof.check import Finding


def check_base_learner(
    learner: type[BaseLearner] | BaseLearner | str,
    *,
    parameters: Mapping[str, Any] | None = None,
    fast: bool = False,
    raises: bool = True,
) -> CheckReport:
    """Check a base learner on about 60 generated battles.

    Parameters
    ----------
    learner
        A class, an instance, whose parameters are taken, or a registered name.
    parameters
        Of the constructor, where defaults will not do.
    fast
        Only what ``run`` asks before it fits anything.
    raises
        Whether faults are raised, all of them together.

    Returns
    -------
    CheckReport
        What each check found.

    Raises
    ------
    LearnerError
        A check failed, and ``raises`` is True; or it is no base learner.
    """
    subject = subject_of(learner, parameters, BaseLearner)
    with closing(LearnerTrial(subject, fast=fast)) as trial:
        return _report(subject.name, learner_findings(trial), raises)


def check_meta_learner(
    meta_learner: type[MetaLearner] | MetaLearner | str,
    *,
    parameters: Mapping[str, Any] | None = None,
    raises: bool = True,
) -> CheckReport:
    """Check a meta-learner on made-up logits of three learners; as ``check_base_learner``."""
    subject = subject_of(meta_learner, parameters, MetaLearner)
    with closing(MetaTrial(subject)) as trial:
        return _report(subject.name, meta_findings(trial), raises)


def check_feature_set(
    feature_set: FeatureSet | str, *, battles: pl.DataFrame | None = None, raises: bool = True
) -> CheckReport:
    """Check a feature set on generated battles and odd texts.

    Parameters
    ----------
    feature_set
        The set, or its registered name.
    battles
        Other battles to compute it for: ``id``, ``prompt``, ``response_a``, ``response_b``.
    raises
        Whether faults are raised, all of them together.
    """
    found = (
        get_manager().feature_sets.get(feature_set) if isinstance(feature_set, str) else feature_set
    )
    if not isinstance(found, FeatureSet):
        raise LearnerError(
            f"{found!r:.60} is no FeatureSet", hint="make one with ensemble.FeatureSet"
        )
    with closing(FeatureTrial(found, battles)) as trial:
        return _report(found.name, feature_findings(trial), raises)


def check_loader(
    loader: Callable[..., pl.DataFrame] | str,
    path: Path | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    raises: bool = True,
) -> CheckReport:
    """Check a loader.

    Parameters
    ----------
    loader
        The function, or its registered name.
    path
        A file that it reads. Without one, generated battles are offered as CSV, Parquet and JSON
        Lines.
    options
        Its keywords, as a config's ``options`` gives them.
    raises
        Whether faults are raised, all of them together.
    """
    name = loader if isinstance(loader, str) else getattr(loader, "__name__", repr(loader))
    found: Any = get_manager().loaders.get(loader) if isinstance(loader, str) else loader
    if not callable(found):
        raise LearnerError(f"{found!r:.60} is no loader", hint="give a function")
    with closing(LoaderTrial(found, name, path, options)) as trial:
        return _report(name, loader_findings(trial), raises)


def check_registered(
    name: str, *, path: Path | None = None, parameters: Mapping[str, Any] | None = None
) -> list[CheckReport]:
    """Check whatever is registered under a name: one report for each kind of plugin.

    Raises
    ------
    UnknownNameError
        Nothing is; says which name is near.
    """
    name = absolute_name(name)
    reports = [_ASKS[kind](name, path, parameters) for kind in _kinds_of(name)]
    if not reports:
        raise UnknownNameError(
            f'"{name}" is neither a config nor the name of a plugin',
            hint=nearest(name, _registered_names()),
        )
    return reports


_ASKS: dict[str, Callable[[str, Path | None, Mapping[str, Any] | None], CheckReport]] = {
    "register_base_learners": lambda name, _, given: check_base_learner(
        name, parameters=given, raises=False
    ),
    "register_meta_learners": lambda name, _, given: check_meta_learner(
        name, parameters=given, raises=False
    ),
    "register_feature_sets": lambda name, *_: check_feature_set(name, raises=False),
    "register_loaders": lambda name, path, given: check_loader(
        name, path, options=given, raises=False
    ),
}


def _kinds_of(name: str) -> list[str]:
    """Say of what kinds a name is, by the hooks that register them."""
    registries, errors, kinds = get_manager().registries, list[EnsembleError](), []
    for hook in _ASKS:
        try:
            registries[hook].get(name)
        except UnknownNameError:
            continue
        except EnsembleError as error:
            errors.append(error)
        else:
            kinds.append(hook)
    if errors and not kinds:
        raise errors[0]
    return kinds


def _registered_names() -> list[str]:
    manager = get_manager()
    registries: tuple[Iterable[Any], ...] = (
        manager.base_learners,
        manager.meta_learners,
        manager.feature_sets,
        manager.loaders,
    )
    return [entry.name for registry in registries for entry in registry]


def _report(name: str, found: Iterable[Finding], raises: bool) -> CheckReport:
    report = CheckReport(name, tuple(found))
    if raises:
        report.raise_for_failures()
    return report
