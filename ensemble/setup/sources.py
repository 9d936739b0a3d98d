"""Battles with a role as the tables of a config: their names, and prefixes where ids repeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensemble.setup.advice import free_name
from ensemble.setup.roles import repeated_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from ensemble.setup.roles import Placed


@dataclass(frozen=True)
class NamedSource:
    """Battles as a config has them.

    Parameters
    ----------
    placed
        The battles and their role.
    name
        Of the source.
    id_prefix
        What is put before its ids, which others have too; empty where none has.
    """

    placed: Placed
    name: str
    id_prefix: str = ""

    @property
    def is_comment(self) -> bool:
        """Whether it is written as a comment, since nobody has said what its labels mean."""
        return self.placed.look.kind == "undecided" and self.placed.role != "target"

    @property
    def rows(self) -> int:
        """How many of its rows are used."""
        return 0 if self.is_comment else len(self.placed.look.ids())

    def ids(self) -> pl.Series:
        """Give its ids as the run has them."""
        ids = self.placed.look.ids()
        return self.id_prefix + ids if self.id_prefix else ids


def name_sources(placed: Sequence[Placed]) -> list[NamedSource]:
    """Name all sources; the test is called so."""
    prefixes = repeated_ids(placed)
    taken = {"test"}
    named = []
    for at, one in enumerate(placed):
        name = "test" if one.role == "test" else free_name(one.look.table.stem, taken)
        taken.add(name)
        named.append(NamedSource(one, name, prefixes.get(at, "")))
    return named
