"""Files of predictions that were made elsewhere: read, checked, turned into logits, averaged."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl

from ensemble.battles.files.paths import files_of
from ensemble.battles.group_columns import group_values
from ensemble.battles.schema import LOGIT_COLUMNS
from ensemble.errors import DataError, nearest
from ensemble.evaluation.ties import IMPROBABLE, TIE
from ensemble.plugin.base import CLASSES
from ensemble_plugins.prediction_arrays import ARRAYS, read_arrays
from ensemble_plugins.prediction_checks import (
    as_numbers,
    check_distributions,
    check_finite,
    check_ids,
    predicted_rows,
    recognized_kind,
    refuse_blanks,
    refuse_probabilities,
)
from ensemble_plugins.prediction_means import LEAST_PROBABILITY, averaged
from ensemble_plugins.prediction_tables import columns_of, missing_columns, read_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Kind = Literal["logits", "probabilities"]

KIND_COLUMNS: dict[Kind, tuple[str, ...]] = {"logits": LOGIT_COLUMNS, "probabilities": CLASSES}
"""The columns that a kind of file has, beside ``id``."""
FOLD = "fold"
_TOLD = "tells of ties"
MAPPED = ("id", FOLD, *LOGIT_COLUMNS, *CLASSES)
"""What ``columns`` may say the name of."""


@dataclass(frozen=True)
class FileForm:
    """How files of predictions are to be read.

    Parameters
    ----------
    kind
        What the values are; None lets names of columns and the values themselves tell.
    columns
        Our name to the file's.
    average
        What is averaged where several files have a row.
    """

    kind: Kind | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    average: Kind = "logits"


@dataclass(frozen=True, eq=False)
class Predictions:
    """What some files say together.

    Parameters
    ----------
    table
        ``TABLE_SCHEMA``, one row an id.
    folds
        ``part``, ``id``, ``fold``: the folds that the files name. Rows of one part were dealt to
        folds together: all files where no row is in two of them, else one file each.
    files
        How many there are.
    without_tie
        Those that have columns of A and B alone; the tie is then as good as impossible.
    """

    table: pl.DataFrame
    folds: pl.DataFrame
    files: int
    without_tie: tuple[Path, ...] = ()


def read_predictions(
    path: Path | Sequence[Path], form: FileForm, ids: Path | Sequence[Path] | None = None
) -> Predictions:
    """Read files of predictions; those of the same row are averaged by id.

    Parameters
    ----------
    path
        A file, a pattern, or a list of both; a table of any kind that battles can come in, ``.npy``
        or ``.npz``.
    form
        What they hold; probabilities become ``log(max(p, LEAST_PROBABILITY))``. Rows without any
        number are left out: they were not predicted.
    ids
        Of arrays without ids: a file for all of them, or one for each.

    Raises
    ------
    DataError
        A file cannot be read, a column is missing or not numeric, an id is missing or twice in a
        file, a value is not finite, probabilities are no distribution, or nothing tells whether
        values are logits or probabilities.
    """
    files = prediction_paths(path)
    named = _ids_of(files, ids)
    tables = [_read(file, form, named.get(file)) for file in files]
    repeated = len(files) > 1 and pl.concat(t["id"] for t in tables).is_duplicated().any()
    folds = [
        table.select(pl.lit(part if repeated else 0).alias("part"), "id", FOLD)
        for part, table in enumerate(tables)
    ]
    without = tuple(file for file, t in zip(files, tables, strict=True) if not t[_TOLD].all())
    return Predictions(
        averaged(tables, form.average), pl.concat(folds).drop_nulls(FOLD), len(files), without
    )


def prediction_paths(path: Path | Sequence[Path]) -> tuple[Path, ...]:
    """List the files that are meant, each once.

    Raises
    ------
    DataError
        A pattern matches nothing, a file is listed twice, or a directory is named.
    """
    listed = [path] if isinstance(path, Path | str) else list(path)
    files = [file for one in listed for file in _expanded(Path(one))]
    if not files:
        raise DataError("the list of paths is empty", hint="name at least one file")
    twice = [str(file) for file in files if files.count(file) > 1]
    if twice:
        raise DataError("a file is listed twice", where=twice[0], hint="leave one of them out")
    return tuple(files)


def check_columns(columns: Mapping[str, str]) -> None:
    """Refuse a mapping with names that nothing here has, or of two of ours to one column.

    Raises
    ------
    ValueError
        With the nearest name, or with the column.
    """
    by_theirs: dict[str, str] = {}
    for name, theirs in columns.items():
        if by_theirs.setdefault(theirs, name) != name:
            raise ValueError(f'`columns` gives "{theirs}" for {by_theirs[theirs]} and for {name}')
        if name not in MAPPED:
            raise ValueError(
                f'`columns` has "{name}", which is none of ours: {nearest(name, MAPPED)}'
            )


def refuse_directory(path: Path) -> None:
    """Refuse a directory in the place of a file.

    Raises
    ------
    DataError
        With the pattern that may be meant.
    """
    if path.is_dir():
        raise DataError(
            "predictions are files, and this is a directory",
            where=str(path),
            hint=f'name its files by a pattern: "{path.name}/*.csv"',
        )


def _expanded(path: Path) -> tuple[Path, ...]:
    refuse_directory(path)
    return (path,) if path.suffix.lower() in ARRAYS and path.exists() else files_of(path)


def _ids_of(files: Sequence[Path], ids: Path | Sequence[Path] | None) -> dict[Path, Path]:
    """Give each file of arrays the file of its ids."""
    arrays = [file for file in files if file.suffix.lower() in ARRAYS]
    if ids is None:
        return {}
    if not arrays:
        raise DataError(
            "`ids` is for .npy and .npz files",
            where=str(files[0]),
            hint="leave it out: a table has its ids in a column",
        )
    named = prediction_paths(ids)
    if len(named) == 1:
        return dict.fromkeys(arrays, named[0])
    if len(named) != len(arrays):
        raise DataError(
            f"there are {len(named)} files of ids for {len(arrays)} arrays",
            where=str(named[0]),
            hint="give one for all of them, or one for each, in the same order",
        )
    return dict(zip(arrays, named, strict=True))


def _read(path: Path, form: FileForm, ids: Path | None) -> pl.DataFrame:
    """Read one file: ``PREDICTION_SCHEMA`` in float64, ``fold``, and whether it tells of ties."""
    if path.suffix.lower() in ARRAYS:
        names, values = read_arrays(path, ids, form.columns)
        columns: tuple[str, ...] = CLASSES[: values.shape[1]]
        raw = pl.DataFrame({"id": names, **dict(zip(columns, values.T, strict=True))})
        raw, kind = raw.with_columns(pl.lit(None, pl.String).alias(FOLD)), form.kind
    else:
        raw, columns, kind = _read_table(path, form)
    check_ids(raw["id"], path)
    raw = predicted_rows(raw, columns, path)
    check_finite(raw, columns, path)
    kind = kind or recognized_kind(raw, columns, path)
    if kind == "logits":
        refuse_probabilities(raw, columns, path)
        refuse_blanks(raw, columns, path)
    else:
        check_distributions(raw, columns, path)
        raw = raw.with_columns(pl.col(columns).clip(lower_bound=LEAST_PROBABILITY).log())
    told = len(columns) == len(CLASSES)
    raw = raw.rename(dict(zip(columns, LOGIT_COLUMNS, strict=False)))
    if not told:
        least = pl.min_horizontal(LOGIT_COLUMNS[:TIE])
        raw = raw.with_columns((least - IMPROBABLE).alias(LOGIT_COLUMNS[TIE]))
    return raw.with_columns(pl.lit(value=told).alias(_TOLD))


def _read_table(path: Path, form: FileForm) -> tuple[pl.DataFrame, tuple[str, ...], Kind | None]:
    """Read a table by the columns that say which kind it is; None where only the values can."""
    names = {name: form.columns.get(name, name) for name in MAPPED}
    present = columns_of(path)
    named, columns = _columns(present, names, form, path)
    fold = [FOLD] if names[FOLD] in present or FOLD in form.columns else []
    raw = read_columns(path, {name: names[name] for name in ("id", *columns, *fold)}, _hint(names))
    table = raw.select(
        pl.col("id").cast(pl.String),
        *as_numbers(raw, columns, path),
        (group_values(raw[FOLD]) if fold else pl.lit(None, pl.String)).alias(FOLD),
    )
    return table, columns, form.kind or named


def _columns(
    present: Sequence[str], names: Mapping[str, str], form: FileForm, path: Path
) -> tuple[Kind | None, tuple[str, ...]]:
    """Choose between the columns of logits and those of probabilities."""
    found = _present(present, names, form, len(CLASSES)) or _present(present, names, form, TIE)
    if len(found) == 2:
        raise DataError(
            "the file has both logits and probabilities",
            where=str(path),
            hint='choose: kind = "logits" or kind = "probabilities"',
        )
    if found:
        return next(iter(found.items()))
    mapped: list[Kind] = [k for k, columns in KIND_COLUMNS.items() if {*columns} & {*form.columns}]
    kind: Kind = (form.kind or (mapped or ["logits"])[0]) if len(mapped) != 1 else mapped[0]
    wanted = [names["id"], *(names[column] for column in KIND_COLUMNS[kind])]
    raise missing_columns([n for n in wanted if n not in present], present, path, _hint(names))


def _present(
    present: Sequence[str], names: Mapping[str, str], form: FileForm, classes: int
) -> dict[Kind, tuple[str, ...]]:
    """Find the kinds whose first columns are there; a tie's that is mapped is meant to be."""
    found = {
        kind: columns[:classes]
        for kind, columns in KIND_COLUMNS.items()
        if all(names[column] in present for column in columns[:classes])
        and not {*columns[classes:]} & {*form.columns}
    }
    return {form.kind: found[form.kind]} if form.kind in found else found


def _hint(names: Mapping[str, str]) -> str:
    said = [f"{kind} are {', '.join(names[c] for c in cs)}" for kind, cs in KIND_COLUMNS.items()]
    return f'{"; ".join(said)}; `columns` maps other names, as {{ id = "key" }}'
