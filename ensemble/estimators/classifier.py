"""A learner as a classifier of scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from ensemble.battles.frames import read_table
from ensemble.battles.schema import learner_view
from ensemble.errors import EnsembleError, InputError, LearnerError, nearest
from ensemble.estimators.training import training_stages
from ensemble.oof.calls import predict_validated
from ensemble.plugin.base import BaseLearner, FitContext
from ensemble.plugin.faults import call_plugin
from ensemble.plugin.manager import get_manager
from ensemble.plugin.parameters import build, constructor_parameters, plain_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from ensemble.battles.turns import TextFormat
    from ensemble.estimators.external import ExternalRows
    from ensemble.oof.rows import TrainingRows
    from ensemble.plugin.base import FloatArray, LogitArray

_PREFIX = "learner__"


class BattleClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A base learner where scikit-learn expects a classifier.

    ``X`` is a table of battles, Polars or pandas: ``prompt``, ``response_a``, ``response_b``, and
    best an ``id``; the columns ``role`` and ``cluster`` say what ``fit`` is not given. ``y`` holds
    names of ``CLASSES`` or their numbers 0, 1, 2; shares ``(n, 3)`` where labels are soft, or
    ``(n, 2)`` where there are no ties. A class that ``y`` lacks is left out of ``classes_`` and of
    all probabilities: without ties there are two. See `docs/sklearn.md`.

    Parameters
    ----------
    learner
        The registered name of a base learner, a class of one, or an instance, which is not fitted.
    parameters
        Its parameters, by name. To scikit-learn they are ``learner__<name>``.
    text_format
        What a string in a text column is: a JSON list of turns, or one plain turn.
    random_state
        Seed of the learner.
    threads
        CPU threads that a fit may use.
    device
        As ``FitContext`` has it.
    cache_directory
        Where features and token ids are kept from one fit to another; None keeps none.

    Attributes
    ----------
    classes_
        ``(k,)`` the classes of ``y``, sorted: the columns of ``predict_proba``.
    learner_
        The fitted learner, which can be saved: ``learner_.save(directory)``.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> search = GridSearchCV(
    ...     BattleClassifier("tfidf"),
    ...     {"learner__ridge": [1.0, 4.0]},
    ...     cv=SourceAwareGroupKFold(5),
    ...     scoring="neg_log_loss",
    ... )  # doctest: +SKIP
    """

    __metadata_request__fit = {"groups": True, "roles": True, "external": True}  # noqa: RUF012

    def __init__(
        self,
        learner: str | type[BaseLearner] | BaseLearner = "handcrafted",
        *,
        parameters: Mapping[str, Any] | None = None,
        text_format: TextFormat = "json",
        random_state: int = 0,
        threads: int = 1,
        device: str = "auto",
        cache_directory: str | Path | None = None,
    ) -> None:
        self.learner = learner
        self.parameters = parameters
        self.text_format = text_format
        self.random_state = random_state
        self.threads = threads
        self.device = device
        self.cache_directory = cache_directory

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Give the parameters; with ``deep`` those of the learner too, ``learner__<name>``."""
        own: dict[str, Any] = super().get_params(deep=False)
        if deep:
            with suppress(
                EnsembleError
            ):  # scikit-learn asks at any time; `fit` tells what is wrong
                own |= {f"{_PREFIX}{name}": value for name, value in self._settings().items()}
        return own

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of the learner by ``learner__<name>``.

        Raises
        ------
        ValueError
            A parameter is unknown; the nearest is named.
        """
        super().set_params(**{n: v for n, v in params.items() if not n.startswith(_PREFIX)})
        nested = {n.removeprefix(_PREFIX): v for n, v in params.items() if n.startswith(_PREFIX)}
        if nested:
            known = constructor_parameters(self._kind())
            for name in nested:
                if name not in known:
                    raise ValueError(
                        f'{self._where} has no parameter "{name}": {nearest(name, known)}'
                    )
            self.parameters = {**(self.parameters or {}), **nested}
        return self

    def fit(
        self,
        X: Any,  # noqa: N803 - scikit-learn's signature
        y: Any,
        *,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        roles: Sequence[str] | None = None,
        external: ExternalRows | None = None,
    ) -> Self:
        """Learn from battles.

        Parameters
        ----------
        X
            A table of ``n`` battles.
        y
            Their labels.
        sample_weight
            ``(n,)`` weights.
        groups
            ``(n,)`` cluster of each row, by which a learner holds rows out for early stopping. None
            takes the column ``cluster``, or finds near duplicates.
        roles
            ``(n,)`` role of each row; None takes the column ``role``, or ``target`` for all. Rows
            of role ``pretrain`` are a stage of their own; a learner without one leaves them out,
            with a warning. Others than those learned from are left out. Roles need metadata
            routing, without which no splitter would see them.
        external
            Rows that are learned from too, but for those whose cluster this fit does not see.

        Raises
        ------
        InputError
            The table, the labels or the parameters are wrong.
        LearnerError
            The learner raised.
        """
        battles = read_table(X, self.text_format)
        stages = training_stages(
            battles,
            y,
            sample_weight=sample_weight,
            groups=groups,
            roles=roles,
            external=external,
        )
        self.learner_ = self._fitted(stages.train, stages.pretrain)
        self.classes_, self._numbers = stages.read.classes, stages.read.numbers
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Give the likeliest class of each battle, as ``y`` spelled it."""
        logits = self._logits(X)
        return self.classes_[logits.argmax(axis=1)]  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> FloatArray:  # noqa: N803
        """Give probabilities ``(n, k)``, a column for each of ``classes_``."""
        return np.asarray(softmax(self._logits(X), axis=1))

    def predict_log_proba(self, X: Any) -> FloatArray:  # noqa: N803
        """Give the logarithms of ``predict_proba``."""
        return np.asarray(log_softmax(self._logits(X), axis=1))

    def decision_function(self, X: Any) -> FloatArray:  # noqa: N803
        """Give logits ``(n, k)``; of two classes ``(n,)``, the second's less the first's."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def _logits(self, X: Any) -> FloatArray:  # noqa: N803
        check_is_fitted(self)
        battles = learner_view(read_table(X, self.text_format))
        logits: LogitArray = predict_validated(self.learner_, battles, self._where)
        return logits.astype(np.float64)[:, self._numbers]

    def _fitted(self, train: TrainingRows, pretrain: TrainingRows) -> BaseLearner:
        learner: Any = self._made()
        if len(pretrain.battles) and hasattr(learner, "pretrain"):
            self._learn("pretrain", learner.pretrain, pretrain)
            train = train.watched_apart_from(pretrain)
        elif len(pretrain.battles):
            warnings.warn(
                f"{len(pretrain.battles)} rows of role pretrain are left out: {self._where} has no "
                "stage for them",
                stacklevel=3,
            )
        self._learn("fit", learner.fit, train)
        return learner  # type: ignore[no-any-return]

    def _learn(self, verb: str, method: Any, rows: TrainingRows) -> None:
        context = replace(self._context(), eval_mask=rows.eval_mask)
        options = {"sample_weight": rows.weight, "groups": rows.groups, "context": context}
        call_plugin(verb, self._where, lambda: method(rows.battles, rows.labels, **options))

    def _context(self) -> FitContext:
        cache = None if self.cache_directory is None else Path(self.cache_directory)
        if cache is not None:
            cache.mkdir(parents=True, exist_ok=True)
        return FitContext(
            seed=int(self.random_state),
            device=self.device,
            threads=self.threads,
            cache_directory=cache,
        )

    def _made(self) -> BaseLearner:
        values = {name: _plain(value) for name, value in self._given().items()}
        learner = build(self._kind(), values, where=self._where)
        if learner.teachers:
            raise LearnerError(f"{self._where} has teachers, which only a run can ask")
        return learner

    def _kind(self) -> type[BaseLearner]:
        if isinstance(self.learner, str):
            return get_manager().base_learners.get(self.learner)
        kind = self.learner if isinstance(self.learner, type) else type(self.learner)
        if not issubclass(kind, BaseLearner):
            raise InputError(
                f"{kind.__name__} is no base learner",
                hint="give a registered name, a class of BaseLearner or an instance",
            )
        return kind

    def _given(self) -> dict[str, Any]:
        """Give the parameters that are set, of an instance all."""
        if not isinstance(self.parameters, Mapping | NoneType):
            raise InputError(
                f"the parameters of a learner are no {type(self.parameters).__name__}",
                hint='give them by name: parameters={"ridge": 2.0}',
            )
        is_made = isinstance(self.learner, BaseLearner)
        return {**(plain_parameters(self.learner) if is_made else {}), **(self.parameters or {})}

    def _settings(self) -> dict[str, Any]:
        """Give all parameters of the learner that have a value."""
        found = constructor_parameters(self._kind())
        defaults = {n: p.default for n, p in found.items() if p.default is not p.empty}
        return {**defaults, **self._given()}

    @property
    def _where(self) -> str:
        name = self.learner if isinstance(self.learner, str) else self._kind().__name__
        return f'learner "{name}"'


def _plain(value: Any) -> Any:
    """Give a value as a config has it: grids hold NumPy's numbers."""
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value
