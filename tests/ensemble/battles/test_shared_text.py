"""A cluster names what its prompts share."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

from ensemble.battles.shared_text import FEWEST_TEXTS, shared_text
from ensemble.stages.prepare import prepare_stage
from ensemble.stages.split import split_stage
from ensemble.stages.work import writing

if TYPE_CHECKING:
    from tests.fixture_types import MakeBattles, Project, WriteCsv

TEMPLATE = "You are a judge who reads with care.\nSay which answer is better: "
DRAW = random.Random(3)


def words(n: int) -> str:
    return " ".join("".join(DRAW.choices("abcdefghijklmnop", k=7)) for _ in range(n))


def test_the_template_is_named_whatever_stands_around_it() -> None:
    texts = [f"{words(3)} {TEMPLATE}{words(5)}" for _ in range(30)]
    assert shared_text(texts) == " ".join(TEMPLATE.split())


def test_a_few_without_it_do_not_matter_and_many_do() -> None:
    texts = [TEMPLATE + words(5) for _ in range(20)]
    assert shared_text([*texts, *(words(9) for _ in range(4))]) == " ".join(TEMPLATE.split())
    assert shared_text([*texts, *(words(9) for _ in range(10))]) is None


def test_few_different_texts_and_texts_that_share_little_have_none() -> None:
    assert shared_text([]) is None
    assert shared_text([TEMPLATE + "x"] * 100) is None
    assert shared_text([TEMPLATE + words(2) for _ in range(FEWEST_TEXTS - 1)]) is None
    assert shared_text([f"Write a poem on {words(3)}" for _ in range(30)]) is None
    assert shared_text([str(n) for n in range(30)]) is None


def test_a_large_cluster_names_it_in_its_warning_and_in_the_report(
    project: Project, make_battles: MakeBattles, write_csv: WriteCsv
) -> None:
    import polars as pl

    battles = make_battles(60, prompts=10)
    # What each row has of its own is too little to tell a copy by, and the answers are the same.
    same = pl.concat_list(pl.lit("the one long answer that all of them were given " * 6))
    alike = pl.int_range(pl.len()) < 20
    texts = pl.lit(TEMPLATE) + pl.int_range(pl.len()).cast(pl.String)
    write_csv(
        battles.with_columns(
            prompt=pl.when(alike).then(pl.concat_list(texts)).otherwise("prompt"),
            response_a=pl.when(alike).then(same).otherwise("response_a"),
            response_b=pl.when(alike).then(same).otherwise("response_b"),
        ),
        project.path / "train.csv",
    )
    config = project.config()
    with writing(config) as reporter:
        prepare_stage(config, reporter)
        summary = split_stage(config, reporter)
    largest = summary.largest_clusters[0]
    assert largest.rows >= 20
    assert (largest.shared_text or "").startswith("You are a judge")
    assert any("its prompts share" in text for text in summary.warnings)
    assert json.loads((project.path / "run" / "folds.json").read_text())["warnings"]
