"""All that the config asks of plugins, made once before any work: faults are reported together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ensemble.config.secrets import resolved_secrets
from ensemble.errors import ConfigError, EnsembleError, LearnerError, unknown_name
from ensemble.oof.dependencies import (
    check_labels_are_learned,
    check_offset,
    check_privileged,
    fitted_before,
)
from ensemble.oof.soup import refuse_unaveraged
from ensemble.oof.teaching import check_folds_left
from ensemble.plugin.contract import contract_faults, resources_of
from ensemble.plugin.manager import GIVEN, get_manager
from ensemble.plugin.parameters import plain_parameters
from ensemble.stacking.candidates import simple_candidates
from ensemble.stacking.listed import list_candidates
from ensemble.stacking.settings import (
    learner_specs,
    meta_learner_factory,
    meta_learner_name,
    nested_specs,
    shape_of,
)
from ensemble.stacking.verdict import AUTO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ensemble.config.settings import Config, Execution
    from ensemble.oof.spec import LearnerSpec
    from ensemble.plugin.base import MetaLearner


def check_plugins(config: Config, more: Sequence[Callable[[], object]] = ()) -> None:
    """Make everything that the config asks of plugins once, so that faults show before any work.

    Parameters
    ----------
    config
        The config.
    more
        Other checks, whose faults are reported with the rest.

    Raises
    ------
    ConfigError
        All faults of all plugins, reported together.
    """
    registry = get_manager()
    specs = learner_specs(config)
    checks: list[Callable[[], object]] = [partial(_check_learner, spec, config) for spec in specs]
    if specs:  # `prepare` and `split` need none
        checks.append(partial(check_labels_are_learned, specs, config.source_uses()))
    factory = meta_learner_factory(config)
    if factory is not None:
        checks.append(partial(_check_meta_learner, factory))
    checks += [spec.check_secrets for spec in specs]
    checks += [
        partial(resolved_secrets, values, place) for place, values in _tables_with_secrets(config)
    ]
    checks.append(partial(_check_choice, config))
    checks.append(partial(_check_names, config))
    checks.append(partial(nested_specs, config))
    checks += [partial(registry.feature_sets.get, name) for name in config.stack.features]
    checks += [partial(registry.loaders.get, r.loader) for r in config.readings() if r.loader]
    faults = []
    for check in [*checks, *more]:
        try:
            check()
        except EnsembleError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(faults)))


def _tables_with_secrets(config: Config) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "stack.parameters", config.stack.parameters
    yield from ((f"options of {r.named()}", r.options) for r in config.readings())


def _check_names(config: Config) -> None:
    """Refuse learners that are called like a candidate: of two with one name one is hidden."""
    taken = {one.name for one in simple_candidates(2)} | {meta_learner_name(config)}
    for learner in config.learners:
        if learner.name in taken:
            raise ConfigError(
                f'a learner cannot be called "{learner.name}": a candidate of the stack is',
                where="learners",
                hint="give it another name",
            )


def _check_some_folds(spec: LearnerSpec, config: Config) -> None:
    """Refuse a learner whose folds need those of a learner that has fewer."""
    n_splits = config.folds.n_splits
    if config.learner(spec.name).folds is not None and config.models_of(spec.name) == "soup":
        raise ConfigError(
            'models = "soup" is the mean of the models of all folds, and it has `folds`',
            where=spec.where,
            hint='set models = "folds" for it, or leave `folds` out',
        )
    own = set(config.learner(spec.name).planned_folds(n_splits))
    for needed in fitted_before(spec, config.source_uses()):
        if lacking := own - set(config.learner(needed.name).planned_folds(n_splits)):
            raise ConfigError(
                f'it learns from "{needed.name}", whose `folds` lacks {min(lacking)}',
                where=spec.where,
                hint=f'give both the same `folds`, or leave it out of "{needed.name}"',
            )


def _check_learner(spec: LearnerSpec, config: Config) -> None:
    faults = list(contract_faults(spec.prototype, spec.where))
    if faults:
        raise LearnerError("\n".join(map(str, faults)))
    spec.key_parts()
    uses = config.source_uses()
    fitted_before(spec, uses)
    check_offset(spec, uses)
    check_folds_left(spec, uses, shape_of(config))
    check_privileged(spec, uses)
    _check_seeds(spec)
    _check_soup(spec, config)
    _check_some_folds(spec, config)
    _check_devices(spec, config.execution)
    _check_workers(spec, config.execution)


def _check_meta_learner(make: Callable[[], MetaLearner]) -> None:
    faults = list(contract_faults(make(), "the meta-learner, stack.meta_learner"))
    if faults:
        raise LearnerError("\n".join(map(str, faults)))


def _check_seeds(spec: LearnerSpec) -> None:
    """Refuse several seeds to predictions from outside; the keys are not the plugin's."""
    learner = spec.prototype
    where = spec.where
    if spec.seeds > 1 and not type(learner).trains:
        raise ConfigError("seeds = 1 is all that predictions from outside can have", where=where)
    own = {"seeds", "time_limit", "models", "folds", "privileged"}
    for key in sorted(own & plain_parameters(learner).keys()):
        raise ConfigError(
            f'the plugin has a parameter "{key}", which is a key of every [[learners]] table',
            where=where,
            hint="the plugin's author must give its parameter another name",
        )


def _check_soup(spec: LearnerSpec, config: Config) -> None:
    """Refuse a soup that cannot be made, or that nothing could be checked on."""
    if config.models_of(spec.name) != "soup":
        return
    refuse_unaveraged(spec)
    if config.test is None and not config.folds.holdout:
        raise ConfigError(
            'models = "soup" is checked on rows that no fold was trained on, and there are none',
            where=f'learner "{spec.name}"',
            hint='give a [test], set folds.holdout, or set models = "folds"',
        )


def _check_devices(spec: LearnerSpec, execution: Execution) -> None:
    """Refuse one device to a learner that wants several GPUs for a fold."""
    gpus = resources_of(spec.prototype, spec.where).gpus
    single = [name for name in (*execution.devices, execution.device) if ":" in name]
    if gpus > 1 and single:
        raise ConfigError(
            f"one fold is to be fitted on {gpus} GPUs, and [execution] gives it {single[0]} alone",
            where=f'learner "{spec.name}"',
            hint='leave devices empty and device at "auto", or give each fold one GPU',
        )


def _check_workers(spec: LearnerSpec, execution: Execution) -> None:
    """Refuse worker processes to a plugin that they cannot find."""
    entry = get_manager().base_learners.entry(spec.plugin)
    if execution.executor == "processes" and entry.distribution == GIVEN:
        raise ConfigError(
            "worker processes know plugins that are installed or in a file, and this one was given "
            "in Python",
            where=spec.where,
            hint='set executor = "in-process", or name the plugin as "FILE.py:CLASS"',
        )


def _check_choice(config: Config) -> None:
    """See that the candidate that the config chooses will be there once learners are fitted."""
    learners = config.stacked_learners()
    if not learners:
        return  # `stack` says that there is nothing to choose from; other verbs need nothing
    candidates = list_candidates(
        len(learners), meta_learner_factory(config), meta_learner_name(config)
    )
    names = [AUTO, *(candidate.name for candidate in candidates)]
    if config.stack.choose not in names:
        error = unknown_name("candidate", config.stack.choose, names)
        error.where = "stack.choose"
        raise error
