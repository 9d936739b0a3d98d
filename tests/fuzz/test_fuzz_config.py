"""Configs of any bytes and any values: settings, or an error of ours; nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble.config.load import load_config, load_run_config, write_config
from tests.fuzz.harmless import bounded_memory, harmless, nothing_else_written
from tests.fuzz.mutations import mutants, scale

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = b"""
run_dir = "run"
seed = 7
plugins = []

[[sources]]
name = "arena"
path = "train.csv"
role = "target"
text_format = "json"
[[sources]]
name = "more"
path = "a.jsonl"
role = "train"
weight = 0.5
columns = { prompt = "question" }
options = { depth = 2, token = "secret-value" }
loader = "mine"
[[sources]]
name = "shards"
path = ["a.jsonl", "b-*.jsonl"]
role = "pretrain"

[test]
path = "test.csv"

[task]
ties = true
metric = "log_loss"

[folds]
n_splits = 5
near_duplicate_threshold = 0.8
group_columns = ["session"]

[[learners]]
name = "length"
plugin = "handcrafted"
features = ["length", "markdown"]
[[learners]]
name = "words"
plugin = "tfidf"
seeds = 2
folds = [0, 1]
time_limit = 60.0
nested = { list = [1, 2.5, "three", { four = 4 }] }

[stack]
meta_learner = "lightgbm"
choose = "auto"
parameters = { num_leaves = 7 }

[execution]
executor = "processes"
workers = 2
device = "cpu"
"""


def read_back(path: Path) -> None:
    """Load a config, write it as a run does, and load that."""
    config = load_config(path)
    kept = path.parent / "kept" / "config.toml"
    kept.parent.mkdir(exist_ok=True)
    write_config(config, kept)
    load_config(kept)


def test_a_damaged_config_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(CONFIG)
    assert harmless("the config itself", lambda: read_back(path)) is None
    with nothing_else_written(tmp_path, path, tmp_path / "kept"), bounded_memory():
        for told, content in mutants("config", CONFIG, 400):
            path.write_bytes(content)
            harmless(told, lambda: read_back(path))


def test_a_damaged_config_of_a_run_is_read_or_refused(tmp_path: Path) -> None:
    for mark in (".lock", "battles.json"):
        (tmp_path / mark).write_text("{}")
    path = tmp_path / "config.toml"
    for told, content in mutants("the run's config", CONFIG, 100):
        path.write_bytes(content)
        harmless(told, lambda: load_run_config(tmp_path))


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from(
        [
            *("../../x", "/etc/passwd", "a\0b", "~nobody/x", "~", "", ".", "..", "CON", "a" * 5000),
            *("file.py:Class", "os:system", "module:", ":x", "{{7*7}}", "$(id)", "\x1b[2J", "[a"),
        ]
    ),
    st.datetimes(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
PLACES: tuple[tuple[str, ...], ...] = (
    *((key,) for key in ("run_dir", "base_dir", "plugins", "seed", "sources", "test", "learners")),
    *((key,) for key in ("folds", "stack", "execution", "predict", "task", "observers", "unknown")),
    *(("sources", "0", key) for key in ("name", "path", "role", "weight", "loader", "options")),
    *(("sources", "0", key) for key in ("columns", "winner", "hub", "format", "labels", "pairs")),
    *(("learners", "0", key) for key in ("name", "plugin", "seeds", "folds", "time_limit", "x")),
    *(("folds", key) for key in ("n_splits", "column", "file", "embeddings", "group_columns")),
    *(("stack", key) for key in ("meta_learner", "learners", "choose", "parameters")),
    *(("execution", key) for key in ("address", "devices", "device", "executor", "threads")),
)


def _put(table: Any, place: tuple[str, ...], value: Any) -> None:
    *way, last = place
    for key in way:
        table = table[int(key)] if isinstance(table, list) else table.setdefault(key, {})
    table[last] = value


@settings(
    max_examples=300 * scale(),
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_any_value_of_a_key_is_taken_or_refused(
    place: tuple[str, ...], value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / "values"
    root.mkdir(exist_ok=True)
    raw: dict[str, Any] = {
        "run_dir": "run",
        "sources": [{"name": "arena", "path": "train.csv", "role": "target"}],
        "learners": [{"name": "p", "plugin": "handcrafted"}],
    }
    _put(raw, place, value)
    try:
        content = tomli_w.dumps(raw)
    except (TypeError, ValueError):  # TOML has no such value
        return
    path = root / "config.toml"
    path.write_text(content, encoding="utf-8")
    harmless(content, lambda: read_back(path))


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        b"a = " + b"[" * 100_000,
        b"a = " + b"{a = " * 50_000,
        b"[" + b"a." * 50_000 + b"a]",
        b"a." * 50_000 + b"a = 1",
        b"seed = " + b"9" * 1_000_000,
        b"seed = 1e" + b"9" * 1_000_000,
        b'run_dir = "' + b"x" * 9_000_000 + b'"',
        b'run_dir = "' + b"x/" * 400_000 + b'"',
        b"plugins = [" + b'"a.py",' * 100_000 + b"]",
        CONFIG.replace(b'choose = "auto"', b"learners = [" + b'"length",' * 300_000 + b"]"),
        CONFIG + b"".join(b'[[learners]]\nname = "l%d"\nplugin = "p"\n' % i for i in range(50_000)),
        CONFIG + b'[[sources]]\nname = "s"\npath="a"\nrole = "train"\n' * 50_000,
        CONFIG.replace(b'"session"', b'"session",' * 300_000),
        CONFIG.replace(b'"a.jsonl"', b'"a.jsonl",' * 300_000),
        CONFIG + b"x = { " + b", ".join(b"k%d = 1" % i for i in range(200_000)) + b" }",
        b"\xef\xbb\xbf" + CONFIG,
        CONFIG.replace(b"\n", b"\r\n"),
        CONFIG.replace(b"\n", b"\r"),
        CONFIG.decode().encode("utf-16"),
        b"\0" * 10_000,
        b"a = '\xed\xa0\x80'",
        b'a = "\\ud800"',
    ],
    ids=lambda content: repr(content[:40]),
)
def test_large_and_deep_configs_are_refused_in_time(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with bounded_memory():
        harmless(repr(content[:80]), lambda: read_back(path))
