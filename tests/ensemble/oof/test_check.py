"""Checks of learners: their own, and what stored models say of battles that they have predicted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ensemble import BaseLearner, errors, hookimpl, run
from ensemble.oof.check import OWN, Finding
from ensemble.stages.check import check_stage
from ensemble.stages.work import writing
from ensemble.storage.json_files import write_checksummed

if TYPE_CHECKING:
    from pathlib import Path

    from ensemble import Config, FitContext
    from ensemble.plugin.base import Register
    from tests.fixture_types import Project, UsePlugins


@pytest.fixture
def prior(project: Project) -> type[BaseLearner]:
    """The learner that tells label shares, which has no check of its own."""
    from ensemble.plugin.manager import get_manager

    return get_manager().base_learners.get("prior")


def _check(config: Config, **options: Any) -> list[Finding]:
    with writing(config) as reporter:
        return check_stage(config, reporter, **options)


PRIOR = {"name": "prior", "plugin": "prior"}


def _stored(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.what.startswith("fold")]


def test_before_any_fit_nothing_is_called_sound(project: Project) -> None:
    config = project.config([PRIOR])
    found = _check(config)
    assert found[0].what == "before any fit"
    assert [finding.line() for finding in found if finding.ok is False] == []
    assert {"fit", "other ids", "other ids for battles of the run"} <= {one.what for one in found}
    assert [finding.ok for finding in _stored(found)] == [None] * 3
    assert found[-1].detail == "not fitted with these settings"


def test_stored_models_are_asked_again(project: Project) -> None:
    config = project.config([PRIOR])
    place = run(config).directory
    found = _stored(_check(config, rows=4))
    assert [finding.ok for finding in found] == [True, True, True]
    assert found[0].measured == {"rows": 4, "difference": 0.0}
    assert found[0].line() == "ok    prior, fold 0: rows 4, difference 0"
    # A model that says something else than what is stored under its name is found out.
    _forge_oof(place / "learners" / "prior" / "fold-1")
    found = _stored(_check(config, rows=100))
    assert [finding.ok for finding in found] == [True, False, True]
    assert "gives other logits than it has stored: they differ by up to 1" in found[1].detail
    assert 'learner "prior" (plugin "prior"), fold 1' in found[1].detail


def _forge_oof(fold: Path) -> None:
    """Change one row's logits, and every hash that tells of them."""
    from ensemble.storage.hashing import hash_file

    oof = pl.read_parquet(fold / "oof.parquet")
    first = pl.col("id") == oof["id"][0]
    oof.with_columns(
        logit_a=pl.when(first).then(pl.col("logit_a") + 1).otherwise("logit_a")
    ).write_parquet(fold / "oof.parquet")
    manifest = json.loads((fold / "manifest.json").read_text())
    manifest["files"]["oof.parquet"] = hash_file(fold / "oof.parquet")
    write_checksummed(fold / "manifest.json", manifest)


def test_other_parameters_than_those_that_were_fitted_are_not_measured(project: Project) -> None:
    run(project.config([PRIOR]))
    found = _check(project.config([PRIOR | {"shift": 1.0}]))
    assert {finding.ok for finding in _stored(found)} == {None}


class _Checked:
    """Registers a learner that notes what its own check is given."""

    def __init__(self, kind: type[BaseLearner], fault: bool = False) -> None:
        given: list[pl.DataFrame] = []
        self.given = given

        def check(
            self: BaseLearner, battles: pl.DataFrame, *, context: FitContext
        ) -> dict[str, Any]:
            assert context.cache_directory is not None
            given.append(battles)
            if fault:
                raise ValueError("the head is lost")
            return {"drift": 0.25, "dtype": "float32"}

        self.kind = type("Checked", (kind,), {"check": check})

    @hookimpl
    def register_base_learners(self, register: Register) -> None:
        register("checked", self.kind)


def test_a_learner_checks_itself_on_battles_of_many_lengths(
    project: Project, prior: type[BaseLearner], use_plugins: UsePlugins
) -> None:
    plugin = _Checked(prior)
    use_plugins(checked=plugin)
    config = project.config([{"name": "mine", "plugin": "checked"}, PRIOR])
    found = _check(config, learners=["mine"], rows=3)
    assert {finding.learner for finding in found} == {"mine"}
    (own,) = (finding for finding in found if finding.what == OWN)
    assert own == Finding("mine", OWN, True, measured={"drift": 0.25, "dtype": "float32"})
    assert own.line() == "ok    mine, own check: drift 0.25, dtype float32"
    (battles,) = plugin.given
    assert battles.columns == ["id", "prompt", "response_a", "response_b"]
    lengths = battles.select(
        pl.sum_horizontal(pl.col(pl.List(pl.String)).list.join("").str.len_bytes())
    ).to_series()
    assert len(lengths) == 3
    assert lengths.is_sorted()


def test_what_an_own_check_raises_is_a_finding(
    project: Project, prior: type[BaseLearner], use_plugins: UsePlugins
) -> None:
    use_plugins(checked=_Checked(prior, fault=True))
    found = _check(project.config([{"name": "mine", "plugin": "checked"}]))
    (own,) = (finding for finding in found if finding.what == OWN)
    assert own.ok is False
    assert "check raised ValueError: the head is lost" in own.detail


def test_an_unknown_learner_is_an_error(project: Project) -> None:
    with pytest.raises(errors.ConfigError, match='no learner is called "priro"'):
        _check(project.config([PRIOR]), learners=["priro"])
