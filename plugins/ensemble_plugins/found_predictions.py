"""Files of predictions that a config is written for: OOF, and test files beside them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ensemble.errors import DataError
from ensemble.plugin.suggestion import Suggestion
from ensemble_plugins.prediction_files import (
    KIND_COLUMNS,
    Kind,
    check_same_ids,
    read_predictions,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import polars as pl

    from ensemble.plugin.suggestion import DataSummary, RowTable

_SURE = 1.0 - 1e-4
_NOTE = "predictions of another model; an audit calls them unproven"
_SIDES = frozenset({"oof", "train", "test", "valid", "val", "pred", "preds", "predictions"})
"""Words in names of files that say whose predictions they are, not which model's."""


def suggestions(data: DataSummary) -> list[Suggestion]:
    """Suggest a learner for each file of predictions of the target.

    Parameters
    ----------
    data
        With the tables that are known by their ids.
    """
    found = [(table, kind) for table in data.tables if (kind := kind_of(table.columns))]
    tests = {table: kind for table, kind in found if table.of == "test"}
    oofs = [(table, kind) for table, kind in found if table.of == "target"]
    pairs = dict(_pairs([table for table, _ in oofs], list(tests)))
    made = [_suggestion(table, kind, pairs.get(table), tests, data) for table, kind in oofs]
    used = {file for one in made for file in one.files}
    alone = [table for table in tests if table.path not in used]
    return made + [_test_alone(table) for table in alone]


def kind_of(columns: Iterable[str]) -> Kind | None:
    """Say what the columns of a file of predictions hold; None where it is none."""
    names = set(columns)
    return next((kind for kind, needed in KIND_COLUMNS.items() if {"id", *needed} <= names), None)


def _pairs(oofs: Sequence[RowTable], tests: list[RowTable]) -> Iterator[tuple[RowTable, RowTable]]:
    """Put files together whose names say the same model; a single pair need not."""
    if len(oofs) == len(tests) == 1:
        yield oofs[0], tests[0]
        return
    for oof in oofs:
        alike = [test for test in tests if _model(test.path) == _model(oof.path)]
        if len(alike) == 1:
            yield oof, alike[0]


def _model(path: Path) -> tuple[str, ...]:
    """Give the words of a name that say which model it is of."""
    words = re.findall(r"[a-z]+|\d+", path.name.partition(".")[0].lower())
    return tuple(word for word in words if word not in _SIDES)


def _suggestion(
    oof: RowTable,
    kind: Kind,
    test: RowTable | None,
    kinds: dict[RowTable, Kind],
    data: DataSummary,
) -> Suggestion:
    parameters: dict[str, object] = {"oof": oof.path}
    if test is not None:
        parameters["test"] = test.path
    if kind != "logits":
        parameters["kind"] = kind
    name = "-".join(_model(oof.path)) or "precomputed"
    files = (oof.path, *([test.path] if test is not None else []))
    unfit = _fault(oof, kind, data.target_ids)
    if unfit is None and test is None and len(data.test_ids):
        unfit = "there are no predictions of the test rows that go with it: give `test =` a file"
    if unfit is None and test is not None:
        unfit = _fault(test, kind, data.test_ids) if kinds[test] == kind else _other(kinds[test])
    minutes = 0 if unfit is None else None
    return Suggestion(parameters, note=_NOTE, name=name, minutes=minutes, unfit=unfit, files=files)


def _other(kind: Kind) -> str:
    return f"the file of test rows has {kind}, and both must have the same"


def _fault(table: RowTable, kind: Kind, expected: pl.Series) -> str | None:
    """Say why a file of predictions cannot be used; None where it can."""
    try:
        found = read_predictions(table.path, kind)
        check_same_ids(found, expected.to_list(), table.path)
    except DataError as error:
        return f"{table.path.name}: {error.message.splitlines()[0]}"
    columns = KIND_COLUMNS["logits"]
    largest = found.select(columns).max_horizontal()
    if kind == "probabilities" and len(found) and (largest.exp() > _SURE).all():
        return f"{table.path.name}: every row is certain, so that these are labels"
    return None


def _test_alone(table: RowTable) -> Suggestion:
    return Suggestion(
        {"test": table.path},
        note=_NOTE,
        name="-".join(_model(table.path)) or "precomputed",
        unfit="they are of the test rows, and out-of-fold predictions go with them: give `oof =`",
        files=(table.path,),
    )
