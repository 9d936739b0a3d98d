"""Files of predictions that a config is written for: OOF, and test files beside them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.errors import EnsembleError
from ensemble.evaluation.ties import number_of_classes
from ensemble.plugin.base import FitContext
from ensemble.plugin.suggestion import Suggestion
from ensemble_plugins.prediction_files import KIND_COLUMNS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from ensemble.plugin.suggestion import DataSummary, RowTable

_SURE = 1.0 - 1e-4
_NOTE = "predictions of another model; an audit calls them unproven"
_SIDES = frozenset(
    (
        *("oof", "train", "test", "valid", "val", "pred", "preds", "predictions"),
        *("prob", "probs", "logit", "logits", "fold"),
    )
)
"""Words in names of files that say which predictions they are, not which model's."""


def suggestions(data: DataSummary, make: Callable[..., Any]) -> list[Suggestion]:
    """Suggest a learner for each table of predictions of the target.

    Parameters
    ----------
    data
        With the tables that are known by their ids.
    make
        Makes the learner that reads them.
    """
    found = [
        (table, kind) for table in data.tables if (kind := kind_of(table.columns, ties=data.ties))
    ]
    tests = {table: kind for table, kind in found if table.of == "test"}
    oofs = [(table, kind) for table, kind in found if table.of == "target"]
    pairs = dict(_pairs([table for table, _ in oofs], list(tests)))
    made = [_suggestion(table, kind, pairs.get(table), data, make) for table, kind in oofs]
    used = {file for one in made for file in one.files}
    return made + [_test_alone(table) for table in tests if not used & {*table.files}]


def kind_of(columns: Iterable[str], *, ties: bool = True) -> Kind | None:
    """Say what the columns of a file of predictions hold; None where it is none."""
    names, classes = set(columns), number_of_classes(ties=ties)
    kinds = KIND_COLUMNS.items()
    return next((kind for kind, needed in kinds if {"id", *needed[:classes]} <= names), None)


def _pairs(oofs: Sequence[RowTable], tests: list[RowTable]) -> Iterator[tuple[RowTable, RowTable]]:
    """Put files together whose names say the same model; a single pair need not."""
    if len(oofs) == len(tests) == 1:
        yield oofs[0], tests[0]
        return
    for oof in oofs:
        alike = [test for test in tests if _model(test) == _model(oof)]
        if len(alike) == 1:
            yield oof, alike[0]


def _model(table: RowTable) -> tuple[str, ...]:
    """Give the words of a name that say which model it is of."""
    words = re.findall(r"[a-z]+|\d+", table.files[0].name.partition(".")[0].lower())
    numbered = len(table.files) > 1 and words[-1].isdigit()
    return tuple(word for word in (words[:-1] if numbered else words) if word not in _SIDES)


def _suggestion(
    oof: RowTable,
    kind: Kind,
    test: RowTable | None,
    data: DataSummary,
    make: Callable[..., Any],
) -> Suggestion:
    parameters: dict[str, object] = {"oof": _given(oof)}
    if test is not None:
        parameters["test"] = _given(test)
    if kind != "logits":
        parameters["kind"] = kind
    name = "-".join(_model(oof)) or "precomputed"
    files = (*oof.files, *(test.files if test is not None else ()))
    unfit = _fault(make(**parameters), test, data)
    minutes = 0 if unfit is None else None
    return Suggestion(parameters, note=_NOTE, name=name, minutes=minutes, unfit=unfit, files=files)


def _given(table: RowTable) -> Path | list[Path]:
    """Give a file, or files whose rows belong together."""
    return table.files[0] if len(table.files) == 1 else list(table.files)


def _fault(learner: Any, test: RowTable | None, data: DataSummary) -> str | None:
    """Say why files of predictions cannot be used; None where they can."""
    try:
        learner.check_ids(data.target_ids.to_list())
        learner.fit(pl.DataFrame(), np.empty((0, 3)), context=FitContext(ties=data.ties))
        if _are_certain(learner.predict_logits(data.target_ids.rename("id").to_frame())):
            return "every row is certain: these are labels"
        if test is not None:
            learner.check_test_ids(data.test_ids.to_list())
        elif len(data.test_ids):
            return "there are no predictions of the test rows with it: give `test =` a file"
    except EnsembleError as error:
        place = f" ({error.where})" if error.where else ""
        return f"{error.message.splitlines()[0]}{place}"
    return None


def _are_certain(logits: Any) -> bool:
    """Say whether each row has one class that is as good as sure."""
    known = logits[~np.isnan(logits).any(axis=1)].astype(float)
    shares = np.exp(known - known.max(axis=1, keepdims=True)) if len(known) else known
    return bool(len(known)) and bool((1 / shares.sum(axis=1) > _SURE).all())


def _test_alone(table: RowTable) -> Suggestion:
    return Suggestion(
        {"test": _given(table)},
        note=_NOTE,
        name="-".join(_model(table)) or "precomputed",
        unfit="they are of the test rows, and out-of-fold predictions go with them: give `oof =`",
        files=table.files,
    )
