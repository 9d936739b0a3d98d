from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import errors

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
batches = importlib.import_module("ensemble_plugins.language_model.model.batches")
inference = importlib.import_module("ensemble_plugins.language_model.model.inference")
tiny = importlib.import_module("tests.plugins.language_model.tiny_models")

torch.set_num_threads(1)  # threads that share cores with other tests wait for each other
SMALLEST = inference._SMALLEST_BUDGET
LENGTHS = [5, 300, 1, 40, 120, 17, 250, 64, 90, 8]


class FakeClassifier:
    """Gives logits that tell each row: its first id, its last id and its length.

    Parameters
    ----------
    fits
        Most tokens that fit into memory.
    """

    def __init__(self, *, fits: int = 10**9, packed: bool = True, compiled: bool = False) -> None:
        self.model = torch.nn.Linear(1, 1).train()
        self.packed, self.compiled, self.fits = packed, compiled, fits
        self.computed: list[list[int]] = []
        self.widths: list[int] = []
        self.training: list[bool] = []

    def plan(self, lengths: Any, budget: int) -> Any:
        plan = batches.plan_packs if self.packed else batches.plan_padded
        return plan(lengths, budget)

    def batch(self, tokens: Any, rows: Any, *, width: int = 0) -> Any:
        self.widths.append(width)
        return SimpleNamespace(rows=rows, parts=[tokens.row(int(row)) for row in rows])

    def logits(self, batch: Any) -> Any:
        assert torch.is_inference_mode_enabled()
        self.training.append(self.model.training)
        if sum(map(len, batch.parts)) > self.fits:
            raise torch.OutOfMemoryError("no luck")
        self.computed.append(batch.rows.tolist())
        return torch.tensor([[part[0], part[-1], len(part)] for part in batch.parts]).float()


def wanted(tokens: Any) -> Any:
    rows = [tokens.row(i) for i in range(len(tokens))]
    return np.array([[row[0], row[-1], len(row)] for row in rows], dtype=np.float32)


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(1, 200), st.booleans())
def test_logits_are_in_the_order_of_rows(lengths: list[int], budget: int, packed: bool) -> None:
    tokens = tiny.random_tokens(lengths)
    logits = inference.compute_logits(FakeClassifier(packed=packed), tokens, budget)
    assert (logits.dtype, logits.shape) == (np.float32, (len(lengths), 3))
    assert (logits == wanted(tokens)).all()


def test_no_rows_have_no_logits() -> None:
    assert inference.compute_logits(FakeClassifier(), tiny.random_tokens([]), 100).shape == (0, 3)


def test_dropout_is_off() -> None:
    classifier = FakeClassifier()
    inference.compute_logits(classifier, tiny.random_tokens(LENGTHS), 300)
    assert set(classifier.training) == {False}


@pytest.mark.parametrize("fits", [300, 511, 700])
def test_out_of_memory_halves_the_budget(fits: int) -> None:
    tokens = tiny.random_tokens(LENGTHS)
    classifier = FakeClassifier(fits=fits)
    logits = inference.compute_logits(classifier, tokens, 1024)
    assert (logits == wanted(tokens)).all()
    assert max(tokens.lengths[rows].sum() for rows in classifier.computed) <= fits


def test_rows_that_are_done_are_not_computed_again() -> None:
    tokens = tiny.random_tokens([100] * 30)
    classifier = FakeClassifier()
    computed, calls = classifier.logits, []

    def fail_once(batch: Any) -> Any:
        calls.append(len(batch.rows))
        if len(calls) == 4:
            raise torch.OutOfMemoryError("no luck")
        return computed(batch)

    classifier.logits = fail_once  # type: ignore[method-assign]
    assert (inference.compute_logits(classifier, tokens, 500) == wanted(tokens)).all()
    assert calls[:4] == [5] * 4
    assert calls[4:] == [2] * 10, "all rows but the ten of the first two packs, in halves"


def test_not_enough_memory_for_a_small_pack_is_an_error() -> None:
    classifier = FakeClassifier(fits=299)
    with pytest.raises(
        errors.LearnerError, match="out of memory with packs of 256 tokens"
    ) as error:
        inference.compute_logits(classifier, tiny.random_tokens(LENGTHS), 4 * SMALLEST)
    assert "shorten the rows" in str(error.value.hint)
    assert isinstance(error.value.__cause__, torch.OutOfMemoryError)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_is_an_error(bad: float) -> None:
    classifier = FakeClassifier()
    computed = classifier.logits

    def spoil(batch: Any) -> Any:
        logits = computed(batch)
        logits[batch.rows == 4, 1] = bad
        return logits

    classifier.logits = spoil  # type: ignore[method-assign]
    match = r"the model gave NaN or infinity for rows \[.*4.*\]"
    with pytest.raises(errors.LearnerError, match=match) as error:
        inference.compute_logits(classifier, tiny.random_tokens(LENGTHS), 300)
    assert "bfloat16" in str(error.value.hint)


def test_other_errors_are_not_swallowed() -> None:
    classifier = FakeClassifier()
    classifier.logits = lambda batch: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        inference.compute_logits(classifier, tiny.random_tokens(LENGTHS), 300)


def test_progress_is_told() -> None:
    shares: list[float] = []
    tokens = tiny.random_tokens([100] * 20)
    inference.compute_logits(FakeClassifier(), tokens, 500, shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_compiled_models_see_one_width() -> None:
    tokens = tiny.random_tokens(LENGTHS)
    many, single = FakeClassifier(compiled=True), FakeClassifier(compiled=True)
    inference.compute_logits(many, tokens, 300)
    assert len(many.widths) > 2
    assert set(many.widths) == {300}
    inference.compute_logits(single, tokens, 10_000)
    assert single.widths == [10_000], "a single pack too"


@pytest.mark.parametrize("family", ["gemma2", "bert"])
def test_real_logits_survive_out_of_memory(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, tokens = tiny.classifier(family, tmp_path), tiny.random_tokens(LENGTHS)
    expected = inference.compute_logits(classifier, tokens, 2000)
    computed, refused = classifier.logits, []

    def limited(batch: Any) -> Any:
        if batch.ids.numel() > 400:
            refused.append(batch.ids.numel())
            raise torch.OutOfMemoryError("no luck")
        return computed(batch)

    monkeypatch.setattr(classifier, "logits", limited)
    found = inference.compute_logits(classifier, tokens, 2000)
    assert refused
    np.testing.assert_allclose(found, expected, atol=1e-5)
