"""Files of battles to one table: columns checked, rows normalized, unreadable rows reported."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from ensemble.battles.columns import ID_COLUMNS
from ensemble.battles.files.columnar import frame_chunks
from ensemble.battles.files.paths import files_of, shard_note
from ensemble.battles.files.raw import BadRow, collection_paused
from ensemble.battles.files.read import counts_lines, read_all
from ensemble.battles.formats.layout import RECOGNIZED, FormatOptions
from ensemble.battles.formats.reader import FormatReader
from ensemble.battles.id_checks import (
    check_no_float_ids,
    check_no_missing_ids,
    refuse_repeated,
    shared_ids,
)
from ensemble.battles.ids import JUDGES, made_ids, told_apart
from ensemble.battles.metadata import metadata_of
from ensemble.battles.row_checks import check_bad_rows, check_classes
from ensemble.battles.rows import UNLABELED_ROLES, read_rows
from ensemble.battles.schema import (
    BATTLE_SCHEMA,
    PSEUDO_ROLE,
    TARGET_ROLE,
    TEST_ROLE,
    TEST_SOURCE,
)
from ensemble.battles.sides import sides_by_hash
from ensemble.battles.ties import refuse_halves, refuse_ties, without_ties
from ensemble.errors import PluginError
from ensemble.plugin.base import CLASSES
from ensemble.plugin.faults import call_plugin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble.battles.rows import Rows
    from ensemble.battles.turns import TextFormat
    from ensemble.plugin.base import Loader

__all__ = ["BadRow", "Loaded", "combine", "load_battles"]

OnBadRows = Literal["error", "drop"]


@dataclass(frozen=True)
class Loaded:
    """The battles of one file.

    Parameters
    ----------
    battles
        ``BATTLE_SCHEMA``, in the order of the file.
    bad_rows
        The rows that were left out.
    read_as
        The format that its columns were recognized as, in words.
    notes
        What else there is to say of how it was read, in sentences.
    metadata
        ``id`` and what the file says of each battle beside it; see ``metadata_of``.
    """

    battles: pl.DataFrame
    bad_rows: tuple[BadRow, ...]
    read_as: str = ""
    notes: tuple[str, ...] = ()
    metadata: pl.DataFrame = field(default_factory=lambda: pl.DataFrame({"id": []}))


def load_battles(
    path: Path | Sequence[str],
    *,
    source: str,
    role: str,
    is_test: bool = False,
    on_bad_rows: OnBadRows = "error",
    text_format: TextFormat = "auto",
    id_prefix: str = "",
    options: FormatOptions = RECOGNIZED,
    loader: Loader | None = None,
    loader_options: Mapping[str, Any] | None = None,
    loader_name: str = "",
    ties: bool = True,
) -> Loaded:
    """Read one source of battles.

    Parameters
    ----------
    path
        A file, a list of files, a pattern or a directory of shards, as ``files_of`` has it; the
        kind of table is told by the suffix. Anything where there is a ``loader``.
    source, role
        What the rows are recorded under; a test file gets ``TEST_SOURCE`` and ``TEST_ROLE``.
    is_test
        Read a test file: labels and model names are not looked at and never stored.
    on_bad_rows
        ``"error"`` refuses a file with unreadable rows, ``"drop"`` leaves them out and lists them.
        Test files are always refused, since a submission needs all of their rows.
    text_format
        What a string in a text column is: a JSON list of turns, or one plain turn; ``"auto"`` tells
        by the first rows.
    id_prefix
        Put before every id, to keep sources with the same ids apart.
    options
        What the config says of the columns; by default they are recognized.
    loader, loader_options
        A plugin that reads the file in place of the built-in readers, and its keywords.
    loader_name
        Of the loader, for errors.
    ties
        Whether the task has ties. If not, the target may have none, and in other sources each
        counts half for either side.

    Returns
    -------
    Loaded
        The table, the rows left out, and how the file was read.

    Raises
    ------
    DataError
        The file cannot be read, has columns of no format or of several, no (readable) row,
        unreadable rows with ``on_bad_rows="error"``, or an id more than once; or the target has
        ties, and the task has none.
    PluginError
        The loader raised, or returned something else than a table.
    """
    role = TEST_ROLE if is_test else role
    source = TEST_SOURCE if is_test else source
    where = str(path) if isinstance(path, os.PathLike) else ", ".join(path)
    files = files_of(path) if loader is None else ()
    labeled = role not in (TEST_ROLE, PSEUDO_ROLE)
    required = role not in UNLABELED_ROLES
    reader = FormatReader(options, where, labeled=labeled, required=required)
    if loader is None:
        chunks = read_all(files, reader.wanted)
    else:
        table = _call(loader, loader_name, Path(where), loader_options or {})
        chunks = frame_chunks(table, reader.wanted, file=where)
    winners = options.winner or None
    with collection_paused():
        rows = read_rows(
            reader.battles(chunks), role=role, text_format=text_format, file=where, winners=winners
        )
    drop = on_bad_rows == "drop" and not is_test
    check_bad_rows(rows, where, reader.told_notes(), drop=drop, is_test=is_test)
    battles = pl.concat(rows.frames)
    check_classes(battles, rows.bad, where, CLASSES if ties else CLASSES[:2])
    found = _Found(reader, rows, battles, options)
    unit = "lines" if len(files) == 1 and counts_lines(files[0]) else "rows"
    found.complete_ids(unit, where)
    if not ties:
        found.leave_out_ties(role, unit, where)
    elif rows.lacks_ties:
        refuse_halves(found.battles, where=where)
    return found.loaded(source, role, id_prefix, files)


class _Found:
    """The rows of a source on their way to battles: ids, sides, what is kept beside them."""

    def __init__(
        self, reader: FormatReader, rows: Rows, battles: pl.DataFrame, options: FormatOptions
    ) -> None:
        self.reader, self.rows, self.battles, self.options = reader, rows, battles, options
        counts = [len(frame) for frame in rows.frames]
        self.metadata = metadata_of(rows.metadata, counts)
        self.notes = reader.told_notes()

    def complete_ids(self, unit: str, where: str) -> None:
        """Make ids where there are none, and tell battles apart that share one.

        Raises
        ------
        DataError
            Ids are floats, or some files have none; or a column that is called ``id`` repeats some.
        """
        judges = self.metadata.select(name for name in JUDGES if name in self.metadata.columns)
        ids = self.battles["id"]
        if self.options.make_ids or ids.is_null().all():
            self.battles = self.battles.with_columns(id=made_ids(self.battles, judges))
            self.notes.append("ids are made from what the battles say")
            return
        check_no_missing_ids(ids, where)
        check_no_float_ids(ids, where)
        repeated = int(ids.is_duplicated().sum())
        if not repeated:
            return
        column = self.reader.id_column
        if column == ID_COLUMNS[0]:
            refuse_repeated(ids, self.rows, unit, where)
        self.battles = self.battles.with_columns(id=told_apart(self.battles, judges))
        self.notes.append(
            f"{repeated:,} battles share their {column}: each has an id from it and what it says"
        )

    def leave_out_ties(self, role: str, unit: str, where: str) -> None:
        """See to it that no label has a tie; errors as ``refuse_ties``."""
        if role == TARGET_ROLE:
            refuse_ties(self.battles, self._places(unit.removesuffix("s")), where=where)
        self.battles, tied = without_ties(self.battles)
        if tied:
            self.notes.append(
                f"ties in {tied:,} rows count half for either side: the task has none"
            )

    def _places(self, unit: str) -> list[str]:
        """Say where each battle stands: its line, and its file where there are several."""
        several = len({name for name, _ in self.rows.files}) > 1
        names = [name for name, count in self.rows.files for _ in range(count)]
        return [
            f"{Path(name).name}, {unit} {line}" if several else f"{unit} {line}"
            for name, line in zip(names, self.rows.lines, strict=True)
        ]

    def loaded(self, source: str, role: str, id_prefix: str, files: Sequence[Path]) -> Loaded:
        """Complete the battles, and draw their sides where the format asks for it."""
        battles = _complete(self.battles, source, role, id_prefix)
        metadata = pl.DataFrame([battles["id"], *self.metadata.get_columns()])
        layout = self.reader.layout
        sides = self.options.sides
        if sides == "hash" or (sides == "auto" and layout is not None and layout.one_sided):
            battles, metadata = sides_by_hash(battles), sides_by_hash(metadata)
            self.notes.append("sides are drawn by a hash of the id")
        if len(files) == 1 and (note := shard_note(files[0])):
            self.notes.append(note)
        told = layout.told if layout is not None else ""
        if self.rows.text_format == "plain":
            told += ", plain text"
        if len(files) > 1:
            told += f", from {len(files):,} files"
        return Loaded(battles, tuple(self.rows.bad), told, tuple(self.notes), metadata)


def combine(loaded: Sequence[Loaded]) -> pl.DataFrame:
    """Put the battles of all sources and of the test file into one table.

    Parameters
    ----------
    loaded
        What ``load_battles`` gave for each file.

    Returns
    -------
    polars.DataFrame
        ``BATTLE_SCHEMA``, file after file; ids are unique.

    Raises
    ------
    DataError
        A test id is also a training id, or two sources share an id.
    """
    if not loaded:
        return pl.DataFrame(schema=BATTLE_SCHEMA)
    battles = pl.concat([one.battles for one in loaded])
    shared = battles.select("id", "source", "is_test").filter(pl.col("id").is_duplicated())
    if shared.height:
        raise shared_ids(shared)
    return battles


def _call(loader: Loader, name: str, path: Path, options: Mapping[str, Any]) -> pl.DataFrame:
    name = f'loader "{name}", ' if name else ""
    frame = call_plugin(
        "the loader",
        f"{name}{path}",
        lambda: loader(path, **options),
        kind=PluginError,
        writes=False,
    )
    if not isinstance(frame, pl.DataFrame):
        raise PluginError(
            f"the loader returned {type(frame).__name__}, not a polars DataFrame",
            where=f"{name}{path}",
            hint="return raw columns as docs/data.md lists them",
        )
    return frame


def _complete(battles: pl.DataFrame, source: str, role: str, id_prefix: str) -> pl.DataFrame:
    """Add what the file does not say."""
    return battles.with_columns(
        id=id_prefix + pl.col("id"),
        source=pl.lit(source),
        role=pl.lit(role),
        is_test=pl.lit(role == TEST_ROLE),
    ).select(pl.col(name).cast(dtype) for name, dtype in BATTLE_SCHEMA.items())
