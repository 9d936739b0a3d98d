"""Whether the verdicts on sources are right where the answer is known.

::

    python benchmarks/sources_study.py --out runs/sources_study            # 50 seeds; resumes
    python benchmarks/sources_study.py --out runs/look --seeds 2 --effect-seeds 1
    python benchmarks/sources_study.py --out runs/sources_study --summary  # what is there so far

A case is a kind of source (``ensemble.datasets.sources``) and a seed, which draws target
and source. It is studied as ``ensemble sources`` does, with its default learner and all its
treatments; shift and learning curve, which decide nothing, are left out. Reported by kind: how
often each word came, and the mean gain over seeds of each treatment, whose standard error is over
seeds, so that it holds whatever the study's own intervals are worth.

Two kinds have no effect. Of ``duplicates`` no row is new. Of ``harmless`` there is one row to a
hundred of the target, with labels that say nothing. There the words ``helps`` and ``hurts`` are
wrong, and may come in at most 5% of the cases.

``fresh`` is the truth to hold the measured gain of ``train`` against: what the source gains for the
same learner, fitted on all rows of the target, on battles that nobody has seen, in expectation over
their labels. Target and duplicates share no row with those, so that nothing can leak.

Each case's figures are a file in ``--out``; what is there with the same settings is kept, so delete
the directory after a change of the code.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from machine import describe_machine
from scipy.stats import binomtest

from ensemble.battles.duplicates import find_duplicates
from ensemble.battles.schema import learner_view
from ensemble.config.load import parse_config
from ensemble.datasets.battles import TRUTH_COLUMNS, make_battles
from ensemble.datasets.sources import SOURCE_KINDS, make_source
from ensemble.evaluation.losses import row_log_loss, softmax
from ensemble.plugin.base import CLASSES, FitContext
from ensemble.sources.settings import StudySettings, learner_of
from ensemble.stages.sources import sources_stage
from ensemble.stages.work import writing
from ensemble.storage.json_files import read_json, write_json

if TYPE_CHECKING:
    from ensemble.config.settings import Config

NO_EFFECT = ("harmless", "duplicates")
HARMLESS_SHARE = 0.01
"""Of the target's rows."""
FOLDS = 2
"""Enough: what is asked is whether a verdict is right, not how good the learner is."""
FRESH_ROWS = 3000
FRESH_SEED = 1_000_000
FRESH_FITS = 4
"""Fits of each of the two sides of ``fresh``: their mean has little noise of fits left."""
WORDS = ("helps", "hurts", "no difference shown", "not measured")


def study_case(kind: str, seed: int, rows: int) -> dict[str, Any]:
    """Draw a target and a source, study it, and give the figures."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        target, source = draw(directory, kind, seed, rows)
        config = make_config(directory, seed)
        clock = time.perf_counter()
        with writing(config) as reporter:
            (study,) = sources_stage(config, reporter, StudySettings(shift=False, curve=False))
        return {
            "seconds": time.perf_counter() - clock,
            "verdict": study.verdict,
            "effect": study.effect,
            "fresh": fresh_gain(config, target, source, seed, directory / "cache"),
        }


def draw(directory: Path, kind: str, seed: int, rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Draw target and source, and write them."""
    target = make_battles(target_rows=rows, external_rows=0, test_rows=0, seed=seed).target
    count = max(2, round(rows * HARMLESS_SHARE)) if kind == "harmless" else rows
    source = make_source(kind, rows=count, seed=seed, target_rows=rows).battles
    target.write_parquet(directory / "target.parquet")
    source.write_parquet(directory / "source.parquet")
    return target, source


def make_config(directory: Path, seed: int) -> Config:
    """Give a config without learners: the study brings its own."""
    sources = [
        {"name": "target", "path": "target.parquet", "role": "target"},
        {"name": "source", "path": "source.parquet", "role": "ignore"},
    ]
    raw = {
        "run_dir": "run",
        "seed": seed,
        "sources": sources,
        "folds": {"n_splits": FOLDS},
        "execution": {"threads": 1, "executor": "in-process"},
    }
    return parse_config(raw, directory / "config.toml")


def fresh_gain(
    config: Config, target: pl.DataFrame, source: pl.DataFrame, seed: int, cache: Path
) -> float:
    """Measure what a source gains on battles that nobody has seen."""
    drawn = make_battles(
        target_rows=FRESH_ROWS, external_rows=0, test_rows=0, seed=FRESH_SEED + seed
    )
    truth = drawn.truth.select(TRUTH_COLUMNS).to_numpy()
    spec = learner_of(config, None)

    def loss(rows: pl.DataFrame) -> float:
        labels = rows.select(CLASSES).to_numpy().astype(np.float64)
        clusters = find_duplicates(learner_view(rows)).clusters
        groups = rows.join(clusters, on="id", maintain_order="left")["cluster"].to_numpy()
        eval_mask = np.arange(len(rows)) < len(target)
        losses = []
        for fit in range(FRESH_FITS):
            number = seed * FRESH_FITS + fit
            context = FitContext(seed=number, threads=1, cache_directory=cache, eval_mask=eval_mask)
            learner = spec.make().fit(learner_view(rows), labels, groups=groups, context=context)
            logits = learner.predict_logits(learner_view(drawn.target))
            losses.append(float(row_log_loss(truth, softmax(logits)).mean()))
        return float(np.mean(losses))

    return loss(target) - loss(pl.concat([target, source]))


def study_once(out: Path, kind: str, seed: int, rows: int) -> None:
    """Study a case unless its figures are there, made with the same settings."""
    path, settings = case_file(out, kind, seed), {"rows": rows, "folds": FOLDS}
    if path.exists() and read_json(path)["settings"] == settings:
        return
    case = study_case(kind, seed, rows)
    write_json(path, {"kind": kind, "seed": seed, "settings": settings, **case})


def case_file(out: Path, kind: str, seed: int) -> Path:
    """Where the figures of a kind and a seed are."""
    return out / kind / f"seed-{seed:04}.json"


def summarize(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Count words and average gains over seeds, by kind."""
    by_kind = {kind: [case for case in cases if case["kind"] == kind] for kind in SOURCE_KINDS}
    nothing = [case["verdict"]["word"] for case in cases if case["kind"] in NO_EFFECT]
    wrong = sum(word in ("helps", "hurts") for word in nothing)
    return {
        "kinds": {kind: _summarize_kind(found) for kind, found in by_kind.items() if found},
        "no_effect": {"cases": len(nothing), "wrong": wrong, "rate": _rate(wrong, len(nothing))},
        "seconds": float(np.median([case["seconds"] for case in cases])),
    }


def _summarize_kind(cases: list[dict[str, Any]]) -> dict[str, Any]:
    words = [case["verdict"]["word"] for case in cases]
    advice = [(case["verdict"]["recommended"] or {}).get("treatment") for case in cases]
    gains: dict[str, list[float]] = {}
    for case in cases:
        for treatment in case["effect"]["treatments"]:
            if treatment["measured"]:
                gains.setdefault(treatment["name"], []).append(treatment["gain"]["mean"])
    return {
        "words": {word: words.count(word) for word in WORDS},
        "recommended": {str(name): advice.count(name) for name in sorted(set(map(str, advice)))},
        "gains": {name: _mean(values) for name, values in gains.items()},
        "fresh": _mean([case["fresh"] for case in cases]),
    }


def _mean(values: list[float]) -> dict[str, float]:
    """Give mean, its standard error over seeds (NaN for one seed), and their number."""
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "error": error or float("nan"), "seeds": len(values)}


def _rate(wrong: int, cases: int) -> dict[str, float]:
    """Give a share with its exact 95% interval (Clopper and Pearson, 1934)."""
    if not cases:
        return dict.fromkeys(("share", "low", "high"), float("nan"))
    interval = binomtest(wrong, cases).proportion_ci(0.95, "exact")
    return {"share": wrong / cases, "low": float(interval.low), "high": float(interval.high)}


def show(summary: dict[str, Any]) -> None:
    """Print the summary as Markdown tables."""
    kinds = summary["kinds"]
    print(f"| kind | seeds | {' | '.join(WORDS[:3])} | gain of `train`, fresh |")
    print("|---|---|---|---|---|---|")
    for kind, row in kinds.items():
        words = [str(row["words"][word]) for word in WORDS[:3]]
        print(
            f"| `{kind}` | {row['fresh']['seeds']} | {' | '.join(words)} | {_cell(row['fresh'])} |"
        )
    print()
    names = list(dict.fromkeys(name for row in kinds.values() for name in row["gains"]))
    print(f"| gain of | {' | '.join(f'`{kind}`' for kind in kinds)} |")
    print("|---|" + "---|" * len(kinds))
    for name in names:
        cells = [
            _cell(row["gains"][name]) if name in row["gains"] else "" for row in kinds.values()
        ]
        print(f"| `{name}` | {' | '.join(cells)} |")
    nothing = summary["no_effect"]
    rate = nothing["rate"]
    print(
        f"\nno effect: {nothing['wrong']} of {nothing['cases']} verdicts wrong, "
        f"{rate['share']:.1%} (95% interval {rate['low']:.1%} to {rate['high']:.1%}); "
        f"{summary['seconds']:.0f} s a study"
    )


def _cell(figure: dict[str, float] | None) -> str:
    return f"{figure['mean']:+.4f} ± {figure['error']:.4f}" if figure else "not measured"


def main() -> None:
    """Study what is asked for and not there yet, and summarize all that is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory of the figures")
    parser.add_argument("--rows", type=int, default=800, help="battles of the target")
    parser.add_argument("--seeds", type=int, default=50, help="of the kinds without an effect")
    parser.add_argument("--effect-seeds", type=int, default=10, help="of the other kinds")
    parser.add_argument("--workers", type=int, default=2, help="processes, each with one thread")
    parser.add_argument("--summary", action="store_true", help="summarize what is there")
    asked = parser.parse_args()
    if not asked.summary:
        study_all(asked)
    cases = [read_json(path) for path in sorted(asked.out.glob("*/seed-*.json"))]
    if not cases:
        raise SystemExit(f"no figures in {asked.out}")
    summary = {"machine": describe_machine(), **summarize(cases)}
    write_json(asked.out / "summary.json", summary)
    show(summary)
    print(summary["machine"])


def study_all(asked: argparse.Namespace) -> None:
    """Study every case, the kinds without an effect first."""
    counts = {True: asked.seeds, False: asked.effect_seeds}
    order = sorted(SOURCE_KINDS, key=lambda kind: kind not in NO_EFFECT)
    # Processes that share cores get slower with every thread that their libraries start.
    one = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
    os.environ |= dict.fromkeys(one, "1")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(asked.workers, mp_context=spawn) as pool:
        jobs = [
            pool.submit(study_once, asked.out, kind, seed, asked.rows)
            for kind in order
            for seed in range(counts[kind in NO_EFFECT])
        ]
        for job in jobs:
            job.result()


if __name__ == "__main__":
    main()
