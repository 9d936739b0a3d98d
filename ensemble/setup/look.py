"""What is known of one table: what it is, how it is read, what is left open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from ensemble.battles.labels import WINNER_COLUMN
from ensemble.plugin.base import CLASSES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ensemble.battles.loading import Loaded
    from ensemble.setup.facts import Facts
    from ensemble.setup.files import Table

Kind = Literal["labeled", "unlabeled", "undecided", "rows", "refused"]


def has_two_shares(columns: Collection[str]) -> bool:
    """Say whether labels are the shares of A and B alone."""
    return set(CLASSES[:2]) <= set(columns) and not {CLASSES[2], WINNER_COLUMN} & set(columns)


@dataclass(frozen=True)
class Look:
    """What one table is.

    Parameters
    ----------
    table
        Its files.
    kind
        ``"labeled"`` and ``"unlabeled"`` are battles; ``"undecided"`` too, whose labels mean what
        nobody has said; ``"rows"`` have ids and no texts.
    columns
        Names of all columns.
    settings
        What a source or the test file needs beside its path.
    loaded
        The battles, where it has some.
    facts
        What they are like.
    reason
        Why it is undecided or refused.
    choices
        Lines of which one, or some, settle what is undecided.
    notes
        What else there is to say.
    """

    table: Table
    kind: Kind
    columns: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    loaded: Loaded | None = None
    facts: Facts | None = None
    reason: str = ""
    choices: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def read_as(self) -> str:
        """The format that it was recognized as, in words."""
        return self.loaded.read_as if self.loaded is not None else ""

    @property
    def has_two_shares(self) -> bool:
        """Whether its labels are the shares of A and B alone, as of a task without ties."""
        return has_two_shares(self.columns)

    def told(self) -> str:
        """Describe its battles on one line; empty where it has none."""
        if self.facts is None:
            return ""
        return self.facts.told("labels left open" if self.kind == "undecided" else None)

    def ids(self) -> pl.Series:
        """Give the ids of its battles; none where it has no battles."""
        if self.loaded is None:
            return pl.Series("id", [], dtype=pl.String)
        return self.loaded.battles["id"]
