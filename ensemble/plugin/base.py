"""The contracts that a plugin author fulfils: learners, meta-learners, loaders.

Nothing heavy is imported here, so that a plugin module costs nothing until its learner runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    """Labels and probabilities: ``(n, 3)`` in ``CLASSES`` order, or ``(n,)`` weights."""
    LogitArray = NDArray[np.float32]
    """Logits: ``(n, 3)`` in ``CLASSES`` order."""
    IntArray = NDArray[np.int64]
    """Row indices and cluster numbers, ``(n,)``."""
    BoolArray = NDArray[np.bool_]
    """Masks, ``(n,)``."""

CLASSES: tuple[str, str, str] = ("winner_model_a", "winner_model_b", "winner_tie")
"""The classes, in the order of every label, logit and probability in the toolkit."""

SWAP: tuple[int, int, int] = (1, 0, 2)
"""Where each class goes when sides A and B are exchanged: ``x[:, SWAP]``."""

LEARNER_COLUMNS: tuple[str, str, str, str] = ("id", "prompt", "response_a", "response_b")
"""What a learner sees of a battle: only what exists at test time."""


@dataclass(frozen=True)
class Resources:
    """What one fit of a learner needs.

    Parameters
    ----------
    gpus
        Number of GPUs.
    memory_gib
        Main memory, GiB.
    minutes
        Expected time of one fold, minutes; None where unknown.
    disk_gib
        What the model of one fit takes on the disk, its checkpoints included, GiB.
    threads
        CPU threads that a fit has use for; 0 where it takes what it is given.
    """

    gpus: int = 0
    memory_gib: float = 1.0
    minutes: float | None = None
    disk_gib: float = 0.0
    threads: int = 0


def _no_progress(_done: float, _message: str = "") -> None:
    """Report nothing."""


@dataclass(frozen=True)
class FitContext:
    """What the toolkit offers a learner while it fits; a learner may ignore all of it.

    Parameters
    ----------
    seed
        Seed of this learner on this fold.
    checkpoint_directory
        Kept between runs until the fold is complete; a learner that resumes writes here.
    cache_directory
        Shared by all folds and seeds of the learner, and by others of the same plugin and
        parameters, for what else depends on single rows alone (features, token ids). Nothing fitted
        may go there: it would cross folds.
    device
        ``"auto"`` (the learner takes the best that is there), ``"cpu"``, ``"cuda"``,
        ``"cuda:<n>"``.
    threads
        How many CPU threads the learner may use.
    progress
        ``progress(done, message)`` with ``done`` in [0, 1].
    teachers
        For each of the learner's ``teachers`` its logits ``(n, 3)`` of the rows of ``fit``, each by
        a model that has not seen the row. NaN in rows that no such model knows, of which the label
        is all that there is to learn. In a task without ties that of the tie is 100 below the
        lesser of the others.
    offset
        ``(n, 3)``, to be added to the model's logits of each row in training and left out at
        prediction; None where there is nothing to add. Where A and B are exchanged, so are its
        first two columns.
    eval_mask
        ``(n,)`` mask of the rows that are like those that the learner is evaluated on; None where
        all are. Early stopping should look at no others.
    ties
        Whether the task has ties. If not, no label has one, and the logit of the tie is left out of
        all that is predicted.
    privileged
        Names of columns that ``battles`` has beside ``LEARNER_COLUMNS``, in ``fit`` and in
        ``predict_logits``: String, null where unknown. Two that differ in their side alone
        (``model_a``, ``model_b``) are exchanged where A and B are, as ``swap_battles`` does it.
    """

    seed: int = 0
    checkpoint_directory: Path | None = None
    cache_directory: Path | None = None
    device: str = "auto"
    threads: int = 1
    progress: Callable[..., None] = field(default=_no_progress, compare=False)
    teachers: Mapping[str, LogitArray] = field(default_factory=dict, compare=False)
    offset: FloatArray | None = field(default=None, compare=False)
    eval_mask: BoolArray | None = field(default=None, compare=False)
    ties: bool = True
    privileged: tuple[str, ...] = ()


class BaseLearner(ABC):
    """A model that maps battles to logits.

    The constructor takes keywords with defaults and stores each under its own name, unchanged: the
    parameters are part of the key that decides whether a stored fold is still good.

    Notes
    -----
    A learner may also define ``pretrain(battles, labels, *, sample_weight=None, groups=None,
    context)``; it is called before ``fit`` with the rows of role ``pretrain`` that the fold may
    see.

    It may define ``preflight(battles, *, context)``, which is called on an instance that is not
    fitted, before anything of a run is, with a few battles: it raises what is known to fail (a
    column, a template, a length), reads no weights, and takes no time. What is raised is reported
    together with the faults of the others.

    It may define ``check(battles, *, context)``, which ``ensemble check`` calls on an instance that
    is not fitted, with a few battles of different lengths: it raises what is wrong, or returns what
    it measured, as JSON by name.

    It may define ``average_models(directories)``, which is called on an instance that is not
    fitted, with directories that ``save`` has filled, one for each fold: the instance becomes the
    model whose weights are exactly the mean of theirs, and predicts and saves as if it had been
    fitted. Configs then may ask for ``models = "soup"``.

    It may define ``export(directory, battles, logits, *, about)``, which ``ensemble export`` calls
    on a loaded instance: it fills an empty directory with a model that other programs load,
    computes the logits of these battles anew from there, raises where they are others than
    ``logits`` ``(n, 3)``, and returns what it measured, as JSON by name: ``max_difference`` and
    ``allowed`` are told. ``about`` says as JSON what the model is of, for its files.

    It may define the class method ``suggest(data, machine)``, which ``ensemble init`` calls for a
    config that it writes: it gives a ``Suggestion`` for each learner that the plugin would have
    there; see ``ensemble.plugin.suggestion``.

    One that brings its predictions from outside (``trains = False``) may define ``provenance()``,
    which is called on an instance that is not fitted, and gives a ``Provenance``: which model
    predicted each target row, and the rows that each was trained on. They are judged by the
    run's own clusters; without it, the audit calls the learner unproven. It may lack predictions of
    target rows, three NaN each, but of no test row. It may define ``check_ids(ids)``,
    ``check_test_ids(ids)`` and ``check_folds(plan)``, which raise where its rows or folds are not
    the run's, and ``describe()``, which says as JSON what its predictions are made of.

    A learner whose parameter ``teachers`` names learners of the run gets their logits of its own
    training rows as ``context.teachers``: out-of-fold logits, by models that have seen neither the
    row nor anything that the pupil's fit holds out.

    A learner whose config names ``privileged`` columns sees them as ``context.privileged`` says. It
    can teach and label, and predicts no test row.
    """

    version: ClassVar[str] = "1"
    """Raise it when the code changes so that the same parameters give other predictions."""
    resources: Resources = Resources()
    batch_tolerance: ClassVar[float] = 1e-3
    """How far a battle's logits may differ between one batch and another; checked after a fit."""
    cautions: Sequence[str] = ()
    """What a reader of a fit's scores has to know of it, without the last point of each sentence;
    asked once it is fitted, and told in the report."""
    doubts: Sequence[str] = ()
    """Why a fit may know labels of rows that it is scored on, whatever it was handed; likewise, and
    its scores are unproven."""
    teachers: Sequence[str] = ()
    """Names of learners of the run that teach this one; a parameter where it can be chosen."""
    trains: ClassVar[bool] = True
    """False where the predictions come from outside, so that the training rows are unknown."""
    takes_offset: ClassVar[bool] = False
    """True where ``fit`` (and ``pretrain``) add ``context.offset`` to their logits in training."""
    cheap: ClassVar[bool] = False
    """True where a fit costs so little that the learner is also fitted without every pair of folds,
    for the stack's exact nested scores."""
    symmetric: ClassVar[bool] = False
    """True as a promise: exchanging A and B in a battle exchanges its first two logits, no more."""

    @abstractmethod
    def fit(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        """Learn from battles.

        Parameters
        ----------
        battles
            ``LEARNER_COLUMNS``: ``id`` (String); ``prompt``, ``response_a``, ``response_b``
            (List(String), one item a turn).
        labels
            ``(n, 3)`` distributions over ``CLASSES``.
        sample_weight
            ``(n,)`` positive weights; None means all equal.
        groups
            ``(n,)`` cluster numbers; rows for early stopping are held out by whole groups.
        context
            Seed, directories, device, progress.
        """

    @abstractmethod
    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        """Give logits ``(n, 3)`` float32 in ``CLASSES`` order, one row per battle, in its order."""

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Fill an existing empty directory; safetensors, JSON, LightGBM text, never pickle."""

    @abstractmethod
    def load(self, directory: Path) -> Self:
        """Restore what ``save`` wrote, on an instance made with the same parameters."""

    def dependencies(self) -> Mapping[str, Any]:
        """Name what predictions depend on beside battles and parameters; the key contains it.

        JSON values; a ``Path`` stands for the content of its file, or for the manifests in a
        directory of artifacts. A ``Path`` among the parameters
        counts by what lies there, wherever that is, without being named; to have a parameter count
        otherwise, give a value under its name.
        """
        return {}


@dataclass(frozen=True)
class MetaFeatures:
    """What a meta-learner sees: the learners' logits and chosen features.

    Parameters
    ----------
    logits
        ``(n, n_learners, 3)`` float32, last axis in ``CLASSES`` order.
    learners
        Names, in the order of the second axis.
    features
        ``(n, n_features)`` float32; may be empty; NaN where a feature is undefined.
    feature_names
        Names, in the order of the columns.
    feature_swap
        ``(n_features,)`` index of the column that takes each one's place when sides are exchanged.
    feature_sign
        ``(n_features,)`` 1 or -1, as in ``Feature.sign``.
    ties
        Whether the task has ties. If not, a row's logits are half the difference of A and B, its
        negative, and 0; and of what a meta-learner predicts, the tie's share is left out.
    """

    logits: LogitArray
    learners: tuple[str, ...]
    features: LogitArray
    feature_names: tuple[str, ...]
    feature_swap: IntArray
    feature_sign: LogitArray
    ties: bool = True

    def __len__(self) -> int:
        return int(self.logits.shape[0])

    def take(self, rows: IntArray | NDArray[np.bool_]) -> MetaFeatures:
        """Keep some rows, by index or mask."""
        return replace(self, logits=self.logits[rows], features=self.features[rows])

    def swapped(self) -> MetaFeatures:
        """Exchange sides A and B in every row."""
        return replace(
            self,
            logits=self.logits[:, :, list(SWAP)],
            features=self.features[:, self.feature_swap] * self.feature_sign,
        )


class MetaLearner(ABC):
    """A model that maps OOF logits (and some features) to probabilities.

    The constructor obeys the same rule as that of ``BaseLearner``.
    """

    version: ClassVar[str] = "1"
    symmetric: ClassVar[bool] = False
    """True as a promise: exchanging A and B exchanges the first two probabilities, no more."""

    @abstractmethod
    def fit(
        self,
        meta: MetaFeatures,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,
        context: FitContext,
    ) -> Self:
        """Learn from OOF logits; parameters as in ``BaseLearner.fit``."""

    @abstractmethod
    def predict_proba(self, meta: MetaFeatures) -> FloatArray:
        """Give probabilities ``(n, 3)`` in ``CLASSES`` order; rows sum to 1."""

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Fill an existing empty directory; never pickle."""

    @abstractmethod
    def load(self, directory: Path) -> Self:
        """Restore what ``save`` wrote."""

    def describe(self) -> dict[str, Any]:
        """Say what was learned, as JSON: weights, the chosen learner, importances."""
        return {}


class Loader(Protocol):
    """Reads battles from a place that the built-in readers do not know."""

    def __call__(self, path: Path, **options: Any) -> pl.DataFrame:
        """Give raw columns as the competition has them; see ``docs/data.md``."""
        ...


class Register(Protocol):
    """Takes one name and what it stands for."""

    def __call__(self, name: str, target: object) -> None:
        """Register a target: a class (or object), or a lazy ``"module:attribute"`` string."""
        ...
