from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from ensemble import CLASSES, Config, errors, make_battles, run
from ensemble.audit.audit import audit_run
from ensemble.battles.loading import load_battles
from ensemble.config.load import load_config, load_run_config
from ensemble.datasets.battles import write_battles
from ensemble.stages.check import check_stage
from ensemble.stages.work import writing
from ensemble.storage.directories import read_manifest
from ensemble.submission.new_rows import predict_battles
from ensemble_plugins.language_model.train.training import Training

if TYPE_CHECKING:
    from pathlib import Path

tiny = importlib.import_module("tests.plugins.language_model.tiny_training")

pytestmark = [
    pytest.mark.slow,
    # What transformers does where it defines DeBERTa.
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]

CONFIG = """
run_dir = "{run}"
seed = 7
[[sources]]
name = "people"
path = "data/train.csv"
role = "target"
[[sources]]
name = "benchmark"
path = "data/external.parquet"
role = "pretrain"
[test]
path = "data/test.csv"
[folds]
n_splits = 2
[[learners]]
name = "handcrafted"
plugin = "handcrafted"
features = ["length"]
{learners}
[stack]
meta_learner = "lightgbm"
resamples = 200
[execution]
threads = 1
device = "cpu"
"""
LEARNER = """
[[learners]]
name = "{family}"
plugin = "{plugin}"
model = "{model}"
rank = 4
alpha = 8.0
train_length = 160
predict_length = 200
token_budget = 900
predict_token_budget = 2000
learning_rate = 3e-3
batch_size = 6
{more}
"""
PLUGINS = {"gemma2": "gemma2-lora", "llama3": "llama3-lora", "deberta": "deberta"}
MORE = {"gemma2": "swap_augmentation = true", "llama3": "early_stopping = true", "deberta": ""}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("project")
    drawn = make_battles(target_rows=60, external_rows=30, test_rows=20, seed=1)
    write_battles(drawn, place / "data")
    for family in PLUGINS:
        tiny.tiny_models.save_checkpoint(family, place / "models" / family)
    return place


def _config(project: Path, name: str, families: tuple[str, ...], **more: str) -> Config:
    learners = "".join(
        LEARNER.format(
            family=family,
            plugin=PLUGINS[family],
            model=f"models/{family}",  # as every path of a config: from its directory on
            more=f"{MORE[family]}\n{more.get(family, '')}",
        )
        for family in families
    )
    path = project / f"{name}.toml"
    path.write_text(CONFIG.format(run=name, learners=learners))
    return load_config(path)


def _here(config: Config) -> Config:
    """Fit in this process, where a test can reach what is fitted."""
    execution = config.execution.model_copy(update={"executor": "in-process"})
    return config.model_copy(update={"execution": execution})


def _oof(place: Path, learner: str) -> pl.DataFrame:
    parts = sorted((place / "learners" / learner).glob("fold-*/oof.parquet"))
    return pl.concat([pl.read_parquet(part) for part in parts]).sort("id")


def test_three_language_models_go_the_whole_way(project: Path) -> None:
    config = _config(project, "whole", tuple(PLUGINS))
    place = run(config).directory
    submission = pl.read_csv(place / "submission.csv", schema_overrides={"id": pl.String})
    assert len(submission) == 20
    assert submission.drop("id").sum_horizontal().is_between(0.999, 1.001).all()
    candidates = json.loads((place / "stack" / "candidates.json").read_text())["candidates"]
    weights = next(each["description"]["weights"] for each in candidates if each["name"] == "mean")
    assert weights == dict.fromkeys(["handcrafted", *PLUGINS], 0.25)
    assert "lightgbm" in {candidate["name"] for candidate in candidates}
    assert audit_run(place).ok
    for family in PLUGINS:
        logits = _oof(place, family)
        assert len(logits) == 60
        assert logits["logit_a"].n_unique() > 30
        _check_fold(place / "learners" / family / "fold-0", family)
    assert not list(place.glob("checkpoints/*/*"))
    before = {path: path.stat().st_mtime_ns for path in place.glob("learners/*/*/manifest.json")}
    assert len(before) == 8
    run(config)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with writing(config) as reporter:
        findings = check_stage(config, reporter, ["gemma2"], rows=4)
    assert all(finding.ok for finding in findings), findings
    (own,) = (finding for finding in findings if finding.what == "own check")
    assert own.measured["drift_in_training"] < 1e-5


def _check_fold(fold: Path, family: str) -> None:
    manifest = json.loads((fold / "manifest.json").read_text())
    assert manifest["pretrain"] == "used"
    assert 0 < manifest["rows"]["pretrain"] <= 30
    assert "weights" in json.dumps(manifest["key_parts"])
    facts = json.loads((fold / "model" / "facts.json").read_text())
    assert facts["packed"] is (family != "deberta")
    assert facts["drift_from_float32"] < 1e-4


def test_a_kill_in_a_fold_resumes_from_its_snapshot(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Training._step
    done: list[int] = []

    def step(self: Training, parts: Any) -> Any:
        done.append(self.progress.step)
        if len(done) == killed:
            raise KeyboardInterrupt
        return plain(self, parts)

    monkeypatch.setattr(Training, "_step", step)
    often, killed = "checkpoint_minutes = 0.0\ndropout = 0.1", -1
    whole = run(_here(_config(project, "at_once", ("gemma2",), gemma2=often))).directory
    wanted, steps = _oof(whole, "gemma2"), len(done)
    done.clear()
    killed = steps - 1  # in the second fold, after its pretraining
    config = _here(_config(project, "killed", ("gemma2",), gemma2=often))
    with pytest.raises((KeyboardInterrupt, errors.LearnerError)):
        run(config)
    place = project / "killed"
    (kept,) = place.glob("checkpoints/gemma2/*")
    assert {path.name for path in kept.iterdir()} == {"pretrain", "fit"}
    done.clear()
    killed = -1
    run(config)
    assert len(done) == 2
    assert done[0] > 0
    assert _oof(place, "gemma2").equals(wanted)
    assert audit_run(place).ok


def test_moved_weights_fit_nothing_anew_and_other_weights_are_refused(project: Path) -> None:
    config = _config(project, "moving", ("gemma2",))
    place = run(config).directory
    manifests = {path: path.read_bytes() for path in place.glob("learners/*/*/manifest.json")}
    rows = pl.read_csv(project / "data" / "test.csv", infer_schema=False)
    submitted = predict_battles(load_run_config(place), _read(project))

    models, moved = project / "models", project / "moved"
    models.rename(moved)
    try:
        with pytest.raises(errors.LearnerError, match="the model cannot be loaded") as error:
            predict_battles(load_run_config(place), _read(project))
        assert "say so in `model` of the config, of a run in its config.toml" in str(error.value)
        with pytest.raises(errors.EnsembleError, match="the model cannot be loaded"):
            run(config)

        text = (place / "config.toml").read_text()
        _, _, unsealed = text.partition("\n")
        (place / "config.toml").write_text(unsealed.replace("models/gemma2", str(moved / "gemma2")))
        again = predict_battles(load_run_config(place), _read(project))
        assert len(rows) == len(again)
        assert (again == submitted).all()

        path = project / "moving.toml"
        path.write_text(path.read_text().replace("models/gemma2", "moved/gemma2"))
        run(load_config(path))
        assert {path: path.read_bytes() for path in manifests} == manifests

        weights = moved / "gemma2" / "model.safetensors"
        kept = weights.read_bytes()
        weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(errors.ArtifactError, match="depends on model, which has changed"):
            predict_battles(load_run_config(place), _read(project))
        weights.write_bytes(kept)
    finally:
        moved.rename(models)


def _read(project: Path) -> pl.DataFrame:
    return load_battles(
        project / "data" / "test.csv", source="test", role="test", is_test=True
    ).battles


def test_a_soup_predicts_in_the_place_of_the_folds_and_is_exported(project: Path) -> None:
    with_folds = _config(project, "soup", ("llama3", "deberta"), llama3="seeds = 2")
    plain = {learner.name: learner.models for learner in with_folds.learners}
    assert set(plain.values()) == {None}
    learners = [
        one.model_copy(update={"models": None if one.name in PLUGINS else "folds"})
        for one in with_folds.learners
    ]
    predict = with_folds.predict.model_copy(update={"models": "soup"})
    config = with_folds.model_copy(update={"learners": learners, "predict": predict})
    found = run(config)
    assert found.audit(deep=True).ok
    for name in ("llama3", "deberta"):
        check = read_manifest(found.directory / f"learners/{name}/soup")["check"]
        assert check["rows"] == 20
        assert check["kl"] < 1e-3
    new = load_battles(project / "data" / "test.csv", source="test", role="test", is_test=True)
    again = predict_battles(load_run_config(found.directory), new.battles)
    expected = found.submission.select(CLASSES).to_numpy()
    np.testing.assert_allclose(again, expected, atol=1e-4)
    told = found.export("llama3", project / "exported", soup=True, seed=1)
    assert told["rows"] == 20
    assert told["max_difference"] <= told["allowed"]
    assert (project / "exported" / "model.safetensors").exists()
    told = found.export("deberta", project / "exported-fold", fold=1)
    assert told["max_difference"] <= told["allowed"]
