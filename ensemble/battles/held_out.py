"""What a fit leaves out: one fold, several at once, or nothing. And the soup of the folds."""

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
        Their numbers, ascending. None: a refit on everything. One: a fold of cross-fitting.
        Several: for exact nested scores of the stack, and for what teachers say of rows that they
        have not seen.
    is_soup
        Whether it is no fit, but the mean of the folds' models: together these have seen all folds.
    """

    folds: tuple[int, ...] = ()
    is_soup: bool = False

    def __post_init__(self) -> None:
        if self.is_soup and self.folds:
            raise ValueError(f"a soup holds nothing out: {self.folds}")
        if list(self.folds) != sorted(set(self.folds)):
            raise ValueError(f"held-out folds must be different and ascending: {self.folds}")

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

    @classmethod
    def named(cls, name: str) -> HeldOut:
        """Take the name of its directory."""
        return SOUP if name == _SOUP else cls(tuple(int(part) for part in name.split("-")[1:]))

    @property
    def is_refit(self) -> bool:
        """Whether it is a fit that holds nothing out."""
        return not self.folds and not self.is_soup

    @property
    def is_joint(self) -> bool:
        """Whether several folds are held out at once: their rows alone are then predicted."""
        return len(self.folds) > 1

    @property
    def kind(self) -> str:
        """What it is called: ``refit``, ``fold``, ``pair``, ``triple``, ``folds`` or ``soup``."""
        if self.is_soup:
            return _SOUP
        return ("refit", "fold", "pair", "triple", "folds")[min(len(self.folds), 4)]

    @property
    def name(self) -> str:
        """The name of its directory: ``refit``, ``fold-0``, ``pair-0-3``, ``soup``."""
        return "-".join([self.kind, *map(str, self.folds)])

    def joined(self, fold: int) -> HeldOut:
        """Hold out one fold more."""
        return HeldOut(tuple(sorted({*self.folds, fold})))

    @property
    def label(self) -> str:
        """Its name for a reader: ``refit``, ``fold 0``, ``pair 0-3``."""
        return self.name.replace("-", " ", 1)

    def to_json(self) -> int | list[int] | str | None:
        """Give what manifests and keys hold: a number, a list of several, null, or ``"soup"``."""
        if self.is_soup:
            return _SOUP
        if self.is_joint:
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
