from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ensemble
from ensemble.battles.swap import swap_battles, swap_classes
from ensemble.errors import ArtifactError, ConfigError, EnsembleError, LearnerError
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.plugin.base import CLASSES, LEARNER_COLUMNS, FitContext
from ensemble.plugin.parameters import build, plain_parameters
from ensemble_plugins import sklearn_store
from ensemble_plugins.sklearn_inputs import marked_texts, text_columns
from ensemble_plugins.sklearn_learner import SklearnLearner

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble.plugin.base import FloatArray

TREES: dict[str, Any] = {
    "estimator": "sklearn.ensemble.ExtraTreesClassifier",
    "parameters": {"n_estimators": 40, "min_samples_leaf": 5},
    "features": ["length", "markdown"],
}
LINEAR: dict[str, Any] = {
    "estimator": "sklearn.linear_model.LogisticRegression",
    "parameters": {"C": 0.05},
    "impute": "median",
    "scale": True,
}
PIPELINES = """
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC


class Length(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.most_ = max(map(len, X))
        return self

    def transform(self, X):
        return [[len(text) / self.most_] for text in X]


def make(ngram_range=(1, 1)):
    return Pipeline(
        [
            ("tfidf", TfidfVectorizer(ngram_range=ngram_range, min_df=3)),
            ("model", LogisticRegression()),
        ]
    )


def own():
    return make_pipeline(Length(), LogisticRegression())


def columns():
    parts = [(c, TfidfVectorizer(min_df=3), c) for c in ("prompt", "response_a", "response_b")]
    return make_pipeline(ColumnTransformer(parts), LogisticRegression())


def calibrated():
    return CalibratedClassifierCV(LinearSVC())


def neighbors():
    return CalibratedClassifierCV(KNeighborsClassifier())


def unnamed():
    return make_pipeline(FunctionTransformer(lambda X: [[len(x)] for x in X]), LogisticRegression())


def number():
    return 3


def raises():
    raise RuntimeError("no such weather")


class Odd(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = sorted(set(y))
        return self

    def predict_proba(self, X):
        return [[0.9] * len(self.classes_)] * len(X)


READY = LogisticRegression(C=0.5)
"""


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("beside") / "my_pipelines.py"
    path.write_text(PIPELINES)
    return path


@pytest.fixture(scope="module")
def world() -> tuple[pl.DataFrame, FloatArray]:
    made = ensemble.make_battles(target_rows=500, external_rows=0, test_rows=0).target
    return made.select(LEARNER_COLUMNS), made.select(CLASSES).to_numpy().astype(np.float64)


def fit(
    world: tuple[pl.DataFrame, FloatArray], rows: slice = slice(None), **parameters: Any
) -> SklearnLearner:
    battles, labels = world
    return SklearnLearner(**parameters).fit(battles[rows], labels[rows], context=FitContext(seed=1))


def loss(logits: Any, labels: FloatArray) -> float:
    return float(row_log_loss(labels, softmax(logits)).mean())


@pytest.fixture(scope="module")
def trees(world: tuple[pl.DataFrame, FloatArray]) -> SklearnLearner:
    return fit(world, **TREES)


@pytest.mark.parametrize("settings", [TREES, LINEAR], ids=["trees", "linear"])
def test_it_beats_the_class_prior(settings: Any, world: Any) -> None:
    battles, labels = world
    learner = fit(world, slice(350), **settings | {"features": ["length", "markdown", "lexical"]})
    prior = loss(np.log(labels[:350].mean(axis=0)) + np.zeros((150, 3)), labels[350:])
    assert loss(learner.predict_logits(battles[350:]), labels[350:]) < prior - 0.01


@pytest.mark.parametrize(("name", "inputs"), [("make", "text"), ("columns", "columns")])
def test_pipelines_of_texts_beat_the_class_prior(
    name: str, inputs: Any, pipelines: Path, world: Any
) -> None:
    battles, labels = world
    parts = {"make": "model__C", "columns": "logisticregression__C"}
    learner = fit(
        world,
        slice(350),
        estimator=f"{pipelines}:{name}",
        parameters={parts[name]: 0.1},
        inputs=inputs,
    )
    prior = loss(np.log(labels[:350].mean(axis=0)) + np.zeros((150, 3)), labels[350:])
    assert loss(learner.predict_logits(battles[350:]), labels[350:]) < prior


def test_exchanging_sides_exchanges_logits_exactly(trees: SklearnLearner, world: Any) -> None:
    logits = trees.predict_logits(world[0][:80])
    assert logits.dtype == np.float32
    assert logits.shape == (80, 3)
    np.testing.assert_array_equal(
        trees.predict_logits(swap_battles(world[0][:80])), swap_classes(logits)
    )


def test_one_order_alone_is_not_symmetric(world: Any) -> None:
    learner = fit(world, **TREES, swap_augmentation=False, swap_tta=False)
    logits = learner.predict_logits(world[0][:80])
    swapped = learner.predict_logits(swap_battles(world[0][:80]))
    assert not np.allclose(swapped, swap_classes(logits), atol=0.01)


def test_a_row_alone_is_predicted_as_in_a_batch(trees: SklearnLearner, world: Any) -> None:
    logits = trees.predict_logits(world[0][:10])
    alone = np.concatenate([trees.predict_logits(world[0][[row]]) for row in range(10)])
    np.testing.assert_allclose(alone, logits, atol=1e-6)
    assert trees.predict_logits(world[0][:0]).shape == (0, 3)


def test_the_seed_alone_decides_and_threads_do_not(world: Any) -> None:
    battles, labels = world
    one, same, other = (
        SklearnLearner(**TREES)
        .fit(battles, labels, context=FitContext(seed=seed, threads=threads))
        .predict_logits(battles[:50])
        for seed, threads in ((3, 1), (3, 2), (4, 1))
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_random_state_of_the_config_stays() -> None:
    learner = SklearnLearner(estimator="sklearn.tree.DecisionTreeClassifier", features=["length"])
    assert learner._made(FitContext(seed=2**40 + 5)).random_state == 5
    learner = SklearnLearner(
        estimator="sklearn.tree.DecisionTreeClassifier", parameters={"random_state": 9}
    )
    assert learner._made(FitContext(seed=5)).random_state == 9


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shares=st.lists(
        st.sampled_from([(4, 0, 0), (2, 1, 1), (1, 3, 0), (0, 2, 2)]), min_size=40, max_size=40
    )
)
def test_a_soft_label_is_as_many_rows_as_its_shares(shares: Any, world: Any) -> None:
    battles, counts = world[0][:40], np.array(shares, dtype=np.int64)
    tree: dict[str, Any] = {"estimator": "sklearn.tree.DecisionTreeClassifier"}
    tree |= {"features": ["length"], "parameters": {"max_depth": 3}}
    soft = SklearnLearner(**tree).fit(battles, counts / 4, context=FitContext())
    rows = np.repeat(np.arange(40), 4)
    hard = np.concatenate([np.repeat(np.eye(3), own, axis=0) for own in counts])
    copies = SklearnLearner(**tree).fit(battles[rows], hard, context=FitContext())
    np.testing.assert_allclose(
        soft.predict_logits(battles), copies.predict_logits(battles), atol=1e-4
    )


def test_weights_count_as_copies_and_only_by_their_ratios(world: Any) -> None:
    battles, labels = world[0][:120], world[1][:120]
    weight = np.where(np.arange(120) % 3 == 0, 2.0, 1.0)
    settings = {"estimator": "sklearn.tree.DecisionTreeClassifier", "features": ["length"]}
    settings["parameters"] = {"max_depth": 3}  # type: ignore[assignment]
    fits = [
        SklearnLearner(**settings)  # type: ignore[arg-type]
        .fit(battles, labels, sample_weight=given, context=FitContext())
        .predict_logits(battles)
        for given in (weight, 7 * weight, None)
    ]
    np.testing.assert_allclose(fits[0], fits[1], atol=1e-6)
    assert not np.allclose(fits[0], fits[2])
    rows = np.repeat(np.arange(120), weight.astype(int))
    copies = SklearnLearner(**settings)  # type: ignore[arg-type]
    copies.fit(battles[rows], labels[rows], context=FitContext())
    np.testing.assert_allclose(copies.predict_logits(battles), fits[0], atol=1e-5)


@pytest.mark.parametrize("name", ["neighbors", None])
def test_weights_that_would_be_ignored_are_refused(
    name: str | None, pipelines: Path, world: Any
) -> None:
    """Also those of a part of the estimator, of which scikit-learn only warns."""
    estimator = f"{pipelines}:{name}" if name else "sklearn.neighbors.KNeighborsClassifier"
    learner = SklearnLearner(estimator=estimator, features=["length"], impute="median")
    equal, weight = np.full(100, 3.0), np.arange(1.0, 101)
    learner.fit(world[0][:100], world[1][:100], sample_weight=equal, context=FitContext())
    with pytest.raises(LearnerError, match=r"takes no weights of rows(.|\n)*sample_weight"):
        learner.fit(world[0][:100], world[1][:100], sample_weight=weight, context=FitContext())


def test_weights_reach_the_last_step_of_a_pipeline(world: Any) -> None:
    battles, labels = world[0][:120], world[1][:120]
    ties = np.where(labels[:, 2] == 1, 9.0, 1.0)
    learners = [
        SklearnLearner(**LINEAR, features=["length"]).fit(
            battles, labels, sample_weight=weight, context=FitContext()
        )
        for weight in (None, ties)
    ]
    plain, tied = (learner.predict_logits(battles)[:, 2].mean() for learner in learners)
    assert tied > plain + 0.5


def test_classes_that_no_row_has_are_improbable(world: Any) -> None:
    battles, labels = world
    decided = labels[:, 2] == 0
    learner = SklearnLearner(**TREES)
    learner.fit(battles.filter(decided), labels[decided], context=FitContext())
    np.testing.assert_allclose(learner.predict_logits(battles)[:, 2], np.log(1e-6), rtol=1e-5)
    tied = SklearnLearner(**LINEAR, features=["length"])
    tied.fit(battles.filter(~decided), labels[~decided], context=FitContext())
    np.testing.assert_allclose(tied.predict_logits(battles)[:, 2], 0)


def test_undefined_features_are_never_filled_unasked(world: Any) -> None:
    nothing = pl.lit([None], dtype=pl.List(pl.String))
    some = pl.int_range(pl.len()) % 3 == 0
    undefined = world[0].with_columns(
        response_a=pl.when(some).then(nothing).otherwise("response_a")
    )
    settings = LINEAR | {"impute": "none", "features": ["length", "markdown", "lexical"]}
    with pytest.raises(LearnerError, match=r"takes no NaN, and \d+ features(.|\n)*impute = \"med"):
        fit((undefined, world[1]), **settings)
    with pytest.raises(LearnerError, match="takes no NaN"):
        SklearnLearner(**settings).preflight(undefined[:6], context=FitContext())
    filled = fit((undefined, world[1]), **settings | {"impute": "median"})
    assert np.isfinite(filled.predict_logits(undefined)).all()
    takes_nan = fit((undefined, world[1]), **TREES | {"features": settings["features"]})
    assert np.isfinite(takes_nan.predict_logits(undefined)).all()


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


LOAD = """
import sys
from pathlib import Path
import numpy as np, polars as pl
from ensemble.plugin.parameters import build
from ensemble_plugins.sklearn_learner import SklearnLearner
import json
place = Path(sys.argv[1])
parameters = json.loads((place / "parameters.json").read_text())
learner = build(SklearnLearner, parameters, where="test").load(place / "model")
logits = learner.predict_logits(pl.read_parquet(place / "battles.parquet"))
assert np.array_equal(logits, np.load(place / "logits.npy")), "other logits"
"""


def test_a_model_comes_back_in_another_process(pipelines: Path, world: Any, tmp_path: Path) -> None:
    import json

    parameters: dict[str, Any] = {
        "estimator": f"{pipelines}:own",
        "inputs": "text",
        "trusted": ["my_pipelines.Length"],
    }
    learner = fit(world, **parameters)
    (tmp_path / "model").mkdir()
    learner.save(tmp_path / "model")
    world[0][:20].write_parquet(tmp_path / "battles.parquet")
    np.save(tmp_path / "logits.npy", learner.predict_logits(world[0][:20]))
    (tmp_path / "parameters.json").write_text(json.dumps(parameters))
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_type_that_is_not_declared_is_neither_stored_nor_read(
    pipelines: Path, world: Any, tmp_path: Path
) -> None:
    parameters: dict[str, Any] = {"estimator": f"{pipelines}:own", "inputs": "text"}
    with pytest.raises(LearnerError, match=r"trusted = \[\"my_pipelines.Length\"\]"):
        fit(world, **parameters).save(tmp_path)
    fit(world, **parameters, trusted=["my_pipelines.Length"]).save(tmp_path)
    with pytest.raises(ArtifactError, match=r"nobody has declared: my_pipelines"):
        SklearnLearner(**parameters).load(tmp_path)


def test_a_damaged_or_foreign_model_is_told(
    trees: SklearnLearner, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["estimator.skops", "sklearn.json"]
    same = SklearnLearner(**plain_parameters(trees)).load(tmp_path)
    np.testing.assert_array_equal(same.predict_logits(world[0]), trees.predict_logits(world[0]))
    other = SklearnLearner(**TREES | {"features": ["length"]}).load(tmp_path)
    with pytest.raises(ArtifactError, match="other columns"):
        other.predict_logits(world[0][:3])
    monkeypatch.setattr("sklearn.__version__", "0.1")
    with pytest.raises(ArtifactError, match=r"'scikit-learn': '0.1'"):
        SklearnLearner(**TREES).load(tmp_path)
    monkeypatch.undo()
    path = tmp_path / "estimator.skops"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ArtifactError, match="stored estimator cannot be read"):
        SklearnLearner(**TREES).load(tmp_path)


def test_code_and_versions_are_in_the_key_and_places_are_not(
    pipelines: Path, tmp_path: Path
) -> None:
    def known(path: Path, name: str = "make") -> Any:
        return SklearnLearner(estimator=f"{path}:{name}", inputs="text").dependencies()["estimator"]

    copy, changed = tmp_path / "my_pipelines.py", tmp_path / "other" / "my_pipelines.py"
    copy.write_text("# moved\n" + PIPELINES)
    changed.parent.mkdir()
    changed.write_text(PIPELINES.replace("C=0.5", "C=0.6"))
    assert known(pipelines) == known(copy)
    assert known(pipelines, "READY") != known(changed, "READY")
    assert set(known(copy)["versions"]) == {"scikit-learn"}
    assert known(copy)["reference"] == "my_pipelines.py:make"


def test_a_file_is_found_from_the_config_on(pipelines: Path) -> None:
    parameters = {"estimator": "my_pipelines.py:make", "inputs": "text"}
    learner = build(SklearnLearner, parameters, where="learner", anchor=pipelines.parent)
    assert str(learner.estimator) == f"{pipelines}:make"
    assert learner._made(FitContext()).steps[0][0] == "tfidf"


def test_texts_say_who_said_each_word() -> None:
    battles = pl.DataFrame(
        {
            "id": ["1"],
            "prompt": [["Hi there", "and?"]],
            "response_a": [["Yes, it's 5!", None]],
            "response_b": [[None, "größer"]],
        }
    )
    assert list(marked_texts(battles, swapped=False)) == [
        "Hi there\nand?\na_Yes, a_it'a_s a_5!\n\n\nb_größer"
    ]
    assert list(marked_texts(battles, swapped=True)) == [
        "Hi there\nand?\n\na_größer\nb_Yes, b_it'b_s b_5!\n"
    ]
    assert text_columns(battles, swapped=True).row(0) == (
        "Hi there\nand?",
        "\ngrößer",
        "Yes, it's 5!\n",
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_classifier_of_scikit_learn_needs_a_declared_type() -> None:
    from sklearn.utils import all_estimators

    rng = np.random.default_rng(0)
    inputs, labels = np.abs(rng.normal(size=(90, 4))), np.arange(90) % 3
    seen = []
    for name, kind in all_estimators("classifier"):
        try:
            made = kind()
        except TypeError:  # it is made around another estimator
            continue
        if hasattr(made, "predict_proba") and name != "SelfTrainingClassifier":
            sklearn_store.dump_estimator(made.fit(inputs, labels), {}, None)
            seen.append(name)
    assert len(seen) > 20


@pytest.mark.slow
def test_a_config_goes_through_a_whole_run(
    project: Any, pipelines: Path, use_plugins: Callable[..., None]
) -> None:
    (project.path / "my_pipelines.py").write_text(PIPELINES)
    config = project.config(
        [
            {"name": "trees", "plugin": "sklearn", **TREES},
            {
                "name": "words",
                "plugin": "sklearn",
                "estimator": "my_pipelines.py:own",
                "inputs": "text",
                "trusted": ["my_pipelines.Length"],
            },
        ]
    )
    made = ensemble.run(config)
    assert made.learners == ["trees", "words"]
    assert np.isfinite(made.submission.select(CLASSES).to_numpy()).all()
    assert len(made.predict(project.path / "test.csv")) == 9


def test_a_wrong_estimator_stops_a_run_before_it_fits(
    project: Any, use_plugins: Callable[..., None]
) -> None:
    learner = {"name": "trees", "plugin": "sklearn", **TREES}
    for changed, message in (
        ({"parameters": {"n_estimator": 5}}, r"\"n_estimator\"(.|\n)*did you mean \"n_estimators"),
        ({"estimator": "sklearn.svm.LinearSVC", "parameters": {}}, "CalibratedClassifierCV"),
    ):
        with pytest.raises(EnsembleError, match=message) as caught:
            ensemble.run(project.config([learner | changed]))
        assert 'learner "trees"' in str(caught.value)
        assert caught.value.exit_code == 2
    assert not list((project.path / "run" / "learners").glob("*/fold-0/manifest.json"))
