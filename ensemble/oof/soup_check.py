"""How far a soup is from the mean of the folds' models, by their logits of the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.errors import LearnerError
from ensemble.evaluation.losses import row_divergence, softmax
from ensemble.run_dir.soup_record import SoupCheck

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.plugin.base import FloatArray, LogitArray


def check_soup(soup: LogitArray, folds: Sequence[LogitArray], *, of: str, where: str) -> SoupCheck:
    """Hold a soup against the folds' models.

    Parameters
    ----------
    soup
        ``(n, 3)`` logits, as the task has them.
    folds
        The same rows by each fold's model.
    of
        Which rows they are, as ``SoupCheck`` names them.
    where
        Names the learner in errors.

    Raises
    ------
    LearnerError
        There are no rows, or the folds' models are too far apart to be averaged.
    """
    if not len(soup):
        raise LearnerError(
            "there is no row that the soup could be checked on",
            where=where,
            hint='give a [test] with rows, set folds.holdout, or set models = "folds"',
        )
    mean = softmax(np.mean(folds, axis=0, dtype=np.float64))
    each = [_distance(mean, one) for one in folds]
    kl, changed = _distance(mean, soup)
    found = SoupCheck(
        rows=len(soup),
        of=of,
        kl=kl,
        changed=changed,
        fold_kl=tuple(one for one, _ in each),
        fold_changed=tuple(one for _, one in each),
    )
    if found.is_too_far:
        raise _too_far(found, where)
    return found


def _distance(mean: FloatArray, logits: LogitArray) -> tuple[float, float]:
    own = softmax(logits)
    changed = own.argmax(axis=1) != mean.argmax(axis=1)
    return float(row_divergence(mean, own).mean()), float(changed.mean())


def _too_far(found: SoupCheck, where: str) -> LearnerError:
    return LearnerError(
        "the folds' models are too far apart to be averaged: the soup is further from their mean "
        f"than a single one of them: {found.sentence}",
        where=where,
        hint='set models = "folds" or "refit" for it; models that begin alike are closer '
        "(init_seed of language models), and so are those of smaller learning rates",
    )


def told_check(manifest: Mapping[str, Any]) -> SoupCheck:
    """Give what the manifest of a soup says of it."""
    return SoupCheck.model_validate(manifest["check"])
