"""How a stack's manifest names what it lacks, and how that is said to a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UNFINISHED, PLAIN = "unfinished", "plain"
"""Folds that its learners lack, with their keys; learners not nested exactly for want of pairs."""


def sentences(
    left_out: Mapping[str, str], lacking: Mapping[str, Mapping[str, str]], plain: Sequence[str]
) -> list[str]:
    """Say for a reader what a stack lacks.

    Parameters
    ----------
    left_out
        Learners that take no part, and why.
    lacking
        Fits that learners lack, by learner.
    plain
        Learners that are not nested exactly, since pairs of folds are not fitted yet.
    """
    said = [f"Made without {name}: {why}." for name, why in left_out.items()]
    said += [
        f"{name} is not finished: {', '.join(fit.replace('-', ' ') for fit in fits)} "
        f"{'are' if len(fits) > 1 else 'is'} not fitted yet, and candidates are scored on rows "
        "that all learners have predicted."
        for name, fits in lacking.items()
    ]
    if plain:
        told = ", ".join(plain)
        said.append(f"Pairs of folds are not fitted yet, so that {told} is nested plainly.")
    return said
