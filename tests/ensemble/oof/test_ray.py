"""Fits on real clusters of Ray, on this machine: a local one, and three nodes of which one dies.

Each is a program of its own: Ray leaves threads and variables behind, and warns of much.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")

PLUGIN = """
import json, time
import numpy as np
from ensemble import BaseLearner

class Slow(BaseLearner):
    def __init__(self, log: str = "", wait: float = 0.0) -> None:
        self.log, self.wait = log, wait
    def fit(self, battles, labels, *, sample_weight=None, groups=None, context):
        state = context.checkpoint_directory / "state.json"
        begun = json.loads(state.read_text()) if state.exists() else 0
        self._note(f"{context.seed} from {begun}")
        for step in range(begun, 12):
            time.sleep(self.wait)
            new = state.with_suffix(".new")
            new.write_text(json.dumps(step + 1))
            new.rename(state)
        self.mean_ = labels.mean(axis=0)
        self._note(f"{context.seed} done")
        return self
    def _note(self, text):
        if self.log:
            with open(self.log, "a") as file:
                file.write(text + "\\n")
    def predict_logits(self, battles):
        return np.tile(np.log(self.mean_ + 1e-9).astype(np.float32), (len(battles), 1))
    def save(self, directory):
        (directory / "mean.json").write_text(json.dumps(self.mean_.tolist()))
    def load(self, directory):
        self.mean_ = np.array(json.loads((directory / "mean.json").read_text()))
        return self
"""

COMMON = """
import hashlib, json, os, sys, threading, time
from pathlib import Path
from ensemble.battles.prepare import prepare
from ensemble.battles.split import split
from ensemble.config.load import parse_config
from ensemble.datasets.battles import make_battles, write_battles
from ensemble.oof.executors import execute
from ensemble.run_dir.reporter import Reporter
from ensemble.stacking.settings import learner_specs

place = Path(sys.argv[1])
os.environ["XDG_CACHE_HOME"] = str(place / "cache")

def fit(name, execution, learners, folds=3):
    settings = {"run_dir": name, "learners": learners, "execution": {"threads": 1, **execution},
                "folds": {"n_splits": folds},
                "sources": [{"name": "target", "path": "train.csv", "role": "target"}]}
    config = parse_config(settings, place / "config.toml")
    run = Path(config.run_dir)
    run.mkdir()
    prepare(config)
    split(run, config.folds, seed=config.seed)
    tasks = [(spec, fold) for spec in learner_specs(config) for fold in range(folds)]
    fitted = execute(config, tasks, Reporter(run))
    digest = hashlib.sha256()
    for file in sorted((run / "learners").rglob("*")):
        if file.is_file() and file.name != "manifest.json":
            digest.update(str(file.relative_to(run)).encode() + file.read_bytes())
    return fitted, digest.hexdigest()

write_battles(make_battles(target_rows=300, seed=1), place)
"""

LOCAL = (
    COMMON
    + """
from ensemble.oof.cluster import session

seen = {}
told = session.Connection._tell
def tell(self, ray, address):
    seen["nodes"] = [node["NodeManagerAddress"] for node in ray.nodes()]
    seen["mode"] = os.environ["RAY_AUTH_MODE"], len(os.environ["RAY_AUTH_TOKEN"])
    seen["usage"] = os.environ["RAY_USAGE_STATS_ENABLED"]
    seen["place"] = str(self._place)
    told(self, ray, address)
session.Connection._tell = tell
learners = [{"name": "words", "plugin": "tfidf"}, {"name": "own", "plugin": "slow.py:Slow"}]
seen["ray"] = fit("ray", {"executor": "ray"}, learners)
seen["again"] = fit("again", {"executor": "ray"}, learners)
seen["here"] = fit("here", {"executor": "in-process"}, learners)
seen["left"] = [name for name in os.environ if name.startswith("RAY_")]
seen["is_there"] = os.path.exists(seen["place"])
print(json.dumps(seen))
"""
)

ENDLESS = f"""{COMMON}
fit("ray", {{"executor": "ray"}}, [{{"name": "a", "plugin": "slow.py:Slow", "wait": 60.0}}])
"""

NODES = (
    COMMON
    + """
import secrets
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="token",
                  RAY_AUTH_TOKEN=secrets.token_hex(32))
from ray.cluster_utils import Cluster
from ensemble.oof.cluster import jobs

jobs.CHECKPOINT_SECONDS = 0.5
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [
    cluster.add_node(num_cpus=1, env_vars={"XDG_CACHE_HOME": f"{place}/cache-{number}"})
    for number in range(3)
]

def kill():
    def count(file, what):
        return file.read_text().count(what) if file.exists() else 0
    events = place / "ray" / "events.jsonl"
    while count(events, "fold fitted") < 1 or count(place / "log", " from ") < 5:
        time.sleep(0.1)
    time.sleep(4)
    for node in nodes[:1]:
        cluster.remove_node(node, allow_graceful=False)

threading.Thread(target=kill, daemon=True).start()
log = str(place / "log")
learners = [{"name": n, "plugin": "slow.py:Slow", "wait": 0.5, "log": log} for n in "ab"]
found = {"ray": fit("ray", {"executor": "ray", "address": cluster.address}, learners)}
found["log"] = Path(log).read_text().split("\\n")
cluster.shutdown()
quick = [{"name": n, "plugin": "slow.py:Slow"} for n in "ab"]
found["here"] = fit("here", {"executor": "in-process"}, quick)
found["events"] = (place / "ray" / "events.jsonl").read_text().split("\\n")
found["caches"] = sorted(path.name for path in place.glob("cache-*"))
print(json.dumps(found))
"""
)


def _run(program: str, place: Path) -> dict[str, Any]:
    (place / "slow.py").write_text(PLUGIN)
    done = subprocess.run(
        [sys.executable, "-c", program, str(place)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@pytest.mark.slow
def test_a_cluster_of_this_machine_gives_the_bytes_that_one_process_gives(tmp_path: Path) -> None:
    found = _run(LOCAL, tmp_path)
    assert found["ray"] == found["here"] and found["ray"][0] == 6
    assert found["again"] == found["here"], "a process may start one after another"
    assert found["nodes"] == ["127.0.0.1"]
    assert found["mode"] == ["token", 64] and found["usage"] == "0"
    assert set(found["left"]) <= {"RAY_CLIENT_MODE"} and not found["is_there"]


@pytest.mark.slow
def test_a_node_that_dies_costs_no_finished_fit_and_goes_on_elsewhere(tmp_path: Path) -> None:
    found = _run(NODES, tmp_path)
    assert found["ray"] == found["here"] and found["ray"][0] == 6
    assert found["caches"] == ["cache-0", "cache-1", "cache-2"], "no node shares a disk"
    events = [json.loads(line) for line in found["events"] if line]
    lost = [event for event in events if event["event"] == "fit lost"]
    assert len(lost) == 1 and "its node was lost" in lost[0]["why"]
    begun = [line.split(" from ") for line in found["log"] if " from " in line]
    done = [line for line in found["log"] if line.endswith("done")]
    assert len(done) == len(set(done)) == 6, "no finished fit was made again"
    again = [(seed, int(at)) for seed, at in begun if int(at)]
    assert len(begun) == 7 and len(again) == 1, "the lost one went on at its checkpoint"


@pytest.mark.slow
def test_interrupting_ends_fits_and_the_cluster_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(PLUGIN)
    program = ENDLESS.replace('"wait"', f'"log": {str(tmp_path / "log")!r}, "wait"')
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "log").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in told and len(children) > 4
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, "a process outlived the interrupt"
    assert not list((tmp_path / "ray").glob("learners/*/*"))
