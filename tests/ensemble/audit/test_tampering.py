"""Every file of a finished run, changed or taken away: report and audit notice each one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from click.testing import CliRunner
from filelock import FileLock
from markupsafe import Markup

from ensemble import errors, run
from ensemble.audit.audit import audit_run, read_audit
from ensemble.audit.deep import audit_deep
from ensemble.audit.fingerprint import subject_files
from ensemble.audit.result import LIMITS
from ensemble.cli import cli
from ensemble.report.write import write_report
from ensemble.stages.audit import audit_stage
from ensemble.stages.work import writing
from ensemble.storage.hashing import hash_file
from ensemble.storage.json_files import read_checksummed, write_checksummed
from tests.ensemble.audit.audited_learners import LEARNERS

if TYPE_CHECKING:
    from tests.fixture_types import Project, UsePlugins

_MADE: dict[str, Path] = {}


@pytest.fixture
def place(project: Project, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of one finished run, whose sources stay where they are."""
    if "run" not in _MADE:
        kept = tmp_path_factory.mktemp("finished")
        shutil.copytree(project.path, kept, dirs_exist_ok=True)
        project.config(LEARNERS)
        shutil.copy(project.path / "config.toml", kept / "config.toml")
        _MADE["run"] = run(kept / "config.toml").directory
    return Path(shutil.copytree(_MADE["run"], tmp_path / "copied"))


def _notices(place: Path) -> tuple[bool, bool]:
    """Say whether report and audit notice that something is not as it was."""
    try:
        page = write_report(place).read_text(encoding="utf-8")
    except errors.EnsembleError:
        page = (place / "report.html").read_text(encoding="utf-8")
    try:
        proved = audit_run(place).proved
    except errors.EnsembleError:
        proved = False
    return "Passed" not in page, not proved


def _names(place: Path) -> list[str]:
    return [path.relative_to(place).as_posix() for path in subject_files(place)]


def test_what_nobody_touched_has_passed(place: Path) -> None:
    assert _notices(place) == (False, False)
    names = set(_names(place))
    every = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
    apart = (
        "cache/",
        "checkpoints/",
        "jobs.json",
        "events.jsonl",
        "report.html",
        "audit.json",
        ".lock",
    )
    assert {name for name in every - names if not name.startswith(apart)} == set()


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.slow
@pytest.mark.parametrize("harm", [_flip, _cut, Path.unlink], ids=["flip", "cut", "remove"])
def test_a_file_that_is_harmed_is_noticed(place: Path, harm: Callable[[Path], Any]) -> None:
    """Of the config the audit compares what matters; that its bytes changed, the report says."""
    missed = []
    for name in _names(place):
        path, before = place / name, (place / name).read_bytes()
        harm(path)
        told = (read_audit(place) is None, True) if name == "config.toml" else _notices(place)
        if told != (True, True):
            missed.append((name, told))
        path.write_bytes(before)
    assert not missed


@pytest.mark.parametrize(
    "name", ["learners/p/fold-1/model/more.json", "stack/more.json", "stack/model/mean/more.json"]
)
def test_a_file_that_is_added_is_noticed(place: Path, name: str) -> None:
    (place / name).write_text("{}")
    assert _notices(place) == (True, True)


def test_a_learner_that_is_added_is_noticed_by_the_report(place: Path) -> None:
    shutil.copytree(place / "learners/p", place / "learners/more")
    assert read_audit(place) is None


def _seal(directory: Path) -> None:
    """Make a manifest hold again, as a forger would."""
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("content")
    manifest["files"] = {name: hash_file(directory / name) for name in manifest["files"]}
    write_checksummed(path, manifest)


def _labels(place: Path) -> None:
    path = place / "battles.parquet"
    table = pl.read_parquet(path)
    table.with_columns(label_a=pl.col("label_b"), label_b=pl.col("label_a")).write_parquet(path)
    summary = read_checksummed(place / "battles.json", hint="")
    summary["files"]["battles.parquet"] = hash_file(path)
    write_checksummed(place / "battles.json", summary)


def _oof(place: Path) -> None:
    _edit(place / "learners/p/fold-1", "oof.parquet", logit_a=pl.col("logit_a") + 1)


def _test(place: Path) -> None:
    _edit(place / "learners/p/fold-1", "test.parquet", logit_a=pl.col("logit_a") + 1)


def _stack_oof(place: Path) -> None:
    _edit(place / "stack", "oof.parquet", winner_model_a=pl.col("winner_model_b"))


def _stack_candidates(place: Path) -> None:
    _edit(place / "stack", "oof_candidates.parquet", winner_model_a=pl.col("winner_model_b"))


def _edit(directory: Path, name: str, **values: pl.Expr) -> None:
    pl.read_parquet(directory / name).with_columns(**values).write_parquet(directory / name)
    _seal(directory)


def _score(name: str) -> Callable[[Path], None]:
    def edit(place: Path) -> None:
        path = place / "stack" / name
        value = json.loads(path.read_text())
        value["candidates"][0]["log_loss"] -= 0.1
        path.write_text(json.dumps(value))
        _seal(place / "stack")

    return edit


def _chosen(place: Path) -> None:
    path = place / "stack/verdict.json"
    value = json.loads(path.read_text())
    other = next(c["name"] for c in value["candidates"] if c["name"] != value["chosen"])
    path.write_text(json.dumps(value | {"chosen": other}))
    _seal(place / "stack")


def _submission(place: Path) -> None:
    path = place / "submission.csv"
    table = pl.read_csv(path)
    swapped = {"winner_model_a": pl.col("winner_tie"), "winner_tie": pl.col("winner_model_a")}
    table.with_columns(**swapped).write_csv(path)


def _submission_and_record(place: Path) -> None:
    _submission(place)
    record = read_checksummed(place / "submission.json", hint="")
    digest = hash_file(place / "submission.csv")
    write_checksummed(place / "submission.json", record | {"sha256": digest})


def _exchanged_models(place: Path) -> None:
    one, other = (place / f"learners/{name}/fold-1" for name in "pq")
    content = (one / "model/prior.json").read_text(), (other / "model/prior.json").read_text()
    assert content[0] == content[1]  # the same shares: the parameter differs
    (one / "model/prior.json").write_text("[0.1, 0.1, 0.8]")
    _seal(one)


def _stack_model(place: Path) -> None:
    path = place / "stack/model/blend/model.json"
    path.write_text(json.dumps({"weights": {"p": 0.0, "q": 1.0}}))
    if (
        json.loads((_MADE["run"] / "stack/model/blend/model.json").read_text())["weights"]["q"]
        > 0.5
    ):
        path.write_text(json.dumps({"weights": {"p": 1.0, "q": 0.0}}))
    _seal(place / "stack")
    _renew_record(place)


def _renew_record(place: Path) -> None:
    record = read_checksummed(place / "submission.json", hint="")
    record["made_from"]["stack"] = hash_file(place / "stack/manifest.json")
    write_checksummed(place / "submission.json", record)


@pytest.mark.parametrize(
    "forge",
    [
        _labels,
        _oof,
        _test,
        _stack_oof,
        _stack_candidates,
        _score("verdict.json"),
        _score("candidates.json"),
        _chosen,
        _submission,
    ],
)
def test_what_is_forged_with_its_own_hashes_is_noticed(
    place: Path, forge: Callable[[Path], None]
) -> None:
    forge(place)
    assert _notices(place) == (True, True)


@pytest.mark.parametrize("forge", [_exchanged_models, _stack_model, _submission_and_record])
def test_what_only_a_model_can_tell_the_deep_audit_notices(
    place: Path, forge: Callable[[Path], None]
) -> None:
    assert audit_deep(place, rows=4).state == "passed"
    forge(place)
    assert read_audit(place) is None
    found = audit_deep(place, rows=40)
    assert found.deep
    failed = [check.name for check in found.checks if not check.ok]
    expected: dict[Callable[[Path], None], str] = {
        _exchanged_models: "p fold 1: its model predicts what is stored",
        _stack_model: "stack: made anew from the stored logits, it is the stored one",
        _submission_and_record: "submission: the stored stack predicts it",
    }
    assert expected[forge] in failed


def test_a_deep_audit_names_the_models_that_it_could_not_ask(
    place: Path, use_plugins: UsePlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "learners/p/fold-1/model/prior.json").write_text("none")
    _seal(place / "learners/p/fold-1")
    found = audit_deep(place, rows=2)
    assert found.ok
    assert found.state == "unproven"
    assert any("p fold 1, model: load raised" in reason for reason in found.unproven)
    assert "could not be checked: p fold 1, model" in found.sentence


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 8), ("shift", 0.3), ("resamples", 300), ("weight", 0.7), ("n_splits", 4)],
)
def test_a_config_that_says_something_else_than_was_fitted_fails(
    place: Path, key: str, value: object
) -> None:
    """The report shows no new parameters beside old scores."""
    path = place / "config.toml"
    text = path.read_text()
    former = re.findall(rf"{key} = [\d.]+", text)[-1]
    path.write_text(text.replace(former, f"{key} = {value}"))
    found = audit_run(place)
    assert found.state == "failed"
    page = write_report(place).read_text(encoding="utf-8")
    assert "not measured</span>: the stack is not of this run as it is now" in page
    if key != "resamples":
        assert "made otherwise than the config now says" in page


def test_the_audit_is_stored_and_shown_also_where_it_fails(place: Path) -> None:
    _score("verdict.json")(place)
    outcome = CliRunner().invoke(cli, ["audit", str(place)])
    assert outcome.exit_code == 1
    assert "\nfailed: 2 of " in outcome.stdout
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "Failed.</strong>" in page
    found = read_audit(place)
    assert found is not None
    assert found.state == "failed"


def test_the_advice_to_audit_is_of_use(place: Path) -> None:
    (place / "audit.json").unlink()
    assert _notices(place) == (True, False)
    outcome = CliRunner().invoke(cli, ["audit", str(place)])
    assert outcome.exit_code == 0
    assert outcome.stdout.splitlines()[-1] == f"report: {place / 'report.html'}"
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "Passed.</strong>" in page
    assert all(str(Markup.escape(limit)) in page for limit in LIMITS)


def test_an_audit_of_damaged_battles_leaves_no_report_that_passes(place: Path) -> None:
    _flip(place / "battles.parquet")
    outcome = CliRunner().invoke(cli, ["audit", str(place)])
    assert outcome.exit_code == 1
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "This run is damaged" in page
    assert "log loss" not in page


def test_an_audit_beside_a_writer_is_not_stored_and_says_so(place: Path) -> None:
    before = (place / "audit.json").read_bytes()
    with FileLock(place / ".lock"):
        outcome = CliRunner().invoke(cli, ["audit", str(place), "--json"])
    assert outcome.exit_code == 0
    assert json.loads(outcome.stdout)["not_stored"] == "another process writes to this run"
    assert (place / "audit.json").read_bytes() == before


def test_a_failed_audit_is_told_once_and_in_short(place: Path, project: Project) -> None:
    from ensemble import Run

    for fold in range(3):
        directory = place / f"learners/p/fold-{fold}"
        held_out = pl.read_parquet(directory / "oof.parquet")["id"].to_list()
        leaks = {"id": held_out, "stage": ["train"] * len(held_out)}
        pl.DataFrame(leaks).write_parquet(directory / "train_ids.parquet")
        _seal(directory)
    config = Run(place).config
    said: list[str] = []
    with writing(config) as reporter:
        reporter.log = said.append  # type: ignore[method-assign, assignment]
        with pytest.raises(errors.AuditError, match="checks fail") as caught:
            audit_stage(config, reporter)
    assert not any("checks fail" in line for line in said)
    assert len(caught.value.message) < 800
    stored = json.loads((place / "audit.json").read_text())
    assert any(check["ids"] for check in stored["checks"])
