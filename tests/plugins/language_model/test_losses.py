from __future__ import annotations

from typing import Any

import numpy as np
import pytest
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
