"""What is measured of a soup: how far it is from the mean of the models that it is made of."""

from __future__ import annotations

from ensemble.run_dir.record import Record

NEGLIGIBLE = 1e-3
"""Divergence that no soup fails for, in nats: the log loss that it is expected to lose where the
folds' mean is right. Rounding to bfloat16 explains some of it."""


class SoupCheck(Record):
    """A soup held against the folds' models on rows that none of them has seen; no label counts.

    Averaged weights are one model more in the place of the folds' mean, and so is any of the folds'
    models. Where the soup is further from that mean than a fold's model is, averaging has
    gained nothing over taking one of them: their solutions are too far apart.

    Parameters
    ----------
    rows
        How many they are.
    of
        ``"test"`` rows, or the ``"hold-out"`` where there are none.
    kl
        Mean divergence of the soup's probabilities from those of the folds' mean logits, in nats.
    changed
        Share of rows whose likeliest class is another than by the folds' mean logits.
    fold_kl, fold_changed
        The same of each fold's model.
    """

    rows: int
    of: str
    kl: float
    changed: float
    fold_kl: tuple[float, ...]
    fold_changed: tuple[float, ...]

    @property
    def typical_kl(self) -> float:
        """Divergence of a fold's model, on average."""
        return sum(self.fold_kl) / len(self.fold_kl)

    @property
    def typical_changed(self) -> float:
        """Share of rows that a fold's model changes, on average."""
        return sum(self.fold_changed) / len(self.fold_changed)

    @property
    def is_too_far(self) -> bool:
        """Whether the soup is no stand-in for the folds' mean."""
        return not self.kl <= max(self.typical_kl, NEGLIGIBLE)

    @property
    def sentence(self) -> str:
        """Say it for a reader."""
        return (
            f"KL {self.kl:.2g} from the folds' mean and {self.changed:.1%} other winners on "
            f"{self.rows:,} {self.of} rows (one fold's model: {self.typical_kl:.2g} and "
            f"{self.typical_changed:.1%})"
        )
