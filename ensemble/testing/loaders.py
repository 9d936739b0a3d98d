"""All that is asked of a loader."""

from __future__ import annotations

import inspect
import os
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from ensemble.battles.loading import Loaded, load_battles
from ensemble.datasets.battles import make_battles, write_battles
from ensemble.errors import EnsembleError, PluginError
from ensemble.plugin.base import CLASSES
from ensemble.plugin.faults import call_plugin
from ensemble.storage.hashing import hash_tree
from ensemble.storage.owned import OwnedPlace
from ensemble.testing.checks import CautionError, Check, NotAskedError, findings
from ensemble.testing.fresh import TRIALS
from ensemble.testing.watch import (
    DIRECTORY,
    Watch,
    changed,
    global_state,
    restoring,
    stir_random_state,
    watching,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ensemble.oof.check import Finding

_NO_OPTION = "option_that_nobody_has"


class LoaderTrial:
    """A loader that is tried out on a file.

    Parameters
    ----------
    loader
        The function, or what is called like one.
    name
        Of the loader.
    path
        What it reads. Without it, generated battles are written in formats that are common, and
        the first that it reads is taken.
    options
        Its keywords.
    """

    fast = False

    def __init__(
        self,
        loader: Any,
        name: str,
        path: Path | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.loader, self.name, self.where = loader, name, f'loader "{name}"'
        self.given, self.options, self.watch = path, dict(options or {}), Watch()
        self._own = OwnedPlace(TRIALS)

    def close(self) -> None:
        """Remove what was written."""
        self._own.remove()

    def fault(self, message: str, hint: str) -> PluginError:
        """Make an error of this loader."""
        return PluginError(message, where=self.where, hint=hint)

    @cached_property
    def path(self) -> Path:
        """What is read.

        Raises
        ------
        NotAskedError
            None was given, and it reads none of the common formats.
        """
        if self.given is not None:
            return Path(self.given).absolute()
        place = self._own.path
        battles = make_battles(target_rows=30, external_rows=6, test_rows=6)
        write_battles(battles, place)
        battles.target.write_ndjson(place / "train.jsonl")
        battles.target.write_parquet(place / "train.parquet")
        for name in ("train.csv", "train.parquet", "train.jsonl"):
            with suppress(Exception), restoring():
                if isinstance(self.loader(place / name, **self.options), pl.DataFrame):
                    return place / name
        raise NotAskedError("it reads none of the common formats: give it a file to read")

    def read(self, **options: Any) -> Any:
        """Read the file."""
        with restoring(), watching(self.watch):
            return call_plugin(
                "the loader",
                f"{self.where}, {self.path}",
                lambda: self.loader(self.path, **{**self.options, **options}),
                kind=PluginError,
                writes=False,
            )

    @cached_property
    def frame(self) -> pl.DataFrame:
        """What it read first; ``NotAskedError`` where it read nothing."""
        try:
            found = self.read()
        except EnsembleError as error:
            raise NotAskedError("it cannot read the file") from error
        if not isinstance(found, pl.DataFrame):
            raise NotAskedError("it gives no table")
        return found


def signature(trial: LoaderTrial) -> dict[str, Any]:
    """See that it can be called with a path, and options as keywords."""
    try:
        found = inspect.signature(trial.loader)
        found.bind(trial.path if trial.given else Path(), **trial.options)
    except TypeError as error:
        raise trial.fault(
            f"it cannot be called as it will be: {error}", "write def loader(path, **options)"
        ) from error
    names = [*found.parameters][1:]
    return {"options": ", ".join(names) or "none"}


def table(trial: LoaderTrial) -> dict[str, Any]:
    """See that it gives a Polars frame whose columns and rows the toolkit takes."""
    found = trial.read()
    if isinstance(found, pl.LazyFrame):
        raise trial.fault("it returned a LazyFrame, not a DataFrame", "end with .collect()")
    if not isinstance(found, pl.DataFrame):
        raise trial.fault(
            f"it returned {type(found).__name__}, not a polars DataFrame",
            "return raw columns as docs/data.md lists them",
        )
    if "id" in found.columns and found["id"].dtype.is_float():
        raise trial.fault(
            "its ids are floats: 1 and 1.0 are other ids, and large ones are rounded",
            "read the column as a string",
        )
    loaded = _loaded(trial)
    if loaded.bad_rows:
        row = loaded.bad_rows[0]
        raise trial.fault(
            f"{len(loaded.bad_rows)} of its rows cannot be taken; the first: {row.reason}",
            "give texts as lists of turns or JSON lists, and labels as 0 and 1",
        )
    ids = loaded.battles["id"]
    return {"rows": len(ids), "columns": len(found.columns)}


def _loaded(trial: LoaderTrial) -> Loaded:
    """Let the toolkit take what it gives, as a test file where it has no labels."""
    labeled = {*CLASSES} <= {*trial.frame.columns} or "winner" in trial.frame.columns
    try:
        return load_battles(
            trial.path,
            source="checked",
            role="target" if labeled else "test",
            is_test=not labeled,
            on_bad_rows="drop",
            loader=lambda path, **options: trial.frame,  # noqa: ARG005
            loader_name=trial.name,
        )
    except EnsembleError as error:
        raise PluginError(
            f"the toolkit does not take what it gives: {error.message}",
            where=trial.where,
            hint=error.hint or "docs/data.md lists the columns",
        ) from error


def again(trial: LoaderTrial) -> dict[str, Any]:
    """Read the file once more, and under other global random states."""
    first = trial.frame
    with restoring():
        stir_random_state(1)
        second = trial.read()
    if not isinstance(second, pl.DataFrame) or not first.equals(second):
        raise trial.fault(
            "it gives another table the second time",
            "the same rows in the same order: sort what comes from a set or a directory, and draw "
            "nothing at random",
        )
    return {}


def file_unchanged(trial: LoaderTrial) -> dict[str, Any]:
    """See that what it reads is left as it was, and nothing is written beside it."""
    _ = trial.frame
    before = hash_tree(trial.path)
    trial.watch.written.clear()
    trial.read()
    if hash_tree(trial.path) != before:
        raise trial.fault("it changes the file that it reads", "read it, and write elsewhere")
    written = trial.watch.outside()
    if written:
        raise CautionError(f"it writes files: {', '.join(map(str, written[:3]))}")
    if trial.watch.connected:
        raise CautionError(
            f"it connects to the network: {trial.watch.connected[0]}; a run may have none"
        )
    return {}


def path_as_text(trial: LoaderTrial) -> dict[str, Any]:
    """Read the file from another working directory."""
    first = trial.frame
    with TemporaryDirectory() as elsewhere, restoring():
        os.chdir(elsewhere)
        second = trial.read()
        os.chdir(trial.path.parent)
    if not first.equals(second):
        raise trial.fault(
            "it gives another table from another working directory", "use the path as it is given"
        )
    return {}


def options(trial: LoaderTrial) -> dict[str, Any]:
    """Give each option its default, and one that is unknown."""
    first = trial.frame
    parameters = [*inspect.signature(trial.loader).parameters.values()][1:]
    known = [p for p in parameters if p.default is not inspect.Parameter.empty]
    defaults = {p.name: p.default for p in known if p.name not in trial.options}
    if defaults and not first.equals(trial.read(**defaults)):
        raise trial.fault(
            "it gives another table where options are given their defaults",
            "options may not depend on one another, nor on how they are given",
        )
    mutable = [p.name for p in known if isinstance(p.default, list | dict | set)]
    if mutable:
        raise trial.fault(
            f'the default of option "{mutable[0]}" is shared by all calls',
            "use None or a tuple",
        )
    try:
        trial.read(**{_NO_OPTION: 1})
    except EnsembleError:
        return {"options": len(parameters)}
    raise CautionError(
        "it takes options that it does not know, without a word: a misspelled one is not found; "
        "name each option as a keyword in place of **options"
    )


def missing_file(trial: LoaderTrial) -> dict[str, Any]:
    """Read a file that is not there."""
    _ = trial.frame
    place = trial.path.with_name("a-file-that-is-not-there" + trial.path.suffix)
    try:
        with restoring():
            found = trial.loader(place, **trial.options)
    except Exception as error:
        return {"raises": type(error).__name__}
    raise PluginError(
        f"it gives a table of {len(found)} rows for a file that is not there",
        where=trial.where,
        hint="read the path that it is given, and let what open raises pass",
    )


def global_state_kept(trial: LoaderTrial) -> dict[str, Any]:
    """See what of the process it changes."""
    _ = trial.frame
    with restoring():
        before = global_state()
        trial.loader(trial.path, **trial.options)
        seen = changed(before, global_state())
    if {DIRECTORY, "os.environ"} & {*seen}:
        raise trial.fault(
            f"it changes {' and '.join(sorted({DIRECTORY, 'os.environ'} & {*seen}))}: paths and "
            "programs of others behave otherwise then",
            "use absolute paths, and hand settings on as arguments",
        )
    if seen:
        raise CautionError(f"it changes what the whole process shares: {', '.join(seen)}")
    return {}


CHECKS: tuple[Check, ...] = (
    Check("signature", signature),
    Check("table", table),
    Check("same file again", again),
    Check("file unchanged", file_unchanged),
    Check("another directory", path_as_text),
    Check("options", options),
    Check("missing file", missing_file),
    Check("global state", global_state_kept),
)


def loader_findings(trial: LoaderTrial) -> Iterator[Finding]:
    """Ask a loader."""
    yield from findings(trial, CHECKS, ("signature",))
