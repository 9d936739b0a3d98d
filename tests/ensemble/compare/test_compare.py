"""Whole comparisons: known losses in a real run directory, what is refused, what is kept."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tomli_w
from click.testing import CliRunner
from filelock import FileLock
from markupsafe import Markup

from ensemble.battles.schema import BATTLE_SCHEMA, LABEL_COLUMNS, LOGIT_COLUMNS
from ensemble.cli import cli
from ensemble.compare.columns import _varying, column_slices
from ensemble.compare.compare import compare, read_comparisons, store_comparison
from ensemble.compare.records import file_name
from ensemble.compare.runs import ComparedRun, read_compared
from ensemble.compare.slices import builtin_slices, by_number, numbers
from ensemble.config.load import load_config
from ensemble.errors import ArtifactError, ConfigError, DataError, UnknownNameError
from ensemble.oof.eval_set import EvalSet
from ensemble.report.write import write_report
from ensemble.stages.fit import fit_stage
from ensemble.stages.prepare import prepare_stage
from ensemble.stages.split import split_stage
from ensemble.stages.stack import stack_stage
from ensemble.stages.work import writing
from ensemble.storage.atomic import wrap_os_errors
from ensemble.storage.hashing import fingerprint, hash_file
from ensemble.storage.json_files import write_checksummed

pytestmark = pytest.mark.figures

ROWS = 160
MINUS = "\N{MINUS SIGN}"
# The probability that each learner gives to what happened, on each of the two sources.
GIVEN = {"a": (0.5, 0.5), "b": (0.4, 0.8), "c": (0.5, 0.5)}


def _write_sources(place: Path) -> None:
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    prompts = [" ".join("".join(rng.choice(letters, 9)) for _ in range(8)) for _ in range(ROWS)]
    # Two rows a prompt: 80 clusters. A quarter of them is written in Cyrillic letters.
    prompts = [prompts[i // 2 * 2] for i in range(ROWS)]
    cyrillic = str.maketrans("".join(letters), "абвгдежзийклмнопрстуфхцчшщ")
    labels = np.eye(3)[np.arange(ROWS) % 3]
    battles = pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(ROWS)],
            "prompt": [
                [p.translate(cyrillic) if i % 8 < 2 else p] * (1 + (i % 4 == 0))
                for i, p in enumerate(prompts)
            ],
            "response_a": [[f"yes {i}"] * (1 + (i % 4 == 0)) for i in range(ROWS)],
            "response_b": [["no " * (i % 16)] * (1 + (i % 4 == 0)) for i in range(ROWS)],
            **{f"winner_{n}": labels[:, k] for k, n in enumerate(("model_a", "model_b", "tie"))},
        }
    )
    for name, rows in (("one", battles[:80]), ("two", battles[80:])):
        rows.write_parquet(place / f"{name}.parquet")
    for learner, shares in GIVEN.items():
        given = np.repeat(shares, ROWS // 2)[:, None]
        logits = np.log(np.where(labels == 1, given, (1 - given) / 2))
        columns = {name: logits[:, k] for k, name in enumerate(LOGIT_COLUMNS)}
        pl.DataFrame({"id": battles["id"], **columns}).write_parquet(place / f"{learner}.parquet")


def _config(place: Path, run: str = "run", **changes: Any) -> Path:
    raw: dict[str, Any] = {
        "run_dir": run,
        "seed": 7,
        "sources": [{"name": n, "path": f"{n}.parquet", "role": "target"} for n in ("one", "two")],
        "folds": {"n_splits": 2},
        "learners": [{"name": n, "plugin": "precomputed", "oof": f"{n}.parquet"} for n in GIVEN],
        "stack": {"meta_learner": "none", "resamples": 300},
        "execution": {"threads": 1},
    }
    path = place / f"{run}.toml"
    path.write_text(tomli_w.dumps(raw | changes))
    return path


def _fit(path: Path, *, stack: bool = False, **options: Any) -> Path:
    config = load_config(path)
    with writing(config) as reporter:
        prepare_stage(config, reporter)
        split_stage(config, reporter)
        fit_stage(config, reporter, **options)
        if stack:
            stack_stage(config, reporter)
    return Path(config.run_dir)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with sources, predictions, and a run in ``run`` that no test changes."""
    place = tmp_path_factory.mktemp("compare")
    _write_sources(place)
    _fit(_config(place), stack=True)
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def _slices(result: dict[str, Any], by: str) -> dict[str, dict[str, Any]]:
    return {part["value"]: part for part in result["slices"] if part["by"] == by}


def _alter(directory: Path, change: Any) -> None:
    """Rewrite the manifest of a fold so that it holds together, as a careless writer would."""
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest["key"] = fingerprint(manifest["key_parts"])
    manifest["files"]["oof.parquet"] = hash_file(directory / "oof.parquet")
    write_checksummed(path, manifest)


def test_differences_are_those_that_were_constructed(made: Path) -> None:
    result = compare(made / "run", ["a", "b"])
    assert (result["rows"], result["rows_left_out"], result["clusters"]) == (ROWS, 0, 80)
    # float32 logits: six digits.
    known = {"one": np.log(0.5 / 0.4), "two": np.log(0.5 / 0.8)}
    for source, part in _slices(result, "source").items():
        assert (part["rows"], part["clusters"]) == (80, 40)
        assert part["differences"]["b"]["mean"] == pytest.approx(known[source], abs=1e-6)
        assert part["losses"]["a"]["mean"] == pytest.approx(np.log(2), abs=1e-6)
    assert _slices(result, "source")["one"]["differences"]["b"]["conclusion"] == "worse"
    assert _slices(result, "source")["two"]["differences"]["b"]["conclusion"] == "better"
    whole = result["overall"]["differences"]["b"]
    assert whole["mean"] == pytest.approx((known["one"] + known["two"]) / 2, abs=1e-6)
    assert whole["low"] < whole["mean"] < whole["high"]
    assert result["sentences"][0].startswith(
        f"b is better than a: {MINUS}0.1234 nats a battle (95% int"
    )


def test_the_builtin_slices_part_every_row_once(made: Path) -> None:
    result = compare(made / "run", ["a", "b"])
    names = list(dict.fromkeys(part["by"] for part in result["slices"]))
    assert names == ["source", "label", "length", "turns", "language"]
    for by in names:
        assert sum(part["rows"] for part in _slices(result, by).values()) == ROWS
    assert list(_slices(result, "label")) == ["A wins", "B wins", "tie"]
    assert {k: v["rows"] for k, v in _slices(result, "turns").items()} == {"1": 120, "2": 40}
    # Letters at random: those of the Latin alphabet are hardly taken for a language.
    assert _slices(result, "language")["undecided"]["rows"] >= 110
    assert len(_slices(result, "length")) == 4


def test_levels_are_the_numbers_of_the_stack_and_candidates_can_be_compared(made: Path) -> None:
    result = compare(made / "run", ["a", "b", "mean", "stack"])
    scores = json.loads((made / "run" / "stack" / "candidates.json").read_text())
    chosen = json.loads((made / "run" / "stack" / "verdict.json").read_text())["chosen"]
    known = {one["name"]: one for one in scores["learners"] + scores["candidates"]}
    for name, loss in result["overall"]["losses"].items():
        score = known[chosen if name == "stack" else name]
        found = (loss["mean"], loss["low"], loss["high"])
        assert found == pytest.approx((score["log_loss"], score["low"], score["high"]), abs=1e-12)
    assert f"stack is the candidate {chosen}." in result["sentences"]
    assert result["family"]["overall"] == 3


def test_training_rows_that_nobody_knows_are_said(made: Path) -> None:
    words = " ".join(compare(made / "run", ["a", "stack"])["sentences"])
    assert "training rows of a are unknown" in words
    assert "training rows of stack are unknown" in words


def test_rows_that_not_both_have_predicted_are_left_out_and_counted(place: Path) -> None:
    shutil.rmtree(place / "run" / "learners" / "b" / "fold-1")
    result = compare(place / "run", ["a", "b"])
    held_out = pl.read_parquet(place / "run" / "folds.parquet").filter(pl.col("fold") == 0)
    assert result["rows"] == len(held_out)
    assert result["rows_left_out"] == ROWS - len(held_out)
    assert f"a has {ROWS}, b has {len(held_out)}" in " ".join(result["sentences"])
    shutil.rmtree(place / "run" / "learners" / "a" / "fold-0")
    with pytest.raises(DataError, match="no target row has been predicted by all of 2"):
        compare(place / "run", ["a", "b"])


def test_a_learner_of_another_run_with_the_same_plan(place: Path) -> None:
    other = _fit(_config(place, "other"), learners=["b"])
    result = compare(place / "run", ["a", f"{other}:b"])
    own = compare(place / "run", ["a", "b"])
    found = result["overall"]["differences"]["other:b"]
    assert found == own["overall"]["differences"]["b"]
    # The run itself may be named like another one.
    again = compare(place / "run", ["a", f"{place / 'run'}:b"])
    assert list(again["overall"]["differences"]) == ["b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 8}, "another fold plan: seed is 8 there and 7 here"),
        ({"folds": {"n_splits": 3}}, "n_splits is 3 there and 2 here"),
        (
            {"sources": [{"name": "one", "path": "one.parquet", "role": "target"}]},
            "another set of battles: source two is in one of them alone",
        ),
    ],
)
def test_another_plan_or_other_battles_are_refused(
    place: Path, changes: dict[str, Any], message: str
) -> None:
    config = load_config(_config(place, "other", **changes))
    with writing(config) as reporter:
        prepare_stage(config, reporter)
        split_stage(config, reporter)
    with pytest.raises(DataError, match=message):
        compare(place / "run", ["a", f"{config.run_dir}:b"])


@pytest.mark.parametrize(
    ("names", "kind", "message"),
    [
        (["a"], DataError, "takes two learners or more, and 1 is given"),
        (["a", "b", "a"], DataError, '"a" is named twice'),
        (["a", "blen"], UnknownNameError, 'unknown learner "blen"'),
        (["a", "nowhere:b"], ConfigError, "not a run directory"),
        (["a", ":b"], ConfigError, "not a run directory"),
    ],
)
def test_names_that_are_none(
    made: Path, names: list[str], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        compare(made / "run", names)


def test_an_unknown_name_says_what_is_near_and_what_there_is(made: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        compare(made / "run", ["a", "blen"])
    assert 'did you mean "blend"?' in str(caught.value)
    assert "There are: a, b, best_single, blend, c, mean, stack, vector_scaling" in str(
        caught.value
    )


def test_altered_predictions_are_refused(place: Path) -> None:
    path = place / "run" / "learners" / "b" / "fold-0" / "oof.parquet"
    pl.read_parquet(path).with_columns(logit_a=pl.lit(1.0, pl.Float32)).write_parquet(path)
    with pytest.raises(ArtifactError, match="not what its manifest says"):
        compare(place / "run", ["a", "b"])


def test_a_fold_that_predicts_what_it_does_not_hold_out_is_refused(place: Path) -> None:
    learner = place / "run" / "learners" / "b"
    shutil.copy(learner / "fold-1" / "oof.parquet", learner / "fold-0" / "oof.parquet")
    _alter(learner / "fold-0", lambda manifest: None)
    shutil.rmtree(learner / "fold-1")
    with pytest.raises(ArtifactError, match="rows that the plan holds out in another fold"):
        compare(place / "run", ["a", "b"])


def test_folds_of_different_settings_are_refused(place: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["key_parts"]["seed"] = 1

    _alter(place / "run" / "learners" / "b" / "fold-0", change)
    with pytest.raises(ArtifactError, match="made with different settings: seed"):
        compare(place / "run", ["a", "b"])


def test_predictions_of_other_settings_than_the_config_has_are_refused(place: Path) -> None:
    path = place / "run" / "config.toml"
    path.write_text(path.read_text().replace('oof = "', 'kind = "probabilities", oof = "'))
    with pytest.raises(ArtifactError, match="other settings than the config has now: kind"):
        compare(place / "run", ["a", "b"])


def test_a_stack_of_other_predictions_is_refused(place: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["key_parts"]["seed"] = 1

    for fold in ("fold-0", "fold-1"):
        _alter(place / "run" / "learners" / "c" / fold, change)
    assert compare(place / "run", ["a", "c"])["rows"] == ROWS
    with pytest.raises(ArtifactError, match="from other predictions of learner c"):
        compare(place / "run", ["a", "stack"])


@pytest.mark.parametrize("names", [["a", "stack"], ["a", "meen"]])
def test_a_damaged_stack_is_an_error_of_ours(place: Path, names: list[str]) -> None:
    (place / "run" / "stack" / "verdict.json").write_text("[]")
    with pytest.raises(ArtifactError, match="not what its manifest says") as caught:
        compare(place / "run", names)
    assert caught.value.hint == "run `ensemble stack CONFIG`"
    assert compare(place / "run", ["a", "b"])["rows"] == ROWS


def test_a_learner_without_folds_is_refused(place: Path) -> None:
    shutil.rmtree(place / "run" / "learners" / "b")
    with pytest.raises(ArtifactError, match='learner "b" has not been fitted'):
        compare(place / "run", ["a", "b"])


def test_slices_by_columns_of_any_feature_set(made: Path) -> None:
    compared = read_compared(made / "run")
    lengths = np.array([len("no " * (int(i[1:]) % 16)) for i in compared.eval_set.rows["id"]])
    asked = column_slices(compared, ["last_chars_b", "script_*_prompt"])
    quartiles = [one for one in asked if one.by == "last_chars_b"]
    assert len(quartiles) == 4
    means = [lengths[one.rows].mean() for one in quartiles]
    assert means == sorted(means)
    groups = {one.value: int(one.rows.sum()) for one in asked if one.by == "script_*_prompt"}
    assert groups == {"none": 120, "cyrillic": 40}
    with pytest.raises(UnknownNameError, match='unknown feature column "script_"') as caught:
        column_slices(compared, ["script_"])
    assert "did you mean" in str(caught.value)


def test_a_group_is_called_by_what_tells_its_columns_apart() -> None:
    assert _varying(["words_old_english_prompt", "words_french_prompt"]) == [
        "old_english",
        "french",
    ]
    assert _varying(["a", "a_b"]) == ["a", "a_b"]


def test_equal_numbers_stay_together_and_missing_ones_are_a_slice() -> None:
    values = np.array([0.0] * 30 + [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] + [np.nan] * 3)
    parts = by_number("x", values, write=numbers)
    assert np.sum([part.rows for part in parts], axis=0).tolist() == [1] * 43
    assert parts[0].rows[:30].all()
    assert (parts[-1].value, int(parts[-1].rows.sum())) == ("missing", 3)
    top = by_number("x", np.array([*range(10), *[10] * 30], dtype=float), write=numbers)
    assert [int(part.rows.sum()) for part in top] == [10, 30]
    few = by_number("x", np.array([1.0, 2.0, 2.0]), write=numbers)
    assert [(part.value, int(part.rows.sum())) for part in few] == [("1", 1), ("2", 2)]


def test_a_soft_label_is_no_class(made: Path) -> None:
    compared = read_compared(made / "run")
    soft = compared.eval_set.rows.with_columns(
        **{
            name: pl.when(pl.col("id") == "r0").then(1 / 3).otherwise(name)
            for name in LABEL_COLUMNS
        }
    ).select(*BATTLE_SCHEMA, "cluster", "fold")
    parts = builtin_slices(ComparedRun(compared.run, compared.plan, compared.data, EvalSet(soft)))
    found = {p.value: int(p.rows.sum()) for p in parts if p.by == "label"}
    assert found == {"A wins": 53, "B wins": 53, "tie": 53, "soft": 1}


def test_files_of_different_comparisons_have_different_names() -> None:
    assert file_name(["a", "b"]) == "a-b.json"
    names = [["a-b", "c"], ["a", "b-c"], ["a", "b", "c"], ["x/r:a", "b"], ["x_r_a", "b"]]
    assert len({file_name(one) for one in names}) == len(names)
    assert all("/" not in file_name(one) and ":" not in file_name(one) for one in names)
    assert len(file_name([f"{'n' * 90}{k}" for k in range(9)])) < 140


def _read(run: Path) -> tuple[list[dict[str, Any]], list[str]]:
    compared = read_compared(run)
    return read_comparisons(run, compared.plan.fingerprint, compared.data, compared.plan.n_splits)


def test_a_stored_comparison_is_read_back_until_its_predictions_change(place: Path) -> None:
    run = place / "run"
    results = [compare(run, names) for names in (["a", "b"], ["a", "c"], ["a", "mean"])]
    paths = [store_comparison(run, result) for result in results]
    assert [path.name for path in paths] == ["a-b.json", "a-c.json", "a-mean.json"]
    assert _read(run) == (results, [])
    shutil.rmtree(run / "learners" / "c" / "fold-1")
    found, left_out = _read(run)
    assert found == results[:1]
    assert left_out == [
        "Comparison a-c: it was made from other predictions of c",
        "Comparison a-mean: it was made from other predictions of mean",
    ]
    logits = run / "learners" / "b" / "fold-0" / "oof.parquet"
    kept = logits.read_bytes()
    logits.write_bytes(kept + b"x")
    assert "Comparison a-b: it was made from other predictions of b" in _read(run)[1]
    logits.write_bytes(kept)
    assert _read(run)[0] == results[:1]
    (run / "learners" / "a" / "fold-0" / "manifest.json").write_text("{}")
    assert "Comparison a-b: it was made from other predictions of a" in _read(run)[1]
    store_comparison(run, results[0] | {"version": 0})
    assert "Comparison a-b: it was made by another version of the toolkit" in _read(run)[1]
    paths[0].write_text(paths[0].read_text().replace('"rows": 160', '"rows": 161'))
    assert "Comparison a-b: it is damaged" in _read(run)[1][0]


def test_the_report_shows_what_is_current_and_says_what_is_not(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def draw(paint: object, *, name: str, label: str, **_: object) -> Markup:
        drawn.append(f"{name}: {label}")
        return Markup("<svg/>")

    for module in ("forest", "figures"):
        monkeypatch.setattr(f"ensemble.report.{module}.render", draw)
    run = place / "run"
    assert 'id="comparisons"' not in write_report(run).read_text()
    for names in (["a", "b"], ["b", "a", "c"]):
        store_comparison(run, compare(run, names))
    html = write_report(run).read_text()
    assert 'href="#comparisons"' in html
    section = html[html.index('<section id="comparisons">') :]
    section = section[: section.index("</section>")]
    for words in (
        "b against a",
        "a, c against b",
        f"b is better than a: {MINUS}0.1234",
        "by language",
    ):
        assert words in section
    assert section.count("<svg") == 3
    pictures = [text for text in drawn if text.startswith("comparison-")]
    assert [text[:14] for text in pictures] == [
        "comparison-0-0",
        "comparison-1-0",
        "comparison-1-1",
    ]
    assert f"source: two: {MINUS}0.4700 [" in pictures[0]
    shutil.rmtree(run / "learners" / "c" / "fold-1")
    html = write_report(run).read_text()
    assert "a, c against b" not in html
    assert "Left out. Comparison b-a-c: it was made from other predictions of c." in html


def test_the_verb_prints_tables_or_json_and_stores(place: Path) -> None:
    run = place / "run"
    shown = CliRunner().invoke(cli, ["compare", str(run), "a", "b"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "minus that of a" in shown.output
    assert f"{MINUS}0.1234" in shown.output
    assert "by language" in shown.output
    assert (run / "comparisons" / "a-b.json").exists()
    printed = CliRunner().invoke(cli, ["compare", str(run), "a", "b", "--json"])
    outcome = json.loads(printed.stdout)
    assert outcome.pop("stored") == str(run / "comparisons" / "a-b.json")
    assert outcome == compare(run, ["a", "b"])


def test_a_run_that_another_process_writes_to_can_be_compared_but_not_written(place: Path) -> None:
    run = place / "run"
    with FileLock(run / ".lock"):
        outcome = CliRunner().invoke(cli, ["compare", str(run), "a", "b"], catch_exceptions=False)
    assert "not stored: another process writes to this run" in outcome.output
    assert "b is better than a" in outcome.output
    assert not (run / "comparisons").exists()


@pytest.mark.parametrize("step", ["FileLock", "store_comparison"])
def test_a_run_that_cannot_be_written_can_be_compared(
    place: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        error = OSError(errno.EROFS, "Read-only file system")
        if step == "FileLock":
            raise error
        with wrap_os_errors(place):
            raise error

    if step == "FileLock":
        monkeypatch.setattr("ensemble.stages.work.FileLock.acquire", refuse)
    else:
        monkeypatch.setattr("ensemble.stages.compare.store_comparison", refuse)
    asked = ["compare", str(place / "run"), "a", "b"]
    outcome = CliRunner().invoke(cli, asked, catch_exceptions=False)
    assert outcome.exit_code == 0
    assert "b is better than a" in outcome.output
    assert "not stored: " in outcome.output
    assert "Read-only file system" in outcome.output
    told = json.loads(CliRunner().invoke(cli, [*asked, "--json"]).stdout)
    assert told["stored"] is None
    assert "Read-only file system" in told["not_stored"]


def test_a_learner_of_pseudo_labels_is_compared(project: Any) -> None:
    """Each of its folds was labeled by that fold's own model: their keys differ, and no more."""
    learners = [
        {"name": "pupil", "plugin": "prior", "shift": 0.5},
        {"name": "teacher", "plugin": "prior"},
    ]
    sources = [one.model_dump(exclude_none=True) for one in project.config(learners).sources]
    sources[1] |= {"role": "pseudo", "pseudo_labelers": ["teacher"]}
    config = project.config(learners, sources=sources)
    with writing(config) as reporter:
        prepare_stage(config, reporter)
        split_stage(config, reporter)
        fit_stage(config, reporter)
    result = compare(Path(config.run_dir), ["teacher", "pupil"])
    assert result["rows"] == 60
