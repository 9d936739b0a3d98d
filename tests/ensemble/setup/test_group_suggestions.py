"""Columns that may join battles into groups, and files of two shares, as ``init`` sees them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from ensemble.cli import cli
from ensemble.config.load import load_config, parse_config
from ensemble.setup.groups import GroupColumn, find_group_columns, group_lines
from ensemble.setup.plan import Plan, make_plan
from ensemble.setup.questions import assume
from tests.ensemble.setup.invented import texts, write, write_train


def plan(paths: list[Path], output: Path) -> Plan:
    return make_plan(paths, output, assume)


def two_shares(path: Path, rows: int = 60, **more: Any) -> Path:
    columns: dict[str, Any] = {"id": [f"r{i}" for i in range(rows)], **texts(rows)}
    columns |= {"winner_model_a": [i % 2 for i in range(rows)]}
    columns |= {"winner_model_b": [1 - i % 2 for i in range(rows)]}
    return write(path, columns | more)


def test_columns_of_people_and_sessions_are_counted() -> None:
    rows = 60
    metadata = pl.DataFrame(
        {
            "id": [str(i) for i in range(rows)],
            "evaluation_session_id": [f"s{i // 3}" for i in range(rows)],
            "judge": ["u"] * 40 + [f"v{i}" for i in range(20)],
            "user_id": list(range(rows)),
            "user_language": ["en"] * rows,
            "conversationId": [None if i % 2 else i // 4 for i in range(rows)],
            "evaluation_order": [i % 3 for i in range(rows)],
        }
    )
    assert find_group_columns(metadata) == [
        GroupColumn("evaluation_session_id", 20, 60, 3),
        GroupColumn("judge", 21, 60, 40),
        GroupColumn("conversationId", 15, 30, 2),
    ]


def test_a_group_larger_than_a_fold_is_told_of_and_not_suggested() -> None:
    found = [GroupColumn("session", 20, 60, 3), GroupColumn('a "judge"', 21, 60, 40)]
    lines = group_lines(found, rows=60, n_splits=5)
    assert any(line.startswith('# group_columns = ["session"]') for line in lines)
    told = " ".join(lines)
    assert "session: 20 values in 60 rows, the largest in 3" in told
    assert "the largest in 40, more than a fold" in told
    assert all(line.startswith("# ") for line in lines)
    assert not any("group_columns" in line for line in group_lines(found[1:], rows=60, n_splits=5))
    assert group_lines([], rows=60, n_splits=5) == []


def test_the_suggested_line_is_a_comment_that_can_be_taken_in(tmp_path: Path) -> None:
    sessions = [f"s{i // 3}" for i in range(60)]
    path = write_train(tmp_path / "train.parquet", 60, evaluation_session_id=sessions)
    text = plan([path], tmp_path / "config.toml").text
    line = '# group_columns = ["evaluation_session_id"]'
    assert line in text
    assert "group_columns" not in tomllib.loads(text)["folds"]
    taken = text.replace(line, line.removeprefix("# "))
    config = parse_config(tomllib.loads(taken), tmp_path / "config.toml")
    assert config.folds.group_columns == ["evaluation_session_id"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_two_shares_make_a_task_without_ties(tmp_path: Path, suffix: str) -> None:
    path = two_shares(tmp_path / f"train.{suffix}")
    found = plan([path], tmp_path / "config.toml")
    assert not found.ties and not found.todo
    assert tomllib.loads(found.text)["task"]["ties"] is False
    shares = found.sources[0].placed.look.facts
    assert shares is not None and shares.shares == (0.5, 0.5, 0.0)


def test_two_shares_beside_a_target_with_ties_are_a_source_without_any(tmp_path: Path) -> None:
    target = write_train(tmp_path / "train.csv", 60)
    other = two_shares(tmp_path / "extra.csv")
    found = plan([target, other], tmp_path / "config.toml")
    assert found.ties and [one.name for one in found.sources] == ["train", "extra"]
    assert "it has no ties, and the target has" in found.sources[1].placed.why


def test_two_shares_are_prepared_as_they_are_planned(tmp_path: Path) -> None:
    two_shares(tmp_path / "train.csv")
    config = tmp_path / "config.toml"
    config.write_text(plan([tmp_path / "train.csv"], config).text)
    result = CliRunner().invoke(cli, ["prepare", str(config)])
    assert result.exit_code == 0, result.output
    battles = pl.read_parquet(Path(load_config(config).run_dir) / "battles.parquet")
    assert battles["label_tie"].sum() == 0 and battles["label_a"].sum() == 30


def test_labels_of_many_values_do_not_make_a_test_of_a_file(tmp_path: Path) -> None:
    target = write_train(tmp_path / "train.csv", 60)
    said = texts(60, 500)
    rows: dict[str, Any] = {"instruction": said["prompt"], "output_1": said["response_a"]}
    rows |= {"output_2": said["response_b"], "preference": [1 + i / 60 for i in range(60)]}
    other = write(tmp_path / "annotations.jsonl", rows)
    found = plan([target, other], tmp_path / "config.toml")
    assert [one.placed.role for one in found.sources] == ["target"]
    assert any("unknown winner" in one.reason for one in found.left)
