"""What stages write is what the record classes declare: no reader guesses at a key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ensemble.run_dir.battles_record import BattlesRecord
from ensemble.run_dir.fit_manifest import FitManifest
from ensemble.run_dir.folds_record import FoldsRecord
from ensemble.run_dir.stack_records import Candidates, StackManifest, Verdict
from ensemble.storage.json_files import read_json

if TYPE_CHECKING:
    from ensemble.run_dir.record import Record
    from tests.fixture_types import RunOnce

RECORDS: list[tuple[type[Record], str]] = [
    (BattlesRecord, "battles.json"),
    (FoldsRecord, "folds.json"),
    (FitManifest, "learners/*/*/manifest.json"),
    (StackManifest, "stack/manifest.json"),
    (Candidates, "stack/candidates.json"),
    (Verdict, "stack/verdict.json"),
]
LEARNERS = [
    {"name": "t", "plugin": "tfidf", "min_df": 1, "char_ngrams": [1, 2]},
    {
        "name": "p",
        "plugin": "handcrafted",
        "features": ["length"],
        "n_models": 2,
        "n_estimators": 3,
        "seeds": 2,
    },
]


@pytest.fixture
def place(run_once: RunOnce) -> Path:
    """A run with pairs, refits, several seeds and a test set."""
    return Path(run_once(LEARNERS, predict={"refit": True}).run_dir)


@pytest.mark.parametrize(("kind", "pattern"), RECORDS)
def test_every_key_that_is_written_is_declared(
    place: Path, kind: type[Record], pattern: str
) -> None:
    paths = sorted(place.glob(pattern))
    assert paths
    for path in paths:
        content = dict(read_json(path))
        content.pop("content", None)  # the seal
        kind.model_validate(content, extra="forbid")
