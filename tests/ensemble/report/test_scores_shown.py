"""The numbers that a report shows are those of the run."""

from __future__ import annotations

import json
import re

import numpy as np
import polars as pl
import pytest

from ensemble import CLASSES
from ensemble.battles.schema import (
    LABEL_COLUMNS,
    LOGIT_COLUMNS,
)
from ensemble.evaluation.losses import row_log_loss, softmax
from tests.ensemble.report.made_up_runs import KEY, N_SPLITS, Run, write_json
from tests.ensemble.report.pages import Page, section

pytestmark = pytest.mark.figures


def test_the_headline_agrees_with_the_json(whole: tuple[Run, str]) -> None:
    run, html = whole
    words = Page(html).text
    chosen = next(c for c in run.verdict["candidates"] if c["name"] == "lightgbm")
    assert run.verdict["sentence"] in words
    assert f"Log loss, lightgbm {chosen['log_loss']:.4f} " in words
    assert f"95% interval {chosen['low']:.4f} to {chosen['high']:.4f}" in words
    assert f"of 150 target rows in {run.candidates['clusters']} clusters" in words


def test_every_candidate_and_learner_is_shown_with_its_numbers(whole: tuple[Run, str]) -> None:
    run, html = whole
    words = section(html, "candidates")
    for candidate in run.verdict["candidates"]:
        gain = candidate["gain_over_best_simple"]
        assert f"{candidate['log_loss']:.4f} [{candidate['low']:.4f}" in words
        if candidate["name"] != run.verdict["best_simple"]:
            assert f"{gain['mean']:+.4f}".replace("-", "\N{MINUS SIGN}") in words
    words = section(html, "learners")
    for learner in run.candidates["learners"]:
        interval_text = f"[{learner['low']:.4f}, {learner['high']:.4f}]"
        assert f"{learner['log_loss']:.4f} {interval_text}" in words


def test_scores_per_fold_join_by_id_and_fold(whole: tuple[Run, str]) -> None:
    run, html = whole
    battles = pl.read_parquet(run.path / "battles.parquet")
    oof = pl.read_parquet(run.path / "learners" / "learner-1" / "fold-2" / "oof.parquet")
    joined = oof.join(battles, on="id")
    losses = row_log_loss(
        joined.select(LABEL_COLUMNS).to_numpy(), softmax(joined.select(LOGIT_COLUMNS).to_numpy())
    )
    assert f"{losses.mean():.4f}" in section(html, "learners")


def test_the_class_prior_comes_from_the_other_folds(whole: tuple[Run, str]) -> None:
    run, html = whole
    table = pl.read_parquet(run.path / "folds.parquet").join(
        pl.read_parquet(run.path / "battles.parquet").select("id", *LABEL_COLUMNS), on="id"
    )
    losses = []
    for fold in range(N_SPLITS):
        shares = table.filter(pl.col("fold").is_in([k for k in range(N_SPLITS) if k != fold]))
        prior = shares.select(LABEL_COLUMNS).to_numpy().mean(axis=0)
        held_out = table.filter(pl.col("fold") == fold).select(LABEL_COLUMNS).to_numpy()
        losses += row_log_loss(held_out, np.tile(prior, (len(held_out), 1))).tolist()
    assert f"Class prior {np.mean(losses):.4f}" in Page(html).text


def test_cuts_clusters_and_dropped_rows_are_shown(whole: tuple[Run, str]) -> None:
    words = section(whole[1], "folds")
    assert "feedback train cluster is held out 1,234 0 7" in words
    assert "4 17 12 8.0% arena 12, feedback 5" in words
    assert "train.csv, line 7: no label" in words
    assert "2 rows of source arena could not be used." in Page(whole[1]).text


def test_the_worst_battles_are_those_of_the_chosen_candidate(whole: tuple[Run, str]) -> None:
    run, html = whole
    stacked = pl.read_parquet(run.path / "stack" / "oof.parquet")
    joined = stacked.join(pl.read_parquet(run.path / "battles.parquet"), on="id")
    losses = row_log_loss(
        joined.select(LABEL_COLUMNS).to_numpy(), joined.select(CLASSES).to_numpy()
    )
    order = np.argsort(-losses)[:15]
    shown = re.findall(r"&ensp;(b\d+) ", html)
    assert shown == [joined["id"][int(i)] for i in order]


def test_the_title_is_short_and_the_gain_stands_below(whole: tuple[Run, str]) -> None:
    run, html = whole
    loss = next(c["log_loss"] for c in run.verdict["candidates"] if c["name"] == "lightgbm")
    assert f"<h1>lightgbm, log loss {loss:.4f}</h1>" in html
    assert f'<p class="verdict">{run.verdict["evidence"]}</p>' in html


def test_the_test_rows_are_compared_with_the_labels(run: Run) -> None:
    place = run.path / "submission.csv"
    shares = dict(zip(CLASSES, (0.5, 0.3, 0.2), strict=True))
    pl.read_csv(place).with_columns(**{c: pl.lit(v) for c, v in shares.items()}).write_csv(place)
    words = section(run.report(), "test")
    target = pl.read_parquet(run.path / "battles.parquet").filter(pl.col("role") == "target")
    labels = target.select(LABEL_COLUMNS).to_numpy().mean(axis=0)
    difference = f"{50 - 100 * labels[0]:+.1f}".replace("-", "\N{MINUS SIGN}")
    assert "30 rows in submission.csv, beside this report." in words
    assert "predicted, test rows 50.0% 30.0% 20.0%" in words
    assert f"labels, target rows {labels[0]:.1%}" in words
    assert f"percentage points {difference}" in words
    assert "31 of 225 labeled rows, in 9 clusters, share a cluster with a test row" in words
    assert "4 of 9 test rows have a labeled relative" in words


def test_the_confusion_has_totals_and_an_accuracy(whole: tuple[Run, str]) -> None:
    run, html = whole
    stacked = pl.read_parquet(run.path / "stack" / "oof.parquet")
    joined = stacked.join(pl.read_parquet(run.path / "battles.parquet"), on="id")
    true = joined.select(LABEL_COLUMNS).to_numpy().argmax(axis=1)
    most = joined.select(CLASSES).to_numpy().argmax(axis=1)
    words = section(html, "errors")
    assert f"Accuracy {(true == most).mean():.1%}; always naming" in words
    counts = " ".join(str(n) for n in np.bincount(most, minlength=3))
    assert f"all {counts} 150 Battles predicted worst" in words


def test_importance_is_unfolded_and_classes_have_readable_names(drawn_run: Run) -> None:
    candidates = json.loads(json.dumps(drawn_run.candidates))
    scale = {"winner_tie": 3.0, "winner_model_b": 2.0, "winner_model_a": 1.0}
    next(c for c in candidates["candidates"] if c["name"] == "vector_scaling")["description"] = {
        "scale": scale
    }
    write_json(drawn_run.path / "stack" / "candidates.json", candidates)
    html = drawn_run.report()
    assert "vector_scaling, scale: A wins 1, B wins 2, tie 3" in html
    words = section(html, "candidates")
    assert words.index("What lightgbm uses") < words.index("What the candidates learned")
    assert "lightgbm, importance: learner-0/logit_a 1000, " in html


def test_a_candidate_that_is_a_learner_says_which(drawn_run: Run) -> None:
    learner = drawn_run.candidates["learners"][0]
    candidates = json.loads(json.dumps(drawn_run.candidates))
    single = candidates["candidates"][0]
    single["description"]["learner"] = learner["name"]
    single["log_loss"] = learner["log_loss"]
    write_json(drawn_run.path / "stack" / "candidates.json", candidates)
    assert f">best_single = {learner['name']}</text>" in drawn_run.report()
    single["log_loss"] = learner["log_loss"] + 0.001
    write_json(drawn_run.path / "stack" / "candidates.json", candidates)
    assert "best_single = " not in drawn_run.report()


def test_times_are_summed_over_folds(whole: tuple[Run, str]) -> None:
    assert "learner-0 3 3 min 8 s 1 min 2 s 6.8 s" in section(whole[1], "timing")


def test_a_stacker_without_trees_says_so(drawn_run: Run) -> None:
    candidates = json.loads(json.dumps(drawn_run.candidates))
    stack = next(c for c in candidates["candidates"] if c["name"] == "lightgbm")["description"]
    stack["importance"] = dict.fromkeys(stack["importance"], 0.0)
    stack["rounds"] = [0, 0]
    write_json(drawn_run.path / "stack" / "candidates.json", candidates)
    html = drawn_run.report()
    assert "What lightgbm uses No trees were kept" in section(html, "candidates")
    assert 'id="importance-' not in html
    stack["rounds"] = 3
    write_json(drawn_run.path / "stack" / "candidates.json", candidates)
    assert "What lightgbm uses None of its inputs" in section(drawn_run.report(), "candidates")


def test_a_class_that_no_label_has_says_none(run: Run) -> None:
    table = pl.read_parquet(run.path / "battles.parquet")
    tied = pl.col("label_tie") == 1
    only = {"label_a": 1.0, "label_tie": 0.0}
    table.with_columns(
        pl.when(tied).then(pl.lit(value)).otherwise(name).alias(name)
        for name, value in only.items()
    ).write_parquet(run.path / "battles.parquet")
    assert "true: tie none none none 0" in section(run.report(), "errors")


def test_predictions_that_hardly_vary_are_said_to_tell_little(run: Run) -> None:
    assert "hardly vary" not in run.report()
    place = run.path / "stack" / "oof.parquet"
    stacked = pl.read_parquet(place)
    near = {c: 0.3 + 0.004 * pl.int_range(pl.len()) / pl.len() for c in CLASSES[:2]}
    stacked.with_columns(**near).with_columns(
        winner_tie=1 - pl.col("winner_model_a") - pl.col("winner_model_b")
    ).write_parquet(place)
    words = section(run.report(), "calibration")
    assert words.count("the predictions hardly vary, so that only their mean can be judged") == 3


def test_what_a_learner_was_trained_on_is_shown_by_source(run: Run) -> None:
    assert "What each learner was trained on" not in run.report()
    weight = {"mean": 0.5, "least": 0.25, "greatest": 1.5}
    for place in sorted((run.path / "learners" / "learner-0").glob("fold-*/manifest.json")):
        fold = int(place.parent.name[5:])
        own = {"role": "target", "rows": 40 + fold, "weight": dict.fromkeys(weight, 1.0)}
        other = {"role": "pseudo", "rows": 1234, "weight": weight, "offset": [0.5, 0.5, -1.0]}
        sources = {"arena": own, "extra": other | {"labeled_by": {"teacher": KEY}}}
        write_json(place, json.loads(place.read_text()) | {"sources": sources})
    page = run.report()
    table = page[page.index("What each learner was trained on") :]
    table = table[: table.index("</table>")]
    for words in (
        f"40 to {39 + N_SPLITS}",
        "1,234",
        "0.50<small>0.25 to 1.50",
        "teacher",
        "its own labels",
    ):
        assert words in table, words
    assert "\N{MINUS SIGN}1.00" in table
    others = len(list((run.path / "learners").iterdir())) - 1
    assert table.count("not measured") == others > 0


@pytest.mark.parametrize(("tolerance", "said"), [(0.25, "0.25"), (1e-3, None)])
def test_a_batch_tolerance_beyond_the_default_stands_beside_the_learner(
    run: Run, tolerance: float, said: str | None
) -> None:
    place = run.path / "learners" / "learner-1" / "fold-2" / "manifest.json"
    write_json(place, json.loads(place.read_text()) | {"batch_tolerance": tolerance})
    words = section(run.report(), "learners")
    assert words.count("between batches") == (said is not None)
    if said:
        assert f"logits may differ by {said} between batches" in words
