"""Which labels of a run are worth a second look: one list, to be read by a person."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ensemble.battles.corrections import read_list, refuse_contradictions
from ensemble.battles.prepared import read_battles, read_clusters
from ensemble.battles.split import read_split_summary
from ensemble.compare.candidates import read_one
from ensemble.compare.runs import read_compared
from ensemble.compare.stacked import CHOSEN
from ensemble.config.load import load_run_config
from ensemble.oof.workspace import without_holdout_labels
from ensemble.review.find import (
    REASONS,
    contradicted_by_duplicates,
    contradicted_by_predictions,
    identical_answers,
)
from ensemble.review.text import with_texts
from ensemble.run_dir.layout import STACK
from ensemble.storage.json_files import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble.compare.candidates import Candidate
    from ensemble.compare.runs import ComparedRun

ROWS = 200
"""Contradicted rows that a list has where no other number is asked for."""
_SHOWN = ("id", "source", "role", "reason", "label", "suggestion", "doubt", "others")


@dataclass(frozen=True)
class Review:
    """What is worth a look.

    Parameters
    ----------
    rows
        One row a battle and reason: ``id``, ``source``, ``role``, ``reason``, ``label``,
        ``suggestion``, ``doubt``, ``others``, an empty ``action``, and the texts.
    by
        The learner or candidate whose OOF predictions were held against the labels; None where
        there are none yet.
    proven
        Whether its training rows are on record.
    """

    rows: pl.DataFrame
    by: str | None
    proven: bool

    @property
    def counts(self) -> dict[str, int]:
        """How many rows there are for each reason."""
        found = dict(self.rows["reason"].value_counts().iter_rows())
        return {reason: int(found.get(reason, 0)) for reason in REASONS}

    def to_json(self) -> dict[str, Any]:
        """Give counts and origin."""
        return {"by": self.by, "proven": self.proven, "counts": self.counts}

    def write(self, path: Path) -> None:
        """Write the list as CSV: fill in the column ``action``, and name the file as ``labels``."""
        write_text(path, self.rows.write_csv())


def review(run: Path, by: str | None = None, rows: int = ROWS) -> Review:
    """Look through a run's labels.

    Parameters
    ----------
    run
        The run directory.
    by
        A learner or candidate whose OOF predictions the labels are held against; None takes the
        chosen candidate, or where there is no stack nobody.
    rows
        Most rows that predictions contradict.

    Raises
    ------
    ArtifactError
        Battles or predictions are missing or damaged.
    UnknownNameError
        ``by`` is no learner and no candidate.
    """
    compared = read_compared(run)
    # Who looks at the hold-out to choose labels has spent it.
    battles = without_holdout_labels(read_battles(run)[0], compared.plan)
    own = battles.filter(~pl.col("is_test") & pl.col("role").is_in(["target", "train", "pretrain"]))
    # Without ties, two answers that are the same have to have one winner or the other.
    same = identical_answers(own if compared.ties else own.clear())
    found = [contradicted_by_duplicates(own, read_clusters(run)), same]
    predicted = _predictions(compared, by)
    if predicted is not None:
        found.append(contradicted_by_predictions(compared.eval_set, predicted.probabilities, rows))
    listed = pl.concat(found).join(
        battles.select("id", "source", "role"), on="id", how="left", maintain_order="left"
    )
    listed = listed.select(*_SHOWN, action=pl.lit(""))
    return Review(
        with_texts(listed, own),
        None if predicted is None else predicted.name,
        predicted is None
        or (predicted.training_rows == "recorded" and not read_split_summary(run).doubt),
    )


def keep_actions(found: Review, path: Path) -> Review:
    """Take over what a person has written into the list that is there; nothing of it is lost.

    Parameters
    ----------
    found
        What is worth a look now.
    path
        Where the list goes. Rows of it with an action that are found no more come last.

    Raises
    ------
    DataError
        There is a file that is no such list.
    """
    if not path.exists():
        return found
    said = read_list(path).filter(pl.col("action").fill_null("") != "").unique()
    refuse_contradictions(said, path)
    now = found.rows.drop("action").join(said, on="id", how="left", maintain_order="left")
    gone = said.filter(~pl.col("id").is_in(now["id"].implode()))
    rows = now.with_columns(pl.col("action").fill_null("")).select(found.rows.columns)
    return replace(found, rows=pl.concat([rows, gone], how="diagonal"))


def _predictions(compared: ComparedRun, by: str | None) -> Candidate | None:
    if by is None and not (compared.run / STACK).exists():
        return None  # duplicates and identical answers need no predictions
    found = read_one(compared, load_run_config(compared.run), by or CHOSEN)
    return found if np.isfinite(found.probabilities).any() else None
