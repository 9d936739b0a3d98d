from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from click.testing import CliRunner

from ensemble import Run, errors, hookimpl
from ensemble.audit.audit import audit_run, read_audit
from ensemble.cli import cli
from ensemble.oof.refits import Decisions
from ensemble.pipeline import run
from ensemble.plugin.manager import Manager
from ensemble.stages.fit import fit_stage
from ensemble.stages.work import writing
from ensemble.storage.json_files import read_json
from ensemble.submission.new_rows import predict_file
from tests.ensemble.oof.said import Said
from tests.fakes import Prior

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensemble import BaseLearner, Config
    from ensemble.plugin.base import LogitArray, Register
    from tests.fixture_types import Project, UsePlugins


def _learner(shift: float, *, cheap: bool = False) -> type[BaseLearner]:
    """Make a class whose code differs with the shift."""

    class Mine(Prior):
        def predict_logits(self, battles: pl.DataFrame) -> LogitArray:
            logits = super().predict_logits(battles)
            logits[:, 0] += shift
            return logits

    Mine.cheap = cheap
    return Mine


class _Plugin:
    def __init__(self, kind: type[BaseLearner]) -> None:
        self.kind = kind

    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("mine", self.kind)


@pytest.fixture
def with_code(use_plugins: UsePlugins) -> Callable[..., None]:
    """Give a function that installs the plugin ``mine`` in the form of some shift."""

    def install(shift: float, **options: Any) -> None:
        use_plugins(mine=_Plugin(_learner(shift, **options)))

    return install


@pytest.fixture
def config(project: Project, with_code: Callable[..., None]) -> Config:
    """A config with two learners, one of which is to change; it has run once."""
    with_code(0.0)
    made = project.config(
        learners=[{"name": "a", "plugin": "mine"}, {"name": "b", "plugin": "prior"}],
        stack={"meta_learner": "none", "resamples": 100, "choose": "mean"},
    )
    run(made)
    return made


def _fit(config: Config, **decided: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    said = Said()
    with writing(config, said) as reporter:
        return fit_stage(config, reporter, decided=Decisions(**decided)), said.lines


def _oof(config: Config) -> float:
    path = Path(config.run_dir) / "learners/a/fold-0/oof.parquet"
    first: float = pl.read_parquet(path)["logit_a"][0]
    return first


def test_changed_code_of_a_dear_learner_is_asked_about_before_any_fit(
    config: Config, with_code: Callable[..., None]
) -> None:
    before = _oof(config)
    with_code(1.0)
    with pytest.raises(
        errors.ConfigError,
        match=r"other code(.|\n)*a, 3 folds: the plugin's code(.|\n)*--refit a`.*--keep a",
    ):
        _fit(config)
    assert _oof(config) == before


def test_refit_makes_anew_what_other_code_has_made_and_nothing_else(
    config: Config, with_code: Callable[..., None]
) -> None:
    before = _oof(config)
    with_code(1.0)
    outcome, said = _fit(config, refit=("a",))
    assert outcome["fitted"] == 3
    assert outcome["kept"] == 3
    assert "made again: a, 3 folds: the plugin's code has changed" in said
    assert _oof(config) == pytest.approx(before + 1)
    assert _fit(config, refit=("a",))[0]["fitted"] == 0


def test_a_refit_that_was_interrupted_goes_on(
    config: Config, with_code: Callable[..., None]
) -> None:
    with_code(1.0)
    with writing(config) as reporter:
        fit_stage(config, reporter, folds=[1], decided=Decisions(refit=("a",)))
    with pytest.raises(errors.ConfigError, match="a, 2 folds"):
        _fit(config)
    with pytest.raises(errors.ConfigError, match=r"several codes(.|\n)*--refit a"):
        _fit(config, keep=("a",))
    assert _fit(config, refit=("a",))[0]["fitted"] == 2


def test_keep_keeps_and_is_remembered_until_code_changes_again(
    config: Config, with_code: Callable[..., None]
) -> None:
    before = _oof(config)
    with_code(1.0)
    assert _fit(config, keep=("a",))[0]["fitted"] == 0
    assert _fit(config)[0]["fitted"] == 0
    run(config)  # stack, submission and audit stand on the same folds
    assert _oof(config) == before
    with_code(2.0)
    with pytest.raises(errors.ConfigError, match="a, 3 folds"):
        _fit(config)
    assert _fit(config, keep=("a",))[0]["fitted"] == 0
    with_code(1.0)
    assert _fit(config)[0]["fitted"] == 0
    with_code(0.0)
    assert _fit(config)[0]["fitted"] == 0


def _pair(shift: float, *, cheap: bool) -> object:
    """Make a plugin with a teacher and a pupil, both of whose code differs with the shift."""

    class Pupil(_learner(shift, cheap=cheap)):  # type: ignore[misc]
        def __init__(self, teachers: tuple[str, ...] = (), shift: float = 0.0) -> None:
            self.teachers, self.shift = teachers, shift

    class Both:
        @hookimpl
        def register_base_learners(self, register: Register) -> None:
            register("mine", _learner(shift))
            register("pupil", Pupil)

    return Both()


@pytest.mark.parametrize("cheap", [False, True])
@pytest.mark.parametrize("keep", [("t", "s"), ("s", "t")])
def test_a_teacher_and_its_pupil_are_kept_together(
    project: Project,
    use_plugins: UsePlugins,
    keep: tuple[str, ...],
    cheap: bool,
) -> None:
    use_plugins(both=_pair(0.0, cheap=cheap))
    config = project.config(
        # The pupil is the first: the order in the config means nothing.
        [{"name": "s", "plugin": "pupil", "teachers": ["t"]}, {"name": "t", "plugin": "mine"}],
        stack={"meta_learner": "none", "nesting": "plain"},
    )
    run(config)
    use_plugins(both=_pair(1.0, cheap=cheap))
    with pytest.raises(
        errors.ConfigError, match=r"nothing to keep: s, .*learns from(.|\n)*--keep s"
    ):
        _fit(config, refit=("t",), keep=("s",))  # it would learn from another one
    assert not (Path(config.run_dir) / "kept.json").exists()
    for _ in range(2):  # the same command once more is no fault
        assert _fit(config, keep=keep)[0]["fitted"] == 0


@pytest.mark.parametrize(
    ("keep", "learners", "why"),
    [
        ("a", ("b",), "no fit of it is asked for"),
        ("b", None, "its fits are of the present code"),
        ("c", None, "it has no fits yet"),
    ],
)
def test_what_has_nothing_to_keep_is_named(
    project: Project,
    config: Config,
    with_code: Callable[..., None],
    keep: str,
    learners: tuple[str, ...] | None,
    why: str,
) -> None:
    with_code(1.0)
    config = project.config(
        [*({"name": n, "plugin": p} for n, p in (("a", "mine"), ("b", "prior"), ("c", "prior")))],
        stack={"meta_learner": "none", "resamples": 100, "choose": "mean"},
    )
    decided = Decisions(keep=("a", keep) if learners is None else (keep,))
    with writing(config) as reporter, pytest.raises(errors.ConfigError, match=why) as caught:
        fit_stage(config, reporter, learners, decided=decided)
    assert f'learner "{keep}"' in str(caught.value.where)
    assert not (Path(config.run_dir) / "kept.json").exists()


def test_what_was_kept_can_be_refitted_after_all(
    config: Config, with_code: Callable[..., None]
) -> None:
    with_code(1.0)
    _fit(config, keep=("a",))
    assert _fit(config, refit=("a",))[0]["fitted"] == 3
    assert _fit(config)[0]["fitted"] == 0


def test_a_cheap_learner_is_fitted_anew_with_a_word(
    project: Project, with_code: Callable[..., None]
) -> None:
    with_code(0.0, cheap=True)
    config = project.config(learners=[{"name": "a", "plugin": "mine"}])
    run(config)
    with_code(1.0, cheap=True)
    outcome, said = _fit(config)
    assert outcome["fitted"] == 3
    assert "made again: a, 3 folds and 3 pairs: the plugin's code has changed" in said


def test_other_parameters_with_other_code_are_no_question(
    project: Project, config: Config, with_code: Callable[..., None]
) -> None:
    with_code(1.0)
    other = project.config(
        learners=[{"name": "a", "plugin": "mine", "shift": 2.0}, {"name": "b", "plugin": "prior"}]
    )
    outcome, said = _fit(other)
    assert outcome["fitted"] == 3
    line = "the plugin's code has changed; shift was 0.0, and now is 2.0"
    assert f"made again: a, 3 folds: {line}" in said


@pytest.mark.parametrize("file", ["manifest.json", "oof.parquet", "model/prior.json"])
def test_mending_is_said(config: Config, file: str) -> None:
    path = Path(config.run_dir) / "learners/b/fold-1" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    outcome, said = _fit(config)
    assert outcome["fitted"] == 1
    assert any(line.startswith("made again: b, 1 fold: ") and file in line for line in said)


def _paths(value: Any, place: tuple[Any, ...] = ()) -> Any:
    """List the place of every leaf of a JSON value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(item, (*place, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _paths(item, (*place, at))
    else:
        yield place


@pytest.mark.slow
@pytest.mark.parametrize("directory", ["learners/b/fold-1", "stack"])
def test_whatever_is_changed_in_a_manifest_is_mended_and_said(
    config: Config, directory: str
) -> None:
    place = Path(config.run_dir) / directory
    path, whole = place / "manifest.json", (place / "manifest.json").read_bytes()
    leaves = list(_paths(json.loads(whole)))
    assert len(leaves) > 20
    for leaf in leaves[:: max(1, len(leaves) // 12)]:
        mutated = json.loads(whole)
        inner = mutated
        for step in leaf[:-1]:
            inner = inner[step]
        inner[leaf[-1]] = "changed"
        path.write_text(json.dumps(mutated, indent=2) + "\n")
        said = Said()
        run(config, said)
        assert json.loads(path.read_bytes())["key"] == json.loads(whole)["key"], leaf
        assert any("made again" in line for line in said.lines), leaf


def test_a_saved_run_refuses_other_code_unless_it_is_kept(
    config: Config, with_code: Callable[..., None], project: Project
) -> None:
    saved, output = Run(project.path / "run").config, project.path / "new.csv"
    predict_file(saved, project.path / "test.csv", output)
    same = output.read_bytes()
    with_code(1.0)
    with pytest.raises(errors.ArtifactError, match=r"other code(.|\n)*--keep a"):
        predict_file(saved, project.path / "test.csv", output)
    predict_file(saved, project.path / "test.csv", output, keep=["a"])
    assert output.read_bytes() != same  # what the message warns of
    with pytest.raises(errors.ConfigError, match='"c"'):
        predict_file(saved, project.path / "test.csv", output, keep=["c"])


def test_names_are_checked_before_any_work(config: Config) -> None:
    with pytest.raises(errors.ConfigError, match='"c"'):
        run(config, refit=["c"])
    with pytest.raises(errors.ConfigError, match="both refitted and kept"):
        run(config, refit=["a"], keep=["a"])


def test_the_command_line_takes_the_decision(
    config: Config, with_code: Callable[..., None]
) -> None:
    path = str(Path(config.run_dir).parent / "config.toml")
    with_code(1.0)
    assert isinstance(CliRunner().invoke(cli, ["run", path]).exception, errors.ConfigError)
    kept = CliRunner().invoke(cli, ["run", path, "--keep", "a", "--json"])
    assert kept.exit_code == 0
    assert read_json(Path(config.run_dir) / "kept.json")["learners"]["a"]["same"]


def test_the_audit_names_code_that_has_changed(
    config: Config, with_code: Callable[..., None]
) -> None:
    assert audit_run(Path(config.run_dir)).ok
    with_code(1.0)
    result = audit_run(Path(config.run_dir))
    assert "code of a: the plugin's code has changed" in json.dumps(result.to_json())
    assert result.state == "unproven"
    _fit(config, keep=("a",))
    result = audit_run(Path(config.run_dir))
    assert "the user says that it gives the same" in json.dumps(result.to_json())
    assert result.state == "unproven"


def test_an_audit_of_before_is_none_of_what_is_kept(
    config: Config, with_code: Callable[..., None]
) -> None:
    place = Path(config.run_dir)
    assert read_json(place / "audit.json")["state"] == "passed"
    with_code(1.0)
    assert read_audit(place) is None
    run(config, keep=["a"])
    assert read_json(place / "audit.json")["state"] == "unproven"
    (place / "kept.json").write_text("{}")
    assert read_audit(place) is None


def test_an_audit_is_of_the_feature_sets_at_hand_too(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(config.run_dir)
    assert read_audit(place) is not None
    with monkeypatch.context() as patch:
        patch.setattr(Manager, "feature_identity", lambda _, name: {"name": name, "code": "other"})
        assert read_audit(place) is None
    assert read_audit(place) is not None
