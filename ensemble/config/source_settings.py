"""What a source is used for: its role, and how its rows count in training."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SourceSettings:
    """How the rows of a source are used.

    Parameters
    ----------
    role
        ``target``, ``train``, ``pretrain``, ``pseudo`` or ``ignore``; rows of the last reach
        nothing.
    weight
        Of its rows in training, above 0.
    share
        Part of its clusters that is used, in (0, 1].
    reweight
        ``"none"``; ``"importance"``, by how much likelier a row is in the target than in the
        source; ``"labels"``, so that its label shares become the target's.
    logit_adjustment
        Whether the log-ratio of its label shares to the target's is added to a learner's logits in
        training, and dropped at prediction.
    pseudo_labelers
        Names of the learners whose mean probabilities are its labels, where the role is ``pseudo``.
    """

    role: str
    weight: float = 1.0
    share: float = 1.0
    reweight: str = "none"
    logit_adjustment: bool = False
    pseudo_labelers: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        # What came back from JSON is a list.
        object.__setattr__(self, "pseudo_labelers", tuple(self.pseudo_labelers))


IGNORED = SourceSettings("ignore")
"""The use of a source that reaches nothing."""
