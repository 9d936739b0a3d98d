"""Where everything of a run lies; no other module writes these names down.

::

    RUN/
      config.toml               as resolved
      battles.parquet           clusters.parquet  duplicates.parquet  battles.json
      metadata.parquet          id and what files say beside the battles; no learner sees it
      folds.parquet             folds.json
      learners/<name>/<fit>/    oof.parquet  test.parquet  train_ids.parquet  model/  manifest.json
      stack/                    candidates.json  verdict.json  oof.parquet  model/  manifest.json
      tries/  sources/  comparisons/
      submission.csv            submission.json
      audit.json  report.html  kept.json  truth.json  events.jsonl
      cache/  checkpoints/  .lock
"""

from __future__ import annotations

CONFIG = "config.toml"
LOCK = ".lock"
EVENTS = "events.jsonl"

BATTLES, CLUSTERS, DUPLICATES = "battles.parquet", "clusters.parquet", "duplicates.parquet"
METADATA = "metadata.parquet"
"""``id`` and columns of the sources that are no part of the battles: session, judge, time."""
BATTLES_RECORD = "battles.json"
"""What ``prepare`` says of the tables."""
FOLDS, FOLDS_RECORD = "folds.parquet", "folds.json"

LEARNERS = "learners"
OOF, TEST, TRAIN_IDS, MODEL = "oof.parquet", "test.parquet", "train_ids.parquet", "model"
OOF_SEEDS = "oof_seeds.parquet"
"""OOF logits of each seed, where a learner has several: ``PREDICTION_SCHEMA`` and ``seed``."""
KEPT = "kept.json"
"""Code of plugins that the user says to give what the code before it gave."""

STACK = "stack"
CANDIDATES, VERDICT = "candidates.json", "verdict.json"
OOF_CANDIDATES = "oof_candidates.parquet"
TRIES, TRIES_INDEX = "tries", "index.json"

SUBMISSION, SUBMISSION_RECORD = "submission.csv", "submission.json"
AUDIT = "audit.json"
REPORT, REPORT_RECORD = "report.html", "cache/report.json"
TRUTH = "truth.json"
"""What only a generated data set can know of its labels."""
COMPARISONS, STUDIES = "comparisons", "sources"
CACHE, CHECKPOINTS = "cache", "checkpoints"

RUN_MARKS = (LOCK, BATTLES_RECORD)
"""Files that tell a run directory from one that happens to hold a config."""
