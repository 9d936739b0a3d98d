"""What a fit leaves out: one fold, a pair of folds, or nothing. And the soup of the folds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, order=True)
class HeldOut:
    """The folds that a fit sees nothing of.

    Parameters
    ----------
    folds
        Their numbers, ascending. None: a refit on everything. One: a fold of cross-fitting. Two: a
        pair, for exact nested scores of the stack.
    is_soup
        Whether it is no fit, but the mean of the folds' models: together these have seen all folds.
    """

    folds: tuple[int, ...] = ()
    is_soup: bool = False

    def __post_init__(self) -> None:
        if self.is_soup and self.folds:
            raise ValueError(f"a soup holds nothing out: {self.folds}")
        if len(self.folds) > 2 or list(self.folds) != sorted(set(self.folds)):
            raise ValueError(f"held-out folds must be none, one or an ascending pair: {self.folds}")

    @classmethod
    def of(cls, value: FoldLike) -> HeldOut:
        """Take a fold's number, None for a refit, or what ``to_json`` gave."""
        if isinstance(value, HeldOut):
            return value
        if isinstance(value, str):
            if value != _SOUP:
                raise ValueError(f"no fit is called {value!r}")
            return SOUP
        if value is None or isinstance(value, int):
            return cls(() if value is None else (value,))
        return cls(tuple(value))

    @property
    def is_refit(self) -> bool:
        """Whether it is a fit that holds nothing out."""
        return not self.folds and not self.is_soup

    @property
    def is_pair(self) -> bool:
        """Whether two folds are held out."""
        return len(self.folds) == 2

    @property
    def name(self) -> str:
        """The name of its directory: ``refit``, ``fold-0``, ``pair-0-3``, ``soup``."""
        if self.is_soup:
            return _SOUP
        kind = ("refit", "fold", "pair")[len(self.folds)]
        return "-".join([kind, *map(str, self.folds)])

    @property
    def label(self) -> str:
        """Its name for a reader: ``refit``, ``fold 0``, ``pair 0-3``."""
        return self.name.replace("-", " ", 1)

    def to_json(self) -> int | list[int] | str | None:
        """Give what manifests and keys hold: a number, a list of two, null, or ``"soup"``."""
        if self.is_soup:
            return _SOUP
        if self.is_pair:
            return list(self.folds)
        return self.folds[0] if self.folds else None


FoldLike: TypeAlias = "HeldOut | int | Sequence[int] | str | None"
"""A fold by its number, None for a refit, or any ``HeldOut``; see ``HeldOut.of``."""

_SOUP = "soup"
REFIT, SOUP = HeldOut(), HeldOut(is_soup=True)


def model_fits(models: str, n_splits: int) -> list[HeldOut]:
    """Say which stored models stand behind ``"folds"``, ``"refit"`` or ``"soup"``."""
    alone = {"refit": [REFIT], _SOUP: [SOUP]}
    return alone.get(models) or [HeldOut((fold,)) for fold in range(n_splits)]


def fold_pairs(n_splits: int) -> list[HeldOut]:
    """List all pairs of folds: ``n_splits * (n_splits - 1) / 2``."""
    return [HeldOut(pair) for pair in combinations(range(n_splits), 2)]
