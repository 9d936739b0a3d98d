from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

torch = pytest.importorskip("torch")
row_losses: Any = pytest.importorskip("ensemble_plugins.language_model.train.losses").row_losses

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(7, 3)).astype(np.float32) * 4
TEACHER = RNG.normal(size=(7, 3)).astype(np.float32) * 4
LABELS = RNG.dirichlet([0.3, 0.3, 0.3], 7).astype(np.float32)


def _loss(logits: Any = LOGITS, teacher: Any = TEACHER, **options: Any) -> Any:
    given = None if teacher is None else torch.as_tensor(teacher)
    return row_losses(torch.as_tensor(logits), torch.as_tensor(LABELS), given, **options)


def _distance(temperature: float) -> Any:
    kl = torch.nn.functional.kl_div(
        torch.log_softmax(torch.as_tensor(LOGITS) / temperature, dim=1),
        torch.softmax(torch.as_tensor(TEACHER) / temperature, dim=1),
        reduction="none",
    )
    return kl.sum(dim=1) * temperature**2


CROSS_ENTROPY = -(LABELS * log_softmax(LOGITS, axis=1)).sum(axis=1)


def test_without_a_teacher_it_is_cross_entropy_with_soft_labels() -> None:
    np.testing.assert_allclose(_loss(teacher=None), CROSS_ENTROPY, rtol=1e-5)
    # Without a teacher there is nothing to share with.
    np.testing.assert_allclose(_loss(teacher=None, share=0.7), CROSS_ENTROPY, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 5.0])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_distillation_mixes_cross_entropy_and_the_distance_to_the_teacher(
    share: float, temperature: float
) -> None:
    mixed = (1 - share) * CROSS_ENTROPY + share * _distance(temperature).numpy()
    found = _loss(share=share, temperature=temperature)
    np.testing.assert_allclose(found, mixed, rtol=1e-4, atol=1e-6)


def test_a_share_of_0_never_asks_the_teacher() -> None:
    np.testing.assert_allclose(_loss(teacher=TEACHER * np.nan), CROSS_ENTROPY, rtol=1e-5)


def test_a_student_that_equals_its_teacher_is_not_moved_by_it() -> None:
    student = torch.tensor(LOGITS, requires_grad=True)
    row_losses(
        student, torch.as_tensor(LABELS), torch.as_tensor(LOGITS) + 3.0, share=1.0, temperature=2.0
    ).sum().backward()
    np.testing.assert_allclose(student.grad, 0.0, atol=1e-6)


def test_the_gradient_of_cross_entropy_is_probability_minus_label() -> None:
    student = torch.tensor(LOGITS, requires_grad=True)
    row_losses(student, torch.as_tensor(LABELS)).sum().backward()
    np.testing.assert_allclose(student.grad, softmax(LOGITS, axis=1) - LABELS, atol=1e-5)


def test_the_teachers_gradient_keeps_its_size_at_high_temperatures() -> None:
    sizes = []
    for temperature in (50.0, 100.0):
        student = torch.tensor(LOGITS, requires_grad=True)
        options = {"share": 1.0, "temperature": temperature}
        row_losses(
            student, torch.as_tensor(LABELS), torch.as_tensor(TEACHER), **options
        ).sum().backward()
        sizes.append(float(student.grad.norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)


def test_an_offset_is_added_for_the_labels_and_not_for_the_teacher() -> None:
    offset = torch.as_tensor(RNG.normal(size=(7, 3)).astype(np.float32))
    shifted = _loss(LOGITS + offset.numpy(), teacher=None)
    np.testing.assert_allclose(_loss(teacher=None, offset=offset), shifted, rtol=1e-5)
    mixed = _loss(offset=offset, share=0.3, temperature=2.0)
    np.testing.assert_allclose(mixed, 0.7 * shifted + 0.3 * _distance(2.0), rtol=1e-4)


ROW = st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3)
ROWS = st.lists(st.tuples(ROW, ROW, st.integers(0, 2)), min_size=1, max_size=6)
TEMPERATURES = st.floats(0.25, 50)


def _of(rows: Any, **options: Any) -> Any:
    student, teacher, winner = zip(*rows, strict=True)
    labels = torch.as_tensor(np.eye(3, dtype=np.float32)[list(winner)])
    return row_losses(torch.tensor(student), labels, torch.tensor(teacher), **options)


@given(ROWS, TEMPERATURES)
def test_dividing_both_sides_by_the_temperature_is_a_temperature_of_1(
    rows: Any, temperature: float
) -> None:
    cooler = [([x / temperature for x in s], [x / temperature for x in t], w) for s, t, w in rows]
    found = _of(rows, share=1.0, temperature=temperature)
    np.testing.assert_allclose(
        found, _of(cooler, share=1.0) * temperature**2, rtol=2e-3, atol=1e-4 * temperature**2
    )


@given(ROWS, TEMPERATURES, st.floats(0, 1))
def test_distillation_is_never_below_0_and_is_0_for_a_student_that_says_the_same(
    rows: Any, temperature: float, cosine: float
) -> None:
    options = {"share": 1.0, "temperature": temperature, "cosine": cosine}
    slack = 1e-4 * max(1.0, temperature**2)
    assert (_of(rows, **options) >= -slack).all()
    same = [(s, [x + 1.5 for x in s], w) for s, _, w in rows]
    assert (_of(same, **options).abs() <= slack).all()


@given(ROWS, TEMPERATURES, st.floats(0.01, 4))
def test_the_cosine_adds_between_0_and_its_weight(
    rows: Any, temperature: float, weight: float
) -> None:
    options = {"share": 0.3, "temperature": temperature}
    added = _of(rows, **options, cosine=weight) - _of(rows, **options)
    scale = 1e-5 * (1 + _of(rows, **options).abs())
    assert (added >= -scale).all()
    assert (added <= weight + scale).all()


@given(ROWS, TEMPERATURES)
def test_with_a_share_of_0_and_no_cosine_the_label_is_all(rows: Any, temperature: float) -> None:
    alone = [(s, [float("nan")] * 3, w) for s, _, w in rows]
    found = _of(rows, share=0.0, temperature=temperature)
    np.testing.assert_array_equal(found, _of(alone, share=0.9, temperature=temperature, cosine=1.0))


@given(ROWS)
def test_a_teacher_that_is_sure_teaches_as_a_hard_label_does(rows: Any) -> None:
    sure = [(s, [1e4 if i == w else 0.0 for i in range(3)], w) for s, _, w in rows]
    np.testing.assert_allclose(_of(sure, share=1.0), _of(rows, share=0.0), rtol=1e-4, atol=1e-4)


@given(ROWS, TEMPERATURES, st.floats(0, 1), st.floats(0, 2))
def test_exchanging_the_sides_of_all_changes_nothing(
    rows: Any, temperature: float, share: float, cosine: float
) -> None:
    options = {"share": share, "temperature": temperature, "cosine": cosine}
    swapped = [([s[1], s[0], s[2]], [t[1], t[0], t[2]], {0: 1, 1: 0, 2: 2}[w]) for s, t, w in rows]
    np.testing.assert_allclose(_of(rows, **options), _of(swapped, **options), rtol=1e-3, atol=1e-3)


def test_rows_of_which_no_teacher_speaks_learn_their_labels_and_nothing_else() -> None:
    student = torch.tensor(LOGITS, requires_grad=True)
    teacher = torch.as_tensor(TEACHER).clone()
    teacher[::2] = float("nan")
    options = {"share": 0.9, "temperature": 5.0, "cosine": 0.5}
    losses = row_losses(student, torch.as_tensor(LABELS), teacher, **options)
    np.testing.assert_allclose(losses.detach()[::2], CROSS_ENTROPY[::2], rtol=1e-5)
    whole = _loss(**options)
    np.testing.assert_allclose(losses.detach()[1::2], whole[1::2], rtol=1e-5)
    losses.sum().backward()
    assert torch.isfinite(student.grad).all()
    expected = softmax(LOGITS, axis=1) - LABELS
    np.testing.assert_allclose(student.grad[::2], expected[::2], atol=1e-5)


def test_a_class_that_the_teacher_leaves_out_is_left_out_of_both_sides() -> None:
    student = torch.tensor(LOGITS, requires_grad=True)
    teacher = torch.as_tensor(TEACHER).clone()
    teacher[:, 2] = float("-inf")
    options = {"share": 1.0, "temperature": 2.0}
    found = row_losses(student, torch.as_tensor(LABELS), teacher, **options)
    p, q = (log_softmax(x[:, :2] / 2.0, axis=1) for x in (TEACHER, LOGITS))
    np.testing.assert_allclose(
        found.detach(), 4.0 * (np.exp(p) * (p - q)).sum(axis=1), rtol=1e-4, atol=1e-5
    )
    (found + row_losses(student, torch.as_tensor(LABELS), teacher, cosine=0.5)).sum().backward()
    assert torch.isfinite(student.grad).all()
