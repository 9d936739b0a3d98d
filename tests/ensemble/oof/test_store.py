"""Under which key a fold is kept, and what has to be as it was before its model is used again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import pytest

from ensemble import BaseLearner, errors, hookimpl
from ensemble.oof import fold_key as fold_key_module
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.fold_key import fold_key
from ensemble.oof.spec import LearnerSpec
from ensemble.oof.staleness import Compared, compare_key, given_differences
from ensemble.oof.workspace import Workspace

if TYPE_CHECKING:
    from ensemble.plugin.base import LogitArray, Register
    from tests.fakes import Prior
    from tests.fixture_types import UsePlugins


def _spec(plugin: str, base: Path, **parameters: Any) -> LearnerSpec:
    return LearnerSpec("x", plugin, parameters, base)


def test_a_model_is_not_loaded_where_what_it_depends_on_has_changed(
    space: Workspace, fake_learners: type[Prior], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = _spec("prior", space.run)
    monkeypatch.setattr(fake_learners, "dependencies", lambda _: {"words": 1}, raising=False)
    fit_fold(space, spec, 0)
    assert isinstance(space.store.load(spec, 0), fake_learners)
    for name, other in (("words", {"words": 2}), ("words", {}), ("more", {"words": 1, "more": 1})):
        monkeypatch.setattr(fake_learners, "dependencies", lambda _, now=other: now)
        with pytest.raises(
            errors.ArtifactError, match=f"depends on {name}, which has changed since"
        ):
            space.store.load(spec, 0)


def test_a_file_that_a_learner_depends_on_need_not_be_there_to_load_it(
    space: Workspace, tmp_path: Path
) -> None:
    target = space.battles.filter(pl.col("role") == "target")["id"]
    for name, ids in (("oof", target), ("test", space.test_rows()["id"])):
        logits = {f"logit_{side}": [0.1] * len(ids) for side in ("a", "b", "tie")}
        pl.DataFrame({"id": ids, **logits}).write_csv(tmp_path / f"{name}.csv")
    spec = _spec("precomputed", tmp_path, oof="oof.csv", test="test.csv")
    fit_fold(space, spec, 0)
    (tmp_path / "oof.csv").unlink()
    (tmp_path / "test.csv").unlink()
    assert len(space.store.load(spec, 0).predict_logits(space.test_rows())) == 9


class _Reads(BaseLearner):
    """Takes files by its parameters, and says nothing of them."""

    def __init__(self, table: Path, more: list[Path] | None = None, own: Path | None = None):
        self.table = table
        self.more = more
        self.own = own

    def fit(self, *_: object, **__: object) -> Self:
        return self

    def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
        return np.zeros((len(battles), 3), dtype=np.float32)

    def save(self, directory: Path) -> None:
        (directory / "nothing").touch()

    def load(self, directory: Path) -> Self:
        assert directory.exists()
        return self

    def dependencies(self) -> dict[str, Any]:
        return {"own": None}


@pytest.fixture
def reads(tmp_path: Path, use_plugins: UsePlugins) -> LearnerSpec:
    """A learner that reads a file, a directory of files and a file that it vouches for itself."""

    class Plugin:
        @hookimpl
        def register_base_learners(self, register: Register) -> None:
            register("reads", _Reads)

    use_plugins(reads=Plugin())
    (tmp_path / "more").mkdir()
    for name in ("table", "own", "more/a", "more/b"):
        (tmp_path / name).write_text("before")
    more = [str(tmp_path / "more")]
    return _spec("reads", tmp_path, table="table", more=more, own="own")


@pytest.mark.parametrize(("name", "counts"), [("table", True), ("more/b", True), ("own", False)])
def test_the_content_of_every_path_among_the_parameters_is_part_of_the_key(
    space: Workspace, tmp_path: Path, reads: LearnerSpec, name: str, counts: bool
) -> None:
    before, _ = fold_key(reads, 0, space.shared_key())
    assert fold_key(reads, 0, space.shared_key())[0] == before
    (tmp_path / name).write_text("after")
    changed, _ = fold_key(reads, 0, space.shared_key())
    assert (changed != before) is counts
    (tmp_path / name).unlink()
    gone, _ = fold_key(reads, 0, space.shared_key())
    assert (gone not in (before, changed)) is counts


def test_the_place_of_a_file_is_no_part_of_the_key(
    space: Workspace, tmp_path: Path, reads: LearnerSpec
) -> None:
    fit_fold(space, reads, 0)
    (tmp_path / "else").mkdir()
    for name in ("table", "more"):
        (tmp_path / name).rename(tmp_path / "else" / name)
    more = [str(tmp_path / "else" / "more")]
    moved = _spec("reads", tmp_path, table="else/table", more=more, own="elsewhere")
    key, parts = fold_key(moved, 0, space.shared_key())
    manifest = space.store.read(reads.name, 0)
    assert key == manifest["key"]
    assert compare_key(manifest["key_parts"], moved, space.shared_key()) == Compared()
    assert not list(given_differences(manifest["key_parts"], moved.plugin, moved.parameters))
    assert "table" not in parts["parameters"]
    assert manifest["parameters"]["table"] == "table", "the config's own words are kept beside it"
    assert isinstance(space.store.load(moved, 0), _Reads)


def test_a_run_goes_where_the_files_of_its_learners_do_not(
    space: Workspace, tmp_path: Path, reads: LearnerSpec
) -> None:
    fit_fold(space, reads, 0)
    (tmp_path / "table").unlink()
    assert isinstance(space.store.load(reads, 0), _Reads)


def test_the_version_of_cross_fitting_is_part_of_the_key(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = _spec("prior", space.run)
    before, _ = fold_key(spec, 0, space.shared_key())
    monkeypatch.setattr(fold_key_module, "VERSION", fold_key_module.VERSION + 1)
    assert fold_key(spec, 0, space.shared_key())[0] != before
