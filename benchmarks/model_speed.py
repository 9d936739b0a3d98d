"""Rows a second of a language model, as the learner and as notebooks predict and train."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from device_time import DEVICE, matrix_rate, say, timed
from model_shapes import LONGEST, battle_rows, operations

from ensemble_plugins.language_model.model.batches import make_padded
from ensemble_plugins.language_model.model.inference import compute_logits
from ensemble_plugins.language_model.train.rows import LabeledRows
from ensemble_plugins.language_model.train.training import Training

if TYPE_CHECKING:
    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.settings import TrainingSettings
    from ensemble_plugins.language_model.text.tokens import Tokens


ROWS: list[dict[str, Any]] = []


class Report:
    """Collects a line a measurement.

    Parameters
    ----------
    rate
        FLOP/s of a dense matrix product on a GPU that was idle before.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def add(self, label: str, rows: int, seconds: float, flop: float) -> None:
        """Note one; right after it, and so as warm, the matrix product is measured for a second."""
        memory = torch.cuda.max_memory_allocated() / 2**30
        say(f"{label}: {rows / seconds:.2f} rows/s, {flop / seconds / self.rate:.1%}")
        torch.cuda.empty_cache()
        sustained = matrix_rate(times=600)
        line = {
            "what": label,
            "rows_per_second": rows / seconds,
            "share": flop / seconds / self.rate,
            "share_of_sustained_rate": flop / seconds / sustained,
            "sustained_teraflop_per_second": sustained / 1e12,
            "gib": memory,
            "minutes_per_1000": 1000 / (rows / seconds) / 60,
        }
        ROWS.append(line)
        say(
            f"{label:46s} {rows / seconds:7.2f} rows/s  {line['share']:6.1%} of the burst rate, "
            f"{line['share_of_sustained_rate']:6.1%} of {sustained / 1e12:.0f} TFLOP/s sustained, "
            f"{memory:5.1f} GiB"
        )
        torch.cuda.reset_peak_memory_stats()


def infer(
    name: str, classifier: Classifier, tokens: Tokens, label: str, report: Report, budget: int
) -> None:
    """Measure prediction as the learner does it."""
    warm = tokens.take(np.arange(min(len(tokens), 60), dtype=np.int64))
    compute_logits(classifier, warm, budget)
    compute_logits(classifier, warm, budget)
    torch.cuda.reset_peak_memory_stats()
    seconds = timed(lambda: compute_logits(classifier, tokens, budget), 1, warm=0)
    flop = operations(name, tokens.lengths)
    report.add(label, len(tokens), seconds, flop)


def infer_padded(
    name: str, classifier: Classifier, tokens: Tokens, label: str, report: Report
) -> None:
    """Measure prediction as notebooks do it: eager, padded to the greatest length, 8 at a time."""
    batches = [_full_width(tokens, start) for start in range(0, len(tokens), 8)]
    with torch.inference_mode(), classifier.as_transformers() as model, _bfloat16():
        seconds = timed(lambda: [model(input_ids=i, attention_mask=m) for i, m in batches], 1)
    report.add(label, len(tokens), seconds, operations(name, tokens.lengths))


def _full_width(tokens: Tokens, start: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = np.arange(start, min(start + 8, len(tokens)), dtype=np.int64)
    padded = make_padded(tokens, rows, device=DEVICE, pad_id=0)
    missing = (0, LONGEST - padded.ids.shape[1])
    return tuple(torch.nn.functional.pad(part, missing) for part in (padded.ids, padded.attended))  # type: ignore[return-value]


def _bfloat16() -> Any:
    return torch.autocast("cuda", torch.bfloat16)


def train(
    name: str,
    classifier: Classifier,
    settings: TrainingSettings,
    label: str,
    report: Report,
    steps: int = 4,
    warm: int = 2,
) -> Training:
    """Measure steps of the engine's own training."""
    # More rows than are computed: the last packs of an epoch are not as full as the others.
    tokens = battle_rows(settings.batch_size * (steps + warm + 4))
    rows = LabeledRows(
        (tokens,),
        np.eye(3)[np.arange(len(tokens)) % 3],
        np.ones(len(tokens)),
        np.arange(len(tokens), dtype=np.int64),
    )
    training = Training(classifier, rows, settings, seed=0)
    classifier.model.train()
    for step in training.steps[:warm]:
        training._step(step)
    torch.cuda.synchronize()
    say(f"{label}: warm")
    torch.cuda.reset_peak_memory_stats()
    chosen = training.steps[warm : warm + steps]
    started = time.perf_counter()
    for step in chosen:
        training._step(step)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    lengths = tokens.lengths[np.concatenate([part for step in chosen for part in step])]
    factor = 3 if settings_full(classifier) else 2
    report.add(label, len(lengths), seconds, factor * operations(name, lengths))
    classifier.model.eval()
    return training


def settings_full(classifier: Classifier) -> bool:
    """Say whether gradients of the weights are computed too, and not of the activations alone."""
    return classifier.settings.tuning == "full"


def train_padded(
    name: str, classifier: Classifier, label: str, report: Report, rows: int = 16
) -> None:
    """Measure training as notebooks do it: eager, checkpointed, padded, 8 at a time."""
    tokens = battle_rows(rows)
    batches = [_full_width(tokens, start) for start in range(0, rows, 8)]
    trained = [p for p in classifier.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)

    def step(ids: torch.Tensor, mask: torch.Tensor) -> None:
        labels = torch.zeros(len(ids), dtype=torch.long, device=DEVICE)
        with _bfloat16():
            logits = model(input_ids=ids, attention_mask=mask).logits
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    def epoch() -> None:
        for batch in batches:
            step(*batch)

    with classifier.as_transformers() as model:
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
        step(*batches[0])
        torch.cuda.reset_peak_memory_stats()
        seconds = timed(epoch, 1, warm=0)
        model.gradient_checkpointing_disable()
    factor = 3 if settings_full(classifier) else 2
    report.add(label, rows, seconds, factor * operations(name, tokens.lengths))
