from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from markupsafe import Markup

from ensemble.audit.audit import Audit, subject_of
from ensemble.battles import prepare
from ensemble.battles.folds import FoldPlan
from ensemble.battles.schema import (
    BATTLE_SCHEMA,
    LABEL_COLUMNS,
    LOGIT_COLUMNS,
    PREDICTION_SCHEMA,
)
from ensemble.errors import ArtifactError, InputError
from ensemble.evaluation.bootstrap import bootstrap_means
from ensemble.evaluation.intervals import estimate, interval
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.plugin.base import CLASSES
from ensemble.report.write import write_report
from ensemble.storage.hashing import hash_file
from ensemble.storage.json_files import write_checksummed

pytestmark = pytest.mark.figures

HOSTILE = (
    '<script>alert("x")</script><img src=x onerror=alert(1)>\u202etxt.exe\u2066 \x07\x1b[31m \'"&'
)
NOW = "now"
"""The subject of an audit that is of the run as it will be once it is sealed."""
PLAN, DATA, KEY = "f" * 64, "d" * 64, "k" * 64
N_SPLITS = 3


@dataclass
class Run:
    """A run directory with made-up content, and the numbers that its report has to show."""

    path: Path
    candidates: dict[str, Any]
    verdict: dict[str, Any]

    def report(self, *, settle: bool = True) -> str:
        """Write the report; whatever a test has changed is sealed first, unless it is damage."""
        if settle:
            settle_run(self.path)
        return write_report(self.path).read_text(encoding="utf-8")

    def drop(self, *names: str) -> None:
        for name in names:
            place = self.path / name
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink()


def make_run(path: Path, *, rows: int = 150, learners: int = 3, seed: int = 0) -> Run:
    """Write a whole run: two target sources, an external one, ``learners`` learners, a stack."""
    rng = np.random.default_rng(seed)
    battles, folds, labels, truth = _battles(rng, rows)
    path.mkdir(parents=True)
    battles.write_parquet(path / "battles.parquet")
    folds.write_parquet(path / "folds.parquet")
    target = folds.filter(pl.col("fold").is_not_null())
    clusters = target["cluster"].to_numpy()
    logits = {
        f"learner-{k}": _logits(rng, truth, noise=0.8 + 0.2 * k, scale=0.6 - 0.05 * k)
        for k in range(learners)
    }
    for name, values in logits.items():
        for fold in range(N_SPLITS):
            _write_fold(path, name, fold, target, values, battles)
    probabilities = _candidates(logits, truth, labels)
    candidates, verdict = _stack(probabilities, logits, labels, clusters, target)
    _write_stack(path, candidates, verdict, target, probabilities["lightgbm"])
    _write_plan(path, folds, labels)
    _write_rest(path, battles, learners)
    settle_run(path)
    return Run(path, candidates, verdict)


def settle_run(run: Path) -> None:
    """Make all hashes and seals of a run hold, as its stages do."""
    plan = PLAN
    if (run / "folds.parquet").exists():
        plan = FoldPlan(pl.read_parquet(run / "folds.parquet"), N_SPLITS).fingerprint
        files = {"folds.parquet": hash_file(run / "folds.parquet")}
        _seal(run / "folds.json", fingerprint=plan, files=files)
    if (run / "battles.parquet").exists():
        _seal(run / "battles.json", files={"battles.parquet": hash_file(run / "battles.parquet")})
    for path in run.rglob("manifest.json"):
        place = path.parent
        inside = [p for p in place.rglob("*") if p.is_file() and p != path]
        files = {p.relative_to(place).as_posix(): hash_file(p) for p in inside}
        made = json.loads(path.read_text())
        _seal(path, files=files, plan=plan if made["plan"] == PLAN else made["plan"])
    if (run / "truth.json").exists():
        _seal(run / "truth.json")
    if (run / "audit.json").exists():
        _settle_audit(run)


def _settle_audit(run: Path) -> None:
    audit = json.loads((run / "audit.json").read_text())
    if audit["subject"] == NOW:
        lists: dict[str, Any] = {name: [] for name in Audit.LISTS}
        checks = [{"ids": [], **check} for check in audit["checks"]]
        audit = {"deep": False, **lists, **audit, "checks": checks, "subject": subject_of(run)}
        _json(run / "audit.json", audit)
        _seal(run / "audit.json")


def _seal(path: Path, **changes: Any) -> None:
    value = json.loads(path.read_text()) | changes
    value.pop("content", None)
    write_checksummed(path, value)


def _battles(
    rng: np.random.Generator, rows: int
) -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray, np.ndarray]:
    truth = rng.normal([0.1, 0.1, 0.0], 0.8, (rows, 3))
    chances = softmax(truth).cumsum(axis=1)
    classes = (rng.random(rows)[:, None] > chances).sum(axis=1).clip(max=2)
    labels = np.eye(3)[classes]
    extra, test = rows // 2, rows // 5
    total = rows + extra + test
    roles = ["target"] * rows + ["train"] * extra + ["test"] * test
    sources = np.where(rng.random(rows) < 0.7, "arena", "mt-bench").tolist()
    texts = [[f"Question {i}: why?", None, ""][: 1 + i % 3] for i in range(total)]
    all_labels = np.vstack([labels, np.eye(3)[rng.integers(0, 2, extra)]])
    label_columns = {
        name: [*all_labels[:, k].tolist(), *([None] * test)] for k, name in enumerate(LABEL_COLUMNS)
    }
    long = "A long answer. " * 400
    battles = pl.DataFrame(
        {
            "id": [f"b{i}" for i in range(total)],
            "source": sources + ["feedback"] * extra + ["test"] * test,
            "role": roles,
            "prompt": texts,
            "response_a": [[HOSTILE, *t[1:]] for t in texts],
            "response_b": [[long, *t[1:]] for t in texts],
            **label_columns,
            "is_test": [role == "test" for role in roles],
            "model_a": [None] * total,
            "model_b": [None] * total,
        },
        schema=BATTLE_SCHEMA,
    )
    clusters = rng.integers(0, max(2, int(rows * 0.8)), total)
    folds = battles.select("id", "source", "role").with_columns(
        cluster=pl.Series(clusters, dtype=pl.Int64),
        fold=pl.Series(
            [
                int(c) % N_SPLITS if role == "target" else None
                for c, role in zip(clusters, roles, strict=True)
            ],
            dtype=pl.Int32,
        ),
    )
    return battles, folds, labels, truth


def _logits(
    rng: np.random.Generator, truth: np.ndarray, *, noise: float, scale: float
) -> np.ndarray:
    return (truth + rng.normal(0, noise, truth.shape)) * scale + 5.0


def _write_fold(
    run: Path,
    name: str,
    fold: int,
    target: pl.DataFrame,
    logits: np.ndarray,
    battles: pl.DataFrame,
) -> None:
    directory = run / "learners" / name / f"fold-{fold}"
    directory.mkdir(parents=True)
    held_out = (target["fold"] == fold).to_numpy()
    oof = pl.DataFrame(
        {"id": target["id"].filter(pl.Series(held_out))}
        | {c: logits[held_out, k].astype(np.float32) for k, c in enumerate(LOGIT_COLUMNS)},
        schema=PREDICTION_SCHEMA,
    )
    oof.sample(fraction=1.0, shuffle=True, seed=fold).write_parquet(directory / "oof.parquet")
    manifest = {
        "learner": name,
        "plugin": "handcrafted",
        "plugin_version": "1",
        "parameters": {"features": ["length", "markdown"], "rounds": 100},
        "fold": fold,
        "seed": 7,
        "plan": PLAN,
        "data": DATA,
        "key": KEY,
        "training_rows": "recorded",
        "rows": {"train": 10, "held_out": int(held_out.sum()), "pretrain": 0, "test": 3},
        "pretrain": "none",
        "seconds": {"fit": 61.5 + fold, "predict": 2.25},
        "files": {"oof.parquet": hash_file(directory / "oof.parquet")},
    }
    _json(directory / "manifest.json", manifest)


def _candidates(
    logits: dict[str, np.ndarray], truth: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    every = np.stack(list(logits.values()))
    best = min(logits, key=lambda n: row_log_loss(labels, softmax(logits[n])).mean())
    return {
        "best_single": softmax(logits[best]),
        "mean": softmax(every.mean(axis=0)),
        "blend": softmax(1.1 * every.mean(axis=0)),
        "vector_scaling": softmax(1.15 * every.mean(axis=0) + [0.02, -0.02, 0]),
        "lightgbm": softmax(0.9 * every.mean(axis=0) + 0.2 * truth),
    }


def _stack(
    probabilities: dict[str, np.ndarray],
    logits: dict[str, np.ndarray],
    labels: np.ndarray,
    clusters: np.ndarray,
    target: pl.DataFrame,
) -> tuple[dict[str, Any], dict[str, Any]]:
    losses = {n: row_log_loss(labels, p) for n, p in probabilities.items()}
    learner_losses = {n: row_log_loss(labels, softmax(x)) for n, x in logits.items()}
    best = min([n for n in losses if n != "lightgbm"], key=lambda n: losses[n].mean())

    def scored(values: np.ndarray, groups: np.ndarray = clusters) -> dict[str, float | None]:
        samples = bootstrap_means(values[:, None], groups, resamples=200)[:, 0]
        found = estimate(values, samples)
        return {"log_loss": found.mean, "low": found.low, "high": found.high}

    descriptions: dict[str, dict[str, Any]] = {
        "best_single": {
            "weights": {n: float(i == 0) for i, n in enumerate(logits)},
            "learner": "learner-0",
        },
        "blend": {"weights": {n: 1 / len(logits) for n in logits}},
        "vector_scaling": {"scale": [0.75, 0.75, 0.75], "bias": [0.02, -0.02, 0.0]},
        "lightgbm": {
            "importance": {
                f"{n}/logit_{c}": 1000.0 / (1 + i) / (j + 1)
                for i, n in enumerate(logits)
                for j, c in enumerate(("a", "b", "tie"))
            },
            "start": {"kind": "scaled", "weights": dict.fromkeys(logits, 0.5)},
            "rounds": 150,
        },
    }
    sources = target["source"].to_numpy()
    candidates = {
        "candidates": [
            {
                "name": n,
                "complexity": k,
                **scored(v),
                "per_fold": [],
                "per_source": [
                    {
                        "source": s,
                        "rows": int((sources == s).sum()),
                        **scored(v[sources == s], clusters[sources == s]),
                    }
                    for s in ("arena", "mt-bench")
                ],
                "description": descriptions.get(n, {}),
                "seconds": 1.5 * k + 0.1,
            }
            for k, (n, v) in enumerate(losses.items())
        ],
        "learners": [{"name": n, **scored(v), "per_fold": []} for n, v in learner_losses.items()],
        "rows_scored": len(labels),
        "rows_missing": 0,
        "clusters": len(np.unique(clusters)),
        "resamples": 200,
    }
    gains = {
        n: bootstrap_means((losses[best] - v)[:, None], clusters, resamples=200)[:, 0]
        for n, v in losses.items()
    }
    verdict = {
        "chosen": "lightgbm",
        "rule": "the stack is used where the interval of its gain is above zero",
        "sentence": f"lightgbm is used. lightgbm gains over {best}.",
        "evidence": f"lightgbm gains over {best}.",
        "best_simple": best,
        "candidates": [
            {
                "name": n,
                **scored(v),
                "gain_over_best_simple": {
                    "mean": float((losses[best] - v).mean()),
                    "low": interval(gains[n])[0],
                    "high": interval(gains[n])[1],
                },
            }
            for n, v in losses.items()
        ],
        "clusters": len(np.unique(clusters)),
        "resamples": 200,
    }
    return candidates, verdict


def _write_stack(
    run: Path,
    candidates: dict[str, Any],
    verdict: dict[str, Any],
    target: pl.DataFrame,
    chosen: np.ndarray,
) -> None:
    (run / "stack").mkdir()
    _json(run / "stack" / "candidates.json", candidates)
    _json(run / "stack" / "verdict.json", verdict)
    _json(run / "stack" / "manifest.json", {"plan": PLAN, "data": DATA})
    table = pl.DataFrame({"id": target["id"]} | {c: chosen[:, k] for k, c in enumerate(CLASSES)})
    table.reverse().write_parquet(run / "stack" / "oof.parquet")


def _write_plan(run: Path, folds: pl.DataFrame, labels: np.ndarray) -> None:
    target = folds.filter(pl.col("fold").is_not_null())
    numbers = target["fold"].to_numpy()
    _json(
        run / "folds.json",
        {
            "key": "f" * 64,
            "files": {},
            "fingerprint": PLAN,
            "n_splits": N_SPLITS,
            "seed": 42,
            "near_duplicate_threshold": 0.8,
            "folds": [
                {
                    "fold": k,
                    "rows": int((numbers == k).sum()),
                    "clusters": target.filter(pl.col("fold") == k)["cluster"].n_unique(),
                    "label_shares": labels[numbers == k].mean(axis=0).tolist(),
                }
                for k in range(N_SPLITS)
            ],
            "cuts": [
                {
                    "fold": 0,
                    "source": "feedback",
                    "role": "train",
                    "reason": "cluster is held out",
                    "rows": 1234,
                },
                {
                    "fold": 2,
                    "source": "feedback",
                    "role": "train",
                    "reason": "cluster is held out",
                    "rows": 7,
                },
            ],
            "largest_clusters": [
                {
                    "cluster": 4,
                    "rows": 17,
                    "target_rows": 12,
                    "share_of_target": 0.08,
                    "sources": {"arena": 12, "feedback": 5},
                    "text": HOSTILE,
                }
            ],
            "warnings": ["The largest cluster holds 8% of the target rows."],
            "test_overlap": {"rows": 31, "clusters": 9, "test_rows": 4, "of": 9},
        },
    )


def _write_rest(run: Path, battles: pl.DataFrame, learners: int) -> None:
    names = "\n".join(
        f'[[learners]]\nname = "learner-{k}"\nplugin = "handcrafted"' for k in range(learners)
    )
    (run / "config.toml").write_text(f"seed = 42\n# {'</pre><script>'}\n{names}\n")
    _json(
        run / "battles.json",
        {
            "key": "k" * 64,
            "made_by": {"version": prepare.VERSION},
            "settings": {},
            "sources": [
                {
                    "name": "arena",
                    "path": "data/train.csv",
                    "role": "target",
                    "rows": 100,
                    "dropped_rows": 2,
                    "bad_rows": [
                        {"file": "data/train.csv", "line": 7, "reason": f"no label {HOSTILE}"}
                    ],
                },
                {
                    "name": "feedback",
                    "path": "f.parquet",
                    "role": "train",
                    "rows": 75,
                    "dropped_rows": 0,
                    "bad_rows": [],
                },
            ],
            "data": DATA,
        },
    )
    test = battles.filter(pl.col("is_test")).select("id")
    test.with_columns(**{c: pl.lit(1 / 3) for c in CLASSES}).write_csv(run / "submission.csv")


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


VOID = {"br", "meta"}


class Page(HTMLParser):
    """Checks that every element is closed in its turn, and collects what tests ask for."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"repeated attribute in <{tag}>"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r" ([.,:;])", r"\1", " ".join(" ".join(self.words).split()))


def section(html: str, name: str) -> str:
    """The words of one section."""
    found = re.search(rf'<section id="{name}">.*?</section>', html, re.DOTALL)
    assert found is not None
    return Page(found[0]).text


@pytest.fixture
def drawn_run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "runs" / "arena")


@pytest.fixture
def run(drawn_run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose report has empty figures: drawing takes most of a report's time."""
    for module in ("forest", "figures"):
        place = f"ensemble.report.{module}.render"
        monkeypatch.setattr(place, lambda paint, **_: Markup("<svg></svg>"))
    return drawn_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """A run that no test changes, with its report."""
    made = make_run(tmp_path_factory.mktemp("whole") / "arena")
    return made, made.report()


def test_the_report_lies_in_the_run_directory(run: Run) -> None:
    assert write_report(run.path) == run.path / "report.html"
    assert [p.name for p in run.path.glob(".tmp-*")] == []


def test_a_missing_run_directory_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run directory"):
        write_report(tmp_path / "nowhere")


def test_the_page_is_well_formed_with_unique_ids(whole: tuple[Run, str]) -> None:
    page = Page(whole[1])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) > 20
    assert sorted(set(ids), key=str) == sorted(ids, key=str)


def test_every_reference_inside_the_page_has_a_target(whole: tuple[Run, str]) -> None:
    page = Page(whole[1])
    ids = {attributes.get("id") for _, attributes in page.tags}
    links = {a["href"] for _, a in page.tags if a.get("href")}
    clips = set(re.findall(r"url\(([^)]*)\)", whole[1]))
    assert links
    assert {str(link).removeprefix("#") for link in links | clips} <= ids


def test_nothing_is_loaded_and_nothing_can_run(whole: tuple[Run, str]) -> None:
    page = Page(whole[1])
    assert not {tag for tag, _ in page.tags} & {
        "script",
        "link",
        "img",
        "iframe",
        "image",
        "object",
    }
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in {"src", "srcset"}}
    assert not re.search(r"https?:|@import|url\((?!#)", whole[1])
    policies = [a.get("content") for tag, a in page.tags if a.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_hostile_text_is_shown_and_harmless(whole: tuple[Run, str]) -> None:
    html = whole[1]
    assert "<script" not in html
    assert not set(html) & set("\u202e\u2066\x07\x1b")
    shown = Page(html).text
    assert '<script>alert("x")</script><img src=x onerror=alert(1)>[U+202E]txt.exe' in shown
    assert "[U+0007][U+001B][31m '\"&" in shown


def test_hostile_names_are_harmless_in_figures_and_tables(drawn_run: Run) -> None:
    name = 'x"><script>$a_b$\u202e'
    (drawn_run.path / "learners" / "learner-0").rename(drawn_run.path / "learners" / "odd")
    candidates = json.loads(json.dumps(drawn_run.candidates).replace("learner-0", "odd"))
    candidates["candidates"][1]["name"] = name
    _json(drawn_run.path / "stack" / "candidates.json", candidates)
    html = drawn_run.report()
    assert "<script" not in html
    assert Page(html).text.count('x"><script>$a_b$[U+202E]') >= 3


def test_lone_surrogates_in_json_do_not_break_the_file(run: Run) -> None:
    run.verdict["sentence"] = "odd \ud800 end"
    _json(run.path / "stack" / "verdict.json", run.verdict)
    assert "odd [U+D800] end" in run.report()


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(drawn_run: Run) -> None:
    first = drawn_run.report()
    assert drawn_run.report() == first


def test_long_texts_are_cut_and_counted(whole: tuple[Run, str]) -> None:
    words = section(whole[1], "errors")
    assert f"{6000 - 2000:,} more characters" in words
    assert max(len(part) for part in words.split("Response B")) < 6000


def test_null_and_empty_turns_are_told_apart(whole: tuple[Run, str]) -> None:
    words = section(whole[1], "errors")
    assert "(null)" in words
    assert "(empty)" in words


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


def test_a_stack_file_that_contradicts_the_json_is_pointed_out(run: Run) -> None:
    place = run.path / "stack" / "oof.parquet"
    stacked = pl.read_parquet(place)
    stacked.with_columns(pl.lit(1 / 3).alias(c) for c in CLASSES).write_parquet(place)
    assert "stack/oof.parquet scores 1.098612, but the recorded log loss" in run.report()


def test_an_override_of_the_evidence_is_pointed_out(run: Run) -> None:
    _json(run.path / "stack" / "verdict.json", run.verdict | {"would_have_chosen": "blend"})
    assert "The config asks for lightgbm; by the evidence it would be blend." in run.report()


def test_how_far_the_stack_is_from_the_best_possible(run: Run) -> None:
    test = {"log_loss": 0.9901, "best_log_loss": 0.8702}
    _json(run.path / "truth.json", {"best_log_loss_target": 0.5, "test": test})
    words = Page(run.report()).text
    chosen = next(c for c in run.verdict["candidates"] if c["name"] == "lightgbm")
    prior = float(re.findall(r"Class prior ([\d.]+)", words)[0])
    closed = (prior - chosen["log_loss"]) / (prior - 0.5)
    assert (
        f"Best possible (generated data only) 0.5000 expected over labels; {closed:.0%} of the way"
        in words
    )
    assert "test rows, same labels: 0.9901, best 0.8702" in words


def test_the_best_possible_is_that_of_the_same_labels_where_it_is_known(run: Run) -> None:
    truth = {"best_log_loss_target": 0.5, "target": {"best_log_loss": 0.6}}
    _json(run.path / "truth.json", truth)
    assert "data only) 0.6000 on the same labels;" in Page(run.report()).text


def test_a_run_without_audit_is_not_called_clean(whole: tuple[Run, str]) -> None:
    words = section(whole[1], "audit")
    assert "not measured: run ensemble audit RUN" in words
    assert "Passed" not in words


def test_a_failed_audit_is_loud(run: Run) -> None:
    checks = [
        {"name": "rule 1", "ok": True, "detail": "fine"},
        {"name": "rule 2", "ok": False, "detail": "3 ids", "ids": ["b1", "b2"]},
    ]
    audit = {"ok": False, "checks": checks, "unknown": ["learner-1"], "missing": ["x fold 0"]}
    _json(run.path / "audit.json", audit | {"subject": NOW})
    html = run.report()
    words = section(html, "audit")
    assert "Failed. 1 of 2 checks do not hold." in words
    assert "broken: rule 2 3 ids" in words
    assert "b1, b2" in words
    assert "not measured, because they are not there: x fold 0" in words
    assert "The training rows of learner learner-1 are unknown" in Page(html).text
    assert "breaks an honesty rule" in Page(html).text


@pytest.mark.parametrize(
    ("gaps", "state"),
    [
        ({}, "Passed"),
        ({"absent": ["source arena"]}, "Passed without sources"),
        ({"missing": ["x fold 0"]}, "Incomplete"),
        ({"unknown": ["x"]}, "Unproven"),
        ({"unproven": ["x fold 0, model: no plugin"], "missing": ["y fold 0"]}, "Unproven"),
    ],
)
def test_an_audit_with_gaps_has_not_passed(run: Run, gaps: dict[str, Any], state: str) -> None:
    checks = [{"name": "rule 1", "ok": True, "detail": "fine"}]
    audit = {"ok": True, "checks": checks, "subject": NOW}
    _json(run.path / "audit.json", audit | gaps)
    html = run.report()
    assert f"{state}. 1 checks hold." in section(html, "audit")
    assert f"Audit {state.lower()} 1 checks" in Page(html).text
    assert ("passed" in html.lower()) == state.startswith("Passed")


def test_an_audit_of_what_has_changed_since_is_none(run: Run) -> None:
    audit = {"checks": [{"name": "rule 1", "ok": True, "detail": "fine"}], "subject": NOW}
    _json(run.path / "audit.json", audit)
    assert "Passed" in section(run.report(), "audit")
    folds = json.loads((run.path / "folds.json").read_text())
    _json(run.path / "folds.json", folds | {"note": "changed"})
    assert "not measured: run ensemble audit RUN" in section(run.report(), "audit")


@pytest.mark.parametrize("content", ["{", "[]", '{"ok": "perhaps"}'])
def test_a_damaged_audit_is_none(run: Run, content: str) -> None:
    (run.path / "audit.json").write_text(content)
    assert "not measured: run ensemble audit RUN" in section(run.report(settle=False), "audit")


@pytest.mark.parametrize(
    ("made_from", "reason"),
    [
        ({"plan": "0" * 64}, "it was made from another fold plan"),
        ({"data": "0" * 64}, "it was made from another set of battles"),
        (
            {"key_parts": {"folds": {"learner-1": {"fold-2": {"key": "old"}}}}},
            "it was made from other predictions of learner learner-1",
        ),
        (
            {"key_parts": {"folds": {"learner-1": {"fold-0": {"key": KEY, "oof": "former"}}}}},
            "it was made from other predictions of learner learner-1",
        ),
    ],
)
def test_a_stack_of_something_else_is_not_shown(
    run: Run, made_from: dict[str, Any], reason: str
) -> None:
    manifest = {"plan": PLAN, "data": DATA} | made_from
    _json(run.path / "stack" / "manifest.json", manifest)
    html = run.report()
    words = Page(html).text
    assert f"The stack is not of this run as it is now: {reason}. Its verdict" in words
    assert "Log loss not measured no candidate has been chosen" in words
    assert section(html, "candidates").startswith("Candidates and verdict not measured: the stack")
    assert run.verdict["evidence"] not in words
    assert "the best learner so far" in section(html, "errors")


def test_a_stack_of_the_learners_as_they_are_is_shown(run: Run) -> None:
    places = [run.path / "learners" / "learner-1" / f"fold-{k}" for k in range(N_SPLITS)]
    origins = {p.name: {"key": KEY, "oof": hash_file(p / "oof.parquet")} for p in places}
    made_from = {"folds": {"learner-1": origins}}
    manifest = {"plan": PLAN, "data": DATA, "key_parts": made_from}
    _json(run.path / "stack" / "manifest.json", manifest)
    assert run.verdict["evidence"] in Page(run.report()).text


def test_a_stack_without_its_manifest_is_not_shown(run: Run) -> None:
    run.drop("stack/manifest.json")
    assert "The stack is not of this run as it is now: it is incomplete." in run.report()


def test_predictions_of_other_battles_are_left_out_and_named(run: Run) -> None:
    place = run.path / "learners" / "learner-0" / "fold-1" / "manifest.json"
    _json(place, json.loads(place.read_text()) | {"data": "0" * 64})
    html = run.report()
    assert "learner-0, fold 1: its predictions belong to another set of battles." in html


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (
            ["unsupported", "unsupported"],
            "75 rows of source feedback are for pre-training, and no learner of this run "
            "pre-trains: they were not used.",
        ),
        (
            ["used", "unsupported"],
            "75 rows of source feedback are for pre-training, and learner-1 cannot pre-train: "
            "not used there.",
        ),
    ],
)
def test_rows_that_no_learner_pretrains_on_are_pointed_out(
    tmp_path: Path, states: list[str], words: str
) -> None:
    made = make_run(tmp_path / "run", learners=2, rows=150)
    made.drop("stack")
    _as_pretraining(made.path / "battles.parquet")
    for name, state in zip(("learner-0", "learner-1"), states, strict=True):
        for place in (made.path / "learners" / name).glob("*/manifest.json"):
            _json(place, json.loads(place.read_text()) | {"pretrain": state})
    assert words in Page(made.report()).text


def _as_pretraining(place: Path) -> None:
    role = pl.when(pl.col("source") == "feedback").then(pl.lit("pretrain")).otherwise("role")
    pl.read_parquet(place).with_columns(role=role).write_parquet(place)


def test_rows_that_some_learner_pretrains_on_are_no_caution(whole: tuple[Run, str]) -> None:
    assert "are for pre-training" not in Page(whole[1]).text


def test_the_title_is_short_and_the_gain_stands_below(whole: tuple[Run, str]) -> None:
    run, html = whole
    loss = next(c["log_loss"] for c in run.verdict["candidates"] if c["name"] == "lightgbm")
    assert f"<h1>lightgbm, log loss {loss:.4f}</h1>" in html
    assert f'<p class="verdict">{run.verdict["evidence"]}</p>' in html


def test_a_verdict_without_evidence_shows_its_sentence(run: Run) -> None:
    del run.verdict["evidence"]
    _json(run.path / "stack" / "verdict.json", run.verdict)
    assert f'<p class="verdict">{run.verdict["sentence"]}</p>' in run.report()


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
    _json(drawn_run.path / "stack" / "candidates.json", candidates)
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
    _json(drawn_run.path / "stack" / "candidates.json", candidates)
    assert f">best_single = {learner['name']}</text>" in drawn_run.report()
    single["log_loss"] = learner["log_loss"] + 0.001
    _json(drawn_run.path / "stack" / "candidates.json", candidates)
    assert "best_single = " not in drawn_run.report()


def test_learners_stand_in_the_order_of_the_config(run: Run) -> None:
    names = ["learner-2", "learner-0", "learner-1"]
    config = "\n".join(f'[[learners]]\nname = "{name}"' for name in names)
    (run.path / "config.toml").write_text(config)
    html = run.report()
    for part in ("learners", "agreement", "timing"):
        found = re.findall(r"learner-\d", section(html, part))
        assert list(dict.fromkeys(found)) == names


def test_places_on_the_machine_are_not_shown(run: Run) -> None:
    home = "/home/someone/study"
    (run.path / "config.toml").write_text(
        f'run_dir = "{home}/arena"\npath = "{home}/data/train.csv"\n'
        '[[learners]]\nname = "learner-0"\n'
    )
    sources = json.loads((run.path / "battles.json").read_text())
    sources["sources"][0]["path"] = "/mnt/private/train.csv"
    sources["sources"][0]["bad_rows"][0]["file"] = "/mnt/private/train.csv"
    _json(run.path / "battles.json", sources)
    manifest = run.path / "learners" / "learner-0" / "fold-0" / "manifest.json"
    parameters = {"parameters": {"file": f"{home}/lexicon.txt"}}
    _json(manifest, json.loads(manifest.read_text()) | parameters)
    words = Page(run.report()).text
    assert "someone" not in words
    assert "/mnt/private" not in words
    assert 'run_dir = "./arena" path = "./data/train.csv"' in words
    assert 'file = "./lexicon.txt"' in words
    assert "arena target 100 2 train.csv" in words
    assert "train.csv, line 7: no label" in words


def test_unusable_rows_are_announced_only_where_there_are_any(run: Run) -> None:
    assert "Sources, and rows that could not be used" in section(run.report(), "folds")
    sources = json.loads((run.path / "battles.json").read_text())
    sources["sources"][0] |= {"dropped_rows": 0, "bad_rows": []}
    _json(run.path / "battles.json", sources)
    assert "could not be used" not in Page(run.report()).text


def test_pretraining_has_a_column_where_rows_are_for_it(run: Run) -> None:
    assert "pre-training" not in section(run.report(), "folds")
    folds = json.loads((run.path / "folds.json").read_text())
    folds["folds"][1]["pretraining_rows"] = 1234
    _json(run.path / "folds.json", folds)
    words = section(run.report(), "folds")
    assert "Available for pre-training" in words
    assert "1,234" in words


STAGES = {
    "nothing": [
        *("config.toml", "battles.json", "battles.parquet", "folds.json", "folds.parquet"),
        *("learners", "stack", "submission.csv"),
    ],
    "prepare": ["folds.json", "folds.parquet", "learners", "stack", "submission.csv"],
    "split": ["learners", "stack", "submission.csv"],
    "fit": ["stack", "submission.csv"],
    "stack": ["submission.csv"],
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_has_got_only_so_far_has_a_report(drawn_run: Run, stage: str) -> None:
    drawn_run.drop(*STAGES[stage])
    html = drawn_run.report()
    Page(html)
    assert ("not measured" in section(html, "candidates")) == (stage != "stack")
    assert ("not measured" in section(html, "errors")) == (stage in {"nothing", "prepare", "split"})
    assert ("not measured" in section(html, "labels")) == (stage == "nothing")
    assert "Submission: not written yet." in section(html, "test")
    assert "None" not in Page(html).text
    assert "nan" not in Page(html).text


def test_before_the_stack_the_best_learner_leads(run: Run) -> None:
    run.drop("stack")
    html = run.report()
    best = min(run.candidates["learners"], key=lambda learner: learner["log_loss"])["name"]
    assert f"The best so far is {best}." in html
    assert f"predictions of {best}, the best learner so far" in section(html, "errors")
    assert "Log loss not measured no candidate has been chosen" in Page(html).text


def test_missing_folds_are_counted_and_in_no_score(drawn_run: Run) -> None:
    drawn_run.drop("stack", "learners/learner-1/fold-0")
    held_out = pl.read_parquet(drawn_run.path / "folds.parquet").filter(pl.col("fold") == 0).height
    words = Page(drawn_run.report()).text
    assert (
        f"Learner learner-1: 2 of 3 folds are complete; {held_out} target rows have no prediction"
        in words
    )
    assert f"learner-1 2 of 3 folds, {150 - held_out} rows" in words


def test_a_learner_that_has_not_begun_is_listed(run: Run) -> None:
    run.drop("stack", "learners/learner-2")
    words = section(run.report(), "learners")
    assert "learner-2 0 of 3 folds, 0 rows not measured not measured" in words


def test_a_learner_that_left_the_config_is_left_out_and_named(run: Run) -> None:
    (run.path / "learners" / "learner-0").rename(run.path / "learners" / "former")
    html = run.report()
    assert "Left out. former: the config has no such learner." in html
    assert "former" not in section(html, "learners")


def test_predictions_of_another_plan_are_left_out_and_named(run: Run) -> None:
    place = run.path / "learners" / "learner-0" / "fold-1" / "manifest.json"
    _json(place, json.loads(place.read_text()) | {"plan": "0" * 64})
    html = run.report()
    assert "learner-0, fold 1: its predictions belong to another fold plan." in html
    assert "learner-0 2 of 3" in section(html, "learners")


def test_altered_predictions_are_left_out_and_named(run: Run) -> None:
    place = run.path / "learners" / "learner-0" / "fold-1" / "oof.parquet"
    table = pl.read_parquet(place)
    table.with_columns(logit_a=pl.lit(9.0, pl.Float32)).write_parquet(place)
    html = run.report(settle=False)
    assert "learner-0, fold 1: its predictions are missing or were altered." in html


def test_half_written_folds_do_not_count(run: Run) -> None:
    source = run.path / "learners" / "learner-0" / "fold-0"
    shutil.copytree(source, source.with_name(".tmp-1234-fold-0"))
    run.drop("learners/learner-0/fold-0/manifest.json")
    assert "learner-0 2 of 3" in section(run.report(), "learners")


def test_rows_with_nan_logits_are_missing_not_zero(run: Run) -> None:
    directory = run.path / "learners" / "learner-0" / "fold-0"
    table = pl.read_parquet(directory / "oof.parquet")
    values = [float("nan"), *table["logit_tie"].to_list()[1:]]
    table.with_columns(logit_tie=pl.Series(values, dtype=pl.Float32)).write_parquet(
        directory / "oof.parquet"
    )
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"]["oof.parquet"] = hash_file(directory / "oof.parquet")
    _json(directory / "manifest.json", manifest)
    run.drop("stack")
    html = run.report()
    assert "1 target rows have no prediction" in html
    assert "learner-0 3 of 3 folds, 149 rows" in section(html, "learners")


def test_unknown_training_rows_are_pointed_out(run: Run) -> None:
    for place in (run.path / "learners" / "learner-0").glob("*/manifest.json"):
        _json(place, json.loads(place.read_text()) | {"training_rows": "unknown", "seconds": {}})
    html = run.report()
    assert "The training rows of learner learner-0 are unknown" in html
    assert "learner-0 3 not measured not measured not measured" in section(html, "timing")


def test_times_are_summed_over_folds(whole: tuple[Run, str]) -> None:
    assert "learner-0 3 3 min 8 s 1 min 2 s 6.8 s" in section(whole[1], "timing")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("folds.json", "{", "cannot be read"),
        ("folds.json", '{"n_splits": 3}', "not what was written"),
        ("battles.parquet", "PAR", "not what was written"),
        ("config.toml", "a = [", "not TOML"),
    ],
)
def test_damaged_files_are_errors_not_gaps(run: Run, name: str, content: str, message: str) -> None:
    (run.path / name).write_text(content)
    with pytest.raises(ArtifactError, match=message) as caught:
        run.report(settle=False)
    assert caught.value.mend == "run `ensemble run CONFIG` again"


@pytest.mark.parametrize(
    ("name", "content", "gap"),
    [
        ("submission.csv", b"", "test"),
        ("submission.csv", b"id,winner_model_a\n1,2\n", "test"),
        ("stack/oof.parquet", b"PAR1", "candidates"),
        ("stack/oof.parquet", None, "candidates"),
        ("stack/verdict.json", b"{", "candidates"),
        ("stack/candidates.json", b"[1]", "candidates"),
        ("stack/manifest.json", b"[", "candidates"),
        ("stack/manifest.json", b"\xff\xfe", "candidates"),
        ("truth.json", b"{", None),
    ],
)
def test_a_damaged_by_product_is_pointed_out_and_its_section_not_measured(
    run: Run, name: str, content: bytes | None, gap: str | None
) -> None:
    place = run.path / name
    place.write_bytes(place.read_bytes()[:-40] if content is None else content)
    html = run.report(settle=False)
    Page(html)
    assert "Know before trusting" in html
    assert f"{place.name} is damaged: " in html
    if gap:
        assert "not measured" in section(html, gap)
    assert "not written yet" not in section(html, "test")


@pytest.mark.parametrize("place", [0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_in_the_battles_is_told_and_never_a_traceback(
    run: Run, place: float, bit: int
) -> None:
    path = run.path / "battles.parquet"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="missing or not what was written"):
        run.report(settle=False)
    html = (run.path / "report.html").read_text(encoding="utf-8")
    assert "battles.parquet" in html
    assert run.verdict["chosen"] not in html


def test_no_file_of_the_stack_is_shown_that_is_not_what_was_written(run: Run) -> None:
    files = [path for path in (run.path / "stack").rglob("*") if path.is_file()]
    assert len(files) >= 4
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[:-2] + b" " + content[-1:])
        html = run.report(settle=False)
        assert "is damaged: " in html, path
        assert "not measured" in section(html, "candidates"), path
        path.write_bytes(content)


def test_a_battle_that_the_stack_predicts_twice_is_pointed_out(run: Run) -> None:
    place = run.path / "stack" / "oof.parquet"
    table = pl.read_parquet(place)
    pl.concat([table, table.head(1)]).write_parquet(place)
    html = run.report()
    assert "oof.parquet is damaged: a battle is predicted more than once" in html
    assert "not measured" in section(html, "candidates")


def test_the_navigation_has_the_words_of_the_headings(whole: tuple[Run, str]) -> None:
    links = re.findall(r'<a href="#(\w+)">([^<]+)</a>', whole[1])
    headings = re.findall(r'<section id="(\w+)">\s*<h2>([^<]+)</h2>', whole[1])
    assert links == headings
    assert len(links) == 11


def test_the_report_stands_alone(whole: tuple[Run, str]) -> None:
    assert "docs/" not in Page(whole[1]).text


def test_a_stacker_without_trees_says_so(drawn_run: Run) -> None:
    candidates = json.loads(json.dumps(drawn_run.candidates))
    stack = next(c for c in candidates["candidates"] if c["name"] == "lightgbm")["description"]
    stack["importance"] = dict.fromkeys(stack["importance"], 0.0)
    stack["rounds"] = [0, 0]
    _json(drawn_run.path / "stack" / "candidates.json", candidates)
    html = drawn_run.report()
    assert "What lightgbm uses No trees were kept" in section(html, "candidates")
    assert 'id="importance-' not in html
    stack["rounds"] = 3
    _json(drawn_run.path / "stack" / "candidates.json", candidates)
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


def test_one_row_and_one_learner_are_enough(tmp_path: Path) -> None:
    made = make_run(tmp_path / "tiny", rows=6, learners=1)
    made.drop("stack")
    html = made.report()
    Page(html)
    assert "not measured: it takes two learners" in section(html, "agreement")


def test_a_report_of_many_rows_stays_small(tmp_path: Path) -> None:
    made = make_run(tmp_path / "large", rows=2000, learners=6)
    assert len(made.report().encode()) < 1_000_000


def test_what_a_learner_was_trained_on_is_shown_by_source(run: Run) -> None:
    assert "What each learner was trained on" not in run.report()
    weight = {"mean": 0.5, "least": 0.25, "greatest": 1.5}
    for place in sorted((run.path / "learners" / "learner-0").glob("fold-*/manifest.json")):
        fold = int(place.parent.name[5:])
        own = {"role": "target", "rows": 40 + fold, "weight": dict.fromkeys(weight, 1.0)}
        other = {"role": "pseudo", "rows": 1234, "weight": weight, "offset": [0.5, 0.5, -1.0]}
        sources = {"arena": own, "extra": other | {"labeled_by": {"teacher": KEY}}}
        _json(place, json.loads(place.read_text()) | {"sources": sources})
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


def _judge(run: Run, **changes: Any) -> str:
    """Give the text of the candidates' section of a report whose verdict says more."""
    _json(run.path / "stack" / "verdict.json", {**run.verdict, **changes})
    return " ".join(section(run.report(), "candidates").split())


def test_what_is_held_against_the_scores_is_that_of_this_run(run: Run) -> None:
    nesting = {"exact": ["learner-0"], "plain": ["learner-1", "learner-2"]}
    leak = {"learners": ["learner-1"], "location": "feature topic", "tests": 12}
    leak |= {"nats": 0.0512, "statistic": 9.04, "threshold": 2.64}
    tries = {"n": 17, "corrected_log_loss": 1.0432, "low": None, "high": None, "optimism": 0.01}
    shown = _judge(
        run,
        nesting=nesting,
        bias_bound=leak,
        tries=tries,
        stratification={"optimism": 0.0123},
    )
    assert "Closed for learner-0:" in shown
    assert "Open for learner-1, learner-2." in shown
    assert "logits of learner-1 know labels of other folds, and feature topic tells where" in shown
    assert "A stack can gain up to 0.0512 nats a battle by that alone" in shown
    assert "Corrected for a choice of the best of 17, the candidate in use has" in shown
    assert "flatters every log loss here by up to 0.0123" in shown
    quiet = _judge(run, nesting=nesting, bias_bound={**leak, "nats": 0.0, "learners": []})
    assert "no logits were found to know labels of other folds (12 tests" in quiet
    assert "at most about 0.003" not in shown + quiet


def test_a_small_sample_is_said_to_be_one_and_has_no_interval(run: Run) -> None:
    candidates = [
        {**c, "low": None, "high": None, "gain_over_best_simple": {"mean": -0.01}}
        for c in run.verdict["candidates"]
    ]
    scored = [{**c, "low": None, "high": None} for c in run.candidates["candidates"]]
    _json(run.path / "stack" / "candidates.json", {**run.candidates, "candidates": scored})
    shown = _judge(run, candidates=candidates, small_sample=True, effective_clusters=7.0)
    assert "The sample is small: 7 effective clusters allow no interval" in shown
    assert "interval not measured" in shown
    assert "small sample: no interval" in run.report()


@pytest.mark.parametrize("plain", [[], ["learner-1"]])
def test_the_gap_of_plain_nesting_is_shown_with_and_without_an_interval(
    run: Run, plain: list[str]
) -> None:
    first, second, *others = run.verdict["candidates"]
    gap = {"mean": 0.0123, "low": 0.0011, "high": 0.0235}
    measured = [
        {**first, "plain_log_loss": 1.0123, "gap": gap},
        {**second, "plain_log_loss": 1.0456, "gap": {"mean": -0.0321, "low": None, "high": None}},
    ]
    nesting = {"exact": ["learner-0", "learner-2"], "plain": plain}
    shown = _judge(run, candidates=[*measured, *others], nesting=nesting)
    table = shown[shown.index("The gap measured in this very run") :]
    assert ("for the learners named first" in table) == bool(plain)
    assert "1.0123 +0.0123 [+0.0011, +0.0235]" in table
    assert "1.0456 \N{MINUS SIGN}0.0321 interval not measured" in table
    assert "[not measured" not in table
