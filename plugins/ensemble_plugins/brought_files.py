"""The files of one learner's predictions: of the target and of the test rows, as one thing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.schema import PREDICTION_SCHEMA
from ensemble.errors import DataError
from ensemble.once import once
from ensemble.storage.directories import hash_dependency
from ensemble.storage.hashing import fingerprint
from ensemble_plugins.prediction_checks import check_same_ids, check_target_ids, some_ids
from ensemble_plugins.prediction_files import read_predictions, refuse_directory
from ensemble_plugins.prediction_folds import check_folds
from ensemble_plugins.prediction_means import FILES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ensemble_plugins.prediction_files import FileForm, Predictions

    Paths = Path | list[Path] | None


@dataclass(frozen=True)
class BroughtFiles:
    """Where predictions are, and how they are read.

    Parameters
    ----------
    oof, test
        A file, a pattern or a list of them.
    ids, test_ids
        Files of ids, of arrays that have none.
    form
        What the files hold.
    """

    oof: Paths
    test: Paths
    ids: Paths
    test_ids: Paths
    form: FileForm

    @property
    def places(self) -> str:
        """Names them in errors."""
        return " and ".join(filter(None, map(_places, (self.oof, self.test))))

    def dependencies(self) -> dict[str, Any]:
        """Name every file whose content counts.

        Raises
        ------
        DataError
            One is a directory.
        """
        given = {"oof": self.oof, "test": self.test, "ids": self.ids, "test_ids": self.test_ids}
        for paths in given.values():
            for path in _listed(paths):
                refuse_directory(path)
        return {name: path for key, paths in given.items() for name, path in _named(key, paths)}

    def read_oof(self) -> Predictions:
        """Read the predictions of target rows; errors as ``read_predictions``."""
        return _read(self.oof, self.form, self.ids)

    def read_test(self) -> Predictions:
        """Read those of test rows."""
        return _read(self.test, self.form, self.test_ids)

    def read_all(self) -> pl.DataFrame:
        """Read both into one table of logits: ``PREDICTION_SCHEMA``.

        Raises
        ------
        DataError
            A file cannot be read, or an id is in both.
        """
        read = [self.read_oof(), *([self.read_test()] if self.test else [])]
        table = pl.concat(one.table for one in read).select(*PREDICTION_SCHEMA)
        if (twice := table.filter(pl.col("id").is_duplicated())["id"]).len():
            raise DataError(
                f"ids stand in both files: {some_ids(twice.unique(maintain_order=True).to_list())}",
                where=self.places,
                hint="a row is either a target row or a test row: remove it from one file",
            )
        return table

    def check_ids(self, expected_ids: Sequence[str]) -> None:
        """Refuse rows that are no target rows; some of the target may be missing."""
        check_target_ids(self.read_oof().table, expected_ids, _places(self.oof))

    def check_test_ids(self, expected_ids: Sequence[str]) -> None:
        """Refuse other rows than exactly the test rows."""
        if self.test is None:
            raise DataError(
                f"{len(expected_ids)} test rows have no predictions: no test file is given",
                where='parameter "test" of the precomputed learner',
                hint="give `test =` a file with the predictions of the test rows",
            )
        check_same_ids(self.read_test().table, expected_ids, _places(self.test))

    def check_classes(self, *, ties: bool) -> None:
        """Refuse files without a tie where the task has ties.

        Raises
        ------
        DataError
            There are some; the first is named.
        """
        read = [self.read_oof(), *([self.read_test()] if self.test else [])]
        without = [file for one in read for file in one.without_tie]
        if ties and without:
            raise DataError(
                "the file has columns of A and B alone, and the task has ties",
                where=str(without[0]),
                hint="give a column of the tie too (`columns` maps another name), or set "
                "ties = false in [task]",
            )

    def check_folds(self, plan: pl.DataFrame) -> str | None:
        """Hold the folds that files name against a plan, as ``prediction_folds.check_folds``."""
        return check_folds(self.read_oof().folds, plan, _places(self.oof))

    def describe(self) -> dict[str, Any]:
        """Count files, and rows by the number of files that have them."""
        read = {"oof": self.read_oof()} | ({"test": self.read_test()} if self.test else {})
        return {name: _described(one) for name, one in read.items()}


def _described(one: Predictions) -> dict[str, Any]:
    counts = one.table[FILES].value_counts().sort(FILES).rows()
    by_files = {str(files): rows for files, rows in counts}
    return {"files": one.files, "rows": len(one.table), "rows_by_files": by_files}


def _read(paths: Paths, form: FileForm, ids: Paths) -> Predictions:
    """Read files, once a verb where their content can be named."""
    given = [] if paths is None else paths
    files = [*_listed(paths), *_listed(ids)]
    try:
        hashes = [hash_dependency(path) for path in files]
    except OSError:
        return read_predictions(given, form, ids)  # says what is missing
    key = fingerprint([[str(path) for path in files], hashes, repr(form)])
    return once((read_predictions, key), lambda: read_predictions(given, form, ids))


def _named(key: str, paths: Paths) -> Iterator[tuple[str, Any]]:
    """Name each of several files; how many there are is said under the parameter's own name."""
    listed = _listed(paths)
    if not isinstance(paths, list):
        yield key, listed[0] if listed else None
        return
    yield key, len(listed)
    yield from ((f"{key} {number}", path) for number, path in enumerate(listed, 1))


def _places(paths: Paths) -> str:
    return ", ".join(str(path) for path in _listed(paths))


def _listed(paths: Paths) -> list[Path]:
    if paths is None:
        return []
    # In Python a string may stand for a path.
    return [Path(one) for one in (paths if isinstance(paths, list) else [paths])]
