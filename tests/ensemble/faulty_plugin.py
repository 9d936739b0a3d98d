"""A plugin whose learner and meta-learner misbehave where they are told to."""

from __future__ import annotations

PLUGIN = '''
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from ensemble import BaseLearner, MetaLearner, hookimpl


def misbehave(how):
    if how == "raises":
        raise ValueError("boom")
    if how == "exits":
        sys.exit(3)
    if how == "leaves":
        os._exit(3)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "memory":
        raise MemoryError
    if how == "hangs":
        time.sleep(600)
    if how == "spins":
        while True:
            pass
    if how == "child":
        if not os.fork():
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "disk":
        raise PermissionError(13, "Permission denied")
    if how == "keyless":
        raise KeyError


class Faulty(BaseLearner):
    """Predicts label shares, and misbehaves where it is told to: on any fold, or by a file."""

    def __init__(
        self, where: str = "", how: str = "", rows: int = 0, unless: str = "",
        teachers: tuple[str, ...] = (), shift: float = 0.0,
    ) -> None:
        self.where, self.how, self.rows, self.unless = where, how, rows, unless
        self.teachers, self.shift = teachers, shift

    def act(self, where, rows=0):
        if where == self.where and not (self.unless and Path(self.unless).exists()):
            if not self.rows or self.rows == rows:
                misbehave(self.how)

    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        self.shares = np.average(labels, axis=0, weights=sample_weight)
        self.act("fit", len(battles))
        return self

    def predict_logits(self, battles):
        self.act("predict")
        logits = np.tile(np.log(self.shares + 1e-3), (len(battles), 1)).astype(np.float32)
        logits[:, 0] += self.shift
        if self.where == "returns" and not Path(self.unless or "/none").exists():
            if self.how == "nan":
                logits[0, 0] = np.nan
            if self.how == "shape":
                return logits[:, :2]
            if self.how == "rows":
                return logits[1:]
            if self.how == "none":
                return None
        return logits

    def save(self, directory):
        self.act("save")
        (directory / "shares.json").write_text(json.dumps(self.shares.tolist()))

    def load(self, directory):
        self.act("load")
        self.shares = np.asarray(json.loads((directory / "shares.json").read_text()))
        return self


class FaultyMeta(MetaLearner):
    """The mean of all probabilities, or whatever it is told."""

    def __init__(self, where: str = "", how: str = "") -> None:
        self.where, self.how = where, how

    def act(self, where):
        if where == self.where:
            misbehave(self.how)

    def fit(self, meta, labels, *, sample_weight=None, groups=None, context):
        self.act("fit")
        return self

    def predict_proba(self, meta):
        self.act("predict")
        powers = np.exp(meta.logits.astype(float).mean(axis=1))
        found = powers / powers.sum(axis=1, keepdims=True)
        return found * 2 if self.where == "returns" else found

    def save(self, directory):
        self.act("save")

    def load(self, directory):
        self.act("load")
        return self

    def describe(self):
        self.act("describe")
        return {}


@hookimpl
def register_base_learners(register):
    register("faulty", Faulty)


@hookimpl
def register_meta_learners(register):
    register("faulty-meta", FaultyMeta)
'''
