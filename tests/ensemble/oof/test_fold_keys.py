"""What a stored fold's key depends on, and what is kept under it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ensemble import errors
from ensemble.battles.held_out import HeldOut
from ensemble.config.source_settings import SourceSettings
from ensemble.oof.crossfit import fit_fold
from ensemble.oof.fold_key import fold_key
from ensemble.oof.origins import is_complete
from ensemble.oof.spec import LearnerSpec
from ensemble.oof.workspace import Workspace
from tests.ensemble.oof.named_specs import make_spec

if TYPE_CHECKING:
    from tests.fakes import Prior
    from tests.fixture_types import Project


def test_a_complete_fold_is_kept(space: Workspace, fake_learners: type[Prior]) -> None:
    spec = make_spec("prior", space.run)
    assert fit_fold(space, spec, 0)
    assert not fit_fold(space, spec, 0)
    assert len(fake_learners.seen) == 1


@pytest.mark.parametrize(
    "file", ["oof.parquet", "test.parquet", "train_ids.parquet", "model/prior.json"]
)
def test_a_damaged_fold_is_made_anew(
    space: Workspace, fake_learners: type[Prior], file: str
) -> None:
    spec = make_spec("prior", space.run)
    fit_fold(space, spec, 0)
    path = space.store.directory("x", 0) / file
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(errors.ArtifactError, match="damaged"):
        space.store.load(spec, 0)
    assert fit_fold(space, spec, 0)
    assert path.read_bytes() == content


def test_the_key_depends_on_all_that_decides_the_predictions(
    project: Project, space: Workspace
) -> None:
    spec = make_spec("prior", space.run)
    key, _ = fold_key(spec, 0, space.shared_key())
    assert fold_key(make_spec("prior", space.run), 0, space.shared_key())[0] == key
    # A default spelled out is the same parameter.
    assert fold_key(make_spec("prior", space.run, shift=0.0), 0, space.shared_key())[0] == key
    for other in (
        fold_key(make_spec("prior", space.run, shift=1.0), 0, space.shared_key()),
        fold_key(make_spec("pretrained", space.run), 0, space.shared_key()),
        fold_key(spec, 1, space.shared_key()),
        fold_key(spec, None, space.shared_key()),
        *(
            fold_key(spec, 0, Workspace(**{**vars(space), **change}).shared_key())
            for change in (
                {"seed": 8},
                {"data_key": "d"},
                {"uses": {**space.uses, "extra": SourceSettings("train", weight=1.0)}},
                {"uses": {**space.uses, "extra": SourceSettings("train", 0.5, share=0.9)}},
                {"uses": {**space.uses, "extra": SourceSettings("train", 0.5, reweight="labels")}},
                {
                    "uses": {
                        **space.uses,
                        "extra": SourceSettings("train", 0.5, logit_adjustment=True),
                    }
                },
            )
        ),
    ):
        assert other[0] != key


def test_the_version_of_a_plugin_is_part_of_the_key(
    space: Workspace, fake_learners: type[Prior], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec("prior", space.run)
    fit_fold(space, spec, 0)
    directory = space.store.directory("x", 0)
    monkeypatch.setattr(fake_learners, "version", "2")
    assert not is_complete(directory, fold_key(spec, 0, space.shared_key())[0])
    with pytest.raises(
        errors.ArtifactError, match="made with version 1, and the config or the installed"
    ):
        space.store.load(spec, 0)


def test_a_model_is_not_loaded_with_other_parameters(space: Workspace) -> None:
    fit_fold(space, make_spec("prior", space.run), 0)
    with pytest.raises(errors.ArtifactError, match="shift was 0.0, and now is 1.0"):
        space.store.load(make_spec("prior", space.run, shift=1.0), 0)


def test_two_names_are_two_keys(space: Workspace) -> None:
    """The seed depends on the name, and stacks hold weights by name."""
    one, other = (LearnerSpec(name, "prior", {}, space.run) for name in ("one", "other"))
    assert fold_key(one, 0, space.shared_key()) != fold_key(other, 0, space.shared_key())


def test_checkpoints_are_kept_by_key_and_removed_when_complete(
    space: Workspace, fake_learners: type[Prior]
) -> None:
    fit_fold(space, make_spec("prior", space.run), 0)
    fit_fold(space, make_spec("prior", space.run, shift=1.0), 0)
    first, second = (seen["context"].checkpoint_directory for seen in fake_learners.seen)
    assert first != second
    assert not first.exists()


def test_a_file_that_a_learner_needs_is_part_of_the_key(space: Workspace, tmp_path: Path) -> None:
    oof = tmp_path / "oof.csv"
    spec = make_spec("precomputed", tmp_path, oof="oof.csv")
    with pytest.raises(errors.DataError, match=r"cannot be read(.|\n)*oof\.csv"):
        fold_key(spec, 0, space.shared_key())
    oof.write_text("id,logit_a,logit_b,logit_tie\n")
    before, _ = fold_key(spec, 0, space.shared_key())
    oof.write_text("id,logit_a,logit_b,logit_tie\na,0,0,0\n")
    assert fold_key(spec, 0, space.shared_key())[0] != before


def test_what_fits_of_a_learner_share_is_asked_once_for_all_of_them(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    key_parts = LearnerSpec.key_parts

    def counted(spec: LearnerSpec) -> dict[str, Any]:
        asked.append(spec.name)
        return key_parts(spec)

    spec, fits = make_spec("prior", space.run), (0, 1, None, HeldOut((0, 1)))
    alone = [fold_key(spec, fit, space.shared_key()) for fit in fits]
    monkeypatch.setattr(LearnerSpec, "key_parts", counted)
    keys = space.fit_keys()
    assert [keys.of(spec, fit) for fit in fits] == alone
    assert asked == [spec.name]
