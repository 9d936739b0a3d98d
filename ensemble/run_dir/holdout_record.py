"""``holdout.json``: the last score, on target rows that nothing else has seen."""

from __future__ import annotations

from typing import Any

from ensemble.run_dir.record import Record

_FEW = " (too few clusters for an interval)"


class HoldoutScore(Record):
    """How one candidate or learner does on the hold-out.

    Parameters
    ----------
    name
        As in the stack.
    log_loss, low, high
        With the ends of the 95% interval over clusters; None where there are too few.
    accuracy, accuracy_low, accuracy_high
        Share of rows whose likeliest class is that of the label.
    """

    name: str
    log_loss: float
    low: float | None = None
    high: float | None = None
    accuracy: float
    accuracy_low: float | None = None
    accuracy_high: float | None = None


class SoupScore(Record):
    """A soup beside the mean of the folds' models that it stands for.

    Parameters
    ----------
    soup, folds
        How the two do on the hold-out.
    difference, low, high
        Log loss of the soup minus that of the mean, on the same rows, with the ends of its 95%
        interval; None where there are too few clusters.
    """

    soup: HoldoutScore
    folds: HoldoutScore
    difference: float
    low: float | None = None
    high: float | None = None

    @property
    def sentence(self) -> str:
        """Say it for a reader."""
        ends = _ends(self.low, self.high, "+.4f") or _FEW
        return (
            f"hold-out: the soup of {self.soup.name} scores {self.soup.log_loss:.4f} (accuracy "
            f"{self.soup.accuracy:.1%}), the mean of its folds' models {self.folds.log_loss:.4f} "
            f"(accuracy {self.folds.accuracy:.1%}): {self.difference:+.4f} in log loss{ends}."
        )


class Look(Record):
    """A former score: whoever changes a run after it has chosen by the hold-out."""

    chosen: str
    log_loss: float


class HoldoutRecord(Record):
    """All of it.

    Parameters
    ----------
    made_from
        The stack and the predictions of the hold-out.
    sha256
        Of ``holdout.parquet``: each candidate's probabilities.
    models
        By learner, ``"folds"``, ``"refit"`` or ``"soup"``: whose predictions are combined.
    chosen
        The candidate that the verdict chose, without the hold-out.
    rows, clusters
        How many it has.
    class_prior
        Log loss of the label shares of the rows that are scored in folds.
    candidates, learners
        In the order of the stack.
    looks
        Earlier scores on the same hold-out, or on one that shares rows with it.
    unproven
        Learners of the stack that may have seen it: nobody knows what they were trained on.
    soups
        Of the learners whose soup is used.
    """

    made_from: dict[str, Any]
    sha256: str
    models: dict[str, str]
    chosen: str
    rows: int
    clusters: int
    class_prior: float | None = None
    candidates: tuple[HoldoutScore, ...]
    learners: tuple[HoldoutScore, ...] = ()
    looks: tuple[Look, ...] = ()
    unproven: tuple[str, ...] = ()
    soups: tuple[SoupScore, ...] = ()

    @property
    def score(self) -> HoldoutScore:
        """That of the chosen candidate."""
        return next(one for one in self.candidates if one.name == self.chosen)

    @property
    def sentence(self) -> str:
        """The last score for a reader, and what it is worth."""
        one = self.score
        ends = _ends(one.low, one.high, ".4f")
        few = "" if ends else _FEW
        share = _ends(one.accuracy_low, one.accuracy_high, ".1%")
        looks = (
            f" It, or a part of it, has been looked at {_times(len(self.looks))} before, with "
            "other stacks or folds: a choice made after a look flatters it."
            if self.looks
            else ""
        )
        seen = (
            "that nothing before has seen."
            if not self.unproven
            else f"that {', '.join(self.unproven)} may have seen: unproven."
        )
        return (
            f"hold-out: {one.name} scores {one.log_loss:.4f}{ends}, accuracy {one.accuracy:.1%}"
            f"{share}, on {self.rows:,} rows in {self.clusters:,} clusters{few} {seen}{looks}"
        )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _ends(low: float | None, high: float | None, form: str) -> str:
    return "" if low is None or high is None else f" ({low:{form}} to {high:{form}})"
