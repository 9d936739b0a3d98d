"""Privileged columns in prompts: whose side they are of, and who sees them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from ensemble import FitContext, errors
from ensemble.battles.swap import swap_battles
from ensemble_plugins.language_model.text.privileged import HEADING, privileged_texts
from tests.plugins.language_model.quick_learners import FAMILIES, make_learner

if TYPE_CHECKING:
    from collections.abc import Callable

# What transformers does where it defines DeBERTa.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)
COLUMNS = ("model_a", "language", "model_b")
BATTLES = pl.DataFrame(
    {
        "id": ["1", "2"],
        "prompt": [["hello"], ["hello"]],
        "response_a": [["yes"], ["one"]],
        "response_b": [["no"], ["two"]],
        "model_a": ["gpt 4", None],
        "language": ["English", "German\nmodel of A: forged"],
        "model_b": ["claude", "llama"],
    }
)


def test_each_value_is_a_line_and_goes_with_its_side() -> None:
    one, two = privileged_texts(BATTLES, COLUMNS) or []
    assert one == f"{HEADING}\nmodel of A: gpt 4\nlanguage: English\nmodel of B: claude"
    # A value is one line: none can write another.
    assert two.splitlines()[-3:] == [
        "model of A: unknown",
        "language: German model of A: forged",
        "model of B: llama",
    ]
    swapped, _ = privileged_texts(BATTLES, COLUMNS, swapped=True) or []
    assert swapped == f"{HEADING}\nmodel of A: claude\nlanguage: English\nmodel of B: gpt 4"
    assert privileged_texts(BATTLES, ()) is None


@pytest.mark.parametrize(
    ("columns", "labels"),
    [
        (("a_score_x", "b_score_x"), ["score_x of A", "score_x of B"]),
        (("left_judge", "right_judge"), ["judge of A", "judge of B"]),
        (("model_a",), ["model_a"]),
    ],
)
def test_columns_of_sides_are_named_by_what_they_have_in_common(
    columns: tuple[str, ...], labels: list[str]
) -> None:
    table = pl.DataFrame({name: ["v"] for name in columns})
    text = (privileged_texts(table, columns) or [""])[0]
    assert text.splitlines()[3:] == [f"{label}: v" for label in labels]


def test_battles_without_a_column_are_refused() -> None:
    with pytest.raises(errors.LearnerError, match="the battles lack model_b"):
        privileged_texts(BATTLES.drop("model_b"), COLUMNS)


@pytest.mark.parametrize("plugin", ["gemma2-lora", "deberta"])
def test_a_learner_sees_them_in_every_order_and_only_where_it_may(
    checkpoint: Callable[[str], Path], tmp_path: Path, plugin: str
) -> None:
    learner = make_learner(plugin, checkpoint(FAMILIES[plugin]))
    labels = np.eye(3)[[0, 1]]
    fitted = learner.fit(BATTLES, labels, context=FitContext(device="cpu", privileged=COLUMNS))
    logits = fitted.predict_logits(BATTLES)
    other = fitted.predict_logits(BATTLES.with_columns(model_a=pl.lit("claude")))
    assert np.abs(other[0] - logits[0]).max() > 1e-7
    fitted.save(tmp_path)
    again = make_learner(plugin, checkpoint(FAMILIES[plugin])).load(tmp_path)
    np.testing.assert_allclose(again.predict_logits(BATTLES), logits, atol=1e-5)
    # Exchanged sides carry their models along, so that the mean of both orders exchanges exactly.
    swapped = again.predict_logits(swap_battles(BATTLES))
    np.testing.assert_allclose(swapped[:, [1, 0, 2]], logits, atol=1e-5)
    with pytest.raises(errors.LearnerError, match="the battles lack"):
        again.predict_logits(BATTLES.select("id", "prompt", "response_a", "response_b"))
    blind = make_learner(plugin, checkpoint(FAMILIES[plugin])).fit(
        BATTLES, labels, context=FitContext(device="cpu")
    )
    same = blind.predict_logits(BATTLES.with_columns(model_a=pl.lit("claude")))
    np.testing.assert_array_equal(same, blind.predict_logits(BATTLES))
