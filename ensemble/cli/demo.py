"""The demonstration: a whole run on generated battles, whose best possible log loss is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.config.load import load_config
from ensemble.config.paths import check_utf8
from ensemble.datasets.battles import TRUTH_COLUMNS, best_log_loss, make_battles, write_battles
from ensemble.errors import ConfigError
from ensemble.evaluation.losses import row_log_loss
from ensemble.pipeline import run
from ensemble.plugin.base import CLASSES
from ensemble.report.record import record_report
from ensemble.report.write import write_report
from ensemble.run_dir.layout import CONFIG as CONFIG_FILE
from ensemble.run_dir.layout import SUBMISSION, TRUTH
from ensemble.storage.json_files import write_checksummed, write_text
from ensemble.storage.strays import is_stray
from ensemble.submission.parse import read_submission

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.plugin.base import FloatArray
    from ensemble.run_dir.reporter import ProgressDisplay

CONFIG = """\
# Generated battles: `ensemble demo` wrote them, and this config, which `ensemble run` takes too.
run_dir = "run"
seed = 42

[[sources]]
name = "people"                # prompts of people, labeled by people, with ties
path = "data/train.csv"
role = "target"

[[sources]]
name = "benchmark"             # benchmark prompts under another label rule, without ties
path = "data/external.parquet"
role = "pretrain"              # "train" mixes it in: see what that does to the log loss

[test]
path = "data/test.csv"

[folds]
n_splits = 4                   # one fewer than the default, for a quick look

[[learners]]
name = "length"
plugin = "handcrafted"
features = ["length"]
n_models = 2                   # fewer and coarser than the default, for the same reason
learning_rate = 0.06

[[learners]]
name = "handcrafted"
plugin = "handcrafted"
n_models = 2
learning_rate = 0.06

[[learners]]
name = "tfidf"
plugin = "tfidf"

[stack]
meta_learner = "lightgbm"
features = ["conversation"]
"""


def demo(directory: Path, *, rows: int, seed: int, display: ProgressDisplay | None = None) -> Path:
    """Generate battles, run the whole pipeline on them, and score it against the known truth.

    Parameters
    ----------
    directory
        Where data, config and run go.
    rows
        Number of target battles; a quarter as many test rows and half as many external ones.
    seed
        Of the generator.
    display
        Where a person watches.

    Returns
    -------
    Path
        The run directory.

    Raises
    ------
    ConfigError
        The directory holds what no demonstration has written.
    """
    check_utf8(directory)
    _refuse_strangers(directory)
    battles = make_battles(
        target_rows=rows, external_rows=rows // 2, test_rows=rows // 4, seed=seed
    )
    write_text(directory / CONFIG_FILE, CONFIG)  # first: it marks the directory as ours
    write_battles(battles, directory / "data")
    place = run(load_config(directory / CONFIG_FILE), display)
    write_checksummed(place / TRUTH, against_truth(battles.truth, place / SUBMISSION))
    write_report(place)
    record_report(place)
    return place


def _refuse_strangers(directory: Path) -> None:
    """Refuse a directory with a config, data or other files of the user's."""
    there = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    there = {name for name in there if not (name.startswith(".") or is_stray(name))}
    config = directory / CONFIG_FILE
    own = config.is_file() and config.read_text(encoding="utf-8", errors="replace") == CONFIG
    strangers = sorted(there - {CONFIG_FILE, "data", "run"}) if own else sorted(there)
    if strangers:
        raise ConfigError(
            f"the directory is no demonstration and not empty: {', '.join(strangers[:5])}",
            where=str(directory),
            hint="give a directory that is empty or not there",
        )


def against_truth(truth: pl.DataFrame, submission: Path) -> dict[str, Any]:
    """Compare a submission with the best possible prediction of the same drawn labels.

    Returns
    -------
    dict[str, Any]
        ``best_log_loss_target``: expected over labels. ``target`` and ``test``: ``best_log_loss``
        of the true distributions on the labels that were drawn; ``test`` also has the
        ``log_loss`` of the submission.
    """
    target, test = (truth.filter(pl.col("source") == name) for name in ("target", "test"))
    joined = test.join(read_submission(submission), on="id", how="left", maintain_order="left")
    predicted = joined.select(*CLASSES).to_numpy()
    return {
        "best_log_loss_target": best_log_loss(target),
        "target": {"best_log_loss": _best_on_labels(target)},
        "test": {
            "log_loss": float(row_log_loss(_labels(test), predicted).mean()),
            "best_log_loss": _best_on_labels(test),
        },
    }


def _labels(truth: pl.DataFrame) -> FloatArray:
    labels: FloatArray = np.eye(len(CLASSES))[truth["label"].to_numpy()]
    return labels


def _best_on_labels(truth: pl.DataFrame) -> float:
    best = truth.select(TRUTH_COLUMNS).to_numpy()
    return float(row_log_loss(_labels(truth), best).mean())
