"""Signs that a source's rows are the target's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ensemble.sources.likeness import AT_CHANCE, LEAST_GAIN, likeness_warnings

THIRDS = [1 / 3] * 3
CHANCE = float(np.log(3))


def _description(rows: int = 400) -> dict[str, Any]:
    return {"source": {"rows": rows}, "target": {"label_shares": THIRDS}}


def _overlap(shared: int) -> dict[str, Any]:
    return {"target": {"same_responses": shared}, "cut": {"rows": shared}}


def _shift(low: float, high: float) -> dict[str, Any]:
    text = {"measured": True, "auc": (low + high) / 2, "low": low, "high": high}
    return {"responses": {"text": text}}


def _effect(base: float, low: float, source: int = 400, target: int = 400) -> dict[str, Any]:
    one = {
        "measured": True,
        "log_loss": base - low - 0.001,
        "gain": {"mean": low + 0.001},
        "simultaneous": {"low": low, "high": low + 0.002},
    }
    return {
        "treatments": [{"measured": False}, one],
        "baseline": {"log_loss": base},
        "source_rows": source,
        "target_rows": target,
    }


CALM: dict[str, Any] = {
    "description": _description(),
    "overlap": _overlap(0),
    "shift": _shift(0.6, 0.7),
    "effect": _effect(CHANCE - 0.1, 0.05),
}


def test_an_ordinary_source_earns_none() -> None:
    assert likeness_warnings(**CALM) == []
    assert likeness_warnings(**{**CALM, "shift": None}) == []


@pytest.mark.parametrize(("rows", "shared", "warned"), [(400, 3, 0), (400, 4, 1), (50, 1, 0)])
def test_shared_answers(rows: int, shared: int, warned: int) -> None:
    parts = {**CALM, "description": _description(rows), "overlap": _overlap(shared)}
    found = likeness_warnings(**parts)
    assert len(found) == warned
    assert all(f"{shared} of its {rows} rows hold an answer" in text for text in found)


@pytest.mark.parametrize(
    ("low", "high", "warned"),
    [(0.48, 0.53, 1), (0.30, 0.40, 1), (0.51, 0.54, 0), (0.45, AT_CHANCE + 0.01, 0)],
)
def test_answers_that_no_classifier_tells(low: float, high: float, warned: int) -> None:
    found = likeness_warnings(**{**CALM, "shift": _shift(low, high)})
    assert [text.startswith("no classifier tells its answers") for text in found] == [True] * warned


@pytest.mark.parametrize(
    ("effect", "warned"),
    [
        (_effect(CHANCE, 1.09), 1),  # labels that say nothing, and are known all the same
        (_effect(CHANCE + 0.05, LEAST_GAIN + 0.001), 1),
        (_effect(CHANCE, LEAST_GAIN - 0.001), 0),
        (_effect(CHANCE - 0.1, 0.09), 0),
        (_effect(CHANCE - 0.1, 0.11), 1),
        # Ten times as many rows may bring more; a tenth of them less.
        (_effect(CHANCE - 0.1, 0.11, source=4_000), 0),
        (_effect(CHANCE - 0.3, 0.05, source=40), 1),
    ],
)
def test_a_loss_that_collapses(effect: dict[str, Any], warned: int) -> None:
    found = likeness_warnings(**{**CALM, "effect": effect})
    assert ["more than as many rows of the target" in text for text in found] == [True] * warned


def test_what_is_not_measured_is_no_sign() -> None:
    nothing = {"measured": False, "reason": "the source has no labeled rows", "target_rows": 3}
    unmeasured = {"responses": {"text": {"measured": False, "reason": "few"}}}
    assert likeness_warnings(**{**CALM, "effect": nothing, "shift": unmeasured}) == []
