"""One training by two processes, on the CPU: the same steps as by one."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ensemble.errors import LearnerError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

adapters = importlib.import_module("plugins.language_model.adapters")
distributed = importlib.import_module("plugins.language_model.distributed")
teams_module = importlib.import_module("plugins.language_model.teams")
tiny = importlib.import_module("tests.plugins.language_model.tiny_training")
Training: Any = importlib.import_module("plugins.language_model.training").Training

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]


def _job(source: Path, rows: Any = None, snapshots: Path | None = None, **changes: Any) -> Any:
    chosen = {"batch_size": 5, "token_budget": 25, "warmup": 0.3} | changes
    classifier = tiny.load(source)
    return distributed.Job(
        classifier.settings,
        adapters.trained_state(classifier),
        rows or tiny.labelled_rows(14),
        tiny.settings(**chosen),
        seed=1,
        snapshots=snapshots,
        cpu=True,
        pad_id=classifier.pad_id,
        threads=1,
    )


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
    job = _job(source, snapshots=tmp_path, patience=2, evaluations=2, stop_share=0.25)
    wanted, progress = _alone(source, job)
    told: list[tuple[float, str]] = []
    found = distributed.train_together(job, 2, lambda *what: told.append(what))
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5, msg=name)
        assert not torch.equal(tensor, job.start[name]), "else nothing was learned"
    assert told[-1][1].startswith("loss ")
    assert told[-1][0] == pytest.approx(progress.step / told_steps(source, job))
    # A finished training is loaded from its snapshot, and not trained again.
    again: list[Any] = []
    assert tiny.same(distributed.train_together(job, 2, lambda *what: again.append(what)), found)
    assert not again


def told_steps(source: Path, job: Any) -> int:
    return len(Training(tiny.load(source), job.rows, job.training, seed=job.seed).steps)


def test_what_goes_wrong_in_a_process_is_told(source: Path) -> None:
    rows = tiny.labelled_rows(14)
    rows.labels[3] = np.nan
    with pytest.raises(LearnerError, match=r"the loss is nan at step \d+(.|\n)*mend"):
        distributed.train_together(_job(source, rows), 2, lambda *_: None)


def test_too_few_gpus_are_told_before_anything_starts(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    job = _job(source)
    object.__setattr__(job, "cpu", False)
    with pytest.raises(LearnerError, match="on 2 GPUs, and 1 can be seen(.|\n)*lower gpus"):
        distributed.train_together(job, 2, lambda *_: None)


class _Accelerator:
    """Of three processes, as far as a team looks at it."""

    num_processes = 3

    def __init__(self, number: int) -> None:
        self.process_index = number

    def reduce(self, tensor: Any, *, reduction: str) -> Any:
        assert reduction == "sum"
        return tensor * 3


def test_a_team_shares_every_part_once_and_adds_up_every_tensor() -> None:
    teams = [teams_module.AcceleratedTeam(_Accelerator(number)) for number in range(3)]
    shares = [part for team in teams for part in team.share(range(8))]
    assert sorted(shares) == list(range(8))
    tensors = [torch.ones(2, 2), torch.tensor(2.0), torch.arange(3.0)]
    teams[1].add_up(tensors)
    assert [t.tolist() for t in tensors] == [[[3.0, 3.0], [3.0, 3.0]], 6.0, [0.0, 3.0, 6.0]]


def test_the_memory_is_free_while_a_team_trains(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import weakref

    from ensemble.plugin.base import FitContext

    stages = importlib.import_module("plugins.language_model.stages")
    held: list[Any] = [tiny.load(source)]
    watched = weakref.ref(held[0])

    def train(job: Any, processes: int, progress: Any) -> Any:
        assert processes == 2
        assert watched() is None
        return job.start

    monkeypatch.setattr(stages, "train_together", train)
    context = FitContext(seed=3)
    trained = stages.train_stage(
        held.pop(), tiny.labelled_rows(14), tiny.settings(), context, name="fit", gpus=2
    )
    assert trained.device.type == "cpu"
