"""One training by two processes, on the CPU: the same steps as by one."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import subprocess
import sys
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ensemble import FitContext, errors

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

adapters = importlib.import_module("ensemble_plugins.language_model.model.adapters")
distributed = importlib.import_module("ensemble_plugins.language_model.train.distributed")
teams_module = importlib.import_module("ensemble_plugins.language_model.train.teams")
tiny = importlib.import_module("tests.plugins.language_model.tiny_training")
Training: Any = importlib.import_module("ensemble_plugins.language_model.train.training").Training

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ensemble_plugins.language_model.model.classifier import Classifier

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]


def _job(source: Path, rows: Any = None, snapshots: Path | None = None, **changes: Any) -> Any:
    chosen = {"batch_size": 5, "token_budget": 25, "warmup_ratio": 0.3} | changes
    classifier = tiny.load(source)
    return distributed.Job(
        classifier.settings,
        rows or tiny.labeled_rows(14),
        tiny.settings(**chosen),
        seed=1,
        snapshots=snapshots,
        cpu=True,
        pad_id=classifier.pad_id,
        threads=1,
    )


def _together(source: Path, job: Any, progress: Any = lambda *_: None) -> Any:
    return distributed.train_together(job, _start(source), 2, progress)


def _start(source: Path) -> Any:
    return adapters.trained_state(tiny.load(source))


def _alone(source: Path, job: Any) -> tuple[dict[str, Any], Any]:
    training = Training(tiny.load(source), job.rows, job.training, seed=job.seed)
    progress = training.run()
    return adapters.trained_state(training.classifier), progress


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place: Path = tiny.tiny_models.save_checkpoint("gemma2", tmp_path_factory.mktemp("gemma2"))
    return place


def test_two_processes_take_the_steps_of_one(source: Path, tmp_path: Path) -> None:
    # Three packs of the first steps, one of the last: there a process has no part.
    job = _job(
        source,
        snapshots=tmp_path,
        early_stopping=True,
        patience=2,
        evaluations=2,
        validation_fraction=0.25,
    )
    wanted, progress = _alone(source, job)
    told: list[tuple[float, str]] = []
    found, start = _together(source, job, lambda *what: told.append(what)), _start(source)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5, msg=name)
        assert not torch.equal(tensor, start[name]), "else nothing was learned"
    assert told[-1][1].startswith("loss ")
    assert told[-1][0] == pytest.approx(progress.step / told_steps(source, job))
    # A finished training is loaded from its snapshot, and not trained again.
    again: list[Any] = []
    assert tiny.same(_together(source, job, lambda *what: again.append(what)), found)
    assert not again


def told_steps(source: Path, job: Any) -> int:
    return len(Training(tiny.load(source), job.rows, job.training, seed=job.seed).steps)


def test_what_goes_wrong_in_a_process_is_told(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*_: object, **__: object) -> None:
        raise AssertionError("a semaphore would stay where everybody is killed at once")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", make)
    rows = tiny.labeled_rows(14)
    rows.labels[3] = np.nan
    with pytest.raises(errors.LearnerError, match=r"the loss is nan at step \d+(.|\n)*hint"):
        _together(source, _job(source, rows))


_FOREVER = """
import importlib, signal, sys
from pathlib import Path

if __name__ == "__main__":
    # As a shell leaves it for what runs in the background: torch's own way to end orphans is that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    test = importlib.import_module("tests.plugins.language_model.test_distributed")
    source = Path(sys.argv[1])
    job = test._job(source, epochs=100_000)
    test._together(source, job, lambda *what: print(what, flush=True))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_no_process_outlives_a_parent_that_is_killed(source: Path, tmp_path: Path) -> None:
    script = tmp_path / "forever.py"
    script.write_text(_FOREVER)
    command = [sys.executable, str(script), str(source)]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}  # noqa: PTH109
    team: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        try:
            assert parent.stdout is not None
            assert b"loss" in parent.stdout.readline()
            team = _children(parent.pid)
            assert len(team) >= 2
            parent.kill()
            parent.wait()
            deadline = time.monotonic() + 20
            while any(_is_alive(process) for process in team):
                assert time.monotonic() < deadline, "they train on"
                time.sleep(0.1)
        finally:
            for process in (parent.pid, *team):
                if _is_alive(process):
                    os.kill(process, signal.SIGKILL)


def _children(parent: int) -> list[int]:
    with open(f"/proc/{parent}/task/{parent}/children") as file:  # noqa: PTH123
        return [int(each) for each in file.read().split()]


def _is_alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_weights_reach_the_team_with_few_file_handles(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large model has more tensors than a process may have files."""
    sent: list[Any] = []

    def start(_: Any, what: tuple[Any, ...], *__: object, **___: object) -> None:
        sent.extend(what)
        raise errors.LearnerError("far enough")

    monkeypatch.setattr(distributed, "start_processes", start)
    with pytest.raises(errors.LearnerError, match="far enough"):
        _together(source, _job(source))
    job = next(each for each in sent if isinstance(each, distributed.Job))
    assert not any(torch.is_tensor(value) for value in vars(job).values())


class _Second(teams_module.ProcessGroup):  # type: ignore[misc, name-defined]
    """The second of two processes, as it sees itself."""

    number, size = 1, 2

    def share(self, parts: Any) -> Any:
        return parts[1::2]


def test_a_process_may_have_no_part_in_its_first_step_where_gradients_are_scaled(
    source: Path,
) -> None:
    job = _job(source, token_budget=1000)
    training = Training(tiny.load(source), job.rows, job.training, seed=1, team=_Second())
    training.scaler = torch.amp.GradScaler("cpu", enabled=True)
    assert len(training.steps[0]) == 1
    training.run()


def test_a_process_may_have_no_row_of_early_stopping(source: Path) -> None:
    job = _job(source, early_stopping=True, patience=1, validation_fraction=0.07)
    training = Training(tiny.load(source), job.rows, job.training, seed=1, team=_Second())
    assert len(training.stop_rows) == 1
    training.run()


def test_too_few_gpus_are_told_before_anything_starts(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    job = _job(source)
    object.__setattr__(job, "cpu", False)
    with pytest.raises(errors.LearnerError, match="on 2 GPUs, and 1 can be seen(.|\n)*lower gpus"):
        _together(source, job)


class _Accelerator:
    """Of three processes, as far as a team looks at it."""

    num_processes = 3

    def __init__(self, number: int) -> None:
        self.process_index = number

    def reduce(self, tensor: Any, *, reduction: str) -> Any:
        assert reduction == "sum"
        return tensor * 3


def test_a_team_shares_every_part_once_and_adds_up_every_tensor() -> None:
    teams = [teams_module.AcceleratedGroup(_Accelerator(number)) for number in range(3)]
    shares = [part for team in teams for part in team.share(range(8))]
    assert sorted(shares) == list(range(8))
    tensors = [torch.ones(2, 2), torch.tensor(2.0), torch.arange(3.0)]
    teams[1].all_reduce(tensors)
    assert [t.tolist() for t in tensors] == [[[3.0, 3.0], [3.0, 3.0]], 6.0, [0.0, 3.0, 6.0]]


def test_the_memory_is_free_while_a_team_trains(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = importlib.import_module("ensemble_plugins.language_model.train.stages")
    held: list[Any] = [tiny.load(source)]
    watched = _watch(held[0])

    def train(job: Any, start: Any, processes: int, progress: Any) -> Any:
        assert processes == 2
        assert not any(module() for module in watched)
        return start

    monkeypatch.setattr(stages, "train_together", train)
    context = FitContext(seed=3)
    with _no_collection():
        trained = stages.train_stage(
            held.pop(), tiny.labeled_rows(14), tiny.settings(), context, name="fit", gpus=2
        )
    assert trained.device.type == "cpu"


def test_a_model_that_nobody_holds_is_gone_before_the_next_is_loaded(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = importlib.import_module("ensemble_plugins.language_model.model.loading")
    classifier, load = tiny.load(source), loading.load_model
    watched = _watch(classifier)
    there: list[int] = []

    def loaded(*args: Any, **options: Any) -> Any:
        there.append(sum(module() is not None for module in watched))
        return load(*args, **options)

    monkeypatch.setattr(loading, "load_model", loaded)
    with _no_collection():
        del classifier
        tiny.load(source)
    assert there == [0]


def _watch(classifier: Classifier) -> list[weakref.ref[Any]]:
    return [weakref.ref(module) for module in classifier.model.modules()]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for what nobody holds, as it may not for long."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
