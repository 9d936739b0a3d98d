"""What a run's submission was made from: ``submission.json``, beside ``submission.csv``.

A table of probabilities does not say whose they are. The record does, by the hash of the file, of
the stack, and of the test logits that went into it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ensemble.errors import ArtifactError
from ensemble.run_dir.layout import (
    LEARNERS,
    STACK,
    SUBMISSION,
    SUBMISSION_RECORD,
    TEST,
)
from ensemble.run_dir.stack_files import peek_manifest
from ensemble.storage.atomic import remove_file
from ensemble.storage.directories import MANIFEST
from ensemble.storage.hashing import hash_file
from ensemble.storage.json_files import read_checksummed, write_checksummed
from ensemble.submission.forms import form_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ensemble.config.settings import Config

_HINT = "run `ensemble predict RUN` again"


def record_submission(run: Path, config: Config) -> None:
    """Say what the submission that lies in a run was made from."""
    record = {
        "sha256": hash_file(run / SUBMISSION),
        "made_from": origin_of_predictions(run, config),
        "form": _form(config),
        "compared_with": _compared(run, config),
    }
    write_checksummed(run / SUBMISSION_RECORD, record)


def submission_fault(run: Path, config: Config) -> str | None:
    """Say why a run's submission is not what its stack predicts; None where it is, or is not there.

    Files are compared with what was recorded when it was written; nothing is predicted anew.
    """
    there, recorded = ((run / name).is_file() for name in (SUBMISSION, SUBMISSION_RECORD))
    if not there and not os.path.lexists(run / SUBMISSION_RECORD):
        return None
    if not there:
        return f"{SUBMISSION} was written, and is not there any more"
    if not recorded:
        return f"nobody recorded what {SUBMISSION} was made from: {SUBMISSION_RECORD} is not there"
    try:
        record = read_checksummed(run / SUBMISSION_RECORD, hint=_HINT)
        made_from = origin_of_predictions(run, config)
    except (ArtifactError, AttributeError, KeyError, TypeError, OSError) as error:
        told = f"what {SUBMISSION} was made from cannot be read: {error}".splitlines()[0]
        return f"{told} ({error.where})" if isinstance(error, ArtifactError) else told
    if hash_file(run / SUBMISSION) != record.get("sha256"):
        return f"{SUBMISSION} is not what was written"
    if record.get("form") != _form(config):
        return f"{SUBMISSION} has another form than [task] in the config asks for"
    if record.get("made_from") != made_from:
        return f"{SUBMISSION} was made from another stack, other test logits or other models"
    return None


def is_current(run: Path, config: Config) -> bool:
    """Say whether a run's submission is there, what its stack predicts, and compared as asked."""
    there = all((run / name).is_file() for name in (SUBMISSION, SUBMISSION_RECORD))
    if not there or submission_fault(run, config) is not None:
        return False
    record = read_checksummed(run / SUBMISSION_RECORD, hint=_HINT)
    try:
        return bool(record.get("compared_with") == _compared(run, config))
    except (ArtifactError, KeyError):
        return False  # not there yet


def remove_submission(run: Path) -> None:
    """Take away a submission and what is recorded of it."""
    for name in (SUBMISSION, SUBMISSION_RECORD):
        remove_file(run / name)


def models_used(config: Config) -> dict[str, str]:
    """Say which models of each stacked learner predict rows that no fold holds out."""
    return {one.name: config.models_of(one.name) for one in config.stacked_learners()}


def models_compared(config: Config) -> dict[str, str]:
    """Say of learners that are refitted too what they are held against: the refit, or the folds."""
    return {
        name: "folds" if models == "refit" else "refit"
        for name, models in models_used(config).items()
        if config.wants_refit(name)
    }


def origin_of_predictions(run: Path, config: Config) -> dict[str, Any]:
    """Name what a run's test rows, and its hold-out, are predicted from: stack and logits."""
    models = models_used(_as_stacked(run, config))
    return {
        "stack": hash_file(run / STACK / MANIFEST),
        "models": models,
        "test": _test_logits(run, models),
    }


def _form(config: Config) -> list[str]:
    """Give the header and the winners that the task asks for."""
    form = form_for(config.task)
    return [*form.columns, *(form.winners if form.is_winner else ())]


def _compared(run: Path, config: Config) -> dict[str, Any]:
    """Name the test logits of the models that the submission is not from, but held against."""
    try:
        return _test_logits(run, models_compared(_as_stacked(run, config)))
    except ArtifactError:
        return {}  # not all of them are there


def _as_stacked(run: Path, config: Config) -> Config:
    return config.without(peek_manifest(run / STACK).get("left_out", ()))


def _test_logits(run: Path, models: Mapping[str, str]) -> dict[str, Any]:
    """Give the hash of each learner's test logits, by the fits that the stack is of."""
    folds = peek_manifest(run / STACK)["key_parts"]["folds"]
    return {
        name: {
            fit: peek_manifest(run / LEARNERS / name / fit)["files"][TEST]
            for fit in (folds[name] if asked == "folds" else [asked])
        }
        for name, asked in models.items()
    }
