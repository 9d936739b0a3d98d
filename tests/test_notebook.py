"""The notebook of the docs, executed as it stands in a kernel of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"

EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
resources = {"metadata": {"path": sys.argv[2]}}
NotebookClient(notebook, timeout=300, resources=resources).execute()
nbformat.write(notebook, sys.argv[3])
"""


def _outputs(notebook: dict[str, Any], begins: str) -> list[dict[str, Any]]:
    (cell,) = [c for c in notebook["cells"] if "".join(c["source"]).startswith(begins)]
    found: list[dict[str, Any]] = cell["outputs"]
    return found


def _html(output: dict[str, Any]) -> str:
    return "".join(output["data"]["text/html"])


def test_it_is_stored_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("nbclient") is None or find_spec("ipykernel") is None, reason="no notebook kernel"
)
def test_it_runs_from_battles_to_a_submission(tmp_path: Path) -> None:
    executed = tmp_path / "executed.ipynb"
    command = [sys.executable, "-c", EXECUTE, str(NOTEBOOK), str(tmp_path), str(executed)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    outputs = [out for cell in notebook["cells"] for out in cell.get("outputs", ())]
    assert not [out["text"] for out in outputs if out.get("name") == "stderr"]
    progress, shown = _outputs(notebook, "config =")
    assert progress["output_type"] == "display_data", "progress is one output, written over"
    assert "fold plan" in _html(progress)
    assert "Run first" in _html(shown)
    for begins in ('run.plot("forest")', 'run.plot("calibration"', 'run.plot("agreement")'):
        (figure,) = _outputs(notebook, begins)
        assert figure["data"]["image/png"].startswith("iVBOR")
    (audit,) = _outputs(notebook, "run.audit()")
    assert "passed" in _html(audit)
    assert "passed" in _html(_outputs(notebook, "combined =")[-1])
    assert (tmp_path / "runs/combined/submission.csv").exists()
