"""Only ``run_dir`` and ``storage`` open files of a run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ensemble

CORE = Path(ensemble.__file__).parent
ROOMS = ("run_dir", "storage")
OPENERS = {
    "open",
    "read_csv",
    "read_json",
    "read_parquet",
    "read_text",
    "read_bytes",
    "scan_parquet",
    "write_bytes",
    "write_csv",
    "write_json",
    "write_parquet",
    "write_text",
}
OTHER_FILES = {
    "battles/corrections.py": "a list of the user",
    "battles/embeddings.py": "vectors of the user",
    "battles/feature_cache.py": "a table in memory, which the store of shards keeps",
    "battles/files/columnar.py": "a source of the user",
    "battles/files/columnar_process.py": "the same, in a process of its own",
    "battles/files/parquet_columns.py": "the same, to look at its sizes",
    "battles/files/csv_reader.py": "a source of the user",
    "battles/files/packed.py": "a source of the user",
    "battles/files/refused.py": "a source of the user",
    "cli/status.py": "a config of the user",
    "cli/init.py": "a config for the user",
    "cli/demo.py": "the config that the demo gives",
    "config/load.py": "a config of the user, and its copy in the run",
    "control_groups.py": "what the system says of memory",
    "datasets/battles.py": "generated data sets",
    "oof/cluster/depot.py": "what a node of a cluster keeps",
    "oof/cluster/messages.py": "files that travel between nodes",
    "oof/cluster/shipment.py": "files that travel between nodes",
    "oof/offered_fit.py": "tables of another run, which are proven before they are taken",
    "oof/worker_process.py": "pipes between processes",
    "plugin/extract.py": "a plugin's code",
    "plugin/files.py": "a plugin's code",
    "plugin/given.py": "a plugin's code",
    "plugin/kept_sources.py": "a plugin's code",
    "plugin/modules.py": "a plugin's code",
    "plugin/referred.py": "a plugin's code",
    "plugin/scaffold.py": "a plugin to begin with",
    "processes.py": "what the system says of memory",
    "report/configured.py": "the copy of the config, word by word",
    "report/write.py": "the report's page",
    "review/effect.py": "corrections as a key's text",
    "review/review.py": "a list for the user",
    "stages/slurm.py": "scripts of the user's jobs",
    "stacking/candidates.py": "models of candidates, as plugins write theirs",
    "submission/output.py": "where the user wants a table",
    "submission/write.py": "the submission",
    "testing/fresh_process.py": "files of a trial",
    "testing/learners/stored.py": "files of a trial",
    "testing/loaders.py": "files of a trial",
    "testing/trial.py": "files of a trial",
}


def _opened(path: Path) -> set[str]:
    calls = (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call))
    names = {getattr(call.func, "attr", getattr(call.func, "id", None)) for call in calls}
    return {name for name in names if name in OPENERS}


MODULES = {path.relative_to(CORE).as_posix(): path for path in sorted(CORE.rglob("*.py"))}
OUTSIDE = [name for name in MODULES if not name.startswith(ROOMS)]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_other_module_opens_files_of_a_run(name: str) -> None:
    opened = _opened(MODULES[name])
    assert name in OTHER_FILES or not opened


@pytest.mark.parametrize("name", OTHER_FILES)
def test_the_exceptions_are_still_needed(name: str) -> None:
    assert _opened(MODULES[name])
