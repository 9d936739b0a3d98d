"""The submission: test order, every check, and files as other tools write them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble import CLASSES, errors
from ensemble.cli import cli
from ensemble.config.settings import Reading
from ensemble.submission.parse import read_submission
from ensemble.submission.reading import read_test_ids
from ensemble.submission.validate import validate_submission
from ensemble.submission.write import check_submission, write_submission

REAL_DATA = Path(__file__).resolve().parents[4] / "shared/data"
HEADER = "id,winner_model_a,winner_model_b,winner_tie\n"


def table(rows: dict[str, tuple[float | None, ...]]) -> pl.DataFrame:
    """Make a submission out of probabilities by id."""
    shares = list(zip(*rows.values(), strict=True))
    columns: dict[str, Any] = {"id": list(rows), **dict(zip(CLASSES, shares, strict=True))}
    schema = {"id": pl.String} | dict.fromkeys(CLASSES, pl.Float64)
    return pl.DataFrame(columns, schema=schema)


GOOD = table({"02": (0.5, 0.25, 0.25), "1": (1.0, 0.0, 0.0)})


def test_rows_are_written_in_the_order_of_the_test_file(tmp_path: Path) -> None:
    path = tmp_path / "out" / "submission.csv"
    write_submission(path, GOOD.select(reversed(GOOD.columns)), ["1", "02"])
    assert path.read_text() == HEADER + "1,1.0,0.0,0.0\n02,0.5,0.25,0.25\n"
    assert [file.name for file in path.parent.iterdir()] == ["submission.csv"]


IDS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(str.strip),
    min_size=1,
    max_size=5,
    unique=True,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=IDS, share=st.floats(0.0, 1.0))
def test_any_ids_and_probabilities_survive_the_file(
    tmp_path: Path, ids: list[str], share: float
) -> None:
    written = table(dict.fromkeys(ids, (share, 1.0 - share, 0.0)))
    path = tmp_path / "submission.csv"
    write_submission(path, written.reverse(), ids)
    assert read_submission(path).equals(written)
    assert validate_submission(path, path) == len(ids)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"1": (1.0, 0.0, 0.0)}, r'missing ids \(1\): "02"'),
        (
            {"1": (1.0, 0.0, 0.0), "02": (1.0, 0.0, 0.0), "2": (1.0, 0.0, 0.0)},
            r'foreign ids \(1\): "2"',
        ),
        ({"1": (1.0, 0.0, 0.0), "02": (math.nan, 0.5, 0.5)}, r'not finite \(1\): "02"'),
        ({"1": (1.0, 0.0, 0.0), "02": (math.inf, -math.inf, 0.5)}, r'not finite \(1\): "02"'),
        ({"1": (1.0, 0.0, 0.0), "02": (None, 0.5, 0.5)}, r'not finite \(1\): "02"'),
        ({"1": (1.0, 0.0, 0.0), "02": (-0.5, 1.0, 0.5)}, r'outside \[0, 1\] \(1\): "02"'),
        ({"1": (1.0, 0.0, 0.0), "02": (0.5, 0.5, 0.01)}, r'not sum to 1 \(1\): "02"'),
    ],
)
def test_each_problem_is_found_and_nothing_is_written(
    tmp_path: Path, rows: dict[str, tuple[float | None, ...]], problem: str
) -> None:
    path = tmp_path / "submission.csv"
    path.write_text("kept")
    with pytest.raises(errors.DataError, match=problem):
        write_submission(path, table(rows), ["1", "02"])
    assert path.read_text() == "kept"


def test_all_problems_are_told_at_once() -> None:
    twice = pl.concat([GOOD, table({"1": (0.5, 0.0, 0.0), "x": (math.nan, 2.0, 0.0)})])
    with pytest.raises(errors.DataError, match="not valid") as caught:
        check_submission(twice, ["1", "02", "3", "3"])
    told = [line.strip().split(" (")[0] for line in caught.value.message.splitlines()[1:]]
    assert told == [
        "missing ids",
        "foreign ids",
        "repeated ids",
        "ids repeated in the test file",
        "rows with a probability missing or not finite",
        "rows whose probabilities do not sum to 1",
    ]


def test_the_first_ids_are_shown_and_all_are_counted() -> None:
    with pytest.raises(errors.DataError, match=r'missing ids \(9\): "0", "2", "3", "4", "5", …'):
        check_submission(GOOD, [*map(str, range(10)), "02"])


def test_rounding_within_the_tolerance_is_accepted() -> None:
    check_submission(table({"1": (0.3333333, 0.3333333, 0.3333333)}), ["1"])
    single = GOOD.with_columns(pl.col(name).cast(pl.Float32) for name in CLASSES)
    check_submission(single, ["1", "02"])


@pytest.mark.parametrize(
    ("submission", "problem"),
    [
        (GOOD.drop("winner_tie"), "missing columns: winner_tie"),
        (GOOD.with_columns(score=1.0), "foreign columns: score"),
        (GOOD.with_columns(pl.col("id").cast(pl.Int64)), "ids are Int64, not strings"),
        (GOOD.with_columns(winner_tie=pl.lit("x")), "winner_tie is String, not a float"),
    ],
)
def test_wrong_columns_are_named(submission: pl.DataFrame, problem: str) -> None:
    with pytest.raises(errors.DataError, match=problem):
        check_submission(submission, ["1", "02"])


@pytest.mark.parametrize(
    ("submission", "hint"),
    [
        (GOOD.drop("winner_tie"), "a submission is a CSV file with the columns"),
        (GOOD.with_columns(pl.col("id").cast(pl.Int64)), "make ids strings"),
        (GOOD.head(1), "every test id needs one row, and there may be no other rows"),
        (
            table({"1": (0.5, 0.0, 0.0), "02": (0.5, 0.5, 0.0)}),
            "divide each row's probabilities by their sum",
        ),
        (
            table({"1": (-0.5, 1.5, 0.0), "02": (0.5, 0.5, 0.0)}),
            "every probability is a number from 0 to 1",
        ),
        (
            table({"1": (0.5, 0.0, 0.0), "2": (2.0, -1.0, 0.0)}),
            "every test id needs one row, and there may be no other rows; every probability is a "
            "number from 0 to 1; divide each row's probabilities by their sum",
        ),
    ],
)
def test_the_mend_fits_the_faults(submission: pl.DataFrame, hint: str) -> None:
    with pytest.raises(errors.DataError, match="not valid") as caught:
        check_submission(submission, ["1", "02"])
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(hint)
    assert ";" not in caught.value.hint or ";" in hint


def test_a_directory_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "submission.csv").mkdir()
    with pytest.raises(errors.EnsembleError, match="cannot write"):
        write_submission(tmp_path / "submission.csv", GOOD, ["1", "02"])


def test_cells_that_are_no_numbers_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text(HEADER + "1, 0.5,0.5,0.0\n2,x,y,0.0\n3,1.0\n")
    with pytest.raises(errors.DataError, match="2 of 3 rows") as caught:
        read_submission(path)
    assert "s.csv:3: winner_model_a is 'x', not a number" in caught.value.message
    assert "s.csv:4: 2 fields where the header has 4" in caught.value.message


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    path = tmp_path / "test.csv"
    path.write_text("id,prompt\n1,x\n02,y\n")
    return path


def test_a_path_that_names_no_file_says_why(tmp_path: Path, asked: Path) -> None:
    absent = tmp_path / "absent.csv"
    for pair in ((absent, asked), (asked, absent)):
        with pytest.raises(errors.DataError, match="there is no such file") as caught:
            validate_submission(*pair)
        assert caught.value.where == str(absent)
        assert caught.value.hint is not None
        assert "relative paths start at the current directory" in caught.value.hint
    for read in (read_submission, read_test_ids):
        with pytest.raises(errors.DataError, match="this is a directory, not a file") as caught:
            read(tmp_path)
        assert caught.value.where == str(tmp_path)


def test_a_page_of_html_is_told_by_its_header_alone(tmp_path: Path, asked: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("<!DOCTYPE html>\n" + "<p>one, two</p>\n" * 250)
    with pytest.raises(errors.DataError, match="missing columns: id, winner_model_a") as caught:
        validate_submission(path, asked)
    assert caught.value.message.endswith("; the header is '<!DOCTYPE html>'")
    assert "cannot be read" not in str(caught.value)
    assert "with the columns id, winner_model_a, winner_model_b, winner_tie" in str(caught.value)


def test_a_missing_column_comes_before_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("id,winner_model_a,winner_model_b\n1,x,y\n2\n")
    with pytest.raises(errors.DataError, match="^missing columns: winner_tie\n"):
        read_submission(path)


def test_validate_names_the_submission_file(tmp_path: Path) -> None:
    test, path = tmp_path / "test.csv", tmp_path / "s.csv"
    test.write_text('id,prompt\n1,"[""a""]"\n02,"[""b""]"\n')
    path.write_text(HEADER + "02,0.5,0.5,0\n1,0,0,1\n")
    assert validate_submission(path, test) == 2
    path.write_text(HEADER + "1,,0.5,0.5\n2,0,0,1\n")
    with pytest.raises(errors.DataError, match=r'missing ids \(1\): "02"') as caught:
        validate_submission(path, test)
    assert caught.value.where == str(path)
    assert "foreign ids (1)" in caught.value.message
    assert "missing or not finite (1)" in caught.value.message


@pytest.mark.parametrize("name", ["test.csv", "test.parquet", "test.jsonl"])
def test_test_ids_come_from_every_format_in_order(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "test.csv":
        path.write_text("prompt,question_id\nx,b\ny,a\n")
    elif name == "test.jsonl":
        path.write_text('{"question_id": "b"}\n{"question_id": "a"}\n')
    else:
        pl.DataFrame({"question_id": ["b", "a"]}).write_parquet(path)
    assert read_test_ids(path) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,prompt\n1,x\n,y\n", r"test\.csv:3: the id is empty"),
        ("id,prompt\n1,x\n2\n", r"test\.csv:3: 1 fields"),
        ("id,prompt\n1,x\n1,y\n", r'repeated test ids \(1\): "1"'),
        ("name,prompt\n1,x\n", "columns are missing: response_a, response_b"),
    ],
)
def test_test_files_without_sound_ids_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "test.csv").write_text(text)
    with pytest.raises(errors.DataError, match=message):
        read_test_ids(tmp_path / "test.csv")


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA.exists(), reason="no ../shared/data")
def test_the_sample_submission_is_valid() -> None:
    sample = REAL_DATA / "arena/sample_submission.csv"
    assert validate_submission(sample, REAL_DATA / "arena/test.csv") == 583


def test_a_test_file_with_other_columns_is_read_as_the_config_says(tmp_path: Path) -> None:
    """Ids of another column, and ids that are made of texts in other columns."""
    test, path = tmp_path / "test.csv", tmp_path / "s.csv"
    test.write_text("key,question,one,two\n7,a,b,c\n08,d,e,f\n")
    columns = {"prompt": "question", "response_a": "one", "response_b": "two"}
    reading = Reading(path="gone.csv", columns={"id": "key", **columns})
    path.write_text(HEADER + "08,0.5,0.5,0\n7,0,0,1\n")
    assert validate_submission(path, test, reading) == 2
    with pytest.raises(errors.DataError, match=r'missing ids \(2\): "[0-9a-f]+'):
        validate_submission(path, test, Reading(columns=columns))
    with pytest.raises(errors.DataError):
        validate_submission(path, test)


def test_the_verb_takes_a_config_for_the_test_files_columns(tmp_path: Path) -> None:
    test, path = tmp_path / "test.csv", tmp_path / "s.csv"
    test.write_text("key,question,one,two\n7,a,b,c\n")
    path.write_text(HEADER + "7,0.5,0.5,0\n")
    (tmp_path / "config.toml").write_text(
        'run_dir = "run"\n[[sources]]\nname = "s"\npath = "train.csv"\nrole = "target"\n'
        '[test]\npath = "other.csv"\n[test.columns]\nid = "key"\nprompt = "question"\n'
        'response_a = "one"\nresponse_b = "two"\n[[learners]]\nname = "t"\nplugin = "tfidf"\n'
    )
    asked = ["validate", str(path), "--test", str(test)]
    done = CliRunner().invoke(cli, [*asked, "--config", str(tmp_path / "config.toml")])
    assert (done.exit_code, done.output) == (
        0,
        f"{path}: valid, 1 rows of probabilities of three classes\n",
    )
    assert CliRunner().invoke(cli, asked).exit_code != 0
