"""What is recorded of each source beside its battles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ensemble.battles.corrections import counts_of
from ensemble.battles.files.raw import kinds_of
from ensemble.battles.schema import LABEL_COLUMNS, TEST_ROLE, TEST_SOURCE
from ensemble.redact import mask_text, without_home
from ensemble.run_dir.battles_record import BadRow, SourceRecord

if TYPE_CHECKING:
    from ensemble.battles.loading import Loaded
    from ensemble.config.settings import Reading

_SHOWN_BAD_ROWS = 20
SEVERAL = 20
"""Battles of a source in which each side should win now and then."""


def describe_source(
    reading: Reading,
    loaded: Loaded,
    file_hash: str | None,
    table: str | None,
    corrections: pl.DataFrame | None,
) -> SourceRecord:
    """Record what was read of a source, and what of it to warn of."""
    battles, name = loaded.battles, getattr(reading, "name", TEST_SOURCE)
    return SourceRecord(
        name=name,
        corrected=counts_of(corrections, name),
        role=getattr(reading, "role", TEST_ROLE),
        path=without_home(mask_text(reading.named())),
        sha256=file_hash,
        table=table,
        rows=len(battles),
        label_shares=battles.select(pl.col(LABEL_COLUMNS).mean()).row(0),
        label_shares_before=_shares_before(loaded),
        multi_turn_rows=int((battles["prompt"].list.len() > 1).sum()),
        read_as=loaded.read_as,
        notes=loaded.notes,
        dropped_rows=len(loaded.bad_rows),
        dropped_for=kinds_of(loaded.bad_rows),
        warnings=tuple(_one_sided(reading, battles)),
        bad_rows=tuple(
            BadRow(file=row.file, line=row.line, reason=row.reason)
            for row in loaded.bad_rows[:_SHOWN_BAD_ROWS]
        ),
    )


def _one_sided(reading: Reading, battles: pl.DataFrame) -> list[str]:
    """Warn of a source in which a side never wins: "chosen" is A, say, and "rejected" is B."""
    masses = dict(zip("AB", battles.select(pl.col(LABEL_COLUMNS).sum()).row(0)[:2], strict=True))
    never = [side for side, mass in masses.items() if not mass]
    if len(battles) < SEVERAL or not any(masses.values()) or not never:
        return []
    return [
        f"in source {getattr(reading, 'name', TEST_SOURCE)} {never[0]} never wins in "
        f"{len(battles):,} battles: a model would learn that from the side alone, and an offset "
        'would take it for all that there is; sides = "hash" in the source draws them by its ids'
    ]


def _shares_before(loaded: Loaded) -> tuple[float, ...] | None:
    """Give the label shares with the rows that were left out, as far as these have labels."""
    lost = [row.label for row in loaded.bad_rows if row.label is not None]
    kept = loaded.battles.select(pl.col(LABEL_COLUMNS).sum()).row(0)
    masses = [mass + sum(label[i] for label in lost) for i, mass in enumerate(kept)]
    total = sum(masses)
    return tuple(mass / total for mass in masses) if total else None
