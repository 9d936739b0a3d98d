from __future__ import annotations

from itertools import chain
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.battles.held_out import HeldOut
from ensemble.oof import order
from ensemble.oof.order import in_waves
from ensemble.oof.teaching import PlanShape
from ensemble.oof.workers import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPE = PlanShape(5, is_ordered=False)


class _Dear:
    trains, cheap = True, False


class _Cheap:
    trains, cheap = True, True


@pytest.fixture(scope="module", autouse=True)
def teachers_by_hand() -> Iterator[None]:
    """Have fakes say who teaches them: what a plugin's class says is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "asked_fits", lambda spec, fit, *_: [(one, fit) for one in spec.needs])
        patch.setattr(order, "dependency_depth", _depth)
        yield


def _depth(spec: Any, uses: Any) -> int:
    return max((1 + _depth(one, uses) for one in spec.needs), default=0)


@st.composite
def tasks(draw: st.DrawFn) -> list[Task]:
    """Learners of which some teach later ones, each with folds of its own, interleaved."""
    specs: list[Any] = []
    for number in range(draw(st.integers(1, 5))):
        needs = [one for one in specs if draw(st.booleans())]
        kind = _Cheap if draw(st.booleans()) else _Dear
        specs.append(SimpleNamespace(name=f"l{number}", needs=needs, prototype=kind()))
    found = [
        Task(spec, HeldOut.of(fold))
        for spec in specs
        for fold in draw(st.lists(st.integers(0, 4), min_size=1, unique=True))
    ]
    return draw(st.permutations(found))


def _needs(task: Task) -> list[Any]:
    spec: Any = task.spec
    needs: list[Any] = spec.needs
    return needs


def _names(found: list[Task]) -> list[tuple[str, str]]:
    return [(task.spec.name, task.held_out.name) for task in found]


@given(tasks(), st.booleans())
def test_waves_hold_every_fit_once_and_none_before_what_it_needs(
    wanted: list[Task], by_fold: bool
) -> None:
    waves = in_waves(wanted, {}, SHAPE, by_fold=by_fold)
    flat = _names([*chain(*(wave.tasks for wave in waves))])
    assert sorted(flat) == sorted(_names(wanted))
    done: set[tuple[str, str]] = set()
    for wave in waves:
        for task in wave.tasks:
            needs = {(one.name, task.held_out.name) for one in _needs(task)}
            assert needs & set(flat) <= done
        done |= set(_names(wave.tasks))
    assert waves == in_waves(wanted, {}, SHAPE, by_fold=by_fold)


@given(tasks())
def test_one_fit_of_every_learner_comes_before_the_second_of_any_without_teachers(
    wanted: list[Task],
) -> None:
    for task in wanted:
        _needs(task).clear()
    (wave,) = in_waves(wanted, {}, SHAPE)
    learners = {task.spec.name for task in wanted}
    assert {task.spec.name for task in wave.first} == learners
    assert len(wave.first) == len(learners)
    assert _names(wave.tasks) == _names([*wave.first, *wave.rest])


def _task(name: str, fold: int, *needs: Any, cheap: bool = False) -> Task:
    kind = _Cheap() if cheap else _Dear()
    spec: Any = SimpleNamespace(name=name, needs=list(needs), prototype=kind)
    return Task(spec, HeldOut.of(fold))


def test_the_rest_goes_learner_by_learner_and_with_a_limit_fold_by_fold() -> None:
    wanted = [_task(name, fold) for name in "ab" for fold in range(3)]
    (wave,) = in_waves(wanted, {}, SHAPE)
    assert _names(wave.rest) == [(n, f"fold-{k}") for n in "ab" for k in (1, 2)]
    (wave,) = in_waves(wanted, {}, SHAPE, by_fold=True)
    assert _names(wave.rest) == [(n, f"fold-{k}") for k in (1, 2) for n in "ab"]


def test_with_a_limit_cheap_learners_come_first() -> None:
    wanted = [_task(n, fold, cheap=n == "b") for n in "ab" for fold in range(2)]
    (wave,) = in_waves(wanted, {}, SHAPE, by_fold=True)
    told = [("b", "fold-0"), ("b", "fold-1"), ("a", "fold-0"), ("a", "fold-1")]
    assert _names(wave.tasks) == told


def test_a_pupil_s_first_fold_waits_for_one_fold_of_its_teacher_alone() -> None:
    teacher = [_task("teacher", fold) for fold in range(3)]
    pupils = [_task("pupil", fold, teacher[0].spec) for fold in range(3)]
    waves = in_waves([*pupils, *teacher], {}, SHAPE)
    assert _names(waves[0].tasks) == [("teacher", "fold-0")]
    assert _names(waves[1].tasks)[0] == ("pupil", "fold-0")
    assert len(waves) == 3


def test_with_a_limit_a_cheap_pupil_of_a_dear_teacher_is_as_dear() -> None:
    teacher, dear = [_task("teacher", fold) for fold in range(2)], _task("dear", 0)
    pupils = [_task("pupil", fold, teacher[0].spec, cheap=True) for fold in range(2)]
    waves = in_waves([*pupils, *teacher, dear], {}, SHAPE, by_fold=True)
    order = [task.held_out.folds[0] for wave in waves for task in wave.tasks]
    assert order == sorted(order)
    assert _names(waves[0].tasks) == [("teacher", "fold-0"), ("dear", "fold-0")]


def test_with_a_limit_a_pupil_s_pupil_has_its_first_fold_before_the_second_of_any() -> None:
    teacher = [_task("teacher", fold) for fold in range(2)]
    pupils = [_task("pupil", fold, teacher[0].spec) for fold in range(2)]
    last = [_task("last", fold, pupils[0].spec) for fold in range(2)]
    waves = in_waves([*last, *pupils, *teacher], {}, SHAPE, by_fold=True)
    flat = _names([task for wave in waves for task in wave.tasks])
    assert flat[:3] == [(name, "fold-0") for name in ("teacher", "pupil", "last")]


def test_with_a_limit_what_is_soonest_done_comes_first() -> None:
    wanted = [_task(name, fold) for name in "abc" for fold in range(2)]
    takes = {"a": 3.0, "b": 1.0}
    (wave,) = in_waves(
        wanted, {}, SHAPE, by_fold=True, seconds=lambda task: takes.get(task.spec.name)
    )
    assert _names(wave.tasks) == [(n, f"fold-{k}") for k in (0, 1) for n in "bac"]
