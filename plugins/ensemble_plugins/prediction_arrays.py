"""Predictions in NumPy's files, and the ids of their rows; no file may run code here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.files.raw import reading, text_lines
from ensemble.errors import DataError
from ensemble.evaluation.ties import TIE
from ensemble.plugin.base import CLASSES
from ensemble_plugins.prediction_tables import read_columns

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

ARRAYS = (".npy", ".npz")
"""Suffixes of files that hold arrays."""
_IDS = ("id", "ids")


def read_arrays(
    path: Path, ids: Path | None, columns: Mapping[str, str]
) -> tuple[pl.Series, NDArray[Any]]:
    """Read the ids and the values of a file of arrays: ``(n, 3)``, or ``(n, 2)`` without ties.

    Parameters
    ----------
    path
        ``.npy``, an array ``(n, 3)`` in ``CLASSES`` order; or ``.npz`` with one such array and, if
        ``ids`` is None, a list of ids under the name ``id`` or ``ids``.
    ids
        A file with the id of each row, in their order.
    columns
        ``id`` may name the ids' array, or the column in their file.

    Raises
    ------
    DataError
        A file cannot be read, or holds Python objects; a shape or a type is wrong; there are other
        numbers of ids than rows, or no ids.
    """
    found = load_arrays(path)
    named = columns.get("id")
    keys = [key for key in ((named,) if named else _IDS) if path.suffix == ".npz" and key in found]
    own = found.pop(keys[0]) if keys else None
    if own is not None and ids is not None:
        raise DataError(
            "the file holds ids, and `ids` names others",
            where=str(path),
            hint="leave out `ids`, or the array of ids",
        )
    values = _values(found, path)
    if own is not None:
        names = _id_series(own, path)
    elif ids is not None:
        names = read_ids(ids, columns)
    else:
        raise DataError(
            "there are no ids: the rows of an array have no names",
            where=str(path),
            hint="give `ids =` (`test_ids =` for test rows) a file with the id of each row, in "
            "their order",
        )
    if len(names) != len(values):
        raise DataError(
            f"there are {len(names):,} ids for {len(values):,} rows",
            where=str(path if ids is None else ids),
            hint="give the id of each row, in the order of the array",
        )
    return names, values


def read_ids(path: Path, columns: Mapping[str, str]) -> pl.Series:
    """Read a list of ids: an array, a line of text each, or the column ``id`` of a table.

    Raises
    ------
    DataError
        The file cannot be read, or says no ids.
    """
    suffix = path.suffix.lower()
    if suffix in ARRAYS:
        arrays = load_arrays(path)
        name = columns.get("id")
        wanted = [key for key in ((name,) if name else _IDS) if key in arrays] or list(arrays)
        if len(wanted) != 1:
            raise DataError(
                f"which array holds the ids is not clear: {', '.join(arrays)}", where=str(path)
            )
        return _id_series(arrays[wanted[0]], path)
    if suffix == ".txt":
        with reading(path), path.open("rb") as file:
            lines = "".join(text_lines(file, path)).rstrip().splitlines()
        return pl.Series("id", [line.strip() for line in lines], dtype=pl.String)
    return read_columns(path, {"id": columns.get("id", "id")})["id"].cast(pl.String)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of a file by name; that of a ``.npy`` file has the name ``""``.

    Raises
    ------
    DataError
        The file is missing or damaged, or holds Python objects, which only code can make again.
    """
    with reading(path):
        path.open("rb").close()
    try:
        # A file that is opened here is closed where NumPy finds it damaged, too.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            with loaded:
                return {name: loaded[name] for name in loaded.files}
    except Exception as error:  # NumPy, zip and zlib have many for files that are damaged
        if "allow_pickle" in str(error) or "pickle" in str(error):
            raise DataError(
                "the file holds Python objects (a pickle), which run code and are not read",
                where=str(path),
                hint="save numbers: np.save(path, array.astype(np.float32)); ids as "
                "np.asarray(ids, dtype=str)",
            ) from error
        raise DataError(
            f"the file is no sound NumPy file: {str(error) or type(error).__name__:.200}",
            where=str(path),
            hint="fetch it again, or save it anew by np.save or np.savez",
        ) from error


def _values(arrays: Mapping[str, NDArray[Any]], path: Path) -> NDArray[Any]:
    if len(arrays) != 1:
        listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "none"
        raise DataError(
            f"which array holds the predictions is not clear: {listed}",
            where=str(path),
            hint="keep one array (n, 3), and the ids under the name `id`",
        )
    (values,) = arrays.values()
    if values.ndim != 2 or values.shape[1] not in (TIE, len(CLASSES)):
        raise DataError(
            f"the array has the shape {values.shape}, not (rows, {len(CLASSES)})",
            where=str(path),
            hint=f"give a row for each battle, and a column for each of {', '.join(CLASSES)} (the "
            "first two where the task has no ties)",
        )
    if values.dtype.kind not in "fiu":
        raise DataError(f"the array holds {values.dtype}, not numbers", where=str(path))
    return values.astype(np.float64)


def _id_series(ids: NDArray[Any], path: Path) -> pl.Series:
    if ids.ndim != 1 or ids.dtype.kind not in "iuUS":
        raise DataError(
            f"the ids are an array of {ids.dtype} with the shape {ids.shape}",
            where=str(path),
            hint="give whole numbers or strings, (rows,)",
        )
    try:
        texts = [one.decode() for one in ids] if ids.dtype.kind == "S" else ids.astype(str).tolist()
        return pl.Series("id", texts, dtype=pl.String)
    except UnicodeError as error:
        raise DataError(
            f"the ids are not UTF-8: {error}",
            where=str(path),
            hint="save them as np.asarray(ids, dtype=str)",
        ) from error
