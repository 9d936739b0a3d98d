from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

import ensemble
from ensemble.errors import ArtifactError, EnsembleError, LearnerError
from ensemble.plugin.base import CLASSES, FitContext
from ensemble.plugin.parameters import build, plain_parameters
from ensemble_plugins import sklearn_store
from ensemble_plugins.sklearn_inputs import marked_texts, text_columns
from ensemble_plugins.sklearn_learner import SklearnLearner
from tests.plugins.sklearn_pipelines import PIPELINES, TREES, fit

if TYPE_CHECKING:
    from collections.abc import Callable


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
