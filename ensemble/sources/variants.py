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
"""The treatment of who simply mixes a source in."""
BASELINE = "target alone"


@dataclass(frozen=True)
class Trial:
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
    Trial(PLAIN, SourceSettings("train")),
    Trial("train, logit adjustment", SourceSettings("train", logit_adjustment=True)),
    Trial("train, labels matched", SourceSettings("train", reweight="labels")),
    Trial("train, importance", SourceSettings("train", reweight="importance")),
    Trial("train, weight 0.3", SourceSettings("train", weight=0.3)),
    Trial("train, weight 0.1", SourceSettings("train", weight=0.1)),
    Trial("pretrain", SourceSettings("pretrain")),
)
SHARES = (0.1, 0.3)
"""Parts of a source on its learning curve, beside nothing and all of it."""


def trials_of(names: Sequence[str] | None) -> list[Trial]:
    """Choose treatments by name; None chooses all.

    Raises
    ------
    UnknownNameError
        No treatment is called so.
    """
    known = {trial.name: trial for trial in TRIALS}
    for name in names or ():
        if name not in known:
            raise unknown_name("treatment", name, known)
    return [trial for trial in TRIALS if names is None or trial.name in names]


def trial_called(name: str) -> Trial:
    """Find a treatment, or a point of the curve, by its name."""
    return next(trial for trial in (*TRIALS, *curve_trials()) if trial.name == name)


def curve_trials() -> list[Trial]:
    """Give a treatment for each part of a source."""
    return [
        Trial(f"train, share {share:g}", SourceSettings("train", share=share)) for share in SHARES
    ]
