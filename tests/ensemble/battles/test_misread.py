"""Files that mean something else than they are taken for: read right, or refused by name."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ensemble import errors
from ensemble.battles.files.refused import check_file_kind
from ensemble.battles.loading import load_battles
from ensemble.battles.sides import sides_by_hash

COLUMNS = ["id", "prompt", "response_a", "response_b"]
LABELS = ["winner_model_a", "winner_model_b", "winner_tie"]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    pl.DataFrame(rows).write_csv(path)
    return path


def text(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"i{number}", **{name: f'["{name}"]' for name in COLUMNS[1:]}, **more}


def load(path: Path, **options: Any) -> pl.DataFrame:
    return load_battles(path, **({"source": "s", "role": "train"} | options)).battles


@pytest.mark.parametrize("word", ["draw", "Draw", "tied", "equal", "both good", "Tie (Both Bad)"])
def test_a_draw_is_a_tie(word: str, tmp_path: Path) -> None:
    battles = load(write(tmp_path / "t.csv", [text(0, winner=word), text(1, winner="model_a")]))
    assert battles["label_tie"].to_list() == [1.0, 0.0]


def test_soft_labels_of_three_decimals_are_normalized(tmp_path: Path) -> None:
    shares = [(0.333, 0.333, 0.333), (0.5, 0.3, 0.201), (0.25, 0.5, 0.25)]
    rows = [text(i, **dict(zip(LABELS, one, strict=True))) for i, one in enumerate(shares)]
    found = load(write(tmp_path / "t.csv", rows)).select("label_a", "label_b", "label_tie")
    assert found.sum_horizontal().to_list() == pytest.approx([1.0] * 3, abs=1e-12)
    assert found.row(2) == shares[2]
    rows = [text(0, winner_model_a=0.5, winner_model_b=0.3, winner_tie=0.19)]
    with pytest.raises(errors.DataError, match="do not sum to 1"):
        load(write(tmp_path / "u.csv", rows))


def test_two_columns_that_contradict_each_other_are_an_error(tmp_path: Path) -> None:
    one = text(0, winner="model_b", winner_model_a=1, winner_model_b=0, winner_tie=0)
    with pytest.raises(
        errors.DataError, match="winner and winner_model_a differ: winner is 'model_b'"
    ):
        load(write(tmp_path / "t.csv", [one]))
    soft = text(0, winner="model_b", winner_model_a=0.2, winner_model_b=0.5, winner_tie=0.3)
    assert load(write(tmp_path / "u.csv", [soft]))["label_b"].to_list() == [0.5]


def test_texts_and_conversations_that_differ_are_an_error(tmp_path: Path) -> None:
    def talk(said: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "p"}, {"role": "assistant", "content": said}]

    row = {
        "id": "1",
        "prompt": ["p"],
        "response_a": ["x"],
        "response_b": ["y"],
        "winner": "model_a",
    }
    both = row | {"conversation_a": talk("x"), "conversation_b": talk("y")}
    other = both | {"conversation_b": talk("z")}
    for name, content in (("same", both), ("other", other)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(content))
    assert load(tmp_path / "same.jsonl")["response_b"].to_list() == [["y"]]
    with pytest.raises(
        errors.DataError, match="conversation_a and conversation_b differ from prompt"
    ):
        load(tmp_path / "other.jsonl")


def test_what_comes_after_the_turn_that_was_judged_is_left_out(tmp_path: Path) -> None:
    cells = {name: json.dumps([f"{name} 1", f"{name} 2"]) for name in COLUMNS[1:]}
    rows = [
        {"id": f"i{turn}", **cells, "winner": "model_a", "turn": turn} for turn in (1, 2, "all")
    ]
    battles = load(write(tmp_path / "t.csv", [{**row, "turn": str(row["turn"])} for row in rows]))
    assert battles["prompt"].list.len().to_list() == [1, 2, 2]
    assert battles["response_b"][0].to_list() == ["response_b 1"]


@pytest.mark.parametrize(
    ("cell", "turns"),
    [
        ("['it is A 1']", ["it is A 1"]),
        (r"['a\nb', \"it's\"]".replace('\\"', '"'), ["a\nb", "it's"]),
        ("['a', None]", ["a", None]),
        ("[]", []),
    ],
)
def test_lists_as_python_writes_them_are_read(
    cell: str, turns: list[str | None], tmp_path: Path
) -> None:
    row = text(0, winner="tie") | dict.fromkeys(COLUMNS[1:], cell)
    battles = load(write(tmp_path / "t.csv", [row]))
    assert battles["response_a"].to_list() == [turns]


def test_an_array_without_commas_is_not_one_text(tmp_path: Path) -> None:
    row = text(0, winner="tie", response_a="['one' 'two']")
    with pytest.raises(
        errors.DataError, match="response_a is .* not a JSON list of turns"
    ) as caught:
        load(write(tmp_path / "t.csv", [row]))
    assert "plain" not in str(caught.value), "that would read the brackets as text"


@pytest.mark.parametrize("cell", ['["good\\nline"]', "['it is A 1']"])
def test_lists_are_no_plain_text(cell: str, tmp_path: Path) -> None:
    rows = [text(i, winner="tie") | dict.fromkeys(COLUMNS[1:], cell) for i in range(4)]
    path = write(tmp_path / "t.csv", rows)
    with pytest.raises(
        errors.DataError, match='4 of 4 cells of prompt are lists(.|\n)*text_format = "json'
    ):
        load(path, text_format="plain")
    mixed = [
        *rows[:1],
        *(
            text(i + 4, winner="tie", prompt="plain", response_a="x", response_b="y")
            for i in range(3)
        ),
    ]
    assert load(write(tmp_path / "u.csv", mixed), text_format="plain")["prompt"][0][0] == cell


def test_rows_that_are_left_out_are_counted_by_reason_with_their_labels(tmp_path: Path) -> None:
    rows = [text(i, winner="model_a") for i in range(3)] + [text(3, winner="model_b")]
    rows += [text(4, winner="who"), text(5, winner="tie", response_a="broken")]
    rows += [text(6, winner="tie")]
    found = load_battles(
        write(tmp_path / "t.csv", rows), source="s", role="train", on_bad_rows="drop"
    )
    assert [row.kind for row in found.bad_rows] == [
        "unknown winner 'who'; known are model_a, model_b, tie, both bad",
        'response_a is not a JSON list of turns (for text as it stands set text_format = "plain")',
    ]
    assert found.bad_rows[1].label == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("gone", ["unread", "lost with their texts"])
def test_a_class_that_goes_with_the_rows_left_out_is_an_error(gone: str, tmp_path: Path) -> None:
    rows = [text(i, winner=("model_a", "model_b")[i % 2]) for i in range(6)]
    if gone == "unread":
        rows += [text(6 + i, winner="unentschieden") for i in range(3)]
    else:
        rows += [text(6, winner="tie", prompt="broken")]
    with pytest.raises(
        errors.DataError, match="no row with winner_tie is left: . rows were left out"
    ):
        load(write(tmp_path / "t.csv", rows), on_bad_rows="drop")


@pytest.mark.parametrize(
    "pair",
    [("response_x", "response_y"), ("reply_l", "reply_r"), ("Response-A", "Response-B")],
)
def test_hints_never_exchange_sides_nor_name_a_column_twice(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    row = {"id": "1", "prompt": '["p"]', pair[1]: '["b"]', pair[0]: '["a"]', "winner": "tie"}
    with pytest.raises(errors.DataError) as caught:
        load(write(tmp_path / "t.csv", [row]))
    said = str(caught.value).splitlines()[0]
    for side, name in zip("ab", pair, strict=True):
        hint = f'response_{side} (nearest present: "{name}")'
        assert hint in said or "nearest" not in said
    if pair[0].startswith("Response"):
        assert said.count("nearest") == 2


def test_a_header_of_80_000_columns_is_refused_at_once_and_in_short(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",".join(f"c{i}" for i in range(80_000)) + "\n")
    began = time.perf_counter()
    with pytest.raises(errors.DataError, match="79,980 more") as caught:
        load(path)
    assert time.perf_counter() - began < 5 and len(str(caught.value)) < 2_000


def test_ids_that_became_floats_are_named(tmp_path: Path) -> None:
    rows = [text(0, winner="tie") | {"id": f"{i}.0"} for i in range(3)]
    with pytest.raises(errors.DataError, match='the ids are floats: "0.0"'):
        load(write(tmp_path / "t.csv", rows))


@pytest.mark.parametrize("ids", [["99999", "1e+05", "100001"], ["1.0", "2"], ["7", "8.0"]])
def test_whole_numbers_some_of_which_are_written_as_floats_are_named(
    ids: list[str], tmp_path: Path
) -> None:
    rows = [text(0, winner="tie") | {"id": one} for one in ids]
    with pytest.raises(errors.DataError, match=r"1 of \d ids are floats"):
        load(write(tmp_path / "t.csv", rows))


@pytest.mark.parametrize("ids", [["1.0", "1.1"], ["1.0", "x"], ["12e5", "1234"], ["007", "7"]])
def test_names_that_look_like_floats_are_ids(ids: list[str], tmp_path: Path) -> None:
    rows = [text(0, winner="tie") | {"id": one} for one in ids]
    assert load(write(tmp_path / "t.csv", rows))["id"].to_list() == ids


def halves(tmp_path: Path, *shares: float, **more: Any) -> pl.DataFrame:
    """Load rows with these shares of A; B has the rest."""
    labels = [{"winner_model_a": share, "winner_model_b": 1 - share, **more} for share in shares]
    rows = [text(0) | {"id": f"r{n}"} | label for n, label in enumerate(labels)]
    return load(write(tmp_path / "t.csv", rows))


def test_halves_that_may_be_ties_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(errors.DataError, match=r"1 of 3 labels are 0\.5 and 0\.5") as caught:
        halves(tmp_path, 1, 0.5, 0)
    assert "column winner_tie" in str(caught.value.hint)
    assert halves(tmp_path, 1, 0.5, 0, winner_tie=0)["label_a"].to_list() == [1, 0.5, 0]
    assert halves(tmp_path, 1, 0.5, 0.3)["label_a"].to_list() == [1, 0.5, 0.3]
    # Where there are no ties, a half is what one would count.
    plain = load_battles(tmp_path / "t.csv", source="s", role="train", ties=False).battles
    assert plain["label_a"].to_list() == [1, 0.5, 0.3]


def test_nan_is_missing_as_an_empty_cell_is(tmp_path: Path) -> None:
    nan = float("nan")
    rows = [text(0, winner="model_a") | {name: [name] for name in COLUMNS[1:]}]
    frame = pl.DataFrame(rows).with_columns(
        **dict.fromkeys(LABELS, pl.lit(nan)), model_a=pl.lit(nan), model_b=pl.lit(None, pl.Float64)
    )
    frame.write_parquet(tmp_path / "t.parquet")
    battles = load(tmp_path / "t.parquet")
    assert battles["label_a"].to_list() == [1.0]
    assert battles["model_a"].to_list() == [None]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.csv", b"\x80\x04\x95\x10", "a pickle"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        ("a.csv", b"PAR1\x15....PAR1", "the file is Parquet"),
        ("a.csv", b"<!DOCTYPE html><html>", "a web page"),
        ("https://example.org/train.csv", None, "a web address"),
    ],
)
def test_what_is_no_table_is_named_for_what_it_is(
    name: str, content: Any, what: str, tmp_path: Path
) -> None:
    path = Path(name) if "://" in name else tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        content(path)
    with pytest.raises(errors.DataError, match=what):
        load(path)
    with pytest.raises(errors.DataError, match=what):
        check_file_kind(path)


def test_brackets_in_a_name_are_no_pattern(tmp_path: Path) -> None:
    for name, winner in (("oof[1].csv", "model_a"), ("oof1.csv", "model_b")):
        write(tmp_path / name, [text(0, winner=winner)])
    assert load(tmp_path / "oof[1].csv")["label_a"].to_list() == [1.0]


def test_sides_drawn_by_a_hash_exchange_texts_models_and_labels(tmp_path: Path) -> None:
    rows = [
        text(i, winner="model_a", model_a="good", model_b="bad") | {"response_a": f'["{i}"]'}
        for i in range(200)
    ]
    path = write(tmp_path / "t.csv", rows)
    plain = load(path)
    drawn = sides_by_hash(plain)
    assert sides_by_hash(plain).equals(drawn) and drawn.schema == plain.schema
    assert 60 < drawn["label_b"].sum() < 140
    better = drawn.select(
        pl.when(pl.col("label_a") == 1)
        .then(pl.concat_list("model_a", pl.col("response_a").list.first()))
        .otherwise(pl.concat_list("model_b", pl.col("response_b").list.first()))
    )
    assert better.to_series().to_list() == [["good", f"{i}"] for i in range(200)]
    shuffled = plain.sample(fraction=1.0, shuffle=True, seed=1)
    assert sides_by_hash(shuffled).sort("id").equals(drawn.sort("id")), "the id alone decides"


@pytest.mark.parametrize("name", ["ORC", "bzh", "PAR1", "par1_x", "Arrow1", "7z", "pk"])
def test_a_header_that_begins_like_a_mark_is_a_header(name: str, tmp_path: Path) -> None:
    rows = [{name: 1} | text(0, winner="tie")]
    assert len(load(write(tmp_path / "t.csv", rows))) == 1


def test_reasons_are_counted_whatever_the_cell_holds(tmp_path: Path) -> None:
    cells = ["one: two", "three", "it's, not a list"]
    rows = [text(i, winner="tie", prompt=cell) for i, cell in enumerate(cells)]
    rows.append(text(9, winner="tie"))
    path = write(tmp_path / "t.csv", rows)
    found = load_battles(path, source="s", role="train", on_bad_rows="drop")
    assert len(found.bad_rows) == 3
    assert len({row.kind for row in found.bad_rows}) == 1
