"""Run directories with made-up content."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ensemble import CLASSES
from ensemble.audit.audit import Audit, subject_of
from ensemble.battles import prepared
from ensemble.battles.fold_plan import FoldPlan
from ensemble.battles.schema import (
    BATTLE_SCHEMA,
    LABEL_COLUMNS,
    LOGIT_COLUMNS,
    PREDICTION_SCHEMA,
)
from ensemble.evaluation.losses import softmax
from ensemble.report.write import write_report
from ensemble.storage.hashing import hash_file
from ensemble.storage.json_files import write_checksummed
from tests.ensemble.report.made_up_stack import candidate_probabilities, scores_and_verdict

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
    probabilities = candidate_probabilities(logits, truth, labels)
    candidates, verdict = scores_and_verdict(probabilities, logits, labels, clusters, target)
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
        write_json(run / "audit.json", audit)
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
    write_json(directory / "manifest.json", manifest)


def _write_stack(
    run: Path,
    candidates: dict[str, Any],
    verdict: dict[str, Any],
    target: pl.DataFrame,
    chosen: np.ndarray,
) -> None:
    (run / "stack").mkdir()
    write_json(run / "stack" / "candidates.json", candidates)
    write_json(run / "stack" / "verdict.json", verdict)
    write_json(run / "stack" / "manifest.json", {"plan": PLAN, "data": DATA})
    table = pl.DataFrame({"id": target["id"]} | {c: chosen[:, k] for k, c in enumerate(CLASSES)})
    table.reverse().write_parquet(run / "stack" / "oof.parquet")


def _write_plan(run: Path, folds: pl.DataFrame, labels: np.ndarray) -> None:
    target = folds.filter(pl.col("fold").is_not_null())
    numbers = target["fold"].to_numpy()
    write_json(
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
    write_json(
        run / "battles.json",
        {
            "key": "k" * 64,
            "made_by": {"version": prepared.VERSION},
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


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
