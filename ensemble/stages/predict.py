"""Test logits to ``submission.csv``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ensemble.battles.staleness import check_sources
from ensemble.oof.workspace import open_workspace
from ensemble.run_dir.layout import CACHE, STACK, SUBMISSION
from ensemble.stacking.assemble import check_folds, meta_features
from ensemble.stacking.calls import predict_validated
from ensemble.stacking.left_out import as_stacked
from ensemble.stacking.listed import load_stack
from ensemble.stacking.made_from import check_stack, read_stack_manifest, stacked_folds
from ensemble.stacking.settings import meta_learner_factory, stacked_specs
from ensemble.stacking.unfinished import lacks_refits
from ensemble.stages.shared import say_again
from ensemble.submission.forms import form_for, submission_frame
from ensemble.submission.record import (
    is_current,
    models_compared,
    models_used,
    record_submission,
    remove_submission,
    submission_fault,
)
from ensemble.submission.write import write_submission

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ensemble.config.settings import Config
    from ensemble.oof.workspace import Workspace
    from ensemble.plugin.base import FloatArray
    from ensemble.run_dir.reporter import Reporter


def predict_stage(config: Config, reporter: Reporter) -> Path | None:
    """Turn test logits into ``submission.csv``; nothing where there is no test file."""
    check_sources(config)
    workspace = open_workspace(config)
    submission = workspace.run / SUBMISSION
    if config.test is None:
        remove_submission(workspace.run)
        reporter.log("no [test] in the config: no submission")
        return None
    check_stack(config, workspace)
    stack = read_stack_manifest(workspace.run)
    config, workspace = as_stacked(config, stack), workspace.with_folds(stacked_folds(stack))
    test = workspace.test_rows()
    if is_current(workspace.run, config):
        reporter.log(f"submission  {submission} (kept)")
        return submission
    if fault := submission_fault(workspace.run, config):
        say_again(reporter, "submission", fault)
    with reporter.stage("predict"):
        models = models_used(config)
        used = _test_probabilities(config, workspace, models)
        other = models_compared(config)
        if other and not lacks_refits(workspace, stacked_specs(config)):
            compared = _test_probabilities(config, workspace, models | other)
            gap = float(np.abs(used - compared).mean())
            reporter.event("folds against refit", mean_absolute_difference=gap)
        form = form_for(config.task)
        frame = submission_frame(form, test["id"], used)
        write_submission(submission, frame, test["id"].to_list(), form)
        record_submission(workspace.run, config)
    reporter.log(f"submission  {submission} ({len(test):,} rows: {form.told})")
    return submission


def _test_probabilities(
    config: Config, workspace: Workspace, models: Mapping[str, str]
) -> FloatArray:
    """Combine the stored test logits of each learner's folds, refit or soup."""
    specs = stacked_specs(config)
    check_folds(workspace, specs, models)
    test, names = workspace.test_rows(), [spec.name for spec in specs]
    logits = [workspace.store.test_logits(name, models[name], test["id"]) for name in names]
    cache = workspace.run / CACHE / STACK
    meta = meta_features(test, names, logits, config.stack.features, cache, ties=config.task.ties)
    chosen = load_stack(workspace.run / STACK, meta_learner_factory(config))
    return predict_validated(chosen, meta, "the stack, on the test rows")
