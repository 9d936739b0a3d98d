"""What a learner may say before a config is written: whether it fits data and machine, and how.

A ``BaseLearner`` may define the class method ``suggest(data, machine)``, which gives a
``Suggestion`` for each ``[[learners]]`` table that it would have. ``ensemble init`` asks every
registered learner that has it, and knows none by name. It must be fast, and needs neither a GPU nor
the libraries that a fit needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Parameters
    ----------
    name
        As its driver calls it.
    memory_gib
        All of its memory, GiB.
    capability
        Its compute capability; None where the driver does not tell.
    """

    name: str
    memory_gib: float
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class Machine:
    """What there is to compute with.

    Parameters
    ----------
    cores
        CPU cores that may be used.
    memory_gib
        Main memory that is free, GiB; None where the system does not tell.
    gpus
        Those that may be used.
    """

    cores: int
    memory_gib: float | None = None
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True)
class RowTable:
    """A table without texts, whose rows are those of target or test by their ids.

    Parameters
    ----------
    files
        Its files: one, or several that are parts of it.
    columns
        Names of all of its columns.
    of
        Whose ids most of its rows have.
    """

    files: tuple[Path, ...]
    columns: tuple[str, ...]
    of: Literal["target", "test"]


@dataclass(frozen=True)
class DataSummary:
    """What is known of the battles that a config is written for.

    Parameters
    ----------
    target_ids, test_ids
        Ids of the target's battles, and of the test rows.
    train_rows, pretrain_rows
        Rows of other sources, by their role.
    prompts
        Different prompts of the target, each of which stays in one fold; 0 where it is not known.
    tokens
        Estimated tokens of a battle's prompt and responses, of some battles of the target.
    n_splits
        Number of folds.
    ties
        Whether a battle can end in a tie.
    tables
        Tables that are known by their ids, such as predictions of another model.
    """

    target_ids: pl.Series
    test_ids: pl.Series
    train_rows: int = 0
    pretrain_rows: int = 0
    prompts: int = 0
    tokens: tuple[int, ...] = ()
    n_splits: int = 5
    ties: bool = True
    tables: tuple[RowTable, ...] = ()

    @property
    def fitted_rows(self) -> float:
        """Rows that all folds together are fitted on."""
        folds = self.n_splits
        return (folds - 1) * len(self.target_ids) + folds * self.train_rows

    @property
    def predicted_rows(self) -> int:
        """Rows that all folds together predict."""
        return len(self.target_ids) + self.n_splits * len(self.test_ids)

    def mean_tokens(self, longest: int) -> float:
        """Give the mean number of tokens of a battle that is cut to a length."""
        cut = [min(number, longest) for number in self.tokens]
        return sum(cut) / len(cut) if cut else 0.0


@dataclass(frozen=True)
class Suggestion:
    """One ``[[learners]]`` table for a config.

    Parameters
    ----------
    parameters
        Those that are not left at their defaults.
    comments
        A comment by parameter.
    note
        What the learner is, in a few words.
    name
        Of the learner; None takes that of the plugin.
    minutes
        Of all folds and their predictions on this machine; None where it cannot be told.
    basis
        What the estimate is made from, or why there is none.
    unfit
        Why it cannot run here, or not yet: it is then written as a comment. None where it can.
    files
        The files of ``DataSummary.tables`` that it speaks of.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    comments: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    name: str | None = None
    minutes: float | None = None
    basis: str = ""
    unfit: str | None = None
    files: tuple[Path, ...] = ()
