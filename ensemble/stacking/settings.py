"""From a config to the learners and the meta-learner that it asks for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.battles.split import n_splits_of
from ensemble.config.plugin_files import short_name, short_names
from ensemble.config.secrets import resolved_secrets, with_secrets
from ensemble.errors import ConfigError, EnsembleError, LearnerError, unknown_name
from ensemble.oof.dependencies import (
    check_labels_are_learned,
    check_offset,
    check_privileged,
    fitted_before,
)
from ensemble.oof.kept import NOTHING_KEPT, read_kept
from ensemble.oof.soup import refuse_unaveraged
from ensemble.oof.spec import LearnerSpec
from ensemble.oof.teaching import PlanShape, check_folds_left, folds_needed
from ensemble.plugin.code import as_known
from ensemble.plugin.contract import contract_faults, resources_of
from ensemble.plugin.manager import GIVEN, get_manager
from ensemble.plugin.parameters import build, plain_parameters
from ensemble.redact import without_secrets
from ensemble.stacking.candidates import simple_candidates
from ensemble.stacking.stack import VERSION, list_candidates
from ensemble.stacking.verdict import AUTO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ensemble.config.settings import Config, Execution
    from ensemble.config.source_settings import SourceSettings
    from ensemble.plugin.base import MetaLearner


def learner_specs(config: Config) -> list[LearnerSpec]:
    """Turn the config's learners into specs, in their order."""
    peers: dict[str, LearnerSpec] = {}
    place, kept = Path(config.base_dir), read_kept(Path(config.run_dir))
    for item in config.learners:
        peers[item.name] = LearnerSpec(
            item.name,
            item.plugin,
            item.parameters,
            place,
            peers,
            item.seeds,
            kept.get(item.name, NOTHING_KEPT),
            item.time_limit or config.execution.time_limit,
            privileged=tuple(item.privileged),
        )
    return list(peers.values())


def stacked_specs(config: Config) -> list[LearnerSpec]:
    """Specs of the learners that enter the stack, in their order."""
    if not config.learners:
        raise ConfigError("the config has no [[learners]]: there is nothing to stack")
    specs = {spec.name: spec for spec in learner_specs(config)}
    return [specs[learner.name] for learner in config.stacked_learners()]


def nested_specs(config: Config) -> list[LearnerSpec]:
    """Specs of the stacked learners that are also fitted without each pair of folds.

    With ``nesting = "auto"`` those that are cheap, and so is whoever teaches them or labels rows
    for them; none where a pair, or what a teacher holds out beside it, would leave nothing to learn
    from.

    Raises
    ------
    ConfigError
        ``nesting = "full"``, and a learner brings its predictions from outside or is fitted on some
        folds alone, or there are only two folds.
    """
    nesting, folds = config.stack.nesting, n_splits_of(config)
    # Of folds in the order of time no model has seen a later one: plain nesting is exact there.
    if nesting == "plain" or config.folds.scheme == "time" or not config.learners:
        return []
    specs, uses = stacked_specs(config), config.source_uses()
    some = config.some_folds(folds)
    if nesting == "auto":
        affordable = [spec for spec in specs if _is_affordable(spec, uses)]
        whole = [spec for spec in affordable if spec.name not in some]
        return [spec for spec in whole if folds > 1 + folds_needed(spec, uses)]
    if partly := [spec.name for spec in specs if spec.name in some]:
        raise ConfigError(
            f"{', '.join(partly)} cannot be fitted without pairs of folds: it has `folds`",
            where='stack.nesting = "full"',
            hint='use nesting = "auto", or leave it out of stack.learners',
        )
    outside = [spec.name for spec in specs if not type(spec.prototype).trains]
    if outside:
        raise ConfigError(
            f"{', '.join(outside)} cannot be fitted without pairs of folds: the predictions come "
            "from outside",
            where='stack.nesting = "full"',
            hint='use nesting = "auto", or leave it out of stack.learners',
        )
    needed = 1 + max(folds_needed(spec, uses) for spec in specs)
    if folds <= needed:
        what = "a pair of two folds" if needed == 2 else f"{needed} folds, as teachers have to be,"
        raise ConfigError(
            f"without {what} nothing is left to learn from",
            where='stack.nesting = "full"',
            hint=f"set folds.n_splits to {needed + 1} or more",
        )
    return specs


def shape_of(config: Config) -> PlanShape:
    """Say how many folds the config asks for, and whether they are blocks of time."""
    return PlanShape(n_splits_of(config), config.folds.scheme == "time")


def _is_affordable(spec: LearnerSpec, uses: Mapping[str, SourceSettings]) -> bool:
    kind = type(spec.prototype)
    own = kind.trains and kind.cheap
    return own and all(_is_affordable(needed, uses) for needed in fitted_before(spec, uses))


def meta_learner_name(config: Config) -> str:
    """Name the candidate that the meta-learner is, wherever its file lies."""
    return short_name(config.stack.meta_learner or "none")


def meta_learner_factory(config: Config) -> Callable[[], MetaLearner] | None:
    """Give what makes the config's meta-learner; None where the config wants none."""
    name = config.stack.meta_learner
    if name is None:
        return None

    def make() -> MetaLearner:
        kind = get_manager().meta_learners.get(name)
        values = resolved_secrets(config.stack.parameters, "stack.parameters", needed=False)
        return build(kind, values, where="stack.parameters")

    return make


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


def _identity(made: MetaLearner) -> dict[str, Any]:
    return {"version": type(made).version, **short_names(without_secrets(plain_parameters(made)))}


def stack_key_parts(config: Config, stored: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Say everything in the config and the plugins that the stack depends on, as JSON.

    Parameters
    ----------
    config
        The config.
    stored
        The parts that a stack was made from, where they are compared: secrets that nobody here
        knows are taken from there.
    """
    factory, manager = meta_learner_factory(config), get_manager()
    made, code = factory() if factory else None, None
    if made is not None:
        entry = manager.meta_learners.entry(str(config.stack.meta_learner))
        code = with_secrets(entry.code(), config.stack.parameters)
        code = as_known(code, (stored or {}).get("code"))
    return {
        "version": VERSION,
        # Trees see columns in the order of learners, and break ties by it.
        "order": [learner.name for learner in config.stacked_learners()],
        # How long it may take changes nothing in what it gives.
        "settings": short_names(without_secrets(config.stack.model_dump(exclude={"time_limit"}))),
        "meta_learner": made and _identity(made),
        "code": code,
        "features": {
            short_name(name): manager.feature_identity(name) for name in config.stack.features
        },
        "seed": config.seed,
        "task": {"ties": config.task.ties, "metric": config.task.metric},
    }
