"""A fit and its logits: what comes back, what is left as it was, what is the same again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.oof.calls import check_logits
from ensemble.testing.checks import CautionError, Check, NotAskedError
from ensemble.testing.material import rebuilt
from ensemble.testing.parameters import unchanged_by_fit
from ensemble.testing.trial import gap
from ensemble.testing.watch import DIRECTORY, changed, global_state, restoring, stir_random_state

if TYPE_CHECKING:
    from ensemble.testing.trial import LearnerTrial

_COPY = "work on a copy: other learners and seeds are given the same"


def fit(trial: LearnerTrial) -> dict[str, Any]:
    """Fit the learner on generated battles."""
    _, given, seconds = trial.base()
    return {"rows": len(given.battles), "seconds": seconds}


def logits(trial: LearnerTrial) -> dict[str, Any]:
    """See that logits have the right shape and type, are finite, and are no probabilities."""
    learner, asked = trial.learner, rebuilt(trial.material.asked)
    raw = trial.raw(learner, asked)
    values = check_logits(raw, trial.material.asked["id"], trial.where)
    if not asked.equals(trial.material.asked) or asked.columns != trial.material.asked.columns:
        raise trial.fault("predict_logits changes the battles that it is given", _COPY)
    if _are_probabilities(values):
        raise trial.fault(
            "predict_logits returned probabilities, not logits: each row lies in [0, 1] and sums "
            "to 1",
            "return np.log(probabilities), from probabilities that are never 0",
        )
    kind = getattr(raw, "dtype", type(raw).__name__)
    return {"rows": len(asked), "dtype": str(kind), "largest": gap(values, 0)}


def _are_probabilities(values: Any) -> bool:
    return bool(
        ((values >= 0) & (values <= 1)).all() and (abs(values.sum(axis=1) - 1) < 1e-4).all()
    )


def returns_itself(trial: LearnerTrial) -> dict[str, Any]:
    """See that ``fit`` returns the learner."""
    given, learner = trial.given(), trial.subject.make()
    with restoring():
        found = learner.fit(
            given.battles,
            given.labels,
            sample_weight=given.weight,
            groups=given.groups,
            context=trial.context(),
        )
    if found is not learner:
        raise trial.fault(
            f"fit returned {type(found).__name__}, not the learner", "end fit with `return self`"
        )
    return {}


def inputs(trial: LearnerTrial) -> dict[str, Any]:
    """See that a fit leaves what it was given as it was, and needs it no more afterwards."""
    learner, given, _ = trial.base()
    before = trial.given()
    if not given.battles.equals(before.battles) or given.battles.columns != before.battles.columns:
        raise trial.fault("fit changes the battles that it is given", _COPY)
    named = {"labels": "labels", "weight": "sample_weight", "groups": "groups"}
    for field, name in named.items():
        if not np.array_equal(getattr(given, field), getattr(before, field)):
            raise trial.fault(f"fit changes the {name} that it is given", _COPY)
    _ = trial.logits
    given.labels[:] = 1 / 3
    given.groups[:] = 0
    if given.weight is not None:
        given.weight[:] = np.arange(1, len(given.weight) + 1)
    return trial.same(
        trial.predict(learner, trial.material.asked),
        "once the arrays that fit was given have changed",
        "copy what is kept of them in fit",
        trial.tolerance,
    )


def parameters_kept(trial: LearnerTrial) -> dict[str, Any]:
    """See that a fit leaves the parameters as they were."""
    return unchanged_by_fit(trial)


def same_seed(trial: LearnerTrial) -> dict[str, Any]:
    """Fit once more with the same seed, with global random generators elsewhere."""
    if trial.all_same:
        return {"difference": 0.0}
    with restoring():
        stir_random_state(1)
        again = trial.predict(trial.fit(), trial.material.asked)
    return trial.same(
        again,
        "after another fit with the same seed",
        "draw from np.random.default_rng(context.seed) alone, never from a clock, a global "
        "generator or what an earlier fit has left",
        trial.tolerance,
    )


def other_instances(trial: LearnerTrial) -> dict[str, Any]:
    """Fit another instance on other rows: the first one must not notice."""
    learner = trial.learner
    _ = trial.logits
    trial.fit(trial.given_others(trial.material.other_labels))
    return trial.same(
        trial.predict(learner, trial.material.asked),
        "after another instance was fitted",
        "keep what is fitted on self, never on the class or in the module",
        trial.tolerance,
    )


def cache_of_rows(trial: LearnerTrial) -> dict[str, Any]:
    """Fit on other rows with the cache of the first fit, and with an empty one."""
    _ = trial.logits
    asked, labels = trial.material.asked, trial.material.other_labels
    shared = trial.predict(trial.fit(trial.given_others(labels)), asked)
    own = trial.fit(trial.given_others(labels), cache_directory=trial.directory("cache"))
    difference = gap(shared, trial.predict(own, asked))
    if difference > trial.tolerance:
        raise trial.fault(
            "what another fit has left in the cache directory reaches a fit: its logits differ by "
            f"up to {difference:.3g}, and at most {trial.tolerance:.3g} was expected",
            "keep nothing fitted in context.cache_directory, which all folds share: only what "
            "depends on single rows, such as token ids",
        )
    return {"difference": difference}


def global_state_kept(trial: LearnerTrial) -> dict[str, Any]:
    """See what of the process a fit and a prediction change; the first one may import."""
    learner = trial.learner
    seen: dict[str, Any] = {}
    for verb in ("fit", "predict_logits"):
        with restoring():
            stir_random_state(2)
            before = global_state()
            if verb == "fit":
                _fit_unprotected(trial)
            else:
                learner.predict_logits(trial.material.asked.clone())
            seen |= dict.fromkeys(changed(before, global_state()), verb)
    if DIRECTORY in seen:
        raise trial.fault(
            f"{seen[DIRECTORY]} changes the working directory: paths of others lead elsewhere then",
            "use absolute paths in place of os.chdir",
        )
    if seen:
        told = ", ".join(f"{name} ({verb})" for name, verb in sorted(seen.items()))
        raise CautionError(
            f"it changes what the whole process shares: {told}; use a generator of its own, "
            "np.random.default_rng(context.seed), and put back what has to be set"
        )
    return {}


def _fit_unprotected(trial: LearnerTrial) -> None:
    given = trial.given()
    trial.subject.make().fit(
        given.battles,
        given.labels,
        sample_weight=given.weight,
        groups=given.groups,
        context=trial.context(),
    )


def files_written(trial: LearnerTrial) -> dict[str, Any]:
    """See which files were written elsewhere than where the learner was told to."""
    _ = trial.logits
    outside = trial.watch.outside(trial.place)
    if outside:
        raise CautionError(
            f"it writes outside its directories: {', '.join(map(str, outside[:3]))}; "
            "use context.checkpoint_directory, context.cache_directory and what save is given"
        )
    if trial.watch.connected:
        raise CautionError(
            f"it connects to the network: {trial.watch.connected[0]}; a run may have none"
        )
    return {}


def before_fit(trial: LearnerTrial) -> dict[str, Any]:
    """See that a learner that is not fitted gives no logits."""
    logits = trial.logits
    try:
        with restoring():
            found = trial.predict(trial.subject.make(), trial.material.asked)
    except Exception as error:
        return {"raises": type(error).__name__}
    if gap(found, logits) <= trial.tolerance:
        raise NotAskedError("it says the same whether it is fitted or not")
    raise trial.fault(
        "predict_logits gives logits though nothing was fitted, others than after a fit",
        "raise an error there: set what is fitted in fit and load, not in the constructor or on "
        "the class",
    )


def threads(trial: LearnerTrial) -> dict[str, Any]:
    """Fit with two threads: they must not change the result."""
    other = trial.fit(threads=2)
    return trial.same(
        trial.predict(other, trial.material.asked),
        "with two threads",
        "threads may only save time: set what makes sums and draws independent of them",
        max(trial.tolerance, 1e-3),
    )


def seed_used(trial: LearnerTrial) -> dict[str, Any]:
    """Measure what another seed changes."""
    other = trial.predict(trial.fit(seed=987_654_321), trial.material.asked)
    return {"another seed changes logits by": gap(other, trial.logits)}


CHECKS = (
    Check("fit", fit, fast=True),
    Check("logits", logits, fast=True),
    Check("fit returns the learner", returns_itself),
    Check("inputs", inputs, fast=True),
    Check("parameters after a fit", parameters_kept, fast=True),
    Check("same seed", same_seed, fast=True),
    Check("another seed", seed_used),
    Check("other instances", other_instances),
    Check("cache", cache_of_rows, fast=True),
    Check("global state", global_state_kept),
    Check("before a fit", before_fit),
    Check("threads", threads),
)
FILES = Check("files elsewhere", files_written, fast=True)
