"""A finished run that has a file of every kind, and a teammate's beside it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.run_dir.layout import TRUTH
from ensemble.storage.json_files import write_checksummed
from tests.ensemble.faults.small_runs import SmallRun, verb
from tests.ensemble.oof.averaged_learners import AveragedPlugin

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixture_types import MakeBattles, WriteCsv

_STUDY = "--learner words --no-curve --no-shift --seeds 2 --folds 0 --treatment train"
STUDY = tuple(_STUDY.split())
"""Options of a short `ensemble sources`."""
PLUGINS = {"averaged": AveragedPlugin()}
_PLUGIN = '''
from tests.fakes import Prior
NUMBER = 1


class Words(Prior):
    """Predicts shares, with a little for its seed."""

    cheap = True

    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        self.shift = (context.seed % 7) / 10
        return super().fit(
            battles, labels, sample_weight=sample_weight, groups=groups, context=context
        )

    def save(self, directory):
        super().save(directory)
        (directory / "shift.json").write_text(str(self.shift))

    def load(self, directory):
        self.shift = float((directory / "shift.json").read_text())
        return super().load(directory)
'''


def make_rich_run(place: Path, make_battles: MakeBattles, write_csv: WriteCsv) -> SmallRun:
    """Make it; ``place`` is empty."""
    _write_inputs(place, make_battles, write_csv)
    run = SmallRun(place)
    (place / "words.py").write_text(_PLUGIN)
    _write_config(run)
    for words in (("prepare", run.config), ("split", run.config), ("slurm", run.config)):
        _done(*words)
    _done("run", run.config, "--quiet")
    shutil.copytree(run.directory, place / "other")
    # Other code that the user says to give the same: `kept.json`.
    (place / "words.py").write_text(_PLUGIN.replace("NUMBER = 1", "NUMBER = 2"))
    write_checksummed(run.directory / TRUTH, {"best_log_loss_target": 0.9})
    _done("run", run.config, "--quiet", "--keep", "words")
    _done("compare", run.directory, "flat", "words")
    _done("review", run.directory, "--rows", "3", "--quiet")
    _done("sources", run.config, *STUDY, "--quiet")
    _done("run", run.config, "--quiet")
    return run


def _done(*words: str | Path) -> None:
    ended = verb(*words)
    assert ended.code == 0, ended.told


def _write_inputs(place: Path, make_battles: MakeBattles, write_csv: WriteCsv) -> None:
    write_csv(make_battles(48, prompts=10), place / "train.csv")
    table = pl.read_csv(place / "train.csv", infer_schema=False)
    table.with_columns(session=pl.lit("s") + pl.col("id")).write_csv(place / "train.csv")
    write_csv(
        make_battles(12, source="extra", role="train", prompts=5, seed=1), place / "extra.csv"
    )
    for name, seed in (("test", 2), ("new", 3)):
        write_csv(
            make_battles(6, source=name, role="test", prompts=6, seed=seed), place / f"{name}.csv"
        )
    (place / "labels.csv").write_text("id,action\nextra-0,exclude\nextra-1,a\n")


def _write_config(run: SmallRun) -> None:
    import tomli_w

    raw: dict[str, Any] = {
        "run_dir": "run",
        "seed": 7,
        "sources": [
            {"name": "arena", "path": "train.csv", "role": "target"},
            {"name": "extra", "path": "extra.csv", "role": "train", "labels": "labels.csv"},
        ],
        "test": {"path": "test.csv"},
        "folds": {"n_splits": 3, "holdout": 0.2},
        "learners": [
            {"name": "flat", "plugin": "averaged", "models": "soup"},
            {"name": "words", "plugin": "words.py:Words", "seeds": 2, "models": "refit"},
        ],
        "stack": {"meta_learner": "lightgbm", "resamples": 100, "nesting": "full"},
        "execution": {"threads": 1, "executor": "in-process"},
    }
    run.config.write_text(tomli_w.dumps(raw))


def events(run: SmallRun) -> list[dict[str, Any]]:
    """Read the events that are whole."""
    found = []
    path = run.directory / "events.jsonl"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
