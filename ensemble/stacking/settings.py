"""From a config to the learners and the meta-learner that it asks for, and to the stack's key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.battles.split import n_splits_of
from ensemble.config.plugin_files import short_name, short_names
from ensemble.config.secrets import resolved_secrets, with_secrets
from ensemble.errors import ConfigError
from ensemble.oof.dependencies import fitted_before
from ensemble.oof.kept import NOTHING_KEPT, read_kept
from ensemble.oof.spec import LearnerSpec
from ensemble.oof.teaching import PlanShape, folds_needed
from ensemble.plugin.code import as_known
from ensemble.plugin.manager import get_manager
from ensemble.plugin.parameters import build, plain_parameters
from ensemble.redact import without_secrets
from ensemble.stacking.stack import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ensemble.config.settings import Config
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
