from __future__ import annotations

import importlib
import json
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ensemble_plugins.language_model.train.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

tiny = importlib.import_module("tests.plugins.language_model.tiny_training")

# What transformers does where it defines DeBERTa.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)

KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "lora": ("llama3", {"dropout": 0.3}, {"warmup_ratio": 0.3}),
    "full": ("deberta", {"tuning": "full"}, {"epochs": 1, "schedule": "linear"}),
    "stopping": (
        "gemma2",
        {},
        {"early_stopping": True, "patience": 2, "evaluations": 2, "validation_fraction": 0.25},
    ),
}
"""Family, model and training; the first two draw dropout at every step."""


_STOPPING_PACKS = 3


def _make(
    source: Path,
    snapshots: Path | None,
    kind: str = "lora",
    *,
    rows: Any = None,
    seed: int = 1,
    **changes: Any,
) -> Training:
    _, model, chosen = KINDS[kind]
    settings = tiny.settings(**{"batch_size": 5, "token_budget": 25} | chosen | changes)
    rows = rows or tiny.labeled_rows(14)
    return Training(tiny.load(source, **model), rows, settings, seed=seed, snapshots=snapshots)


def _end(training: Training) -> tuple[Any, Any]:
    progress = training.run()
    return tiny.weights(training.classifier), progress


def _killed(training: Training, batch: int) -> None:
    tiny.kill_at(training.classifier, batch)
    with pytest.raises(tiny.Killed):
        training.run()


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kill_at_any_pack_ends_in_the_same_weights(
    checkpoint: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    source = checkpoint(KINDS[kind][0])
    whole = _make(source, None, kind)
    batches: list[Any] = []
    tiny.before_each_batch(whole.classifier, lambda rows: batches.append(rows.tolist()))
    weights, progress = _end(whole)
    assert len(batches) >= 6
    assert progress.step == len(whole.steps)
    for batch in range(1, len(batches) + 1):
        place = tmp_path / str(batch)
        _killed(_make(source, place, kind), batch)
        torch.manual_seed(batch)  # a new process has drawn other numbers
        resumed = _make(source, place, kind)
        seen: list[Any] = []
        tiny.before_each_batch(resumed.classifier, lambda rows: seen.append(rows.tolist()))  # noqa: B023 - used in this round alone
        found, how = _end(resumed)
        assert seen == batches[len(batches) - len(seen) :]
        # Only what was killed is computed again: the packs of a step, and of an evaluation.
        assert len(seen) <= len(batches) - batch + max(map(len, whole.steps)) + _STOPPING_PACKS
        assert tiny.same(found, weights), batch
        assert how == progress


@pytest.mark.slow
def test_a_training_may_be_killed_again_and_again(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    source = checkpoint("llama3")
    weights, _ = _end(_make(source, None))
    kills = 0
    while True:
        training = _make(source, tmp_path)
        tiny.kill_at(training.classifier, 4)
        try:
            training.run()
        except tiny.Killed:
            kills += 1
        else:
            break
    assert kills >= 3
    assert tiny.same(tiny.weights(training.classifier), weights)


def test_optimizer_and_schedule_come_back(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    source = checkpoint("llama3")
    first = _make(source, tmp_path)
    _killed(first, 7)
    assert first.snapshots is not None
    first.snapshots.save()
    second = _make(source, tmp_path)
    assert second.snapshots is not None
    assert second.snapshots.restore()
    assert 0 < second.progress.step < len(second.steps)
    saved = [group["lr"] for group in second.optimizer.param_groups]
    assert saved == second.scheduler.get_last_lr()
    assert saved == [group["lr"] for group in first.optimizer.param_groups]
    for name, parameter in first.trained.items():
        state, found = (
            first.optimizer.state[parameter],
            second.optimizer.state[second.trained[name]],
        )
        assert state.keys() == found.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(state[key], found[key]) for key in state)


def test_a_halved_budget_is_remembered(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    source = checkpoint("llama3")
    first = _make(source, tmp_path)
    first.token_budget = 17
    _killed(first, 9)
    second = _make(source, tmp_path)
    assert second.snapshots is not None
    assert second.snapshots.restore()
    assert second.token_budget == 17


@pytest.mark.slow
def test_a_finished_training_is_loaded_and_not_trained_again(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    for kind in ("lora", "stopping"):
        source = checkpoint(KINDS[kind][0])
        weights, progress = _end(_make(source, tmp_path / kind, kind))
        again = _make(source, tmp_path / kind, kind)
        tiny.kill_at(again.classifier, 1)
        found, how = _end(again)
        assert tiny.same(found, weights)
        assert how == progress
        assert how.done


def _resumes(training: Training) -> bool:
    assert training.snapshots is not None
    return training.snapshots.restore()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"learning_rate": 2e-2},
        {"epochs": 3},
        {"rows": {"seed": 2}},
        {"rows": {"orders": 2}},
        {"rows": {"weight": np.ones(14)}},
        {"rows": {"labels": np.full((14, 3), 1 / 3)}},
        {"rows": {"offset": np.full((14, 3), 1 / 3)}},
    ],
    ids=str,
)
def test_a_snapshot_of_another_training_is_not_resumed(
    checkpoint: Callable[[str], Path], tmp_path: Path, changes: dict[str, Any]
) -> None:
    source = checkpoint("llama3")
    _killed(_make(source, tmp_path), 9)
    other = dict(changes)
    rows = tiny.labeled_rows(14, **other.pop("rows", {}))
    assert not _resumes(_make(source, tmp_path, rows=rows, **other))
    assert _resumes(_make(source, tmp_path))


def test_rows_that_are_only_looked_at_count_too(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    source = checkpoint("gemma2")
    first = _make(source, tmp_path, "stopping")
    assert first.stop_rows is not None
    looked_at = first.stop_rows.groups[0]
    _killed(first, 9)
    labels = tiny.labeled_rows(14).labels
    labels[looked_at] = [0.2, 0.3, 0.5]
    rows = tiny.labeled_rows(14, labels=labels)
    assert not _resumes(_make(source, tmp_path, "stopping", rows=rows))
    assert _resumes(_make(source, tmp_path, "stopping"))


@pytest.mark.slow
def test_a_snapshot_on_other_weights_is_not_resumed(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    place, source = tmp_path / "snapshots", tmp_path / "model"
    shutil.copytree(checkpoint("llama3"), source)
    _killed(_make(source, place), 9)
    moved = _make(source, None)
    next(iter(moved.trained.values())).data += 0.1  # pretrained on something
    rows, settings = tiny.labeled_rows(14), moved.settings
    assert not _resumes(Training(moved.classifier, rows, settings, seed=1, snapshots=place))
    assert _resumes(_make(source, place))
    tiny.tiny_models.save_checkpoint("llama3", source, seed=9)
    assert not _resumes(_make(source, place))


def _snapshot(place: Path) -> Path:
    (found,) = place.glob("step-*")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("file", ["state.json", "state.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_snapshot_is_ignored(
    checkpoint: Callable[[str], Path], tmp_path: Path, file: str, damage: str
) -> None:
    source = checkpoint("llama3")
    _killed(_make(source, tmp_path), 8)
    path = _snapshot(tmp_path) / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        half = len(content) // 2
        path.write_bytes(content[:half] + (b"" if damage == "cut" else b"#" + content[half + 1 :]))
    again = _make(source, tmp_path)
    assert again.snapshots is not None
    assert not again.snapshots.restore()
    weights, _ = _end(_make(source, None))
    found, _ = _end(again)
    assert tiny.same(found, weights)


def test_what_a_kill_left_half_written_is_removed_and_the_one_before_is_used(
    checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = checkpoint("llama3")
    weights, _ = _end(_make(source, None))
    resume = importlib.import_module("ensemble_plugins.language_model.train.resume")
    plain, left = resume.write_json, [3]

    def write(path: Path, value: Any) -> None:
        left[0] -= 1
        if not left[0]:
            # As a kill: nothing is cleaned up.
            shutil.copytree(path.parent, path.parent.parent / f".tmp-{'0' * 32}-step-00000003")
            raise tiny.Killed
        plain(path, value)

    monkeypatch.setattr(resume, "write_json", write)
    with pytest.raises(tiny.Killed):
        _make(source, tmp_path).run()
    assert {path.name[:5] for path in tmp_path.iterdir()} == {"step-", ".tmp-"}
    assert _snapshot(tmp_path).name == "step-00000002"
    found, _ = _end(_make(source, tmp_path))
    assert tiny.same(found, weights)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_kill_before_the_former_is_removed_leaves_the_newer(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    source = checkpoint("llama3")
    _killed(_make(source, tmp_path), 5)
    former = _snapshot(tmp_path)
    shutil.copytree(former, tmp_path / "kept")
    shutil.move(tmp_path / "kept", tmp_path.parent / "kept")
    _killed(_make(source, tmp_path), 6)
    newer = _snapshot(tmp_path)
    assert former != newer
    shutil.move(tmp_path.parent / "kept", former)
    third = _make(source, tmp_path)
    assert third.snapshots is not None
    assert third.snapshots.restore()
    assert f"step-{third.progress.step:08d}" == newer.name
    (newer / "state.json").unlink()
    assert third.snapshots.restore()
    assert f"step-{third.progress.step:08d}" == former.name


def test_snapshots_are_json_and_safetensors(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    training = _make(checkpoint("gemma2"), tmp_path, "stopping")
    training.run()
    place = _snapshot(tmp_path)
    assert {path.name for path in place.iterdir()} == {
        "manifest.json",
        "state.json",
        "state.safetensors",
    }
    state = json.loads((place / "state.json").read_text())
    assert state["progress"]["step"] == training.progress.step
    with safe_open(place / "state.safetensors", "pt") as file:
        kinds = {name.split("/")[0] for name in file.keys()}  # noqa: SIM118 - no mapping
    assert kinds == {"weight", "best", "optimizer"}


def test_snapshots_are_as_rare_as_asked_for(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    training = _make(checkpoint("llama3"), tmp_path, checkpoint_minutes=60.0)
    _killed(training, 9)
    assert not list(tmp_path.iterdir())
    _make(checkpoint("llama3"), tmp_path, checkpoint_minutes=60.0).run()
    assert json.loads((_snapshot(tmp_path) / "state.json").read_text())["progress"]["done"]


PROCESS = """
import importlib, sys, time
from pathlib import Path
import torch
from safetensors.torch import save_file
tests = importlib.import_module("tests.plugins.language_model.test_resume")
training = tests._make(Path(sys.argv[1]), Path(sys.argv[2]), epochs=6)
tests.tiny.before_each_batch(training.classifier, lambda _: time.sleep(float(sys.argv[4])))
weights, _ = tests._end(training)
save_file(weights, sys.argv[3])
"""


def _process(source: Path, place: Path, end: Path, pause: float) -> subprocess.Popen[bytes]:
    arguments = [str(source), str(place), str(end), str(pause)]
    return subprocess.Popen([sys.executable, "-c", PROCESS, *arguments])


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    source, place = checkpoint("llama3"), tmp_path / "killed"
    process = _process(source, place, tmp_path / "never", 0.1)
    deadline = time.monotonic() + 120
    while not list(place.glob("step-0000000[3-9]")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "never").exists()
    assert _process(source, place, tmp_path / "resumed", 0.0).wait() == 0
    assert _process(source, tmp_path / "whole", tmp_path / "at_once", 0.0).wait() == 0
    assert tiny.same(load_file(tmp_path / "resumed"), load_file(tmp_path / "at_once"))
