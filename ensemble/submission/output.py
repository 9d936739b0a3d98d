"""Where a person asks a table to be written: through devices and links, and never over an input."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from ensemble.errors import EnsembleError, InputError
from ensemble.run_dir.layout import BATTLES_RECORD, CONFIG, EVENTS
from ensemble.storage.atomic import atomic_path, wrap_os_errors

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_DESCRIPTORS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR_PLACES = ("/dev/fd/", "/proc/self/fd/", f"/proc/{os.getpid()}/fd/")
_NO_TABLES = {".toml", ".py", ".ipynb", ".parquet", ".json", ".jsonl", ".ndjson", ".html"}
_HINT = "give another path as the output"


def descriptor_of(output: Path) -> int | None:
    """Give the open file that a path such as ``/dev/stdout`` stands for; None for other paths."""
    text = os.path.normpath(output)
    if text in _DESCRIPTORS:
        return _DESCRIPTORS[text]
    for place in _DESCRIPTOR_PLACES:
        number = text.removeprefix(place)
        if number != text and number.isdecimal():
            return int(number)
    return None


def check_output(output: Path, inputs: Iterable[Path], what: str = "") -> None:
    """Refuse an output that would replace what something is made from.

    Parameters
    ----------
    output
        Where a table is to go. Links are followed.
    inputs
        Files that are read, and directories that are read as a whole.
    what
        What they are, in words.

    Raises
    ------
    InputError
        It is an input or lies in one; it is a file of a run, or lies among these; it is a
        directory; it is there, and its name says that it is no CSV.
    """
    if descriptor_of(output) is not None:
        return
    target = _resolved(output)
    if target.is_dir():
        raise _refused("is a directory", output, "give the path of a file in it")
    for path in inputs:
        if _is_at(target, path):
            raise _refused(f"would replace {what or f'what is read from {path}'}", output)
    if (run := run_around(target)) is not None:
        raise _refused(
            f"lies in a run directory, {run}, whose files belong together",
            output,
            "give a path outside of it; `ensemble predict RUN` alone writes the run's submission",
        )
    if target.is_file() and target.suffix.lower() in _NO_TABLES:
        raise _refused(f"would replace a {target.suffix} file, and is a CSV table", output)


def write_output(output: Path, text: str) -> None:
    """Write text where a person wants it.

    A new file, or one with a single name, is replaced as a whole. A device, a pipe, a file that is
    open already and a file with several names are written into. A link stays, and what it leads to
    is written.

    Raises
    ------
    EnsembleError
        It cannot be written.
    """
    descriptor = descriptor_of(output)
    if descriptor is not None:
        with wrap_os_errors(output):
            _write_into(os.dup(descriptor), text)
        return
    target = _resolved(output)
    with wrap_os_errors(output):
        status = target.stat() if target.exists() else None
    if status is None or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
        _replace(target, text, status)
        return
    with wrap_os_errors(output):
        _write_into(os.open(target, os.O_WRONLY | os.O_TRUNC), text)


def _replace(target: Path, text: str, status: os.stat_result | None) -> None:
    if status is not None and not os.access(target, os.W_OK):
        raise EnsembleError("cannot write: the file is read-only", where=str(target), hint=_HINT)
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8", newline="\n")
        if status is not None:
            path.chmod(stat.S_IMODE(status.st_mode))


def _write_into(descriptor: int, text: str) -> None:
    with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _resolved(output: Path) -> Path:
    """Follow links, to the end or to a place that is not there yet."""
    try:
        target = output.resolve()
        if output.exists() and not (target.exists() and target.samefile(output)):
            return (
                output.absolute()
            )  # a link of the system that leads to no path, as those to pipes
        if target.is_symlink():
            raise _refused("is a link that leads in a circle", output)
    except (OSError, RuntimeError, ValueError) as error:
        raise _refused(f"is no path: {error}", output) from error
    return target


def _is_at(target: Path, path: Path) -> bool:
    """Say whether a file is an input, by whatever name, or lies in a directory that is one."""
    with suppress(OSError):
        if target.samefile(path):
            return True
    with suppress(OSError, ValueError):
        real = path.resolve()
        return target == real or (real.is_dir() and target.is_relative_to(real))
    return False


def run_around(target: Path) -> Path | None:
    """Give the run directory that a place lies in; None where it lies in none."""
    for directory in target.parents:
        begun = (directory / EVENTS).exists() and (directory / CONFIG).exists()
        if begun or (directory / BATTLES_RECORD).exists():
            return directory
    return None


def _refused(what: str, output: Path, hint: str = _HINT) -> InputError:
    return InputError(f"the output {what}", where=str(output), hint=hint)
