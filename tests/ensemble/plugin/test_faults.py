from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from ensemble import errors
from ensemble.plugin.faults import call_plugin, plugin_errors

if TYPE_CHECKING:
    from typing import NoReturn

WHERE = 'learner "x", fold 0'


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


def _raise(error: BaseException) -> NoReturn:
    raise error


def _panic() -> NoReturn:
    """A panic of Polars, which is no ``Exception``."""
    raise pl.exceptions.PanicException("index out of bounds")


@pytest.mark.parametrize(
    "error", [ValueError("no luck"), SystemExit("no luck"), MemoryError("no luck")]
)
def test_what_a_learner_raises_gets_verb_name_and_fold(error: BaseException) -> None:
    with pytest.raises(errors.LearnerError, match=r"fit raised \w+: no luck") as caught:
        call_plugin("fit", WHERE, lambda: _raise(error))
    assert type(error).__name__ in caught.value.message
    assert str(caught.value.where).startswith(WHERE)
    assert caught.value.__cause__ is error


def test_the_place_names_the_last_line_of_the_plugins_own_code() -> None:
    def fit() -> None:
        np.linalg.inv(np.zeros((2, 2)))  # raises in the library

    with pytest.raises(errors.LearnerError, match="Singular matrix") as caught:
        call_plugin("fit", WHERE, fit)
    assert caught.value.where == f"{WHERE}, {__file__}:{fit.__code__.co_firstlineno + 1}"


def test_the_standard_library_is_no_plugin() -> None:
    with pytest.raises(errors.LearnerError, match="describe raised JSONDecodeError") as caught:
        call_plugin("describe", WHERE, partial(json.loads, "{"))
    assert caught.value.where == WHERE


def test_where_no_code_of_a_plugin_ran_no_line_is_named() -> None:
    with pytest.raises(errors.LearnerError, match="fit raised TypeError") as caught:
        call_plugin("fit", WHERE, 7)  # type: ignore[arg-type]
    assert caught.value.where == WHERE


def test_a_panic_of_polars_is_the_learners_error() -> None:
    assert not issubclass(pl.exceptions.PanicException, Exception)
    with pytest.raises(errors.LearnerError, match="fit raised PanicException: index out of bounds"):
        call_plugin("fit", WHERE, _panic)


@pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), GeneratorExit("stop")])
def test_an_interruption_stays_one(error: BaseException) -> None:
    with pytest.raises(type(error), match="stop") as caught:
        call_plugin("fit", WHERE, lambda: _raise(error))
    assert caught.value is error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_nothing_is_not_the_learners_fault(number: int) -> None:
    with pytest.raises(OSError, match="disk") as caught:
        call_plugin("save", WHERE, lambda: _raise(OSError(number, "disk")))
    assert not isinstance(caught.value, errors.LearnerError)


def test_a_full_disk_is_known_from_the_message_of_a_library_in_rust() -> None:
    from safetensors import SafetensorError

    full = SafetensorError("I/O error: No space left on device (os error 28)")
    with pytest.raises(SafetensorError, match="os error 28"):
        call_plugin("save", WHERE, lambda: _raise(full))


def test_a_file_that_the_learner_does_not_find_is() -> None:
    with pytest.raises(errors.LearnerError, match="load raised FileNotFoundError"):
        call_plugin("load", WHERE, lambda: _raise(FileNotFoundError(errno.ENOENT, "gone")))


@pytest.mark.parametrize(("own", "told"), [(None, WHERE), ("x.csv:3", "x.csv:3")])
def test_an_error_of_ours_keeps_its_kind_and_its_place(own: str | None, told: str) -> None:
    with pytest.raises(errors.DataError, match="bad file") as caught:
        call_plugin("fit", WHERE, lambda: _raise(errors.DataError("bad file", where=own)))
    assert caught.value.where == told


def test_what_the_code_gives_is_given_back() -> None:
    assert call_plugin("fit", WHERE, lambda: 7) == 7


def test_the_kind_of_error_is_the_callers() -> None:
    with pytest.raises(errors.PluginError, match="the loader raised PermissionError") as caught:
        call_plugin(
            "the loader",
            "loader",
            lambda: _raise(OSError(errno.EACCES, "closed")),
            kind=errors.PluginError,
            writes=False,
        )
    assert type(caught.value) is errors.PluginError


def test_an_error_without_words_says_so() -> None:
    class MuteError(ValueError):
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(errors.LearnerError, match=r"fit raised MemoryError: \(no message\)"):
        call_plugin("fit", WHERE, lambda: _raise(MemoryError()))
    with pytest.raises(errors.LearnerError, match="fit raised MuteError: .*cannot be read"):
        call_plugin("fit", WHERE, lambda: _raise(MuteError()))


def test_python_that_cannot_be_read_is_named_by_file_and_line() -> None:
    with pytest.raises(errors.LearnerError, match="raised SyntaxError") as caught:
        call_plugin("fit", WHERE, lambda: compile("\n1 +", "mine.py", "exec"))
    assert caught.value.where == f"{WHERE}, mine.py:2"


def test_a_plugin_cannot_end_the_process() -> None:
    real = os._exit
    with pytest.raises(
        errors.LearnerError, match=r"fit raised SystemExit: it called os._exit\(0\)"
    ):
        call_plugin("fit", WHERE, lambda: os._exit(0))
    assert os._exit is real


def test_a_process_that_a_plugin_forks_ends_as_it_likes() -> None:
    code = (
        "import os, sys\n"
        "from ensemble.plugin.faults import staying\n"
        "with staying():\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        os._exit(7)\n"
        "    _, status = os.waitpid(child, 0)\n"
        "sys.exit(os.waitstatus_to_exitcode(status) != 7)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_thread_that_ends_the_process_does_not_pass_for_success() -> None:
    code = (
        "import os, threading, time\n"
        "from ensemble.plugin.faults import staying\n"
        "with staying():\n"
        "    threading.Thread(target=os._exit, args=(0,)).start()\n"
        "    time.sleep(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert ended.returncode == 1
    assert b"a thread of a plugin called os._exit(0)" in ended.stderr
