"""The checks as tests of pytest: each one with an id of its own."""

from __future__ import annotations

import inspect
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

from ensemble.errors import PluginError
from ensemble.plugin.base import MetaLearner
from ensemble.plugin.feature import FeatureSet
from ensemble.plugin.manager import get_manager
from ensemble.testing.base_learners import learner_checks
from ensemble.testing.checks import ConformanceWarning
from ensemble.testing.feature_sets import CHECKS as FEATURE_CHECKS
from ensemble.testing.feature_sets import FeatureTrial
from ensemble.testing.loaders import CHECKS as LOADER_CHECKS
from ensemble.testing.loaders import LoaderTrial
from ensemble.testing.meta_learners import CHECKS as META_CHECKS
from ensemble.testing.meta_trial import MetaTrial
from ensemble.testing.subjects import is_meta, subject_of
from ensemble.testing.trial import LearnerTrial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ensemble.testing.checks import Check, Trial


class NamedCheck:
    """One check, to be called with the plugin: ``check(plugin)``."""

    def __init__(self, check: Check, trial: Callable[[], Trial]) -> None:
        self._check, self._trial = check, trial

    def __call__(self, _plugin: object = None) -> None:
        """Ask.

        Raises
        ------
        PluginError
            The plugin fails the check; its test is skipped where there is nothing to ask.
        """
        import pytest

        found = self._check.finding(self._trial())
        if found.ok is None:
            pytest.skip(found.detail)
        if found.ok is False:
            raise PluginError(f"{found.learner}, {found.what}: {found.detail}")
        if found.warning:
            warnings.warn(f"{found.learner}: {found.detail}", ConformanceWarning, stacklevel=2)


def parametrize_with_checks(plugins: Iterable[Any]) -> Callable[[Any], Any]:
    """Make a test of each check of each plugin, as scikit-learn's decorator of the same name.

    Parameters
    ----------
    plugins
        Classes, instances or registered names of learners and meta-learners; feature sets;
        loaders.

    Returns
    -------
    Callable
        A decorator of a test function with two arguments: the plugin, and a ``check`` to call with
        it.

    Examples
    --------
    ::

        @parametrize_with_checks([MyLearner, MyLearner(rate=0.1), "tfidf"])
        def test_conformance(learner, check):
            check(learner)
    """
    import pytest

    cases, ids = [], []
    for plugin in plugins:
        name, checks, trial = _plan(plugin)
        for check in checks:
            cases.append((plugin, NamedCheck(check, trial)))
            ids.append(f"{name}-{check.name.replace(' ', '_')}")

    def decorate(function: Any) -> Any:
        names = [name for name in inspect.signature(function).parameters if name != "self"]
        other = next((name for name in names if name != "check"), None)
        if other is None:
            return pytest.mark.parametrize("check", [check for _, check in cases], ids=ids)(
                function
            )
        return pytest.mark.parametrize((other, "check"), cases, ids=ids)(function)

    return decorate


def _plan(plugin: Any) -> tuple[str, Iterable[Check], Callable[[], Trial]]:
    """Say what is asked of a plugin; it is tried out when the first test asks."""
    if isinstance(plugin, str):
        return _plan_of_name(plugin)
    if isinstance(plugin, FeatureSet):
        return plugin.name, FEATURE_CHECKS, cache(lambda: FeatureTrial(plugin))
    if inspect.isfunction(plugin):
        return plugin.__name__, LOADER_CHECKS, cache(lambda: LoaderTrial(plugin, plugin.__name__))
    if is_meta(plugin):
        meta = subject_of(plugin, None, MetaLearner)
        return meta.name, META_CHECKS, cache(lambda: MetaTrial(meta))
    subject = subject_of(plugin)
    return subject.name, learner_checks(subject), cache(lambda: LearnerTrial(subject))


def _plan_of_name(name: str) -> tuple[str, Iterable[Check], Callable[[], Trial]]:
    manager = get_manager()
    if name in manager.feature_sets:
        found = manager.feature_sets.get(name)
        return name, FEATURE_CHECKS, cache(lambda: FeatureTrial(found))
    if name in manager.loaders:
        loader = manager.loaders.get(name)
        return name, LOADER_CHECKS, cache(lambda: LoaderTrial(loader, name))
    if name in manager.meta_learners:
        meta = subject_of(name, None, MetaLearner)
        return name, META_CHECKS, cache(lambda: MetaTrial(meta))
    subject = subject_of(name)
    return name, learner_checks(subject), cache(lambda: LearnerTrial(subject))
