"""One stage of a learner's training: in this process, or in one for each of several GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble_plugins.language_model.model.adapters import put_state, trained_state
from ensemble_plugins.language_model.model.devices import free_memory
from ensemble_plugins.language_model.model.loading import load_classifier
from ensemble_plugins.language_model.train.distributed import Job, train_together
from ensemble_plugins.language_model.train.training import Training

if TYPE_CHECKING:
    from ensemble.plugin.base import FitContext
    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.settings import TrainingSettings
    from ensemble_plugins.language_model.train.rows import LabeledRows


def train_stage(
    classifier: Classifier,
    rows: LabeledRows,
    settings: TrainingSettings,
    context: FitContext,
    *,
    name: str,
    gpus: int,
) -> Classifier:
    """Train a classifier, and give it back trained; with several GPUs it is another object.

    Parameters
    ----------
    classifier
        What is trained. With several GPUs the caller must not hold it too: its memory is needed.
    rows, settings
        As in ``Training``.
    context
        Seed, threads, progress, and where snapshots are kept.
    name
        Of the stage; its snapshots are kept under it.
    gpus
        How many GPUs train together.
    """
    snapshots = context.checkpoint_directory and context.checkpoint_directory / name
    if gpus == 1:
        Training(
            classifier,
            rows,
            settings,
            seed=context.seed,
            snapshots=snapshots,
            progress=context.progress,
        ).run()
        return classifier
    device, pad_id = classifier.device, classifier.pad_id
    job = Job(
        classifier.settings,
        rows,
        settings,
        seed=context.seed,
        snapshots=snapshots,
        cpu=device.type == "cpu",
        pad_id=pad_id,
        threads=max(1, context.threads // gpus),
    )
    start = trained_state(classifier)
    del classifier
    free_memory()
    end = train_together(job, start, gpus, context.progress)
    trained = load_classifier(job.model, device=device, seed=context.seed, pad_id=pad_id)
    put_state(trained, end, where="the weights that training ended with")
    return trained
