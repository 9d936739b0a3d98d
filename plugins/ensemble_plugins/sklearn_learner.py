"""Any classifier of scikit-learn as a base learner: on feature columns, or on texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from ensemble.battles.swap import stack_orders, swap_classes
from ensemble.battles.trees import hard_rows
from ensemble.errors import ArtifactError
from ensemble.plugin.base import BaseLearner
from ensemble.plugin.manager import get_manager
from ensemble.storage.atomic import atomic_path
from ensemble.storage.json_files import read_json, write_json
from ensemble_features.catalog import FAMILIES
from ensemble_plugins.prediction_means import LEAST_PROBABILITY
from ensemble_plugins.privileged_levels import Levels
from ensemble_plugins.sklearn_fitting import (
    Told,
    class_probabilities,
    fit_estimator,
    try_estimator,
)
from ensemble_plugins.sklearn_inputs import (
    Inputs,
    feature_rows,
    marked_texts,
    stack_inputs,
    text_columns,
)
from ensemble_plugins.sklearn_references import check_reference, module_of_file
from ensemble_plugins.soft_labels import LearnsSoftLabels, TeacherMean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from ensemble.plugin.base import FitContext, FloatArray, IntArray, LogitArray

Impute = Literal["none", "median"]

_ESTIMATOR, _FACTS = "estimator.skops", "sklearn.json"
_SOONER_COMPUTED = 8
"""Rows that take less time to compute than to look up."""


class SklearnLearner(LearnsSoftLabels, BaseLearner):
    """A classifier of scikit-learn, or of whatever has its interface.

    Battles are learned in both orders, and a prediction is the mean of both orders' probabilities,
    so that exchanging the responses exchanges the logits exactly. Labels may be soft: a row enters
    once a class, weighted by the class's share. Logits are ``log(max(p, 0.000001))``, and a class
    that no training row has counts as that improbable. Where all rows have one class, nothing is
    fitted but that.

    Each ``random_state`` that is not set, of the estimator and of its parts, gets the fold's seed,
    and where ``n_jobs`` is not set it gets the fold's threads. An estimator that splits the rows
    for itself (``CalibratedClassifierCV``, ``GridSearchCV``) knows neither orders nor clusters:
    its own choice is made on rows that are near duplicates of those it learned from. What the fold
    holds out it never sees.

    The fitted estimator is stored by skops, without pickle. See `docs/sklearn.md`.

    Parameters
    ----------
    estimator
        ``"sklearn.ensemble.ExtraTreesClassifier"``, or any other classifier that can be imported; a
        function that returns an estimator which is not fitted, ``"my_package.module:make"``, or
        ``"my_pipelines.py:make"`` in a file beside the config.
    parameters
        Keywords of that class or function, or parameters of the estimator, those of a pipeline's
        steps too (``tfidf__min_df``).
    inputs
        ``"features"``: the columns of feature sets, as floats. ``"text"``: one text a battle:
        prompt, response A and response B one below the other; each word of A begins with ``a_``,
        each of B with ``b_``, so that ``TfidfVectorizer`` knows who said it. ``"columns"``: a frame
        with the columns ``prompt``, ``response_a`` and ``response_b``, plain texts, for a
        ``ColumnTransformer``.
    features
        Names of feature sets, for ``inputs = "features"``.
    impute
        What fills the columns where a feature is undefined. ``"none"``: nothing; an estimator that
        takes no NaN is then an error. ``"median"``: the median of the training rows.
    scale
        Whether feature columns are brought to mean 0 and variance 1, for linear models and
        networks.
    swap_augmentation
        Whether each battle is learned in both orders.
    swap_tta
        Whether both orders are averaged at prediction.
    trusted
        Types outside scikit-learn that the stored estimator may hold, such as
        ``"my_pipelines.MyTransformer"``.
    teachers, distillation, teacher_mean, teacher_weights
        See ``LearnsSoftLabels``.

    Raises
    ------
    ValueError
        A value is none that it may be.
    """

    version = "1"
    cheap = True

    def __init__(
        self,
        *,
        estimator: Path | str,
        parameters: Mapping[str, Any] | None = None,
        inputs: Inputs = "features",
        features: Sequence[str] = FAMILIES,
        impute: Impute = "none",
        scale: bool = False,
        swap_augmentation: bool = True,
        swap_tta: bool = True,
        trusted: Sequence[str] = (),
        teachers: Sequence[str] = (),
        distillation: float = 0.5,
        teacher_mean: TeacherMean = "logits",
        teacher_weights: Sequence[float] = (),
    ) -> None:
        self.estimator = estimator
        self.parameters = parameters
        self.inputs = inputs
        self.features = features
        self.impute = impute
        self.scale = scale
        self.swap_augmentation = swap_augmentation
        self.swap_tta = swap_tta
        self.trusted = trusted
        self.teachers = teachers
        self.distillation = distillation
        self.teacher_mean: TeacherMean = teacher_mean
        self.teacher_weights = teacher_weights
        self.levels_ = Levels()
        self.privileged_: tuple[str, ...] = ()
        self._cache_directory: Path | None = None
        self._check_values()

    def fit(
        self,
        battles: pl.DataFrame,
        labels: FloatArray,
        *,
        sample_weight: FloatArray | None = None,
        groups: IntArray | None = None,  # noqa: ARG002 - nothing is stopped early
        context: FitContext,
    ) -> Self:
        """Learn from battles; see ``BaseLearner.fit``.

        Raises
        ------
        LearnerError
            Rows count differently and the estimator takes no weights, or a feature is undefined
            and it takes no NaN.
        """
        self._cache_directory = context.cache_directory
        orders = 1 + self.swap_augmentation
        weight = np.ones(len(battles)) if sample_weight is None else sample_weight
        labels = self._taught(labels, context)
        rows = hard_rows(stack_orders(labels, orders), np.tile(weight / weight.mean(), orders))
        self._learn_levels(battles, context)
        inputs, self.columns_ = self._inputs(battles, orders)
        made = self._made(context)
        self.estimator_ = fit_estimator(made, inputs, rows, self._told(), context.threads)
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        """Give logits ``(n, 3)``; exchanging A and B exchanges the first two exactly.

        Raises
        ------
        ArtifactError
            The feature sets have other columns than those that were learned from.
        LearnerError
            The estimator gives what is no distribution.
        """
        orders = 1 + self.swap_tta
        inputs, columns = self._inputs(battles, orders)
        if columns != self.columns_:
            raise ArtifactError(
                "the feature sets have other columns than those that were learned from",
                hint="fit the learner again, or install the version that it was fitted with",
            )
        probability = class_probabilities(
            self.estimator_, inputs, orders * len(battles), str(self.estimator)
        )
        given = np.split(probability, orders)
        mean = (given[0] + swap_classes(given[1])) / 2 if self.swap_tta else given[0]
        return np.log(np.maximum(mean, LEAST_PROBABILITY)).astype(np.float32)

    def save(self, directory: Path) -> None:
        """Write the estimator as skops does, and JSON with its columns and versions.

        Raises
        ------
        LearnerError
            It holds a type that is not trusted; the line that declares it is named.
        """
        data = self._dumped(self.estimator_)
        with atomic_path(directory / _ESTIMATOR) as path:
            path.write_bytes(data)
        facts = {"columns": self.columns_, "versions": _versions(), "privileged": self.privileged_}
        write_json(directory / _FACTS, facts)
        self.levels_.save(directory)

    def load(self, directory: Path) -> Self:
        """Restore what ``save`` wrote.

        Raises
        ------
        ArtifactError
            The files are damaged, hold a type that is not trusted, or are of another scikit-learn.
        """
        from ensemble_plugins.sklearn_store import load_estimator, trusted_names

        facts, versions = read_json(directory / _FACTS), _versions()
        if facts["versions"] != versions:
            raise ArtifactError(
                f"the estimator was stored by {facts['versions']}, and there is {versions}",
                where=str(directory / _FACTS),
                hint="install these versions, or fit the learner again",
            )
        self.columns_ = tuple(facts["columns"])
        self.privileged_ = tuple(facts["privileged"])
        self.levels_ = Levels.load(directory)
        trusted = trusted_names(self.trusted, self._file_module())
        self.estimator_ = load_estimator(directory / _ESTIMATOR, trusted)
        return self

    def preflight(self, battles: pl.DataFrame, *, context: FitContext) -> None:
        """Make the estimator, fit it to copies of a few battles, and see that it can be stored.

        What fails because battles are few is left to the fit.
        """
        from ensemble_plugins.sklearn_estimators import shortened

        orders = 1 + self.swap_augmentation
        self._learn_levels(battles, context)
        inputs, self.columns_ = self._inputs(battles, orders)
        made = shortened(self._made(context))
        try_estimator(made, inputs, orders * len(battles), self._told())
        self._dumped(made)

    def dependencies(self) -> Mapping[str, Any]:
        """Name feature sets, the estimator's code, and the versions of what it is from."""
        from ensemble_plugins.sklearn_estimators import identity, make_estimator

        reference = str(self.estimator)
        made = make_estimator(reference, self.parameters or {})
        sets = self.features if self.inputs == "features" else ()
        return {
            "estimator": identity(reference, made),
            "feature sets": {name: get_manager().feature_identity(name) for name in sets},
        }

    def _learn_levels(self, battles: pl.DataFrame, context: FitContext) -> None:
        """Learn the values of privileged columns, where the estimator sees columns of numbers."""
        self.privileged_ = context.privileged
        columns = context.privileged if self.inputs == "features" else ()
        self.levels_ = Levels.of(battles, columns)

    def _check_values(self) -> None:
        self._check_teachers()
        check_reference(str(self.estimator))
        if self.inputs == "features" and not self.features:
            raise ValueError("features must name at least one feature set")
        if self.inputs != "features" and (self.scale or self.impute != "none"):
            raise ValueError('impute and scale are for inputs = "features"')

    def _made(self, context: FitContext) -> Any:
        """Make the estimator, with what fills and scales its columns before it."""
        from ensemble_plugins.sklearn_estimators import (
            check_classifier,
            make_estimator,
            seed_estimator,
        )

        made = make_estimator(str(self.estimator), self.parameters or {})
        check_classifier(made, str(self.estimator))
        return self._prepared(seed_estimator(made, context.seed))

    def _prepared(self, estimator: Any) -> Any:
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        steps: list[Any] = []
        if self.impute == "median":
            steps.append(SimpleImputer(strategy="median", keep_empty_features=True))
        if self.scale:
            steps.append(StandardScaler())
        return make_pipeline(*steps, estimator) if steps else estimator

    def _inputs(self, battles: pl.DataFrame, orders: int) -> tuple[Any, tuple[str, ...]]:
        """Give what the estimator sees of battles, those with A and B exchanged below; columns."""
        sides = (False, True)[:orders]
        if self.inputs == "features":
            from ensemble.battles.features import compute_features

            sets = [get_manager().feature_sets.get(name) for name in self.features]
            cache = self._cache_directory if len(battles) > _SOONER_COMPUTED else None
            matrix = compute_features(battles, sets, cache_directory=cache)
            matrix = self.levels_.beside(matrix, battles)
            stacked = stack_inputs([feature_rows(matrix, swapped=side) for side in sides])
            return stacked, matrix.names
        texts = marked_texts if self.inputs == "text" else text_columns
        said = self.privileged_
        return stack_inputs([texts(battles, said, swapped=side) for side in sides]), ()

    def _told(self) -> Told:
        undefined = self.columns_ if self.impute == "none" else ()
        return Told(str(self.estimator), undefined)

    def _dumped(self, estimator: Any) -> bytes:
        from ensemble_plugins.sklearn_store import dump_estimator, trusted_names

        module = self._file_module()
        return dump_estimator(estimator, trusted_names(self.trusted, module), module)

    def _file_module(self) -> tuple[str, str] | None:
        """Import the file that the estimator is from; its stem, and its module's name here."""
        file, _, _ = str(self.estimator).rpartition(":")
        if not file.endswith(".py"):
            return None
        return Path(file).stem, module_of_file(Path(file)).__name__


def _versions() -> dict[str, str]:
    import sklearn
    import skops

    return {"scikit-learn": sklearn.__version__, "skops": skops.__version__}
