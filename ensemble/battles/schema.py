"""The columns of a battle, and what may stand in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import polars as pl

from ensemble.plugin.base import CLASSES, LEARNER_COLUMNS

if TYPE_CHECKING:
    from ensemble.plugin.base import FloatArray

Role = Literal["target", "train", "pretrain", "pseudo", "ignore"]
"""What a source is for; see ``docs/honesty.md``."""
ROLES: tuple[str, ...] = get_args(Role)
TEST_ROLE = "test"
"""The role of test rows in the tables; no source can ask for it."""
TEST_SOURCE = "test"
"""The source of test rows in the tables; no source can be called that."""

HOLDOUT_ROLE = "holdout"
"""The role, in the fold plan, of target rows that are kept for the last score."""
TARGET_ROLE = "target"
"""The role of rows that folds and scores are made on."""

PSEUDO_ROLE = "pseudo"
"""The role of rows whose labels are what learners of the run predict."""

TEXT_COLUMNS = ("prompt", "response_a", "response_b")
LABEL_COLUMNS = ("label_a", "label_b", "label_tie")
LOGIT_COLUMNS = ("logit_a", "logit_b", "logit_tie")

BATTLE_SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "source": pl.String(),
    "role": pl.String(),
    **{name: pl.List(pl.String) for name in TEXT_COLUMNS},
    **{name: pl.Float64() for name in LABEL_COLUMNS},
    "is_test": pl.Boolean(),
    "model_a": pl.String(),
    "model_b": pl.String(),
}
"""``battles.parquet``. ``prompt`` has one item a turn and the responses as many; a turn that was
``null`` in the input is null here too. Labels and model names are null where unknown."""

PREDICTION_SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    **{name: pl.Float32() for name in LOGIT_COLUMNS},
}
"""``oof.parquet`` and ``test.parquet`` of a learner's fold."""

PROBABILITY_SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    **{name: pl.Float64() for name in CLASSES},
}
"""``stack/oof.parquet`` and ``submission.csv``."""


def labels_of(battles: pl.DataFrame) -> FloatArray:
    """Take the labels out of a table of battles: ``(n, 3)`` float64, NaN where unknown."""
    return battles.select(LABEL_COLUMNS).to_numpy().astype(np.float64)


def learner_view(battles: pl.DataFrame) -> pl.DataFrame:
    """Keep only what a learner may see."""
    return battles.select(LEARNER_COLUMNS)


def probability_frame(ids: pl.Series, probabilities: FloatArray) -> pl.DataFrame:
    """Put probabilities ``(n, 3)`` beside their ids: ``PROBABILITY_SCHEMA``."""
    columns = {name: probabilities[:, i] for i, name in enumerate(CLASSES)}
    return pl.DataFrame({"id": ids, **columns}, schema=PROBABILITY_SCHEMA)
