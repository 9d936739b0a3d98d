"""Sources of public formats on their way into a run: settings, keys, metadata, what is told."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from ensemble.battles.prepare import prepare
from ensemble.battles.prepared import read_battles, read_metadata, read_summary
from ensemble.battles.staleness import check_sources, compare_sources
from ensemble.errors import ArtifactError, ConfigError
from tests.fixture_types import Project


def _config(project: Project, **keys: Any) -> Any:
    rows = [{"prompt": f"q{i}", "chosen": "a", "rejected": "b", "lang": "en"} for i in range(40)]
    folder = project.path / "pairs"
    folder.mkdir(exist_ok=True)
    for at, part in enumerate((rows[:20], rows[20:])):
        text = "".join(json.dumps(row) + "\n" for row in part)
        (folder / f"train-{at:05}-of-00002.jsonl").write_text(text)
    arena = {"name": "arena", "path": "train.csv", "role": "target"}
    pairs = {"name": "pairs", "path": "pairs", "role": "train"} | keys
    return project.config(sources=[arena, pairs])


def test_a_directory_of_pairs_is_prepared_and_told(project: Project) -> None:
    config = _config(project)
    (project.path / "run").mkdir()
    assert prepare(config) and not prepare(config)
    run = project.path / "run"
    source = read_summary(run).sources[1]
    assert source.rows == 40 and not source.warnings, "sides are drawn by a hash"
    assert source.read_as.startswith("chosen and rejected answers (chosen, rejected)")
    assert "sides are drawn by a hash of the id" in source.notes
    battles, metadata = read_battles(run)[0], read_metadata(run)
    assert metadata["id"].equals(battles["id"])
    assert metadata.filter(pl.col("lang") == "en").height == 40


def test_another_option_or_shard_makes_battles_anew(project: Project) -> None:
    config = _config(project)
    (project.path / "run").mkdir()
    prepare(config)
    check_sources(config)
    other = _config(project, format="chosen-rejected")
    with pytest.raises(ArtifactError, match="other sources or settings"):
        check_sources(other)
    assert prepare(other)
    shard = project.path / "pairs/train-00001-of-00002.jsonl"
    shard.write_text(shard.read_text().replace("q39", "q99"))
    assert compare_sources(other)[0] == ["pairs"]
    with pytest.raises(ArtifactError, match='file of source "pairs" is not the one'):
        check_sources(other)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"path": ""}, r"missing key sources\[2\].path"),
        ({"revision": "v1"}, r"sources\[2\].revision is of a data set on the hub"),
        ({"path": ["a", "b"], "loader": "x"}, "loader takes one path"),
        ({"winner": {"0": "c"}}, r"sources\[2\].winner.0"),
        ({"pairs": 0}, r"sources\[2\].pairs"),
        ({"temperature": 0.0}, r"sources\[2\].temperature"),
        ({"path": 5}, r"sources\[2\].path: "),
    ],
)
def test_settings_that_say_nothing_are_refused(
    keys: dict[str, Any], match: str, project: Project
) -> None:
    with pytest.raises(ConfigError, match=match):
        _config(project, **keys)
