"""Where everything of a run lies; no other module writes these names down.

::

    RUN/
      config.toml               as resolved
      inputs/<source>.parquet   tables that were given in Python
      battles.parquet           clusters.parquet  duplicates.parquet  battles.json
      metadata.parquet          id and what files say beside the battles; no learner sees it
      corrections.parquet
      folds.parquet             folds.json
      learners/<name>/          failure.json, where it failed
      learners/<name>/<fit>/    oof.parquet  test.parquet  train_ids.parquet  labels.parquet
                                model/  manifest.json
      stack/                    candidates.json  verdict.json  oof.parquet  model/  manifest.json
      plugins/<digest>/         source of plugins that the config names by a file; manifest.json
      tries/  sources/  comparisons/  review/  review.csv  review.json
      submission.csv            submission.json
      holdout.parquet           holdout.json
      audit.json  report.html  kept.json  truth.json  events.jsonl
      jobs.json  unfinished.json  running.json, while a process writes to it
      cache/  checkpoints/  observers/  .lock
"""

from __future__ import annotations

CONFIG = "config.toml"
LOCK = ".lock"
EVENTS = "events.jsonl"
JOBS = "jobs.json"
"""All fits that the config asks for, with their keys: what ``status`` counts."""
RUNNING = "running.json"
"""What the process that holds the lock does right now; gone with it."""
UNFINISHED = "unfinished.json"
"""Fits that a time limit has left undone: a stack may be made without them."""
INPUTS = "inputs"
"""Tables that were given in Python in place of files, one a source."""

BATTLES, CLUSTERS, DUPLICATES = "battles.parquet", "clusters.parquet", "duplicates.parquet"
CORRECTIONS = "corrections.parquet"
"""Labels that training takes in place of others; there where a source has a list of them."""
METADATA = "metadata.parquet"
"""``id`` and columns of the sources that are no part of the battles: session, judge, time."""
BATTLES_RECORD = "battles.json"
"""What ``prepare`` says of the tables."""
FOLDS, FOLDS_RECORD = "folds.parquet", "folds.json"

LEARNERS = "learners"
OOF, TEST, TRAIN_IDS, MODEL = "oof.parquet", "test.parquet", "train_ids.parquet", "model"
OOF_SEEDS = "oof_seeds.parquet"
"""OOF logits of each seed, where a learner has several: ``PREDICTION_SCHEMA`` and ``seed``."""
LABELS = "labels.parquet"
"""Of each training row, what its label was: hard, with what teachers said, or a pseudo-label."""
PROVENANCE = "provenance.parquet"
"""Of predictions from outside: which model made each, and the rows that it was trained on."""
FAILURE = "failure.json"
"""Why a learner is not complete; beside its folds, and gone once it is."""
KEPT = "kept.json"
"""Code of plugins that the user says to give what the code before it gave."""

PLUGINS = "plugins"
"""Source of plugins that are files, each version under its digest."""

STACK = "stack"
CANDIDATES, VERDICT = "candidates.json", "verdict.json"
OOF_CANDIDATES = "oof_candidates.parquet"
TRIES, TRIES_INDEX = "tries", "index.json"

SUBMISSION, SUBMISSION_RECORD = "submission.csv", "submission.json"
HOLDOUT, HOLDOUT_RECORD = "holdout.parquet", "holdout.json"
"""What candidates predict of the rows that are kept for the last score, and that score."""
AUDIT = "audit.json"
REPORT, REPORT_RECORD = "report.html", "cache/report.json"
TRUTH = "truth.json"
"""What only a generated data set can know of its labels."""
COMPARISONS, STUDIES = "comparisons", "sources"
REVIEW, REVIEW_LIST, REVIEW_RECORD = "review", "review.csv", "review.json"
"""Fits that labels are measured with, the list of doubtful ones, and what is known of them."""
CACHE, CHECKPOINTS = "cache", "checkpoints"
CHECKS = "cache/checks.json"
"""Keys of the learners that have passed the checks before a fit."""
OBSERVERS = "observers"
"""What observers write or remember: which run of a tracker is this one's, say."""

RUN_MARKS = (LOCK, BATTLES_RECORD)
"""Files that tell a run directory from one that happens to hold a config."""
