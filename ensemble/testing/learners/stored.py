"""A fitted learner comes back from its files: here, and where nobody has heard of its fit."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.errors import EnsembleError, LearnerError
from ensemble.oof.calls import check_logits
from ensemble.plugin.faults import call_plugin
from ensemble.storage.pickles import pickled_files
from ensemble.testing.checks import Check, NotAskedError
from ensemble.testing.class_state import as_before
from ensemble.testing.watch import Watch, restoring, watching

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.testing.trial import LearnerTrial

_ALL = "save must write all that predict_logits uses, and load must read it back"


def saved(trial: LearnerTrial) -> Path:
    """Save the first fit in a directory of its own."""
    _ = trial.logits
    directory = trial.directory("model")
    with restoring(), watching(trial.watch):
        call_plugin("save", trial.where, lambda: trial.learner.save(directory))
    return directory


def loaded(trial: LearnerTrial, directory: Path, watch: Watch | None = None) -> Any:
    """Let a new instance read what was saved."""
    learner = trial.subject.make()
    with restoring(), watching(watch):
        found = call_plugin("load", trial.where, lambda: learner.load(directory))
    if not isinstance(found, trial.subject.kind):
        raise trial.fault(
            f"load returned {type(found).__name__}, not the learner", "end load with `return self`"
        )
    return found


def save_and_load(trial: LearnerTrial) -> dict[str, Any]:
    """Save, load, predict; the learner that was saved predicts as before."""
    watch = Watch()
    learner = loaded(trial, saved(trial), watch)
    found = trial.same(
        trial.predict(learner, trial.material.asked), "after save and load", _ALL, trial.tolerance
    )
    trial.same(
        trial.predict(trial.learner, trial.material.asked),
        "once it has been saved",
        "save must leave the learner as it is",
        trial.tolerance,
    )
    if watch.unpickled:
        raise trial.fault(
            f"load unpickles {watch.unpickled[0]}: whoever wrote the file could run any code",
            "store arrays with safetensors, the rest as JSON",
        )
    return found


def saved_again(trial: LearnerTrial) -> dict[str, Any]:
    """Save what was loaded, and load that: a fit that was interrupted after its end does so."""
    learner = loaded(trial, saved(trial))
    directory = trial.directory("model")
    with restoring():
        call_plugin("save of a loaded learner", trial.where, lambda: learner.save(directory))
    return trial.same(
        trial.predict(loaded(trial, directory), trial.material.asked),
        "after save, load, save and load",
        "load must restore all that save writes",
        trial.tolerance,
    )


def averaged(trial: LearnerTrial) -> dict[str, Any]:
    """Average a model with itself: of equal weights the mean is that weight."""
    directory = saved(trial)
    learner = trial.subject.make()
    with restoring():
        found = call_plugin(
            "average_models", trial.where, lambda: learner.average_models([directory, directory])
        )
    if found is not learner:
        raise trial.fault(
            "average_models returned another object", "end average_models with `return self`"
        )
    hint = "average_models must give the mean of the weights that save wrote"
    asked = trial.material.asked
    told = trial.same(
        trial.predict(learner, asked), "as the mean of twice one model", hint, trial.tolerance
    )
    place = trial.directory("mean")
    with restoring():
        call_plugin("save of a mean", trial.where, lambda: learner.save(place))
    again = trial.predict(loaded(trial, place), asked)
    trial.same(again, "after save and load of a mean", _ALL, trial.tolerance)
    return told


def nothing_pickled(trial: LearnerTrial) -> dict[str, Any]:
    """Look into every file that the learner has written."""
    model = saved(trial)
    places = (model, trial.run)
    for place in places:
        found = pickled_files(place)
        if found:
            raise trial.fault(
                f"a file that it has written is pickled: {', '.join(found[:3])}; whoever changes "
                "it can run any code",
                "store arrays with safetensors, trees in LightGBM's text format, the rest as JSON",
            )
    return {"files": sum(path.is_file() for path in model.rglob("*"))}


def fresh_process(trial: LearnerTrial) -> dict[str, Any]:
    """Load in another process: no network, no training data, another working directory."""
    try:
        save_and_load(trial)
    except EnsembleError as error:
        raise NotAskedError("it does not come back in this process either") from error
    origin = trial.subject.origin()
    if origin is None:
        return _as_if_fresh(trial)
    process = trial.fresh_process()
    model = process.directory / "moved" / "model"
    shutil.copytree(saved(trial), model)
    asked = process.directory / "asked.parquet"
    trial.material.asked.write_parquet(asked)
    hidden = trial.place.with_name(f"{trial.place.name}-hidden")
    trial.place.rename(hidden)  # where a fit ran there is nothing any more
    try:
        reply = process.ask(
            {
                "origin": origin,
                "model": str(model),
                "asked": str(asked),
                "forbidden": [*map(str, trial.watch.outside(trial.place))],
            }
        )
    finally:
        hidden.rename(trial.place)
    return trial.same(
        _values(trial, reply, "load and predict"),
        "when it is loaded in another process",
        f"{_ALL}; what fit has set on the class or in the module is not there, and hash() of a "
        "text is another in each process",
        max(trial.tolerance, 1e-4),
    )


def _as_if_fresh(trial: LearnerTrial) -> dict[str, Any]:
    """Load with the class as it was before any fit: no other process can import it."""
    model = saved(trial)
    with as_before(trial.class_state):
        found = trial.predict(loaded(trial, model), trial.material.asked)
    trial.same(
        found,
        "when it is loaded with its class as it was before any fit",
        f"{_ALL}; nothing that is fitted may be kept on the class",
        trial.tolerance,
    )
    raise NotAskedError("no other process can import its class: put it into a file")


def fit_elsewhere(trial: LearnerTrial) -> dict[str, Any]:
    """Fit with the same seed in another process, at another time."""
    origin = _origin(trial)
    process, given, context = trial.fresh_process(), trial.given(), trial.context()
    given.battles.write_parquet(process.directory / "training.parquet")
    np.savez(
        process.directory / "training.npz",
        labels=given.labels,
        weight=np.ones(len(given.labels)) if given.weight is None else given.weight,
        groups=given.groups,
        seed=context.seed,
    )
    asked = process.directory / "asked.parquet"
    trial.material.asked.write_parquet(asked)
    if context.teachers:
        raise NotAskedError("it has teachers")
    reply = process.ask({"origin": origin, "fit": str(process.directory), "asked": str(asked)})
    return trial.same(
        _values(trial, reply, "fit and predict"),
        "after a fit with the same seed in another process",
        "neither a clock, nor the number of the process, nor hash() of a text may enter: seed "
        "with context.seed, and hash with hashlib",
        max(trial.tolerance, 1e-3),
    )


def _origin(trial: LearnerTrial) -> dict[str, Any]:
    try:
        save_and_load(trial)
    except EnsembleError as error:
        raise NotAskedError("it does not come back in this process either") from error
    origin = trial.subject.origin()
    if origin is None:
        raise NotAskedError("no other process can import its class: put it into a file")
    return origin


def _values(trial: LearnerTrial, reply: dict[str, Any], what: str) -> Any:
    if "error" in reply:
        raise LearnerError(
            f"it cannot {what} in another process, without network and training data: "
            f"{reply['error']}",
            where=trial.where,
            hint="load may read the directory that it is given and nothing else: copy what it "
            "needs there in save",
        )
    return check_logits(
        np.asarray(reply["values"], dtype=np.float64), trial.material.asked["id"], trial.where
    )


AVERAGE = Check("average", averaged)
"""Asked of learners whose models can be averaged."""
CHECKS = (
    Check("save and load", save_and_load, fast=True),
    Check("save and load again", saved_again),
    Check("another process", fresh_process, fast=True),
    Check("nothing pickled", nothing_pickled, fast=True),
    Check("fit in another process", fit_elsewhere),
)
