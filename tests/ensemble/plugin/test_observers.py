from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ensemble.config.load import load_run_config
from ensemble.errors import ConfigError, IncompleteRunError
from ensemble.pipeline import run
from ensemble.plugin import observers as observing
from ensemble.plugin.hookspecs import hookimpl
from ensemble.plugin.manager import Manager, use_manager
from ensemble.plugin.observers import Observers
from ensemble.stages.observed import observers_of
from tests.fixture_types import Project, UsePlugins

FOLD: dict[str, Any] = {
    "run_dir": Path("run"),
    "learner": "x",
    "fold": 1,
    "directory": Path("run/learners/x/fold-1"),
    "seconds": 0.5,
    "score": 1.1,
    "parameters": {},
}
TWO: list[dict[str, Any]] = [
    {"name": "p", "plugin": "prior"},
    {"name": "q", "plugin": "prior", "shift": 0.3},
]


class Watch:
    """Remembers everything that it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    @hookimpl
    def fold_fitted(
        self,
        run_dir: Path,
        learner: str,
        fold: int | None,
        directory: Path,
        seconds: float,
        score: float | None,
        parameters: dict[str, Any],
    ) -> None:
        about = {"run_dir": run_dir, "learner": learner, "fold": fold, "directory": directory}
        more = {"seconds": seconds, "score": score, "parameters": parameters}
        self.told.append(("fold_fitted", about | more))

    @hookimpl
    def stack_decided(self, run_dir: Path, verdict: dict[str, Any], directory: Path) -> None:
        about = {"run_dir": run_dir, "verdict": verdict, "directory": directory}
        self.told.append(("stack_decided", about))

    @hookimpl
    def run_finished(
        self, run_dir: Path, status: str, submission: Path | None, failures: Any, error: str | None
    ) -> None:
        about = {"run_dir": run_dir, "status": status, "submission": submission}
        self.told.append(("run_finished", about | {"failures": failures, "error": error}))


class Slow:
    """Never comes back from one hook."""

    @hookimpl
    def fold_fitted(self) -> None:
        while True:
            pass

    @hookimpl
    def run_finished(self) -> None:
        raise AssertionError("it was to be told no more")


class Mute:
    """Has no hook."""


class Wrong:
    """Has a hook with an argument of its own."""

    @hookimpl
    def fold_fitted(self, learnr: str) -> None: ...


class Asked(Watch):
    """What a config asks for by name."""

    made: list[Asked] = []  # noqa: RUF012 - shared on purpose

    def __init__(self, level: int = 1) -> None:
        super().__init__()
        self.level = level
        Asked.made.append(self)


class Brings:
    @hookimpl
    def register_observers(self, register: Any) -> None:
        for kind in (Asked, Mute, Wrong):
            register(kind.__name__.lower(), kind)


def test_a_run_tells_of_folds_the_stack_and_its_end(
    project: Project, use_plugins: UsePlugins
) -> None:
    watch = Watch()
    use_plugins(watch=watch)
    place = run(project.config(TWO))
    hooks = [hook for hook, _ in watch.told]
    assert hooks == ["fold_fitted"] * 6 + ["stack_decided", "run_finished"]
    assert {about["run_dir"] for _, about in watch.told} == {place}
    first, decided, finished = watch.told[0][1], watch.told[-2][1], watch.told[-1][1]
    assert (first["learner"], first["fold"], first["parameters"]) == ("p", 0, {"shift": 0.0})
    assert first["directory"] == place / "learners/p/fold-0" and first["seconds"] > 0
    assert decided["verdict"] == json.loads((place / "stack/verdict.json").read_text())
    assert finished == {
        "run_dir": place,
        "status": "complete",
        "submission": place / "submission.csv",
        "failures": [],
        "error": None,
    }
    # What was kept is not told of again.
    watch.told.clear()
    run(project.config(TWO))
    assert [hook for hook, _ in watch.told] == ["run_finished"]


def test_the_score_is_the_log_loss_on_the_held_out_fold(
    project: Project, use_plugins: UsePlugins
) -> None:
    watch = Watch()
    use_plugins(watch=watch)
    place = run(project.config(TWO, predict={"refit": True}))
    told = {(a["learner"], a["fold"]): a["score"] for h, a in watch.told if h == "fold_fitted"}
    assert told["p", None] is None
    scores = json.loads((place / "stack/candidates.json").read_text())["learners"]
    for learner in scores:
        for fold in learner["per_fold"]:
            score = told[learner["name"], fold["fold"]]
            assert score == pytest.approx(fold["log_loss"], abs=1e-6)


def test_a_run_that_fails_tells_how(project: Project, use_plugins: UsePlugins) -> None:
    watch = Watch()
    use_plugins(watch=watch)
    config = project.config([*TWO, {"name": "r", "plugin": "raises"}])
    with pytest.raises(IncompleteRunError, match="no luck today"):
        run(config)
    finished = watch.told[-1][1]
    assert finished["status"] == "incomplete" and finished["submission"] is not None
    assert [one["name"] for one in finished["failures"]] == ["r"]
    (project.path / "train.csv").write_text("id\n")
    with pytest.raises(Exception, match="train.csv"):
        run(project.config(TWO, run_dir="other"))
    assert watch.told[-1][1]["status"] == "failed"
    assert "train.csv" in str(watch.told[-1][1]["error"])


@pytest.mark.parametrize(
    "error", [RuntimeError("boom"), SystemExit("boom"), pl.exceptions.PanicException("boom")]
)
def test_an_observer_that_fails_stops_nobody(error: BaseException) -> None:
    class Fails:
        @hookimpl
        def fold_fitted(self) -> None:
            raise error

    first, last = Watch(), Watch()
    use_manager(Manager({"a": first, "bad": Fails(), "z": last}, discover=False))
    faults = Observers().tell("fold_fitted", FOLD)
    use_manager(None)
    assert len(faults) == 1
    start = f'plugin "bad" (given in Python): fold_fitted raised {type(error).__name__}: boom'
    assert faults[0].startswith(f"{start} ({__file__}:")
    assert first.told == last.told == [("fold_fitted", FOLD)]


def test_an_observer_that_hangs_is_told_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "PATIENCE", 0.2)
    use_manager(Manager(discover=False))
    observers = Observers([("slow", Slow()), ("watch", watch := Watch())])
    (fault,) = observers.tell("fold_fitted", FOLD)
    assert 'observer 1, "slow": it took longer than 0.2 s' in fault and "test_observers.py" in fault
    end = {"run_dir": Path(), "status": "complete", "submission": None, "failures": []}
    assert observers.tell("run_finished", end | {"error": None}) == []
    assert [hook for hook, _ in watch.told] == ["fold_fitted", "run_finished"]
    use_manager(None)


def test_a_config_asks_for_observers_with_parameters(
    project: Project, use_plugins: UsePlugins
) -> None:
    use_plugins(brings=Brings())
    Asked.made.clear()
    config = project.config(TWO, observers=[{"plugin": "asked", "level": 3}, {"plugin": "asked"}])
    place = run(config)
    one, two = Asked.made[-2:]
    assert (one.level, two.level) == (3, 1)
    assert len(one.told) == len(two.told) == 8
    assert load_run_config(place).observers == config.observers


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"plugin": "askd"}, 'unknown observer "askd"(.|\n)*did you mean "asked"'),
        ({"plugin": "asked", "levl": 3}, 'unknown parameter "levl"(.|\n)*level'),
        ({"plugin": "mute"}, "it observes nothing(.|\n)*@hookimpl"),
        ({"plugin": "wrong"}, "it cannot observe(.|\n)*learnr"),
    ],
)
def test_what_is_wrong_with_an_observer_is_said_before_any_work(
    table: dict[str, Any], message: str, project: Project, use_plugins: UsePlugins
) -> None:
    use_plugins(brings=Brings())
    config = project.config(TWO, observers=[table])
    with pytest.raises(ConfigError, match=message):
        run(config)
    assert not Path(config.run_dir).exists()


def test_observers_are_made_from_the_config_alone(
    project: Project, use_plugins: UsePlugins
) -> None:
    use_plugins(brings=Brings())
    assert not observers_of(project.config(TWO)).watched("run_finished")
    observers = observers_of(project.config(TWO, observers=[{"plugin": "jsonl"}]))
    assert all(observers.watched(hook) for hook in observing.OBSERVER_HOOKS)
