"""A learner fails alone: whatever it does, the run ends with a submission of the others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ensemble
from ensemble.errors import IncompleteRunError, LearnerError
from ensemble.pipeline import run
from ensemble.plugin.manager import use_manager
from ensemble.stages.fit import fit_stage
from ensemble.stages.work import working
from ensemble.storage.json_files import read_json
from tests.ensemble.faulty_plugin import PLUGIN
from tests.fixture_types import Project, UsePlugins
from tests.installed import install_distribution


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the plugin, for this process and all that it starts."""
    site = tmp_path / "site"
    install_distribution(site, "faulty", "1.0", "faulty_learner", PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    sys.modules.pop("faulty_learner", None)
    use_manager(None)


@pytest.fixture
def given(tmp_path: Path, use_plugins: UsePlugins) -> None:
    """Give the plugin in Python: it is fitted in this process."""
    scope: dict[str, Any] = {"__name__": "given_faulty"}
    exec(compile(PLUGIN, str(tmp_path / "given_faulty.py"), "exec"), scope)  # noqa: S102
    module = type(sys)("given_faulty")
    vars(module).update(scope)
    for kind in ("Faulty", "FaultyMeta"):
        scope[kind].__module__ = "given_faulty"
    sys.modules["given_faulty"] = module
    (tmp_path / "given_faulty.py").write_text(PLUGIN)
    module.__file__ = str(tmp_path / "given_faulty.py")
    use_plugins(faulty=module)


GOOD: list[dict[str, Any]] = [
    {"name": "good0", "plugin": "faulty"},
    {"name": "good1", "plugin": "faulty", "shift": 0.2},
]
PLAIN = {"meta_learner": "none", "resamples": 200, "nesting": "plain"}

KINDS = {
    ("fit", "raises"): "fit raised ValueError: boom",
    ("fit", "exits"): "fit raised SystemExit: 3",
    ("fit", "leaves"): r"it called os._exit\(3\)",
    ("fit", "memory"): "fit raised MemoryError",
    ("fit", "disk"): "Permission denied",
    ("fit", "keyless"): r"fit raised KeyError: \(no message\)",
    ("fit", "hangs"): "longer than time_limit = 2 s",
    ("fit", "spins"): "longer than time_limit = 2 s",
    ("predict", "raises"): "predict_logits raised ValueError: boom",
    ("predict", "hangs"): "longer than time_limit = 2 s",
    ("save", "raises"): "save raised ValueError: boom",
    ("load", "raises"): "load raised ValueError: boom",
    ("returns", "nan"): "NaN or infinity for 1 of",
    ("returns", "shape"): r"returned shape \(\d+, 2\)",
    ("returns", "rows"): "returned shape",
    ("returns", "none"): "returned shape|no array",
}
ONLY_APART = {
    ("fit", "killed"): "died after .* SIGKILL, which the system sends where memory runs out",
    ("predict", "killed"): "SIGKILL",
    ("fit", "crashes"): "it was killed by SIGSEGV",
    ("fit", "child"): "SIGKILL",
}


def _check_kinds(project: Project, kinds: dict[tuple[str, str], str]) -> IncompleteRunError:
    """Run two sound learners beside one of each kind that is broken."""
    learners: list[dict[str, Any]] = [GOOD[0]]
    for where, how in kinds:
        broken = {"name": f"{where}-{how}", "plugin": "faulty", "where": where, "how": how}
        learners.append(broken | ({"time_limit": 2} if how in ("hangs", "spins") else {}))
    config = project.config([*learners, GOOD[1]], stack=PLAIN)
    with pytest.raises(IncompleteRunError, match=f"{len(kinds)} of {len(kinds) + 2}") as caught:
        run(config)
    told = {failure.name: failure for failure in caught.value.failures}
    assert list(told) == [f"{where}-{how}" for where, how in kinds]
    for (where, how), reason in kinds.items():
        assert told[f"{where}-{how}"].at == "fold 0"
        assert re.search(reason, told[f"{where}-{how}"].reason), told[f"{where}-{how}"]
    directory = Path(config.run_dir)
    verdict = read_json(directory / "stack/verdict.json")
    assert verdict["left_out"] == list(told)
    assert f"Made without {', '.join(told)}, which failed." in verdict["sentence"]
    assert len((directory / "submission.csv").read_text().splitlines()) == 10
    assert told["fit-memory"].hint and "out of memory" in told["fit-memory"].hint
    assert re.search(r"faulty(_learner)?\.py:\d+$", told["fit-raises"].line or "")
    return caught.value


@pytest.mark.slow
def test_each_kind_of_broken_learner_fails_alone(project: Project, installed: None) -> None:
    error = _check_kinds(project, {**KINDS, **ONLY_APART})
    told = {failure.name: failure for failure in error.failures}
    assert "more memory" in str(told["fit-killed"].hint)
    assert told["fit-crashes"].hint != told["fit-killed"].hint


@pytest.mark.slow
def test_each_kind_fails_alone_in_this_process_where_it_can(project: Project, given: None) -> None:
    _check_kinds(project, KINDS)


SIX: list[dict[str, Any]] = [
    *({"name": f"l{i}", "plugin": "faulty", "shift": i / 10} for i in range(5)),
    {"name": "broken", "plugin": "faulty", "where": "fit", "how": "raises", "unless": "mended"},
]


def test_one_broken_of_six_ends_with_a_submission_of_the_other_five_and_a_retry_mends_it(
    project: Project, given: None
) -> None:
    stack = {"meta_learner": "lightgbm", "resamples": 200, "nesting": "plain"}
    config = project.config(SIX, stack=stack)
    with pytest.raises(IncompleteRunError, match="1 of 6 learners failed") as caught:
        run(config)
    assert str(caught.value).splitlines()[-2:] == [
        "    ensemble fit CONFIG --learner broken",
        "    ensemble run CONFIG",
    ]
    directory = Path(config.run_dir)
    manifest = read_json(directory / "stack/manifest.json")
    assert manifest["learners"] == [f"l{i}" for i in range(5)]
    of_five = (directory / "submission.csv").read_bytes()
    assert len(of_five.splitlines()) == 10
    audit = read_json(directory / "audit.json")
    assert audit["state"] == "incomplete" and audit["ok"]
    assert "broken in the stack, since it failed" in audit["missing"]
    page = (directory / "report.html").read_text()
    assert "Learner broken failed (fold 0): fit raised ValueError: boom" in page

    kept = (directory / "learners/l0/fold-0/manifest.json").stat().st_mtime_ns
    with pytest.raises(IncompleteRunError, match="1 of 6 learners failed"):
        run(config)
    assert (directory / "submission.csv").read_bytes() == of_five

    (project.path / "mended").write_text("")
    monkey = pytest.MonkeyPatch()
    monkey.chdir(project.path)
    run(config)
    assert not (directory / "learners/broken/failure.json").exists()
    assert "left_out" not in read_json(directory / "stack/manifest.json")
    assert "left_out" not in read_json(directory / "stack/verdict.json")
    assert (directory / "learners/l0/fold-0/manifest.json").stat().st_mtime_ns == kept
    assert "failed" not in (directory / "report.html").read_text().lower()
    sound = project.config(SIX, stack=stack, run_dir="sound")
    run(sound)
    monkey.undo()
    for name in ("submission.csv", "stack/model/lightgbm/model.txt"):
        mended, whole = (Path(one.run_dir) / name for one in (config, sound))
        assert not whole.exists() or mended.read_bytes() == whole.read_bytes()
    assert (directory / "submission.csv").read_bytes() == (
        Path(sound.run_dir) / "submission.csv"
    ).read_bytes()


def test_a_learner_that_fails_on_one_fold_keeps_the_others_and_is_left_out(
    project: Project, given: None
) -> None:
    rows = _training_rows(project)
    bad = {"name": "bad", "plugin": "faulty", "where": "fit", "how": "raises", "rows": rows[1]}
    config = project.config([*GOOD, bad], stack=PLAIN)
    with pytest.raises(IncompleteRunError, match="bad +fold 1 +fit raised"):
        run(config)
    learner = Path(config.run_dir) / "learners/bad"
    assert sorted(path.name for path in learner.iterdir()) == ["failure.json", "fold-0"]
    assert read_json(Path(config.run_dir) / "stack/verdict.json")["left_out"] == ["bad"]


def _training_rows(project: Project) -> list[int]:
    """How many rows each fold trains on; they differ."""
    config = project.config([GOOD[0]], stack=PLAIN, run_dir="rows")
    run(config)
    folds = [Path(config.run_dir) / f"learners/good0/fold-{k}/manifest.json" for k in range(3)]
    found = [read_json(path)["rows"]["train"] for path in folds]
    assert found[1] not in (found[0],)
    return found


def test_pupils_of_a_learner_that_fails_are_skipped_with_the_reason(
    project: Project, given: None
) -> None:
    learners = [
        *GOOD,
        {"name": "bad", "plugin": "faulty", "where": "fit", "how": "raises"},
        {"name": "pupil", "plugin": "faulty", "teachers": ["bad"]},
        {"name": "second", "plugin": "faulty", "teachers": ["pupil"]},
    ]
    config = project.config(learners, stack=PLAIN, folds={"n_splits": 4})
    with pytest.raises(IncompleteRunError, match="3 of 5 learners failed") as caught:
        run(config)
    told = {failure.name: failure for failure in caught.value.failures}
    assert told["pupil"].reason == 'it needs "bad", which failed'
    assert told["second"].needs == "pupil" and told["second"].at == "not fitted"
    assert read_json(Path(config.run_dir) / "stack/manifest.json")["learners"] == ["good0", "good1"]


def test_where_no_learner_is_complete_nothing_is_stacked_and_the_report_says_why(
    project: Project, given: None
) -> None:
    bad = {"name": "bad", "plugin": "faulty", "where": "fit", "how": "raises"}
    config = project.config([bad], stack=PLAIN)
    with pytest.raises(IncompleteRunError, match="no learner is complete") as caught:
        run(config)
    assert not caught.value.is_stacked
    directory = Path(config.run_dir)
    assert not (directory / "stack").exists() and not (directory / "submission.csv").exists()
    assert "Learner bad failed (fold 0)" in (directory / "report.html").read_text()


def test_fail_fast_ends_with_the_first_failure(project: Project, given: None) -> None:
    bad = {"name": "bad", "plugin": "faulty", "where": "fit", "how": "raises"}
    config = project.config([bad, *GOOD], stack=PLAIN)
    with pytest.raises(LearnerError, match="fit raised ValueError: boom"):
        run(config, fail_fast=True)
    assert not (Path(config.run_dir) / "learners/good0").exists()


def test_fit_goes_on_and_tells_what_failed(project: Project, given: None) -> None:
    bad = {"name": "bad", "plugin": "faulty", "where": "fit", "how": "raises"}
    config = project.config([bad, *GOOD], stack=PLAIN)
    with working(config) as reporter:
        from ensemble.stages.prepare import prepare_stage
        from ensemble.stages.split import split_stage

        prepare_stage(config, reporter)
        split_stage(config, reporter)
        outcome = fit_stage(config, reporter)
    assert (outcome["fitted"], outcome["kept"]) == (6, 0)
    assert [one["name"] for one in outcome["failed"]] == ["bad"]
    events = (Path(config.run_dir) / "events.jsonl").read_text().splitlines()
    failed = [json.loads(line) for line in events if '"fold failed"' in line]
    assert "ValueError: boom" in failed[0]["traceback"]


def test_python_gets_the_run_with_the_error(project: Project, given: None) -> None:
    bad = {"name": "bad", "plugin": "faulty", "where": "fit", "how": "raises"}
    project.config([bad, *GOOD], stack=PLAIN)
    with pytest.raises(IncompleteRunError, match="ensemble run .*config.toml") as caught:
        ensemble.run(project.path / "config.toml", progress=False)
    assert isinstance(caught.value.run, ensemble.Run)
    assert len(caught.value.run.submission) == 9
    assert caught.value.run.predict(project.path / "test.csv").equals(caught.value.run.submission)
    assert caught.value.run.audit(deep=True).state == "incomplete"


META = {
    ("fit", "raises"): "fit raised ValueError: boom",
    ("fit", "exits"): "fit raised SystemExit",
    ("fit", "leaves"): r"os._exit\(3\)",
    ("fit", "hangs"): "longer than time_limit = 1 s",
    ("predict", "memory"): "predict_proba raised MemoryError",
    ("returns", "double"): "not distributions",
    ("describe", "raises"): "describe raised ValueError",
    ("save", "raises"): "save raised ValueError",
    ("load", "raises"): "load raised ValueError",
}


@pytest.mark.parametrize(("where", "how"), META)
def test_a_meta_learner_that_fails_leaves_the_simple_candidates(
    where: str, how: str, project: Project, given: None
) -> None:
    stack = {
        "meta_learner": "faulty-meta",
        "resamples": 200,
        "nesting": "plain",
        "time_limit": 1,
        "choose": "faulty-meta",
        "parameters": {"where": where, "how": how},
    }
    config = project.config(GOOD, stack=stack)
    with pytest.raises(IncompleteRunError, match="the meta-learner faulty-meta failed") as caught:
        run(config)
    (failure,) = caught.value.failures
    assert failure.is_meta_learner and re.search(META[where, how], failure.reason)
    assert "--learner" not in str(caught.value)
    directory = Path(config.run_dir)
    verdict = read_json(directory / "stack/verdict.json")
    names = [entry["name"] for entry in verdict["candidates"]]
    assert names == ["best_single", "mean", "blend", "vector_scaling"]
    assert verdict["chosen"] in names and "The meta-learner faulty-meta failed" in str(verdict)
    assert len((directory / "submission.csv").read_text().splitlines()) == 10
    assert read_json(directory / "audit.json")["state"] == "incomplete"
    assert "meta-learner faulty-meta failed" in (directory / "report.html").read_text()
    before = (directory / "stack/manifest.json").stat().st_mtime_ns
    with pytest.raises(IncompleteRunError, match="faulty-meta failed"):
        run(config)
    assert (directory / "stack/manifest.json").stat().st_mtime_ns > before, "it is tried again"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "reason"), [("killed", "SIGKILL"), ("spins", "longer than time_limit"), ("", "")]
)
def test_an_installed_meta_learner_runs_apart(
    how: str, reason: str, project: Project, installed: None
) -> None:
    stack = {**PLAIN, "meta_learner": "faulty-meta", "parameters": {"where": "fit", "how": how}}
    config = project.config(GOOD, stack={**stack, "time_limit": 2})
    if not how:
        verdict = read_json(run(config) / "stack/verdict.json")
        assert "faulty-meta" in [entry["name"] for entry in verdict["candidates"]]
        return
    with pytest.raises(IncompleteRunError, match="the meta-learner faulty-meta failed") as caught:
        run(config)
    assert reason in caught.value.failures[0].reason
    assert (Path(config.run_dir) / "submission.csv").exists()


@pytest.mark.slow
def test_the_command_prints_a_table_exits_with_1_and_its_retry_works(
    project: Project, installed: None
) -> None:
    mended = project.path / "mended"
    bad = {"name": "bad", "plugin": "faulty", "where": "fit", "how": "killed"}
    project.config([*GOOD, bad | {"unless": str(mended)}], stack=PLAIN)
    done = _command("run", "--quiet", project)
    assert done.returncode == 1
    assert "error: 1 of 3 learners failed; everything else is done and stored" in done.stderr
    assert "Made without bad, which failed." in done.stdout
    alone = _command("stack", "--quiet", project)
    assert alone.returncode == 1 and "--learner bad" in alone.stderr
    fitted = _command("fit", "--json", project)
    assert fitted.returncode == 1 and json.loads(fitted.stdout)["failed"][0]["name"] == "bad"
    retry = [line.strip() for line in done.stderr.splitlines() if "  ensemble " in line]
    assert [line.split()[1] for line in retry] == ["fit", "run"]
    mended.write_text("")
    for line in retry:
        words = [sys.executable, "-m", *line.split()]
        again = subprocess.run(words, capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
    assert "Made without" not in again.stdout


def _command(verb: str, option: str, project: Project) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "ensemble", verb, option, str(project.path / "config.toml")]
    return subprocess.run(words, capture_output=True, text=True, check=False)
