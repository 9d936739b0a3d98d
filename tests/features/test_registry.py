"""What holds for every column of every built-in feature set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ensemble_plugins
from ensemble.battles.features import FeatureMatrix, compute_features
from ensemble.battles.swap import swap_battles
from ensemble.storage.json_files import read_json
from ensemble_features.catalog import FAMILIES, feature_sets, markdown_table

if TYPE_CHECKING:
    from ensemble import Feature

DATA = Path(__file__).parents[3] / "shared" / "data" / "arena" / "train.csv"
SETS = feature_sets()
FEATURES = [feature for feature_set in SETS for feature in feature_set.features]
Turns = list[str | None]

# Any text that UTF-8 can hold, mixed with what the columns look for.
pieces = st.sampled_from(
    [
        "**a**",
        "\n- ",
        "\n1. ",
        "\n# ",
        "```",
        "|",
        "$$",
        "\\(",
        "http://",
        '"',
        "I'm sorry",
        "the ",
        "\u597d\u3002",
        "\u0e01\u0e34",
    ]
)
texts = st.lists(st.one_of(st.text(max_size=12), pieces), max_size=6).map("".join)
turns = st.lists(st.one_of(st.none(), texts), max_size=3)
rows = st.lists(st.tuples(turns, turns, turns), min_size=1, max_size=5)


def table(battles: list[tuple[Turns, Turns, Turns]]) -> pl.DataFrame:
    """Make the table a learner sees."""
    texts_of = {
        name: pl.Series([battle[index] for battle in battles], dtype=pl.List(pl.String))
        for index, name in enumerate(("prompt", "response_a", "response_b"))
    }
    return pl.DataFrame({"id": [str(i) for i in range(len(battles))], **texts_of})


def assert_same(one: np.ndarray, other: np.ndarray, names: tuple[str, ...]) -> None:
    """Compare exactly; undefined equals undefined."""
    differ = ~((one == other) | (np.isnan(one) & np.isnan(other))).all(axis=0)
    assert not differ.any(), [name for name, odd in zip(names, differ, strict=True) if odd]


def compute(battles: pl.DataFrame) -> FeatureMatrix:
    return compute_features(battles, SETS)


@settings(deadline=None, max_examples=25)
@given(rows)
def test_exchanging_sides_swaps_or_negates_every_column_exactly(
    battles: list[tuple[Turns, Turns, Turns]],
) -> None:
    frame = table(battles)
    matrix = compute(frame)
    assert_same(compute(swap_battles(frame)).values, matrix.swapped().values, matrix.names)


@settings(deadline=None, max_examples=10)
@given(rows)
def test_a_row_alone_has_the_values_it_has_in_a_batch(
    battles: list[tuple[Turns, Turns, Turns]],
) -> None:
    frame = table(battles)
    matrix = compute(frame)
    alone = np.concatenate([compute(frame[i]).values for i in range(frame.height)])
    assert_same(alone, matrix.values, matrix.names)


@settings(deadline=None, max_examples=30)
@given(rows)
def test_values_are_finite_or_undefined(battles: list[tuple[Turns, Turns, Turns]]) -> None:
    assert not np.isinf(compute(table(battles)).values).any()


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_symmetry_and_independence_hold_on_real_battles() -> None:
    cells = pl.read_csv(DATA, infer_schema=False, n_rows=300)
    names = ("prompt", "response_a", "response_b")
    battles = zip(*([json.loads(cell) for cell in cells[name]] for name in names), strict=True)
    frame = table(list(battles))
    matrix = compute(frame)
    assert_same(compute(swap_battles(frame)).values, matrix.swapped().values, matrix.names)
    for row in range(0, frame.height, 60):
        assert_same(compute(frame[row]).values, matrix.values[[row]], matrix.names)


def test_every_column_is_somewhere_defined_and_not_constant() -> None:
    rich = (
        "# Sure! I'm sorry, as an AI **I cannot**: it may be 12.\n\n- `x`\n1. y (z)?\n```\n"
        '| a | b |\nplease note\nnot sure\n### Human: \n$$ https://a.b "q" '
        "El les und que che \u0438 \u592a\u306f\uc774\u0634 e\u0301",
    )
    known = read_json(Path(__file__).with_name("languages.json"))["languages"]
    prompts = [item["texts"][0]["text"] for item in known.values()]
    asks = "Write code: explain 1 + 1, list ideas, be brief, act as a poet"
    frame = table(
        [
            ([asks], [*rich], ["plain words here, plain words here, plain words here"]),
            ([rich[0], None, "x y z"], ["one two three", None, rich[0]], ["", "b", None]),
            (["the same one here"], ["the same one here too"], ["The same one here too"]),
            (["x y z w"], ["same"], ["same"]),
            (
                ["os sol e die der il di \u0432 \u306f \uc774"],
                ["os con der il \u0432"],
                ["a b c d"],
            ),
            (["el le zu gli"], ["a"], ["b"]),
            ([rich[0] + " \u0438 \u0634"], ["a. b! c, d"], ["b"]),
            (["one two three four"], ["say one two three"], ["nothing of it four"]),
            (["x", "y"], ["p", None], ["q", "r"]),
            (["x", "y"], ["ends with a mark.", "and here."], ["a cut-off", "b"]),
            (["x"], ["Sorry, I cannot help you with that."], ["\u0915\u093e \u0e01\u0e34"]),
            (["\u0915\u093e \u0e01\u0e34"], ["Here is what you asked for, in short."], ["x"]),
            *(
                (["17 * 3", prompt], [other], [prompt])
                for prompt in prompts
                for other in prompts[:2]
            ),
        ]
    )
    matrix = compute(pl.concat([frame, swap_battles(frame)]))
    spread = np.nanmax(matrix.values, axis=0) - np.nanmin(matrix.values, axis=0)
    assert [n for n, s in zip(matrix.names, spread, strict=True) if not s > 0] == []


def test_there_are_enough_columns_with_unique_names() -> None:
    names = [feature.name for feature in FEATURES]
    assert len(set(names)) == len(names) >= 40


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_description_is_one_sentence_with_a_unit(feature: Feature) -> None:
    description = feature.description
    assert description.endswith(".")
    assert description.count("; ") == 1
    assert description.rpartition("; ")[2].removesuffix(".").strip()
    assert "{}" not in description
    assert "\n" not in description


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_swapping_twice_gives_a_column_back(feature: Feature) -> None:
    by_name = {f.name: f for f in FEATURES}
    partner = by_name[feature.swap]
    assert partner.swap == feature.name
    assert partner.sign == feature.sign


def test_sided_names_swap_with_the_other_side() -> None:
    for feature in FEATURES:
        if feature.name.endswith("_a"):
            assert feature.swap == feature.name.removesuffix("_a") + "_b"
        if feature.name.endswith("_diff"):
            assert (feature.swap, feature.sign) == (feature.name, -1)


def test_all_families_are_registered_and_listed() -> None:
    registered: dict[str, object] = {}

    def register(name: str, target: object) -> None:
        registered[name] = target

    ensemble_plugins.register_feature_sets(register=register)
    assert registered == {name: f"ensemble_features.{name}:FEATURE_SET" for name in FAMILIES}
    assert [feature_set.name for feature_set in SETS] == list(FAMILIES)


def test_the_catalog_lists_every_column_once() -> None:
    lines = markdown_table().splitlines()
    assert len(lines) == 2 + len(FEATURES)
    for feature in FEATURES:
        assert sum(f"| `{feature.name}` |" in line for line in lines) == 1
    assert "| length | `chars_a` | becomes `chars_b` | Characters in all turns of response A" in (
        "\n".join(lines)
    )
