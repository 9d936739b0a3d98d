"""The learner that studies of sources fit where the config names none.

It is the same at every size, so that more rows never take less time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemble_features.catalog import FAMILIES
from ensemble_plugins.handcrafted import Handcrafted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.plugin.suggestion import DataSummary, Machine, Suggestion


class Proxy(Handcrafted):
    """Boosted trees on the columns of feature sets, few of them and with large steps.

    A study fits a dozen ways to use a source, times folds and seeds. This learner ranks them in
    little time; as a base learner ``handcrafted`` predicts better. Every tree sees all rows: one
    that sees a part of them sees a row that stands twice more often, so that copies of rows of the
    target would gain.

    Parameters
    ----------
    features, n_models, n_estimators, early_stopping_rounds, learning_rate, feature_fraction
        As ``handcrafted`` has them.
    """

    def __init__(
        self,
        *,
        features: Sequence[str] = FAMILIES,
        n_models: int = 3,
        n_estimators: int = 60,
        early_stopping_rounds: int = 10,
        learning_rate: float = 0.15,
        feature_fraction: float = 0.06,
    ) -> None:
        super().__init__(
            features=features,
            n_models=n_models,
            n_estimators=n_estimators,
            early_stopping_rounds=early_stopping_rounds,
            learning_rate=learning_rate,
            feature_fraction=feature_fraction,
            bagging_fraction=1.0,
        )

    @classmethod
    def suggest(cls, data: DataSummary, machine: Machine) -> Sequence[Suggestion]:  # noqa: ARG003
        """Suggest nothing: as a base learner ``handcrafted`` is better."""
        return []
