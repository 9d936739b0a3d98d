"""Any classifier of scikit-learn as a base learner: on feature columns, or on texts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from ensemble.battles.swap import stack_orders, swap_classes
from ensemble.battles.trees import hard_rows
from ensemble.errors import ArtifactError, EnsembleError, LearnerError
from ensemble.plugin.base import CLASSES, BaseLearner
from ensemble.plugin.manager import get_manager
from ensemble.storage.atomic import atomic_path
from ensemble.storage.json_files import read_json, write_json
from ensemble_features.catalog import FAMILIES
from ensemble_plugins.prediction_files import LEAST_PROBABILITY
from ensemble_plugins.sklearn_inputs import (
    Inputs,
    feature_rows,
    marked_texts,
    stack_inputs,
    take_inputs,
    text_columns,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from ensemble.battles.trees import HardRows
    from ensemble.plugin.base import FitContext, FloatArray, IntArray, LogitArray

Impute = Literal["none", "median"]

_ESTIMATOR, _FACTS = "estimator.skops", "sklearn.json"
_TRIED = 60
"""Rows that an estimator is tried on before a run: copies of a few, labeled with each class."""
_EVEN = 1e-9
"""Weights that differ by less are all the same."""
_IGNORED_WEIGHTS = ".*does not appear to accept sample_weight.*"
_SUM_TOLERANCE = 1e-3
_SOONER_COMPUTED = 8
"""Rows that take less time to compute than to look up."""


class SklearnLearner(BaseLearner):
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
        rows = hard_rows(stack_orders(labels, orders), np.tile(weight / weight.mean(), orders))
        inputs, self.columns_ = self._inputs(battles, orders)
        self.estimator_ = self._fitted(inputs, rows, context)
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
        given = np.split(self._probabilities(inputs, orders * len(battles)), orders)
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
        write_json(directory / _FACTS, {"columns": self.columns_, "versions": _versions()})

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
        trusted = trusted_names(self.trusted, self._file_module())
        self.estimator_ = load_estimator(directory / _ESTIMATOR, trusted)
        return self

    def preflight(self, battles: pl.DataFrame, *, context: FitContext) -> None:
        """Make the estimator, fit it to copies of a few battles, and see that it can be stored.

        What fails because battles are few is left to the fit.
        """
        from ensemble_plugins.sklearn_estimators import shortened

        orders = 1 + self.swap_augmentation
        inputs, self.columns_ = self._inputs(battles, orders)
        copies = np.resize(np.arange(orders * len(battles)), _TRIED)
        tried, made = take_inputs(inputs, copies), shortened(self._made(context))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                made.fit(tried, np.arange(_TRIED) % len(CLASSES))
            except Exception as error:
                self._refuse_what_stays(error, tried)
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

    def _check_values(self) -> None:
        from ensemble_plugins.sklearn_estimators import check_reference

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
            stacked = stack_inputs([feature_rows(matrix, swapped=side) for side in sides])
            return stacked, matrix.names
        texts = marked_texts if self.inputs == "text" else text_columns
        return stack_inputs([texts(battles, swapped=side) for side in sides]), ()

    def _fitted(self, inputs: Any, rows: HardRows, context: FitContext) -> Any:
        from joblib import parallel_config
        from threadpoolctl import threadpool_limits

        made = self._made(context)
        if len(np.unique(rows.label)) == 1:
            from sklearn.dummy import DummyClassifier

            made = DummyClassifier()  # no other classifier could say more, and many refuse
        weights = self._weights(made, rows)
        learned = take_inputs(inputs, rows.row)
        with (
            parallel_config(backend="threading", n_jobs=context.threads),
            threadpool_limits(context.threads),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("error", message=_IGNORED_WEIGHTS)
            try:
                return made.fit(learned, rows.label, **weights)
            except (ValueError, UserWarning) as error:
                self._explain(error, learned)
                raise

    def _weights(self, estimator: Any, rows: HardRows) -> dict[str, FloatArray]:
        """Give the keyword of ``fit`` that weighs the rows; none where all count the same.

        Raises
        ------
        LearnerError
            They count differently, and the estimator takes no weights.
        """
        from ensemble_plugins.sklearn_estimators import weight_keyword

        if np.ptp(rows.weight) <= _EVEN * rows.weight.max():
            return {}
        keyword = weight_keyword(estimator)
        if keyword is None:
            raise _takes_no_weights(str(self.estimator))
        return {keyword: rows.weight}

    def _probabilities(self, inputs: Any, rows: int) -> FloatArray:
        probability = np.zeros((rows, len(CLASSES)))
        if not rows:
            return probability
        given = np.asarray(self.estimator_.predict_proba(inputs), dtype=np.float64)
        known = np.asarray(self.estimator_.classes_, dtype=np.int64)
        if given.shape != (rows, len(known)) or not (
            (given >= -_SUM_TOLERANCE).all()
            and np.allclose(given.sum(axis=1), 1, rtol=0, atol=_SUM_TOLERANCE)
        ):
            raise LearnerError(
                f'predict_proba of "{self.estimator}" gives no distributions over classes',
                hint="rows must be of 0 or more and sum to 1; take another classifier",
            )
        probability[:, known] = given
        return probability

    def _refuse_what_stays(self, error: Exception, inputs: Any) -> None:
        """Pass on what would fail on more battles too: a value that is refused, or NaN."""
        from sklearn.utils._param_validation import InvalidParameterError

        self._explain(error, inputs)
        if isinstance(error, EnsembleError | InvalidParameterError | TypeError | AttributeError):
            raise error

    def _explain(self, error: Exception, inputs: Any) -> None:
        """Say how to go on, where that is known.

        Raises
        ------
        LearnerError
            The estimator takes no NaN, or gives weights to no part of it.
        """
        if isinstance(error, UserWarning):
            raise _takes_no_weights(str(self.estimator)) from error
        if "NaN" in str(error) and self.inputs == "features" and self.impute == "none":
            undefined = np.flatnonzero(np.isnan(inputs).any(axis=0))
            if len(undefined):
                names = [self.columns_[column] for column in undefined]
                raise LearnerError(
                    f'"{self.estimator}" takes no NaN, and {len(names)} features are undefined on '
                    f"some battle: {', '.join(names[:5])}",
                    where='parameter "impute"',
                    hint='set impute = "median", or take an estimator that takes NaN',
                ) from error

    def _dumped(self, estimator: Any) -> bytes:
        from ensemble_plugins.sklearn_store import dump_estimator, trusted_names

        module = self._file_module()
        return dump_estimator(estimator, trusted_names(self.trusted, module), module)

    def _file_module(self) -> tuple[str, str] | None:
        """Import the file that the estimator is from; its stem, and its module's name here."""
        from ensemble_plugins.sklearn_estimators import module_of_file

        file, _, _ = str(self.estimator).rpartition(":")
        if not file.endswith(".py"):
            return None
        return Path(file).stem, module_of_file(Path(file)).__name__


def _takes_no_weights(reference: str) -> LearnerError:
    return LearnerError(
        f'"{reference}" takes no weights of rows, and the rows count differently: they have soft '
        "labels, or weights of their sources",
        where='parameter "estimator"',
        hint="take an estimator whose fit has sample_weight (most of scikit-learn's have), or give "
        "every source the same weight and no pseudo-labels",
    )


def _versions() -> dict[str, str]:
    import sklearn
    import skops

    return {"scikit-learn": sklearn.__version__, "skops": skops.__version__}
