"""All that is asked of a meta-learner."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.errors import LearnerError
from ensemble.evaluation.losses import row_log_loss
from ensemble.evaluation.ties import renormalized
from ensemble.plugin.faults import call_plugin
from ensemble.stacking.calls import describe_validated
from ensemble.storage.pickles import pickled_files
from ensemble.testing import parameters
from ensemble.testing.checks import (
    CautionError,
    Check,
    Expecting,
    NotAskedError,
    findings,
)
from ensemble.testing.class_state import as_before
from ensemble.testing.fresh_process import write_meta
from ensemble.testing.meta_trial import copied, one_learner, without_features, without_ties
from ensemble.testing.watch import DIRECTORY, changed, global_state, restoring, stir_random_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ensemble.oof.check import Finding
    from ensemble.plugin.base import MetaFeatures
    from ensemble.testing.meta_trial import MetaData, MetaTrial

_ROWS = "give each row probabilities of its own logits and features: no mean or rank over rows"
_ALL = "save must write all that predict_proba uses, and load must read it back"
_PROBABILITIES = "predict_proba must give (n, 3) numbers, none negative, each row summing to 1"


def fit(trial: MetaTrial) -> dict[str, Any]:
    """Fit the meta-learner."""
    trial.base()
    return {"rows": len(trial.train.labels)}


def probabilities(trial: MetaTrial) -> dict[str, Any]:
    """See that every row is a distribution."""
    learner = trial.learner
    trial.first()
    given = copied(trial.asked)
    with restoring():
        raw = learner.predict_proba(given)
    if not _equal(given, trial.asked):
        raise trial.fault("predict_proba changes the arrays that it is given", "work on a copy")
    return {"dtype": str(getattr(raw, "dtype", type(raw).__name__))}


def inputs(trial: MetaTrial) -> dict[str, Any]:
    """See that a fit leaves what it was given as it was."""
    _, data = trial.base()
    before = trial.train
    if not _equal(data.meta, before.meta):
        raise trial.fault("fit changes the logits or features that it is given", "work on a copy")
    for name in ("labels", "weight", "groups"):
        if not np.array_equal(getattr(data, name), getattr(before, name)):
            raise trial.fault(f"fit changes the {name} that it is given", "work on a copy")
    return {}


def _equal(one: MetaFeatures, other: MetaFeatures) -> bool:
    return (
        np.array_equal(one.logits, other.logits)
        and np.array_equal(one.features, other.features, equal_nan=True)
        and np.array_equal(one.feature_swap, other.feature_swap)
        and np.array_equal(one.feature_sign, other.feature_sign)
    )


def same_seed(trial: MetaTrial) -> dict[str, Any]:
    """Fit once more with the same seed."""
    _ = trial.said
    with restoring():
        stir_random_state(1)
        again = trial.predict(trial.fit(), trial.asked)
    return trial.same(
        again,
        "after another fit with the same seed",
        "draw from np.random.default_rng(context.seed) alone",
    )


def other_instances(trial: MetaTrial) -> dict[str, Any]:
    """Fit another instance on other labels: the first, and a third one, must not notice."""
    _ = trial.said
    data = trial.train.copy()
    trial.fit(data._replace(labels=data.labels[:, [1, 2, 0]].copy()))
    hint = "keep what is fitted on self, never on the class or in the module"
    trial.same(trial.predict(trial.learner, trial.asked), "after another instance was fitted", hint)
    return trial.same(
        trial.predict(trial.fit(), trial.asked), "after a fit on other labels before", hint
    )


def rows(trial: MetaTrial) -> dict[str, Any]:
    """Predict again, in another order, each row alone, and in another batch."""
    learner, asked = trial.learner, trial.asked
    trial.same(
        trial.predict(learner, asked),
        "the second time it is asked",
        "predict_proba must leave the meta-learner as it is, and draw nothing",
    )
    order = np.random.default_rng(0).permutation(len(asked))
    turned = trial.predict(learner, asked.take(order))[np.argsort(order)]
    trial.same(turned, "in another order", _ROWS)
    some = np.arange(0, len(asked), 20)
    alone = trial.said.copy()
    for row in some:
        alone[row] = trial.predict(learner, asked.take(np.array([row])))[0]
    trial.same(alone, "to a row alone", _ROWS)
    half = trial.said.copy()
    half[::2] = trial.predict(learner, asked.take(np.arange(0, len(asked), 2)))
    return trial.same(half, "in another batch", _ROWS)


def exchange(trial: MetaTrial) -> dict[str, Any]:
    """Measure what exchanging A and B changes, beside exchanging their probabilities."""
    swapped = trial.predict(trial.learner, trial.asked.swapped())[:, [1, 0, 2]]
    difference = float(np.abs(swapped - trial.said).max())
    promised = bool(getattr(trial.subject.kind, "symmetric", False))
    if promised and difference > 1e-5:
        raise trial.fault(
            "the class says symmetric = True, and exchanging A and B changes the probabilities "
            f"beside exchanging them by up to {difference:.3g}",
            "average both orders, with meta.swapped(), or take symmetric = True away",
        )
    return {"difference": difference, "promised": promised}


def features(trial: MetaTrial) -> dict[str, Any]:
    """Fit and predict with no feature, with features that are unknown, and with one learner."""
    unknown = replace(trial.asked, features=np.full_like(trial.asked.features, np.nan))
    with Expecting(
        "features may be NaN", trial.where, "NaN means undefined: fill it, or let trees take it"
    ):
        trial.predict(trial.learner, unknown)
    for what, change in (("no feature", without_features), ("one learner", one_learner)):
        with Expecting(f"{what} must do", trial.where, "take shapes from meta, in fit"):
            data = trial.train.copy()
            learner = trial.fit(data._replace(meta=change(data.meta)))
            trial.predict(learner, change(trial.asked))
    return {}


def edges(trial: MetaTrial) -> dict[str, Any]:
    """Predict no row, and logits that are huge."""
    with Expecting("no row must do", trial.where, "give np.empty((0, 3))"):
        trial.predict(trial.learner, trial.asked.take(np.arange(0)))
    huge = replace(trial.asked, logits=trial.asked.logits * 1e4)
    with Expecting(
        "logits of 10,000 must do",
        trial.where,
        "take the largest logit away before exp: ensemble.evaluation.losses.softmax does",
    ):
        trial.predict(trial.learner, huge)
    return {}


def options(trial: MetaTrial) -> dict[str, Any]:
    """Fit without weights and groups, with scaled weights, with others, and on soft labels."""
    data, said = trial.train.copy(), trial.said
    without: dict[str, MetaData] = {
        "sample_weight": data._replace(weight=None),
        "groups": data._replace(groups=None),
    }
    for name, given in without.items():
        with Expecting(f"{name} = None must be taken", trial.where, "treat it as all the same"):
            found = trial.predict(trial.fit(given.copy()), trial.asked)
        if name == "sample_weight":
            trial.same(found, "without sample_weight", "treat None as np.ones(n)", 1e-3)
    with Expecting("soft labels must be taken", trial.where, "labels are (n, 3) distributions"):
        soft = data.copy()._replace(labels=data.labels * 0.7 + 0.1)
        trial.predict(trial.fit(soft), trial.asked)
    heavy = data.copy()._replace(weight=np.where(data.labels[:, 0] > 0.5, 20.0, 1.0))
    moved = float(np.abs(trial.predict(trial.fit(heavy), trial.asked) - said).max())
    return {"weights change probabilities by": moved}


def no_ties(trial: MetaTrial) -> dict[str, Any]:
    """Fit and predict in a task without ties."""
    data, asked = trial.train.copy(), without_ties(trial.asked)
    labels = renormalized(data.labels)
    hint = "add a little to each class before a logarithm, such as (counts + 1)"
    with Expecting("a task without ties must do", trial.where, hint):
        learner = trial.fit(data._replace(meta=without_ties(data.meta), labels=labels))
        trial.predict(learner, asked)
    return {}


def _saved(trial: MetaTrial) -> Path:
    _ = trial.said
    directory = trial.directory("model")
    with restoring():
        call_plugin("save", trial.where, lambda: trial.learner.save(directory))
    return directory


def _loaded(trial: MetaTrial, directory: Path) -> Any:
    with restoring():
        found = call_plugin("load", trial.where, lambda: trial.subject.make().load(directory))
    if not isinstance(found, trial.subject.kind):
        raise trial.fault(
            f"load returned {type(found).__name__}, not the meta-learner",
            "end load with `return self`",
        )
    return found


def save_and_load(trial: MetaTrial) -> dict[str, Any]:
    """Save, load and predict, twice over; what it says of itself is JSON."""
    found = trial.same(
        trial.predict(_loaded(trial, _saved(trial)), trial.asked), "after save and load", _ALL, 1e-5
    )
    describe_validated(trial.where, trial.learner)
    return found


def another_process(trial: MetaTrial) -> dict[str, Any]:
    """Load in another process, without a network and without what was learned from."""
    _ = trial.said
    origin = trial.subject.origin()
    if origin is None:
        with as_before(trial.class_state):
            found = trial.predict(_loaded(trial, _saved(trial)), trial.asked)
        trial.same(found, "loaded with its class as it was before any fit", _ALL, 1e-5)
        raise NotAskedError("no other process can import its class: put it into a file")
    process = trial.fresh_process()
    model, asked = process.directory / "moved" / "model", process.directory / "asked.npz"
    shutil.copytree(_saved(trial), model)
    write_meta(trial.asked, asked)
    hidden = trial.place.with_name(f"{trial.place.name}-hidden")
    trial.place.rename(hidden)
    try:
        reply = process.ask({"origin": origin, "model": str(model), "asked": str(asked)})
    finally:
        hidden.rename(trial.place)
    if "error" in reply:
        raise LearnerError(
            f"it cannot load and predict in another process: {reply['error']}",
            where=trial.where,
            hint="load may read the directory that it is given and nothing else",
        )
    return trial.same(reply["values"], "when it is loaded in another process", _ALL, 1e-5)


def nothing_pickled(trial: MetaTrial) -> dict[str, Any]:
    """Look into every file that the meta-learner has written."""
    model = _saved(trial)
    found = pickled_files(model)
    if found:
        raise trial.fault(
            f"a file that it has written is pickled: {', '.join(found[:3])}",
            "store arrays with safetensors, trees in LightGBM's text format, the rest as JSON",
        )
    return {"files": sum(path.is_file() for path in model.rglob("*"))}


def global_state_kept(trial: MetaTrial) -> dict[str, Any]:
    """See what of the process a fit and a prediction change."""
    learner, data = trial.learner, trial.train.copy()
    with restoring():
        stir_random_state(2)
        before = global_state()
        trial.subject.make().fit(
            data.meta,
            data.labels,
            sample_weight=data.weight,
            groups=data.groups,
            context=trial.context(),
        )
        learner.predict_proba(copied(trial.asked))
        seen = changed(before, global_state())
    if DIRECTORY in seen:
        raise trial.fault("it changes the working directory", "use absolute paths")
    if seen:
        raise CautionError(f"it changes what the whole process shares: {', '.join(seen)}")
    return {}


def quality(trial: MetaTrial) -> dict[str, Any]:
    """Compare it with the mean of the learners."""
    from ensemble.stacking.candidates import Mean

    mean = Mean().fit(trial.train.meta, trial.train.labels, context=trial.context())
    losses = {
        "log loss": float(row_log_loss(trial.asked_labels, trial.said).mean()),
        "mean of logits": float(
            row_log_loss(trial.asked_labels, mean.predict_proba(trial.asked)).mean()
        ),
    }
    shares = np.tile(trial.train.labels.mean(axis=0), (len(trial.asked), 1))
    prior = float(row_log_loss(trial.asked_labels, shares).mean())
    if losses["log loss"] > prior:
        raise CautionError(
            f"its log loss is {losses['log loss']:.4f}, and that of the class prior {prior:.4f}: "
            "are the columns in the order of the classes?",
            losses,
        )
    return losses


CHECKS: tuple[Check, ...] = (
    *parameters.CHECKS,
    Check("fit", fit),
    Check("probabilities", probabilities),
    Check("inputs", inputs),
    Check("parameters after a fit", parameters.unchanged_by_fit),
    Check("same seed", same_seed),
    Check("other instances", other_instances),
    Check("rows", rows),
    Check("exchange of A and B", exchange),
    Check("features and learners", features),
    Check("edges", edges),
    Check("options", options),
    Check("task without ties", no_ties),
    Check("save and load", save_and_load),
    Check("another process", another_process),
    Check("nothing pickled", nothing_pickled),
    Check("global state", global_state_kept),
    Check("held-out rows", quality),
)


def meta_findings(trial: MetaTrial) -> Iterator[Finding]:
    """Ask a meta-learner."""
    trial.prepare()
    yield from findings(trial, CHECKS, ("contract", "constructor", "fit", "probabilities"))
