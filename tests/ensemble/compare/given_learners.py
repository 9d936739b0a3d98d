"""A run of learners whose predictions are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tomli_w

from ensemble.battles.schema import LOGIT_COLUMNS
from ensemble.config.load import load_config
from ensemble.stages.stack import stack_stage
from ensemble.stages.work import writing
from tests.ensemble.stages import prepare_and_fit

ROWS = 160
MINUS = "\N{MINUS SIGN}"
# The probability that each learner gives to what happened, on each of the two sources.
GIVEN = {"a": (0.5, 0.5), "b": (0.4, 0.8), "c": (0.5, 0.5)}


def write_sources(place: Path) -> None:
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    prompts = [" ".join("".join(rng.choice(letters, 9)) for _ in range(8)) for _ in range(ROWS)]
    # Two rows a prompt: 80 clusters. A quarter of them is written in Cyrillic letters.
    prompts = [prompts[i // 2 * 2] for i in range(ROWS)]
    cyrillic = str.maketrans("".join(letters), "абвгдежзийклмнопрстуфхцчшщ")
    labels = np.eye(3)[np.arange(ROWS) % 3]
    battles = pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(ROWS)],
            "prompt": [
                [p.translate(cyrillic) if i % 8 < 2 else p] * (1 + (i % 4 == 0))
                for i, p in enumerate(prompts)
            ],
            "response_a": [[f"yes {i}"] * (1 + (i % 4 == 0)) for i in range(ROWS)],
            "response_b": [["no " * (i % 16)] * (1 + (i % 4 == 0)) for i in range(ROWS)],
            **{f"winner_{n}": labels[:, k] for k, n in enumerate(("model_a", "model_b", "tie"))},
        }
    )
    for name, rows in (("one", battles[:80]), ("two", battles[80:])):
        rows.write_parquet(place / f"{name}.parquet")
    for learner, shares in GIVEN.items():
        given = np.repeat(shares, ROWS // 2)[:, None]
        logits = np.log(np.where(labels == 1, given, (1 - given) / 2))
        columns = {name: logits[:, k] for k, name in enumerate(LOGIT_COLUMNS)}
        pl.DataFrame({"id": battles["id"], **columns}).write_parquet(place / f"{learner}.parquet")


def compare_config(place: Path, run: str = "run", **changes: Any) -> Path:
    raw: dict[str, Any] = {
        "run_dir": run,
        "seed": 7,
        "sources": [{"name": n, "path": f"{n}.parquet", "role": "target"} for n in ("one", "two")],
        "folds": {"n_splits": 2},
        "learners": [{"name": n, "plugin": "precomputed", "oof": f"{n}.parquet"} for n in GIVEN],
        "stack": {"meta_learner": "none", "resamples": 300},
        "execution": {"threads": 1},
    }
    path = place / f"{run}.toml"
    path.write_text(tomli_w.dumps(raw | changes))
    return path


def fit_learners(path: Path, *, stack: bool = False, **options: Any) -> Path:
    config = load_config(path)
    prepare_and_fit(config, **options)
    if stack:
        with writing(config) as reporter:
            stack_stage(config, reporter)
    return Path(config.run_dir)
