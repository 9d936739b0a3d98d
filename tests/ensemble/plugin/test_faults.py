from __future__ import annotations

import subprocess
import sys

import polars as pl
import pytest

from ensemble.plugin.faults import plugin_errors


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(1), pl.exceptions.PanicException("x")]
)
def test_what_a_plugin_may_raise_is_caught(error: BaseException) -> None:
    assert isinstance(error, plugin_errors())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()])
def test_what_the_user_or_python_wants_goes_through(error: BaseException) -> None:
    assert not isinstance(error, plugin_errors())


def test_polars_is_not_imported_for_it() -> None:
    code = (
        "import sys; from ensemble.plugin.faults import plugin_errors; kinds = plugin_errors();"
        "sys.exit(int('polars' in sys.modules or kinds != (Exception, SystemExit)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
