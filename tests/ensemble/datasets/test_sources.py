from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from ensemble import CLASSES, find_duplicates, make_battles, make_source
from ensemble.battles.swap import swap_classes
from ensemble.datasets.battles import TRUTH_COLUMNS, GeneratedBattles, best_log_loss
from ensemble.datasets.rows import draw_source
from ensemble.datasets.rules import judge_as_people
from ensemble.datasets.sources import SOURCE_KINDS, TARGET_SHARES, GeneratedSource

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray

ROWS = 1200
TEXTS = ["prompt", "response_a", "response_b"]
DRAWN = [kind for kind in SOURCE_KINDS if kind != "duplicates"]


@pytest.fixture(scope="module")
def target() -> GeneratedBattles:
    return make_battles(target_rows=ROWS, external_rows=0, test_rows=0)


@pytest.fixture(scope="module")
def sources() -> dict[str, GeneratedSource]:
    return {kind: make_source(kind, rows=ROWS, target_rows=ROWS) for kind in SOURCE_KINDS}


def _p(truth: pl.DataFrame) -> FloatArray:
    return truth.select(TRUTH_COLUMNS).to_numpy()


def _labels(table: pl.DataFrame) -> FloatArray:
    return table.select(CLASSES).to_numpy().astype(np.float64)


def _similarity(prompts: pl.Series, others: pl.Series) -> float:
    """Cosine of the two tables' counts of words."""
    words = [
        pl.DataFrame({"word": table.list.first().str.split(" ").explode()}).group_by("word").len()
        for table in (prompts, others)
    ]
    both = words[0].join(words[1], on="word", how="full").fill_null(0)
    one, other = both["len"].to_numpy(), both["len_right"].to_numpy()
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("kind", SOURCE_KINDS)
def test_a_source_has_the_targets_columns_and_labels_that_its_truth_lists(
    kind: str, sources: dict[str, GeneratedSource], target: GeneratedBattles
) -> None:
    source = sources[kind]
    assert source.battles.schema == target.target.schema
    assert source.truth.schema == target.truth.schema
    assert source.truth["id"].to_list() == source.battles["id"].to_list()
    assert set(source.truth["source"]) == {kind}
    np.testing.assert_array_equal(
        _labels(source.battles).argmax(axis=1), source.truth["label"].to_numpy()
    )
    np.testing.assert_allclose(_p(source.truth).sum(axis=1), 1.0)


def test_ids_are_unique_among_kinds_seeds_and_the_generated_battles(
    sources: dict[str, GeneratedSource], target: GeneratedBattles
) -> None:
    ids = [*target.target["id"]]
    for kind, source in sources.items():
        ids += [*source.battles["id"]]
        ids += [*make_source(kind, rows=20, seed=1, target_rows=50).battles["id"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("kind", SOURCE_KINDS)
def test_the_same_seed_gives_the_same_source(
    kind: str, sources: dict[str, GeneratedSource]
) -> None:
    again = make_source(kind, rows=ROWS, target_rows=ROWS)
    assert again.battles.equals(sources[kind].battles)
    assert again.truth.equals(sources[kind].truth)
    other = make_source(kind, rows=ROWS, seed=1, target_rows=ROWS)
    assert not set(other.battles["response_a"].list.join("\n", ignore_nulls=True)) <= set(
        again.battles["response_a"].list.join("\n", ignore_nulls=True)
    )


@pytest.mark.parametrize("kind", SOURCE_KINDS)
def test_a_longer_source_begins_with_the_shorter_one(
    kind: str, sources: dict[str, GeneratedSource]
) -> None:
    short = make_source(kind, rows=150, target_rows=ROWS)
    assert short.battles.equals(sources[kind].battles.head(150))
    assert short.truth.equals(sources[kind].truth.head(150))


@pytest.mark.parametrize("kind", DRAWN)
def test_labels_follow_the_true_distribution(
    kind: str, sources: dict[str, GeneratedSource]
) -> None:
    labels, p = _labels(sources[kind].battles), _p(sources[kind].truth)
    np.testing.assert_allclose(labels.mean(axis=0), p.mean(axis=0), atol=0.04)
    loss = float(-np.log(p[labels == 1]).mean())
    assert loss == pytest.approx(best_log_loss(sources[kind].truth), abs=0.04)


def test_label_shares_are_the_targets_but_where_no_tie_may_be_called(
    sources: dict[str, GeneratedSource],
) -> None:
    for kind in SOURCE_KINDS:
        shares = _p(sources[kind].truth).mean(axis=0)
        if kind == "no_ties":
            assert shares[2] == 0
        else:
            np.testing.assert_allclose(shares, TARGET_SHARES, atol=0.04)


def test_the_long_run_shares_are_what_is_written() -> None:
    drawn = make_battles(target_rows=6000, external_rows=0, test_rows=0, seed=9)
    np.testing.assert_allclose(_p(drawn.truth).mean(axis=0), TARGET_SHARES, atol=0.01)


@pytest.mark.parametrize("kind", DRAWN)
def test_no_drawn_row_is_near_a_row_of_the_target_or_of_another_kind(
    kind: str, sources: dict[str, GeneratedSource], target: GeneratedBattles
) -> None:
    others = [target.target, *(sources[k].battles for k in DRAWN if k != kind)]
    rows = pl.concat([t.select("id", *TEXTS) for t in (sources[kind].battles, *others)])
    clusters = dict(find_duplicates(rows).clusters.select("id", "cluster").rows())
    own = {clusters[i] for i in sources[kind].battles["id"]}
    # Answers are put together from phrases: one in hundreds happens to stand in a longer one.
    assert len(own & {clusters[i] for table in others for i in table["id"]}) <= len(own) / 200


def test_only_other_prompts_are_of_another_form(
    sources: dict[str, GeneratedSource], target: GeneratedBattles
) -> None:
    likeness = {
        kind: _similarity(sources[kind].battles["prompt"], target.target["prompt"])
        for kind in DRAWN
    }
    assert likeness.pop("other_prompts") < 0.9
    assert min(likeness.values()) > 0.99


def test_without_ties_the_odds_of_a_win_are_as_with_them() -> None:
    drawn = make_source("no_ties", rows=80)
    rows = draw_source("no_ties", 80, 0, (), [])
    people = np.array([judge_as_people(row.prompt, *row.responses) for row in rows])
    p = _p(drawn.truth)
    np.testing.assert_allclose(p[:, 0] / p[:, 1], people[:, 0] / people[:, 1])


def test_the_other_rule_is_length_and_formatting_and_people_differ(
    sources: dict[str, GeneratedSource],
) -> None:
    def preference(kind: str) -> float:
        table = sources[kind].battles
        a, b = (pl.col(name).list.join("", ignore_nulls=True).str.len_chars() for name in TEXTS[1:])
        longer = table.filter((a > 2 * b) & (pl.col("winner_tie") == 0))
        return float(longer["winner_model_a"].to_numpy().mean())

    assert preference("other_rule") > 0.8 > 0.7 > preference("same_rule")


def test_every_duplicate_is_a_target_row_with_its_label(target: GeneratedBattles) -> None:
    copies = make_source("duplicates", rows=ROWS, target_rows=ROWS)
    assert set(copies.planted["kind"]) == {"same_battle", "swap", "near_prompt"}
    assert copies.planted["id_a"].to_list() == copies.battles["id"].to_list()
    assert sorted(copies.planted["id_b"]) == sorted(target.target["id"])
    rows = {row[0]: row[1:] for row in target.target.select("id", *TEXTS).rows()}
    labels = dict(zip(target.target["id"], _labels(target.target), strict=True))
    mine = zip(
        copies.battles.select(TEXTS).rows(),
        _labels(copies.battles),
        copies.planted["id_b"],
        copies.planted["kind"],
        strict=True,
    )
    for (prompt, a, b), label, original, kind in mine:
        other_prompt, *responses = rows[original]
        assert (prompt == other_prompt) == (kind != "near_prompt")
        assert [b, a] == responses if kind == "swap" else [a, b] == responses
        expected = swap_classes(labels[original]) if kind == "swap" else labels[original]
        np.testing.assert_array_equal(label, expected)


def test_every_duplicate_lies_in_its_originals_cluster(target: GeneratedBattles) -> None:
    copies = make_source("duplicates", rows=ROWS, target_rows=ROWS)
    rows = pl.concat([t.select("id", *TEXTS) for t in (target.target, copies.battles)])
    clusters = dict(find_duplicates(rows).clusters.select("id", "cluster").rows())
    pairs = copies.planted.select("id_a", "id_b").rows()
    apart = [pair for pair in pairs if clusters[pair[0]] != clusters[pair[1]]]
    assert not apart


def test_more_duplicates_than_rows_copy_each_row_about_as_often() -> None:
    copies = make_source("duplicates", rows=70, target_rows=20)
    counts = copies.planted["id_b"].value_counts()["count"]
    assert len(counts) == 20
    assert set(counts) == {3, 4}
    assert make_source("duplicates", rows=0, target_rows=0).battles.is_empty()


def test_a_harmless_source_says_nothing_and_a_few_rows_of_it_cost_next_to_nothing(
    sources: dict[str, GeneratedSource],
) -> None:
    harmless, people = _p(sources["harmless"].truth), _p(sources["same_rule"].truth)
    np.testing.assert_array_equal(harmless, np.tile(TARGET_SHARES, (ROWS, 1)))
    best = best_log_loss(sources["same_rule"].truth)
    costs = []
    for share in (0.0, 0.02, 0.1, 0.5):
        mixed = (1 - share) * people + share * np.array(TARGET_SHARES)
        costs.append(float(-(people * np.log(mixed)).sum(axis=1).mean()) - best)
    assert costs[0] == pytest.approx(0)
    assert costs[1] < 4e-4
    assert all(one < other for one, other in pairwise(costs))


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"kind": "same"}, "kind 'same' is none of same_rule, other_prompts"),
        ({"seed": -1}, r"seed \(-1\) and rows \(5\) must be >= 0"),
        ({"rows": -1}, r"rows \(-1\) must be >= 0"),
        ({"rows": 10_000_000}, "below 10000000"),
        ({"kind": "duplicates", "target_rows": 0}, "target_rows >= 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, int | str], fault: str) -> None:
    asked = {"kind": "same_rule", "rows": 5, **wrong}
    with pytest.raises(ValueError, match=fault):
        make_source(**asked)  # type: ignore[arg-type]


def test_no_rows_give_empty_tables_of_the_same_types(sources: dict[str, GeneratedSource]) -> None:
    for kind in SOURCE_KINDS:
        empty = make_source(kind, rows=0)
        assert empty.battles.schema == sources[kind].battles.schema
        assert empty.truth.schema == sources[kind].truth.schema
        assert empty.planted.schema == sources[kind].planted.schema
