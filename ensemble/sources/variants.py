"""The ways to train on a source that are tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensemble.config.source_settings import SourceSettings
from ensemble.errors import unknown_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.plugin.base import BaseLearner

PLAIN = "train"
"""Mixes the source into the training rows, and nothing else."""
BASELINE = "target alone"


@dataclass(frozen=True)
class SourceVariant:
    """One way to train on a source.

    Parameters
    ----------
    name
        For people, and in JSON.
    use
        What the source is used for.
    """

    name: str
    use: SourceSettings

    @property
    def folder(self) -> str:
        """Name of the directory of its fits."""
        return self.name.replace(", ", "-").replace(" ", "-")

    def advice(self) -> dict[str, Any]:
        """Say what the config would have for the source."""
        return {
            "treatment": self.name,
            "role": self.use.role,
            "weight": self.use.weight,
            "reweight": self.use.reweight,
            "logit_adjustment": self.use.logit_adjustment,
        }

    def obstacle(self, learner: BaseLearner) -> str | None:
        """Say why a learner cannot do it; None where it can."""
        if self.use.role == "pretrain" and not hasattr(learner, "pretrain"):
            return "the learner has no pretrain"
        if self.use.logit_adjustment and not learner.takes_offset:
            return "the learner takes no logit adjustment"
        return None


TRIALS = (
    SourceVariant(PLAIN, SourceSettings("train")),
    SourceVariant("train, logit adjustment", SourceSettings("train", logit_adjustment=True)),
    SourceVariant("train, labels matched", SourceSettings("train", reweight="labels")),
    SourceVariant("train, importance", SourceSettings("train", reweight="importance")),
    SourceVariant("train, weight 0.3", SourceSettings("train", weight=0.3)),
    SourceVariant("train, weight 0.1", SourceSettings("train", weight=0.1)),
    SourceVariant("pretrain", SourceSettings("pretrain")),
)
SHARES = (0.1, 0.3)
"""Parts of a source on its learning curve, beside nothing and all of it."""


def variants_of(names: Sequence[str] | None) -> list[SourceVariant]:
    """Choose treatments by name; None chooses all.

    Raises
    ------
    UnknownNameError
        No treatment is called so.
    """
    known = {variant.name: variant for variant in TRIALS}
    for name in names or ():
        if name not in known:
            raise unknown_name("treatment", name, known)
    return [variant for variant in TRIALS if names is None or variant.name in names]


def variant_called(name: str) -> SourceVariant:
    """Find a treatment, or a point of the curve, by its name."""
    return next(variant for variant in (*TRIALS, *curve_variants()) if variant.name == name)


def curve_variants() -> list[SourceVariant]:
    """Give a treatment for each part of a source."""
    return [
        SourceVariant(f"train, share {share:g}", SourceSettings("train", share=share))
        for share in SHARES
    ]
