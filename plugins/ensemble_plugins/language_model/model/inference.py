"""Logits of many rows: packed or sorted by length, by row number, whatever fits into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ensemble.errors import LearnerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ensemble_plugins.language_model.model.classifier import Classifier
    from ensemble_plugins.language_model.text.tokens import Tokens

    LogitArray = NDArray[np.float32]

_SMALLEST_BUDGET = 256


def compute_logits(
    classifier: Classifier,
    tokens: Tokens,
    budget: int,
    progress: Callable[[float], None] | None = None,
) -> LogitArray:
    """Compute the logits of all rows.

    Parameters
    ----------
    classifier
        The model.
    tokens
        ``n`` rows.
    budget
        Most tokens computed at once. Out of memory halves it, and goes on with the rows that are
        left.
    progress
        Told the share of rows that are done.

    Returns
    -------
    ndarray of float32, shape (n, 3)
        In the order of ``tokens``.

    Raises
    ------
    LearnerError
        Not even a small pack fits into memory.
    """
    classifier.model.eval()
    logits = np.full((len(tokens), 3), np.nan, dtype=np.float32)
    left = np.arange(len(tokens), dtype=np.int64)
    while len(left):
        try:
            _fill(classifier, tokens, left, budget, logits, progress)
        except torch.OutOfMemoryError as error:
            if budget <= _SMALLEST_BUDGET:
                raise LearnerError(
                    f"out of memory with packs of {budget} tokens",
                    hint="shorten the rows (predict_length), or load the weights in 8 or 4 bits",
                ) from error
            budget //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        left = np.flatnonzero(np.isnan(logits[:, 0]))
    return logits


def _fill(
    classifier: Classifier,
    tokens: Tokens,
    rows: NDArray[np.int64],
    budget: int,
    logits: LogitArray,
    progress: Callable[[float], None] | None,
) -> None:
    """Write the logits of some rows to their places."""
    plan = classifier.plan(tokens.lengths[rows], budget)
    # One width for all packs: each new one is compiled anew.
    width = budget if classifier.compiled else 0
    running: list[tuple[NDArray[np.int64], _OnTheirWay]] = []
    for number, part in enumerate(plan):
        with torch.inference_mode():
            batch = classifier.batch(tokens, rows[part], width=width)
            running.append((rows[part], _OnTheirWay(classifier.logits(batch))))
        if number:  # one pack behind, so that the GPU never waits for the next to be made
            _keep(logits, *running.pop(0))
        if progress:
            progress((number + 1) / len(plan))
    _keep(logits, *running.pop())


class _OnTheirWay:
    """Logits on their way to the CPU.

    The copy is queued at once: asked for later, it would come after the pack that follows.
    """

    def __init__(self, logits: torch.Tensor) -> None:
        self._copy = logits.to("cpu", non_blocking=True)
        self._copied = torch.cuda.Event() if logits.is_cuda else None
        if self._copied:
            self._copied.record(torch.cuda.current_stream(logits.device))

    def wait(self) -> LogitArray:
        """Give them when they are there."""
        if self._copied:
            self._copied.synchronize()
        return self._copy.numpy()


def _keep(logits: LogitArray, rows: NDArray[np.int64], found: _OnTheirWay) -> None:
    values = found.wait()
    if not np.isfinite(values).all():
        raise LearnerError(
            f"the model gave NaN or infinity for rows {rows[:5].tolist()}",
            hint="float16 overflows with some models: use a GPU that computes bfloat16",
        )
    logits[rows] = values
