"""A run that takes about a second, and its verbs, in this process."""

from __future__ import annotations

import io
import os
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from ensemble.cli import main
from ensemble.plugin.manager import Manager, use_manager
from tests.fakes import FakePlugin, Prior

if TYPE_CHECKING:
    from collections.abc import Iterator

EMPTY_FIGURE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
ALL = os.environ.get("ENSEMBLE_TEST_FAULTS") == "all"
"""Whether every fault is tried, for an hour or more; else a sample that has each kind."""
SEED = int(os.environ.get("ENSEMBLE_TEST_SEED") or 15)
"""Of the sample."""


class Ended(NamedTuple):
    """How a verb ended."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """All that was printed."""
        return self.out + self.err


def verb(*words: str | Path, cwd: Path | None = None) -> Ended:
    """Run a verb as the command line does, in this process."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with (
        patch("sys.argv", ["ensemble", *map(str, words)]),
        redirect_stdout(out),
        redirect_stderr(err),
        chdir(cwd or Path.cwd()),
    ):
        try:
            main()
        except SystemExit as error:
            code = error.code
    return Ended(int(code or 0), out.getvalue(), err.getvalue())


@contextmanager
def cheap(**plugins: object) -> Iterator[None]:
    """Paint no figure, check no learner by the kit, and have the fakes registered."""
    use_manager(Manager({"fakes": FakePlugin(), **plugins}))
    Prior.seen.clear()
    with (
        patch("ensemble.report.svg._painted", lambda *_: EMPTY_FIGURE),
        patch("ensemble.stages.contracts.unchecked", lambda *_: []),
    ):
        yield
    use_manager(None)


@dataclass(frozen=True)
class SmallRun:
    """A project with a config and its run directory."""

    place: Path

    @property
    def config(self) -> Path:
        """The config."""
        return self.place / "config.toml"

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self.place / "run"

    def run(self) -> Ended:
        """Do all of it, or what is left."""
        return verb("run", self.config, "--quiet")

    def submission(self) -> bytes:
        """Give the submission's bytes."""
        return (self.directory / "submission.csv").read_bytes()

    def files(self) -> set[str]:
        """Name all files of the run."""
        found = (path for path in self.directory.rglob("*") if not path.is_dir())
        return {path.relative_to(self.directory).as_posix() for path in found}
