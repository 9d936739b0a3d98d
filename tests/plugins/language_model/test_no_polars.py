"""What computes language models needs neither Polars nor LightGBM: GPU machines may have none."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("polars", "lightgbm"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import ensemble_plugins.language_model.model.parity
import ensemble_plugins.language_model.text.tokens
import ensemble_plugins.language_model.train.stages
"""


@pytest.mark.slow
def test_training_and_inference_import_no_polars() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
