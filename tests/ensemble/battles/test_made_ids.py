"""Ids that are made of what battles say, and metadata beside battles."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.battles.formats.layout import FormatOptions
from ensemble.battles.ids import content_names
from ensemble.battles.loading import Loaded, load_battles
from ensemble.battles.metadata import combine_metadata, metadata_of
from ensemble.battles.schema import TEXT_COLUMNS
from ensemble.errors import DataError


def vote(question: int, **more: Any) -> dict[str, Any]:
    talk = [{"role": "user", "content": f"q{question}"}, {"role": "assistant", "content": "a"}]
    row = {
        "question_id": question,
        "model_a": "m1",
        "model_b": "m2",
        "winner": "model_a",
        "judge": "u1",
        "conversation_a": talk,
        "conversation_b": talk,
        "turn": 1,
    }
    return row | more


def load(rows: list[dict[str, Any]], path: Path, **options: Any) -> Loaded:
    pl.DataFrame(rows, strict=False).write_parquet(path)
    return load_battles(path, source="s", role="train", options=FormatOptions(**options))


def by_content(loaded: Loaded) -> dict[str, tuple[Any, ...]]:
    battles = loaded.battles.join(loaded.metadata, on="id")
    return {row[0]: row[1:] for row in battles.rows()}


def test_votes_on_one_question_get_ids_of_their_own(tmp_path: Path) -> None:
    rows = [
        vote(81),
        vote(81, judge="u2"),
        vote(81, model_a="m3"),
        vote(81, judge="u2", winner="tie"),
        vote(81),
        vote(82),
    ]
    loaded = load(rows, tmp_path / "t.parquet")
    ids = loaded.battles["id"].to_list()
    assert len(set(ids)) == 6 and ids[5] == "82"
    assert all(one.startswith("81-") for one in ids[:5])
    assert "5 battles share their question_id" in loaded.notes[0]
    back = load(rows[::-1], tmp_path / "u.parquet")
    assert by_content(back) == by_content(loaded), "the order of rows decides nothing"


def test_ids_of_content_do_not_depend_on_labels_or_other_rows(tmp_path: Path) -> None:
    texts = {"prompt": "q", "response_a": "a", "response_b": "b"}
    rows = [texts | {"winner": "model_a"}, texts | {"prompt": "q2", "winner": "tie"}]
    both = load(rows, tmp_path / "t.parquet").battles["id"].to_list()
    one = load([texts | {"winner": "model_b"}], tmp_path / "u.parquet").battles["id"].to_list()
    assert one == both[:1] and len(set(both)) == 2
    twice = load([rows[0]] * 3, tmp_path / "v.parquet").battles["id"].to_list()
    assert twice == [both[0], f"{both[0]}-2", f"{both[0]}-3"]


def test_a_repeated_id_is_an_error_unless_ids_are_to_be_made(tmp_path: Path) -> None:
    rows = [vote(1, id="x"), vote(2, id="x")]
    with pytest.raises(DataError, match=r'"x" \(rows 1, 2\)(.|\n)*make_ids = true'):
        load(rows, tmp_path / "t.parquet")
    assert load(rows, tmp_path / "t.parquet", make_ids=True).battles["id"].is_unique().all()


def test_what_files_say_beside_battles_is_kept_by_id(tmp_path: Path) -> None:
    time = dt.datetime(2025, 1, 2, tzinfo=dt.UTC)
    more = {"language": "en", "is_code": True, "tstamp": 1.5, "at": time, "n": 3}
    hidden = {"long": "x" * 500, "tags": ["a"], "conv_metadata": {"a": 1}, "empty": None}
    loaded = load([vote(1, **more, **hidden), vote(2)], tmp_path / "t.parquet")
    kept = loaded.metadata
    assert kept.columns == ["id", "question_id", "judge", "turn", *more]
    assert kept.row(0, named=True) == {"id": "1", "question_id": 1, "judge": "u1", "turn": 1} | more
    assert kept["is_code"].dtype == pl.Boolean and kept["n"].dtype == pl.Int64
    assert not set(more) & set(loaded.battles.columns)


def test_a_test_file_keeps_nothing_that_tells_who_won(tmp_path: Path) -> None:
    rows = [vote(1, language="en", score_a=3, preference="A", better="b", model_name="m")]
    pl.DataFrame(rows).write_parquet(tmp_path / "t.parquet")
    found = load_battles(tmp_path / "t.parquet", source="", role="", is_test=True)
    assert found.metadata.columns == ["id", "question_id", "judge", "turn", "language"]


def test_metadata_of_other_types_becomes_text() -> None:
    one = metadata_of([{"x": [1, 2], "y": ["a", ""]}, {"x": [3]}], [2, 1])
    assert one.to_dict(as_series=False) == {"x": [1, 2, 3], "y": ["a", None, None]}
    other = metadata_of([{"x": ["z"], "w": [2**70], "v": [float("nan")]}], [1])
    tables = [one.with_columns(id=pl.Series(["1", "2", "3"])), other.with_columns(id=pl.lit("4"))]
    both = combine_metadata(tables)
    assert both["x"].to_list() == ["1", "2", "3", "z"]
    assert both["w"].to_list() == [None, None, None, str(2**70)]


_TURNS = st.lists(
    st.none() | st.sampled_from(["", "a", "b", "1:a", "-", "[", "]", "aa"]), max_size=3
)
_MODEL = st.none() | st.sampled_from(["", "m", "-"])


@given(*[st.tuples(_TURNS, _TURNS, _TURNS, _MODEL, _MODEL)] * 2)
def test_battles_that_say_other_things_have_other_names(
    first: tuple[object, ...], second: tuple[object, ...]
) -> None:
    schema = dict.fromkeys(TEXT_COLUMNS, pl.List(pl.String)) | dict.fromkeys(
        ("model_a", "model_b"), pl.String
    )
    battles = pl.DataFrame([first, second], schema=schema, orient="row")
    one, other = content_names(battles, pl.DataFrame())
    assert (one == other) == (first == second)
