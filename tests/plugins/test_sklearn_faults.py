from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.errors import ConfigError, EnsembleError, LearnerError
from ensemble.plugin.base import FitContext
from ensemble.plugin.parameters import build
from ensemble_plugins.sklearn_learner import SklearnLearner
from tests.plugins.sklearn_pipelines import TREES, fit


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"estimator": "sklearn.ensemble.ExtraTreeClassifier"}, r"did you mean \"ExtraTreesCl"),
        ({"estimator": "sklearn.ensembles.Trees"}, 'there is no module "sklearn.ensembles"'),
        ({"estimator": "no_such_package:make"}, 'there is no module "no_such_package"'),
        ({"estimator": "nowhere.py:make"}, "there is no file nowhere.py"),
        ({"estimator": "sklearn.linear_model.Ridge"}, "is a regressor"),
        ({"estimator": "sklearn.preprocessing.StandardScaler"}, "is no classifier"),
        ({"estimator": "sklearn.svm.LinearSVC"}, r"no predict_proba(.|\n)*CalibratedClassifierCV"),
        ({"estimator": "sklearn.__version__"}, "neither a class nor a function"),
        (
            {"estimator": TREES["estimator"], "parameters": {"n_estimator": 3}},
            r"no parameter \"n_estimator\"(.|\n)*did you mean \"n_estimators\"",
        ),
        (
            {"estimator": TREES["estimator"], "parameters": {"max_depth": "deep"}},
            "The 'max_depth' parameter of ExtraTreesClassifier must be",
        ),
    ],
)
def test_what_cannot_be_meant_is_told_before_a_run(
    parameters: Any, message: str, world: Any
) -> None:
    learner = SklearnLearner(features=["length"], **parameters)
    with pytest.raises((EnsembleError, ValueError), match=message):
        learner.preflight(world[0][:12], context=FitContext())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("number", "gives a int, no estimator"),
        ("raises", r"raised RuntimeError: no such weather(.|\n)*my_pipelines.py:"),
        ("mak", 'did you mean "make"'),
        ("own", r"declared: my_pipelines\.Length(.|\n)*trusted = \[\"my_pipelines\.Length\"\]"),
        ("unnamed", "holds what has no name: my_pipelines.<lambda>"),
    ],
)
def test_faults_of_a_pipeline_are_told_before_a_run(
    name: str, message: str, pipelines: Path, world: Any
) -> None:
    learner = SklearnLearner(estimator=f"{pipelines}:{name}", inputs="text")
    with pytest.raises(EnsembleError, match=message):
        learner.preflight(world[0][:12], context=FitContext())


def test_parameters_reach_functions_steps_and_estimators_that_stand_ready(pipelines: Path) -> None:
    learner = SklearnLearner(
        estimator=f"{pipelines}:make",
        inputs="text",
        parameters={"ngram_range": [1, 2], "model__C": 0.3, "tfidf__min_df": 4},
    )
    made = learner._made(FitContext())
    assert made.get_params()["tfidf__ngram_range"] == (1, 2)
    assert (made.get_params()["model__C"], made.get_params()["tfidf__min_df"]) == (0.3, 4)
    ready = SklearnLearner(estimator=f"{pipelines}:READY", features=["length"], impute="median")
    assert ready._made(FitContext()).get_params()["logisticregression__C"] == 0.5
    wrong = SklearnLearner(
        estimator=f"{pipelines}:make", inputs="text", parameters={"modle__C": 1.0}
    )
    with pytest.raises(ConfigError, match=r"did you mean \"model__C\""):
        wrong._made(FitContext())


def test_what_gives_no_distribution_is_an_error(pipelines: Path, world: Any) -> None:
    learner = fit(world, estimator=f"{pipelines}:Odd", features=["length"])
    with pytest.raises(LearnerError, match="gives no distributions"):
        learner.predict_logits(world[0][:3])


def test_a_calibrated_estimator_is_the_way_out_of_no_probabilities(
    pipelines: Path, world: Any
) -> None:
    learner = SklearnLearner(
        estimator=f"{pipelines}:calibrated", features=["length"], impute="median", scale=True
    )
    learner.preflight(world[0][:12], context=FitContext())
    learner.fit(world[0][:200], world[1][:200], context=FitContext())
    assert np.isfinite(learner.predict_logits(world[0])).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"estimator": "ExtraTrees"}, "names no module"),
        ({"estimator": "a.b", "features": []}, "at least one feature set"),
        ({"estimator": "a.b", "inputs": "text", "scale": True}, "are for inputs"),
        ({"estimator": "a.b", "inputs": "texts"}, "inputs"),
        ({"estimatr": "a.b"}, 'did you mean "estimator"'),
    ],
)
def test_a_config_is_checked_without_an_import(parameters: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(SklearnLearner, parameters, where="learner")
