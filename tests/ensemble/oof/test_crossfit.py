from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ensemble import errors
from ensemble.config.source_settings import SourceSettings
from ensemble.oof import rows as rows_module
from ensemble.oof.calls import check_logits
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.eval_set import EvalSet
from ensemble.oof.rows import TrainingRows
from ensemble.oof.store import FoldStore
from ensemble.oof.workspace import Workspace
from ensemble.plugin.manager import get_manager
from tests.ensemble.oof.named_specs import make_spec
from tests.ensemble.oof.prepared import prepared

if TYPE_CHECKING:
    from tests.fakes import Prior
    from tests.fixture_types import Project


def _with_pretraining(project: Project) -> Workspace:
    sources = [source.model_dump(exclude_none=True) for source in project.config().sources]
    sources[1]["role"] = "pretrain"
    return prepared(project.config(sources=sources))


def test_a_fold_never_sees_its_held_out_rows_nor_their_clusters(
    space: Workspace, fake_learners: type[Prior]
) -> None:
    spec = make_spec("prior", space.run)
    frame = space.plan.frame
    for fold in range(3):
        fit_fold(space, spec, fold)
        seen = frame.filter(pl.col("id").is_in(fake_learners.seen[fold]["ids"]))
        held_out = frame.filter(pl.col("fold") == fold)
        assert not set(seen["cluster"]) & set(held_out["cluster"])
        assert "test" not in set(seen["role"])
        recorded = pl.read_parquet(space.store.directory("x", fold) / "train_ids.parquet")
        assert recorded["id"].to_list() == sorted(fake_learners.seen[fold]["ids"])
        predicted = pl.read_parquet(space.store.directory("x", fold) / "oof.parquet")
        assert set(predicted["id"]) == set(held_out["id"])


def test_a_learner_sees_no_label_column_model_name_or_source(
    space: Workspace, fake_learners: type[Prior]
) -> None:
    fit_fold(space, make_spec("prior", space.run), 0)
    assert fake_learners.seen[0]["columns"] == ["id", "prompt", "response_a", "response_b"]


def test_labels_weights_and_groups_belong_to_their_rows(
    space: Workspace, fake_learners: type[Prior]
) -> None:
    fit_fold(space, make_spec("prior", space.run), 0)
    seen = fake_learners.seen[0]
    rows = {row["id"]: row for row in space.battles.to_dicts()}
    clusters = dict(space.plan.frame.select("id", "cluster").iter_rows())
    for i, name in enumerate(seen["ids"]):
        assert seen["labels"][i].tolist() == [
            rows[name][c] for c in ("label_a", "label_b", "label_tie")
        ]
        assert seen["weights"][i] == (0.5 if rows[name]["source"] == "extra" else 1.0)
        assert seen["groups"][i] == clusters[name]


def test_a_learner_is_told_which_rows_it_is_judged_on(
    project: Project, space: Workspace, fake_learners: type[Prior]
) -> None:
    fit_fold(space, make_spec("prior", space.run), 0)
    seen = fake_learners.seen[0]
    told = seen["context"].eval_mask.tolist()
    assert told == [name.startswith("arena") for name in seen["ids"]]
    assert seen["context"].offset is None
    alone = space.with_uses({"extra": SourceSettings("ignore")}, run=space.run / "alone")
    fit_fold(alone, make_spec("prior", space.run), 0)
    assert fake_learners.seen[1]["context"].eval_mask is None


def test_an_offset_is_never_left_out_in_silence(space: Workspace) -> None:
    use = SourceSettings("train", logit_adjustment=True)
    other = space.with_uses({"extra": use}, run=space.run / "other")
    with pytest.raises(
        errors.ConfigError, match='"extra" has logit_adjustment = true(.|\n)*plugin "prior"'
    ):
        fit_fold(other, make_spec("prior", space.run), 0)


def test_changing_a_held_out_label_changes_nothing_of_the_fold(
    project: Project, space: Workspace, fake_learners: type[Prior]
) -> None:
    spec = make_spec("prior", space.run)
    fit_fold(space, spec, 0)
    before = fake_learners.seen[-1]
    flipped = space.battles.with_columns(
        label_a=pl.when(space.plan.held_out(0)).then(1.0 - pl.col("label_a")).otherwise("label_a")
    )
    poisoned = replace(space, battles=flipped, data_key="other")
    fit_fold(poisoned, spec, 0)
    after = fake_learners.seen[-1]
    assert before["ids"] == after["ids"]
    assert np.array_equal(before["labels"], after["labels"])
    assert before["context"].seed == after["context"].seed


def test_pretraining_rows_reach_pretrain_alone_and_are_cut_and_recorded(
    project: Project, fake_learners: type[Prior]
) -> None:
    space = _with_pretraining(project)
    manager = get_manager().base_learners
    pretrained = manager.get("pretrained").pretrained  # type: ignore[attr-defined]
    fit_fold(space, make_spec("pretrained", space.run), 0)
    cut = set(space.plan.cut_rows(0)["id"])
    every = {f"extra-{i}" for i in range(20)}
    assert cut
    assert set(pretrained[0]) == every - cut
    assert not every & set(fake_learners.seen[0]["ids"])
    recorded = pl.read_parquet(space.store.directory("x", 0) / "train_ids.parquet")
    by_stage = recorded.filter(pl.col("stage") == "pretrain")["id"].to_list()
    assert by_stage == sorted(every - cut)


def test_early_stopping_looks_at_no_relative_of_rows_for_pretraining() -> None:
    def rows(groups: list[int], eval_mask: list[bool] | None = None) -> TrainingRows:
        n = len(groups)
        return TrainingRows(
            pl.DataFrame({"id": [str(i) for i in range(n)]}),
            np.full((n, 3), 1 / 3),
            np.ones(n),
            np.array(groups),
            eval_mask=None if eval_mask is None else np.array(eval_mask),
        )

    own, before = list(range(30)), rows([3, 4, 99])
    apart = rows(own).watched_apart_from(before).eval_mask
    assert apart is not None and np.flatnonzero(~apart).tolist() == [3, 4]
    eval_mask = [i != 7 for i in own]
    both = rows(own, eval_mask).watched_apart_from(before).eval_mask
    assert both is not None and np.flatnonzero(~both).tolist() == [3, 4, 7]
    assert rows(own).watched_apart_from(rows([99])).eval_mask is None
    few = rows(own, eval_mask).watched_apart_from(rows(own[:15])).eval_mask
    assert few is not None and few.tolist() == eval_mask, "fewer than 20 clusters would be left"


def test_the_fit_after_pretraining_is_told_what_to_look_at(
    project: Project, fake_learners: type[Prior], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "FEWEST_WATCHED", 1)
    space = _with_pretraining(project)
    fit_fold(space, make_spec("pretrained", space.run), 0)
    seen = fake_learners.seen[0]
    frame = space.plan.frame
    pretrained = frame.filter(pl.col("role") == "pretrain")["cluster"]
    own = frame.join(pl.DataFrame({"id": seen["ids"]}), on="id", maintain_order="right")
    related = own["cluster"].is_in(pretrained.implode()).to_numpy()
    assert related.any()
    assert np.array_equal(seen["context"].eval_mask, ~related)


def test_a_learner_that_trains_is_not_told_ids_of_other_rows(
    space: Workspace, fake_learners: type[Prior], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    kind = get_manager().base_learners.get("prior")
    monkeypatch.setattr(kind, "check_ids", lambda _self, ids: asked.append(ids), raising=False)
    fit_fold(space, make_spec("prior", space.run), 0)
    assert fake_learners.seen and not asked


def test_a_learner_without_pretraining_trains_without_and_says_so(project: Project) -> None:
    space = _with_pretraining(project)
    fit_fold(space, make_spec("prior", space.run), 0)
    directory = space.store.directory("x", 0)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["pretrain"] == "unsupported"
    assert manifest["rows"]["pretrain"] == 0


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", "NaN or infinity for 1 of"),
        ("shape", r"shape \(\d+, 2\), not \(\d+, 3\)"),
        ("rows", r"shape \(\d+, 3\), not"),
        ("ints", "returned int64, not floats"),
        ("text", r"shape \(\), not"),
        ("order", "other logits for the same battles in another order"),
        ("ragged", "returned no array"),
        ("huge", "NaN or infinity"),
        ("load", "other logits after save and load"),
        ("load none", "load returned NoneType, not a learner"),
    ],
)
def test_what_a_learner_may_not_return(space: Workspace, what: str, message: str) -> None:
    with pytest.raises(errors.LearnerError, match=f'{message}(.|\n)*learner "x"(.|\n)*fold 1'):
        fit_fold(space, make_spec("returns", space.run, what=what), 1)
    assert not list((space.run / "learners").rglob("*.parquet"))


def test_a_learner_that_raises_is_named(space: Workspace) -> None:
    with pytest.raises(
        errors.LearnerError, match='fit raised RuntimeError: no luck(.|\n)*"x"(.|\n)*fold 2'
    ):
        fit_fold(space, make_spec("raises", space.run), 2)


@pytest.mark.parametrize("error", [SystemExit("bye"), pl.exceptions.PanicException("panic")])
def test_whatever_a_learner_raises_is_named(
    space: Workspace,
    fake_learners: type[Prior],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    def raise_it(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(fake_learners, "fit", raise_it)
    with pytest.raises(errors.LearnerError, match=f"fit raised {type(error).__name__}"):
        fit_fold(space, make_spec("prior", space.run), 0)


def test_a_full_disk_is_not_the_learners_fault(
    space: Workspace, fake_learners: type[Prior], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fake_learners, "save", full)
    with pytest.raises(errors.EnsembleError, match="cannot write: No space left on device"):
        fit_fold(space, make_spec("prior", space.run), 0)


def test_logits_of_float64_become_float32() -> None:
    ids = pl.Series("id", ["a", "b"])
    assert check_logits(np.zeros((2, 3)), ids, "here").dtype == np.float32


def test_oof_is_nan_where_no_fold_has_predicted(space: Workspace) -> None:
    spec = make_spec("prior", space.run)
    fit_fold(space, spec, 0)
    fit_fold(space, spec, 2)
    shuffled = EvalSet(space.eval_set.rows.sample(fraction=1.0, shuffle=True, seed=0))
    logits = space.store.oof("x", shuffled)
    missing = np.isnan(logits).all(axis=1)
    assert np.array_equal(missing, shuffled.folds == 1)
    assert np.isfinite(logits[~missing]).all()


@pytest.mark.parametrize(
    ("change", "what"), [({"plan": "0" * 64}, "fold plan"), ({"data": "d"}, "set of battles")]
)
def test_predictions_of_another_plan_or_other_battles_are_refused(
    space: Workspace, change: dict[str, str], what: str
) -> None:
    for fold in range(3):
        fit_fold(space, make_spec("prior", space.run), fold)
    store = FoldStore(**{**vars(space.store), **change})
    with pytest.raises(errors.ArtifactError, match=f"belong to another {what}"):
        store.oof("x", space.eval_set)
    with pytest.raises(errors.ArtifactError, match=f"belong to another {what}"):
        store.test_logits("x", "folds", space.test_rows()["id"])


def test_a_row_predicted_outside_its_fold_is_refused(space: Workspace) -> None:
    fit_fold(space, make_spec("prior", space.run), 0)
    moved = space.eval_set.rows.with_columns(fold=(pl.col("fold") + 1) % 3)
    with pytest.raises(errors.ArtifactError, match="rows that the plan holds out in another fold"):
        space.store.oof("x", EvalSet(moved))


def test_a_fold_copied_to_another_place_is_refused(space: Workspace) -> None:
    fit_fold(space, make_spec("prior", space.run), 0)
    for learner, fold in (("x", 1), ("y", 0)):
        shutil.copytree(space.store.directory("x", 0), space.store.directory(learner, fold))
        with pytest.raises(errors.ArtifactError, match="belong to another (learner|fold)"):
            space.store.read(learner, fold)


def test_test_logits_are_averaged_by_id(space: Workspace) -> None:
    parts = []
    for fold in range(3):
        fit_fold(space, make_spec("prior", space.run), fold)
        stored = pl.read_parquet(space.store.directory("x", fold) / "test.parquet")
        parts.append(stored["logit_a"][0])
    mean = space.store.test_logits("x", "folds", space.test_rows()["id"].reverse())
    assert mean.shape == (9, 3)
    assert mean[0, 0] == pytest.approx(sum(parts) / 3, rel=1e-6)
    with pytest.raises(errors.ArtifactError, match="test rows are missing(.|\n)*hint:"):
        space.store.test_logits("x", "folds", pl.Series(["nobody"]))


def test_a_refit_sees_everything_and_holds_out_nothing(
    space: Workspace, fake_learners: type[Prior]
) -> None:
    fit_fold(space, make_spec("prior", space.run), None)
    assert len(fake_learners.seen[0]["ids"]) == 80
    manifest = json.loads((space.run / "learners" / "x" / "refit" / "manifest.json").read_text())
    assert manifest["rows"] == {"train": 80, "pretrain": 0, "held_out": 0, "test": 9}


def test_a_saved_learner_predicts_the_same(space: Workspace) -> None:
    spec = make_spec("prior", space.run, shift=0.3)
    fit_fold(space, spec, 0)
    directory = space.store.directory("x", 0)
    learner = space.store.load(spec, 0)
    stored = pl.read_parquet(directory / "test.parquet").drop("id").to_numpy()
    assert np.array_equal(learner.predict_logits(space.test_rows()), stored)


def test_battles_and_plan_must_have_the_same_rows(space: Workspace) -> None:
    with pytest.raises(errors.EnsembleError, match="do not have the same rows"):
        Workspace(**{**vars(space), "battles": space.battles.reverse()})
